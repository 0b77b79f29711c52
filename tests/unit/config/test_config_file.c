/* Lines of a file: what inih would misread, sections, keys. */
#include "tests/unit/config/config_test.h"

static void test_good_forms(void **state)
{
    static const char *const files[] = {
        SENTINEL_LINES,
        "\xef\xbb\xbf[sentinel]\r\naddress = s1\r\n\r\n[proxy]\r\n",
        "[sentinel]\naddress=s1 ; a comment\n  # indented comment\n\t; another\n   \n",
        "[sentinel] ; a comment\naddress:s1", /* without a last newline */
        "[sentinel]\naddress\t=\ts1\t;comment\nuser = a;b\npassword = a;b=c:d#e\n",
        "[ sentinel ]\naddress = s1\n[service  a.b-c_d]\nlisten = [::1]:1\n",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        struct config_case c = {.file = files[i], .said = ""};
        check_case(&c);
    }
    struct config_case c = {.file = files[4], .said = ""};
    struct loaded l = load_good(&c);
    assert_string_equal(l.config->groups[0].address.v[0].host, "s1");
    assert_int_equal(l.config->groups[0].address.v[0].port, 26379);
    assert_string_equal(l.config->groups[0].user, "a;b");
    assert_password(l.config->groups[0].password, "a;b=c:d#e");
    free_loaded(&l);
}

static void test_lines(void **state)
{
    static const struct config_case cases[] = {
        {.file = SENTINEL_LINES " user = bob\n",
         .said = "E v.ini:3: the line is indented, which would make it part of the line above; "
                 "begin it in the first column\n"},
        {.file = SENTINEL_LINES "  [proxy]\n",
         .said = "E v.ini:3: the line is indented, which would make it part of the line above; "
                 "begin it in the first column\n"},
        {.file = "[sentinel]\naddress = s1\001\n",
         .said = "E v.ini:2: a control character; a configuration is plain text\n"},
        {.file = "[sentinel]\raddress = s1\r",
         .said = "E v.ini:1: a control character; a configuration is plain text\n"},
        {.file = SENTINEL_LINES "password hunter2\n",
         .said = "E v.ini:3: no '=' in the line; write key = value\n"},
        {.file = SENTINEL_LINES "password ;= hunter2\n",
         .said = "E v.ini:3: no '=' in the line; write key = value\n"},
        {.file = "[service a]\nlisten 127.0.0.1:6379\n",
         .said = "E v.ini:2: no '=' in the line; write key = value\n"},
        {.file = SENTINEL_LINES "= 3\n",
         .said = "E v.ini:3: no key before the '='; write key = value\n"},
        {.file = SENTINEL_LINES "password hunter2 = 3\n",
         .said = "E v.ini:3: a key has no spaces; write key = value\n"},
        {.file = SENTINEL_LINES "x2345678901234567890123456789012345678901234567890 = 3\n",
         .said = "E v.ini:3: the key is longer than 49 characters; vedette --help lists them "
                 "all\n"},
        {.file = SENTINEL_LINES "x234567890123456789012345678901234567890123456789 = 3\n",
         .said = "E v.ini:3: unknown key 'x234567890123456789012345678901234567890123456789' in "
                 "[sentinel]; vedette --help lists them all\n"},
        {.file = "workers = 2\n",
         .said = "E v.ini:1: a key before the first section; put it below [proxy], [sentinel] or "
                 "[service NAME]\n"},
    };
    (void)state;
    check_cases(cases, ARRAY_LEN(cases));
}

static void test_nul_bytes(void **state)
{
    static const char text[] = "[sentinel]\naddress = s1\0.example\n";
    struct config_input in = {.file_text = slice_of(text, sizeof text - 1), .file_name = "v.ini"};
    struct loaded l = {0};
    (void)state;
    l.config = config_load(&in, &l.action, &l.report);
    assert_null(l.config);
    assert_int_equal(l.report.count, 1);
    assert_string_equal(l.report.v[0].text, "v.ini:2: a NUL byte; a configuration is plain text");
    free_loaded(&l);
}

/* One line more than inih takes whole, and one that just fits. */
static void test_long_lines(void **state)
{
    char text[1024];
    (void)state;
    for (int n = 199; n <= 200; n++) {
        int pad = n - (int)strlen("password = ");
        (void)snprintf(text, sizeof text, SENTINEL_LINES "password = %0*d\n# %0300d\n", pad, 7, 0);
        struct config_case c = {.file = text, .said = ""};
        if (n == 200) {
            c.said = "E v.ini:3: the line is longer than 199 bytes; shorten it, or put a secret "
                     "into a file\n";
            check_case(&c);
            continue;
        }
        struct loaded l = load_good(&c);
        char password[256];
        (void)snprintf(password, sizeof password, "%0*d", pad, 7);
        assert_password(l.config->groups[0].password, password);
        free_loaded(&l);
    }
    (void)snprintf(text, sizeof text, SENTINEL_LINES "[service %0300d]\n", 1);
    struct config_case c = {.file = text,
                            .said = "E v.ini:3: the line is longer than 199 bytes; shorten it\n"};
    check_case(&c);
}

static void test_sections(void **state)
{
    static const struct config_case cases[] = {
        {.file = "[sentinal]\naddress = s1\nx = y\n",
         .said = "E v.ini:1: unknown section [sentinal]; did you mean [sentinel]?\n"},
        {.file = SENTINEL_LINES "[PROXY]\n",
         .said = "E v.ini:3: unknown section [PROXY]; did you mean [proxy]?\n"},
        {.file = SENTINEL_LINES "[sevice mymaster]\n",
         .said = "E v.ini:3: unknown section [sevice mymaster]; did you mean [service "
                 "mymaster]?\n"},
        {.file = SENTINEL_LINES "[redis]\n",
         .said = "E v.ini:3: unknown section [redis]; there are [proxy], [sentinel] and [service "
                 "NAME]\n"},
        {.file = SENTINEL_LINES "[]\n",
         .said = "E v.ini:3: unknown section []; there are [proxy], [sentinel] and [service "
                 "NAME]\n"},
        {.file = SENTINEL_LINES "[proxy two]\n",
         .said = "E v.ini:3: unknown section [proxy two]; there is one [proxy], without a name\n"},
        {.file = SENTINEL_LINES "[sentinel a b]\n",
         .said = "E v.ini:3: bad name in [sentinel a b]: spaces, brackets, ';' and control "
                 "characters can't be part of it\n"},
        {.file = SENTINEL_LINES "[service]\n",
         .said = "E v.ini:3: bad name in [service]: it is empty; write the name that Sentinel "
                 "monitors\n"},
        {.file = SENTINEL_LINES "[service a b]\n",
         .said = "E v.ini:3: bad name in [service a b]: spaces, brackets, ';' and control "
                 "characters can't be part of it\n"},
        {.file = SENTINEL_LINES "[service x23456789012345678901234567890123456789012]\n",
         .said = "E v.ini:3: the name of the section is longer than 49 characters; shorten it\n"},
        {.file = SENTINEL_LINES "[proxy\n",
         .said = "E v.ini:3: '[' without ']'; write [proxy], [sentinel] or [service NAME]\n"},
        {.file = SENTINEL_LINES "[service a ;]\n",
         .said = "E v.ini:3: '[' without ']'; write [proxy], [sentinel] or [service NAME]\n"},
        {.file = SENTINEL_LINES "[proxy] workers = 2\n",
         .said = "E v.ini:3: text behind ']'; put it on a line of its own\n"},
        {.file = SENTINEL_LINES "[proxy]\n[service a]\n[proxy]\n[service a]\n",
         .said = "E v.ini:5: duplicate section [proxy]; the first is v.ini:3; put their keys into "
                 "one\n"
                 "E v.ini:6: duplicate section [service a]; the first is v.ini:4; put their keys "
                 "into one\n"},
    };
    (void)state;
    check_cases(cases, ARRAY_LEN(cases));
}

static void test_keys(void **state)
{
    static const struct config_case cases[] = {
        {.file = SENTINEL_LINES "[service mymaster]\nlistn = x\n",
         .said = "E v.ini:4: unknown key 'listn' in [service mymaster]; did you mean 'listen'?\n"},
        {.file = SENTINEL_LINES "[proxy]\nworkesr = x\nmaxclients = 3\nDrain_Delay = 1s\n",
         .said = "E v.ini:4: unknown key 'workesr' in [proxy]; did you mean 'workers'?\n"
                 "E v.ini:5: unknown key 'maxclients' in [proxy]; did you mean 'max-clients'?\n"
                 "E v.ini:6: unknown key 'Drain_Delay' in [proxy]; did you mean 'drain-delay'?\n"},
        {.file = SENTINEL_LINES "[proxy]\nprotected = no\n",
         .said = "E v.ini:4: unknown key 'protected' in [proxy]; did you mean "
                 "'protected-mode'?\n"},
        {.file = SENTINEL_LINES "[proxy]\nlisten = x\naddress = y\n",
         .said = "E v.ini:4: unknown key 'listen' in [proxy]; it belongs to [service NAME]\n"
                 "E v.ini:5: unknown key 'address' in [proxy]; it belongs to [sentinel]\n"},
        {.file = SENTINEL_LINES "[proxy]\ntls-cert = x\n",
         .said = "E v.ini:4: unknown key 'tls-cert' in [proxy]; vedette --help lists them all\n"},
        {.file = SENTINEL_LINES "[proxy]\nworkers = 1\nlog-level = info\nworkers = 1\n",
         .said = "E v.ini:6: duplicate key 'workers' in [proxy]; the first is v.ini:4; keep one of "
                 "them\n"},
        {.file = SENTINEL_LINES "password = a\npassword-file = b\n",
         .said = "E v.ini:4: both 'password' and 'password-file' in [sentinel]; the first is "
                 "v.ini:3; keep one of them\n"},
    };
    (void)state;
    check_cases(cases, ARRAY_LEN(cases));
}

/* Values that inih reads, but hardly as they were meant. */
static void test_comments_and_quotes(void **state)
{
    static const struct config_case cases[] = {
        {.file = SENTINEL_LINES "password = top ;secret\n",
         .said = "E v.ini:3: bad value of 'password' in [sentinel]: what follows ' ;' is a comment "
                 "and would be missing; write it into a file and give its path as "
                 "password-file\n"},
        {.file = SENTINEL_LINES "user = bob\npassword = top #secret\n",
         .said = "E v.ini:4: bad value of 'password' in [sentinel]: ' #' begins no comment and "
                 "would be part of it; if it is, write it into a file and give its path as "
                 "password-file\n"},
        {.file = SENTINEL_LINES "password = \"hunter2\"\n",
         .said = "E v.ini:3: bad value of 'password' in [sentinel]: leave out the quotes; if they "
                 "are part of it, write it into a file and give its path as password-file\n"},
        {.file = SENTINEL_LINES "user = 'bob'\npassword = x\n",
         .said = "E v.ini:3: bad value ''bob'' for 'user' in [sentinel]; leave out the quotes; "
                 "they would be part of it\n"},
        {.file = SENTINEL_LINES "user = \"bob ;x\"\npassword = x\n",
         .said = "E v.ini:3: bad value '\"bob' for 'user' in [sentinel]; leave out the quotes; "
                 "they would be part of it\n"},
        {.file = SENTINEL_LINES "[proxy]\nworkers = ;2\n",
         .said = "E v.ini:4: bad value of 'workers' in [proxy]: it is empty, because what follows "
                 "' ;' is a comment\n"},
        {.file = SENTINEL_LINES "[proxy]\nworkers =\n",
         .said = "E v.ini:4: bad value of 'workers' in [proxy]: it is empty; give it a value or "
                 "leave it out\n"},
        {.file = SENTINEL_LINES "password =\n",
         .said = "E v.ini:3: bad value of 'password' in [sentinel]: it is empty; give it a value "
                 "or leave it out\n"},
        {.file = SENTINEL_LINES "[proxy]\nworkers = 2 # two\n",
         .said = "E v.ini:4: bad value of 'workers' in [proxy]: a comment behind a value begins "
                 "with ' ;', not with '#'\n"},
    };
    (void)state;
    check_cases(cases, ARRAY_LEN(cases));
}

/* All mistakes of all sources come at once; what is listed has an end. */
static void test_all_at_once(void **state)
{
    static const struct config_case many = {
        .file = "[proxy]\nworkers = 0\nlog-level = loud\n[sentinel]\naddress = s1:0\n[service a]\n"
                "listn = 1\n",
        .args = {"--set", "proxy.worker=1", "--nonsense"},
        .env = {"VEDETTE_PROXY_MAX_CLIENTS=none"},
        .said = "E --nonsense: unknown flag; vedette --help lists them all\n"
                "E v.ini:2: bad value '0' for 'workers' in [proxy]; allowed: auto or 1..64\n"
                "E v.ini:3: bad value 'loud' for 'log-level' in [proxy]; allowed: debug, info, "
                "notice, warning or error\n"
                "E v.ini:5: bad value 's1:0' for 'address' in [sentinel]; port '0' is not a number "
                "in 1..65535; write host:port\n"
                "E v.ini:7: unknown key 'listn' in [service a]; did you mean 'listen'?\n"
                "E VEDETTE_PROXY_MAX_CLIENTS: bad value 'none' for 'max-clients' in [proxy]; "
                "allowed: 1..1000000\n"
                "E --set proxy.worker: unknown key 'worker' in [proxy]; did you mean 'workers'?\n"};
    (void)state;
    check_case(&many);
    struct buf text = {0};
    for (int i = 0; i < 1000; i++) {
        buf_append_str(&text, "nonsense\n");
    }
    buf_append(&text, slice_of("", 1));
    struct config_case endless = {.file = buf_head(&text)};
    struct loaded l = load_case(&endless);
    assert_int_equal(l.report.errors, 1000);
    assert_int_equal(l.report.count, 101);
    assert_string_equal(l.report.v[100].text,
                        "there is more to say; first mend what is listed above");
    free_loaded(&l);
    buf_release(&text);
}

static void test_file_names(void **state)
{
    static const struct config_case cases[] = {
        {.args = {"--config", "tests/no-such.ini"},
         .said = "E tests/no-such.ini: bad configuration file: it can't be read: No such file or "
                 "directory; check the path given as --config\n"},
        {.args = {"--config=tests"},
         .said = "E tests: bad configuration file: it is a directory; check the path given as "
                 "--config\n"},
        {.args = {"--config", "/dev/zero"},
         .said = "E /dev/zero: bad configuration file: it is larger than 1024 KiB; check the path "
                 "given as --config\n"},
    };
    (void)state;
    check_cases(cases, ARRAY_LEN(cases));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_forms),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_nul_bytes),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_sections),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_comments_and_quotes),
        cmocka_unit_test(test_all_at_once),
        cmocka_unit_test(test_file_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
