/* The command line. */
#include "tests/unit/config/config_test.h"

static void test_actions(void **state)
{
    static const struct {
        const char *args[4];
        enum config_action action;
    } cases[] = {
        {{"--sentinel", "s1"}, CONFIG_RUN},
        {{"--sentinel", "s1", "--check"}, CONFIG_CHECK},
        {{"--print-config", "--sentinel=s1"}, CONFIG_PRINT},
        {{"--print-config", "--sentinel=s1", "--check"}, CONFIG_PRINT},
        {{"--help"}, CONFIG_HELP},
        {{"--version"}, CONFIG_VERSION},
        {{"--nonsense", "--help", "--config", "no-such"}, CONFIG_HELP},
        {{"--version", "--set", "x"}, CONFIG_VERSION},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct config_case c = {0};
        memcpy(c.args, cases[i].args, sizeof cases[i].args);
        struct loaded l = load_case(&c);
        assert_int_equal(l.action, cases[i].action);
        assert_int_equal(l.report.count, 0);
        assert_int_equal(l.config == NULL, l.action == CONFIG_HELP || l.action == CONFIG_VERSION);
        free_loaded(&l);
    }
}

/* Flags alone run the main job. */
static void test_flags_alone(void **state)
{
    static const struct config_case c = {.args = {"--sentinel", "127.0.0.1:26380", "--sentinel=s2",
                                                  "--master", "cache", "--listen=127.0.0.1:7000",
                                                  "--set", "service.cache.hold-timeout=5s"}};
    struct loaded l = load_good(&c);
    (void)state;
    assert_int_equal(l.config->groups[0].address.count, 2);
    assert_int_equal(l.config->groups[0].address.v[0].port, 26380);
    assert_string_equal(l.config->groups[0].address.v[1].host, "s2");
    assert_string_equal(l.config->services[0].name, "cache");
    assert_int_equal(l.config->services[0].listen.v[0].port, 7000);
    assert_int_equal(l.config->services[0].hold_timeout_ms, 5000);
    free_loaded(&l);
}

/* What follows the last dot is the key; what follows the first '=' is the value. */
static void test_set_splits(void **state)
{
    static const struct config_case c = {
        .file = SENTINEL_LINES "[service a.b]\n",
        .args = {"--set", "service.a.b.listen=h.example:1", "--set", "service.a.b.password=x=y.z"},
        .said = "W --set service.a.b.password: other users of this machine can read the command "
                "line; use password-file\n"};
    struct config_case open = c;
    struct loaded l;
    (void)state;
    open.env[0] = "VEDETTE_PROXY_PROTECTED_MODE=no";
    l = load_good(&open);
    assert_string_equal(l.config->services[0].listen.v[0].host, "h.example");
    assert_password(l.config->services[0].password, "x=y.z");
    free_loaded(&l);
}

static void test_mistakes(void **state)
{
    static const struct config_case cases[] = {
        {.args = {"--sentinal", "s1"},
         .said = "E --sentinal: unknown flag; did you mean "
                 "--sentinel?\n"},
        {.args = {"--sentinal=s1"},
         .said = "E --sentinal: unknown flag; did you mean "
                 "--sentinel?\n"},
        {.args = {"--password=hunter2"},
         .said = "E --password: unknown flag; vedette --help lists them all\n"},
        {.args = {"-phunter2"}, .said = "E -p: unknown flag; vedette --help lists them all\n"},
        {.args = {"-c", "v.ini", "x"},
         .said = "E -c: unknown flag; vedette --help lists them all\n"
                 "E argument 3 is no flag: a file is named by --config FILE, and a value with "
                 "spaces is quoted\n"},
        {.args = {"--sentinel", "s1", "hunter2"},
         .said = "E argument 3 is no flag: a file is named by --config FILE, and a value with "
                 "spaces is quoted\n"},
        {.args = {"--sentinel"},
         .said = "E --sentinel: its value is missing; write --sentinel HOST:PORT\n"},
        {.args = {"--sentinel", "--check"},
         .said = "E --sentinel: its value is missing; write --sentinel HOST:PORT\n"},
        {.args = {"--sentinel", "s1", "--check=yes"},
         .said = "E --check: it takes no value; write it alone\n"},
        {.args = {"--sentinel", "s1", "--help=all"},
         .said = "E --help: it takes no value; write it alone\n"},
        {.args = {"--sentinel", "s1", "--master=a", "--master=b"},
         .said = "E --master: given twice; keep one of them\n"},
        {.args = {"--sentinel", "s1", "--master="},
         .said = "E --master: its value is empty; write --master NAME\n"},
        {.args = {"--sentinel", "s1", "--master", "a b"},
         .said = "E --master: bad name of a service: spaces, brackets, ';' and control characters "
                 "can't be part of it\n"},
        {.args = {"--sentinel", "s1", "--master", "x23456789012345678901234567890123456789012"},
         .said = "E --master: bad name of a service: it is longer than 41 characters\n"},
        {.args = {"--config=tests/a", "--config", "tests/b"},
         .said = "E --config: given twice; keep one of them\n"
                 "E tests/a: bad configuration file: it can't be read: No such file or directory; "
                 "check the path given as --config\n"},
        {.args = {"--sentinel", "s1", "--listen", "h:1", "--listen", "h:2"}, .said = ""},
        {.args = {"--sentinel", "s1", "--listen", "h:1", "--set", "service.mymaster.listen=h:1"},
         .said = "E --set service.mymaster.listen: [service mymaster] listens on h:1 and [service "
                 "mymaster] on h:1 (--listen); give one of them another port\n"},
    };
    (void)state;
    check_cases(cases, ARRAY_LEN(cases));
}

static void test_set_mistakes(void **state)
{
    static const struct config_case cases[] = {
        {.args = {"--sentinel=s1", "--set", "proxy.worker=2"},
         .said = "E --set proxy.worker: unknown key 'worker' in [proxy]; did you mean "
                 "'workers'?\n"},
        {.args = {"--sentinel=s1", "--set", "hunter2"},
         .said = "E --set: no '=' in it; write --set SECTION.KEY=VALUE\n"},
        {.args = {"--sentinel=s1", "--set", "workers=2"},
         .said = "E --set workers: no section before the key; write --set SECTION.KEY=VALUE\n"},
        {.args = {"--sentinel=s1", "--set", "porxy.workers=2"},
         .said = "E --set porxy.workers: unknown section 'porxy'; did you mean 'proxy'?\n"},
        {.args = {"--sentinel=s1", "--set", "redis.workers=2"},
         .said = "E --set redis.workers: unknown section 'redis'; there are proxy, sentinel, "
                 "sentinel.NAME and service.NAME\n"},
        {.args = {"--sentinel=s1", "--set", "sentinel.west.min-agree=1"},
         .said = "E --set sentinel.west.min-agree: unknown group of Sentinels 'west'; add "
                 "[sentinel west] to a file\n"},
        {.args = {"--sentinel=s1", "--set", "sentinel..min-agree=1"},
         .said = "E --set sentinel..min-agree: unknown group of Sentinels ''; add [sentinel ] to a "
                 "file\n"},
        {.args = {"--sentinel=s1", "--set", "service.listen=h:1"},
         .said = "E --set service.listen: unknown section 'service'; did you mean "
                 "'service.NAME'?\n"},
        {.args = {"--sentinel=s1", "--set", "service.mymastr.listen=h:1"},
         .said = "E --set service.mymastr.listen: unknown service 'mymastr'; did you mean "
                 "'mymaster'?\n"},
        {.args = {"--sentinel=s1", "--set", "service.other.listen=h:1"},
         .said = "E --set service.other.listen: unknown service 'other'; name it with --master or "
                 "in a file\n"},
        {.args = {"--sentinel=s1", "--set", "proxy.workers=1", "--set=proxy.workers=2"},
         .said = "E --set proxy.workers: duplicate key 'workers' in [proxy]; the first is --set "
                 "proxy.workers; keep one of them\n"},
        {.args = {"--sentinel=s1", "--set", "sentinel.password="},
         .said = "E --set sentinel.password: bad value of 'password' in [sentinel]: it is empty; "
                 "give it a value or leave it out\n"
                 "W --set sentinel.password: other users of this machine can read the command "
                 "line; use password-file\n"},
    };
    (void)state;
    check_cases(cases, ARRAY_LEN(cases));
}

/* Flags without a section mean the one service of a file, whatever its name. */
static void test_one_service(void **state)
{
    static const struct config_case renamed = {
        .file = SENTINEL_LINES "[service a]\nhold-grace = 1ms\n",
        .args = {"--master", "b", "--listen", "127.0.0.1:7000"}};
    static const struct config_case several[] = {
        {.file = SENTINEL_LINES "[service a]\n[service b]\nlisten = h:1\n",
         .args = {"--master", "a"},
         .said = "E --master: it means the one service, and there are 2 (a, b); write it in their "
                 "sections, or as --set service.NAME.KEY=VALUE\n"},
        {.file = SENTINEL_LINES "[service a]\n[service b]\nlisten = h:1\n",
         .args = {"--listen", "h:2"},
         .said = "E --listen: it means the one service, and there are 2 (a, b); write it in their "
                 "sections, or as --set service.NAME.KEY=VALUE\n"},
        {.file = SENTINEL_LINES "[service a]\n[service b]\nlisten = h:1\n",
         .args = {"--set", "service.b.listen=h:2"},
         .said = ""},
    };
    struct loaded l = load_good(&renamed);
    (void)state;
    assert_int_equal(l.config->service_count, 1);
    assert_string_equal(l.config->services[0].name, "b");
    assert_int_equal(l.config->services[0].hold_grace_ms, 1);
    assert_int_equal(l.config->services[0].listen.v[0].port, 7000);
    free_loaded(&l);
    check_cases(several, ARRAY_LEN(several));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_actions),      cmocka_unit_test(test_flags_alone),
        cmocka_unit_test(test_set_splits),   cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_set_mistakes), cmocka_unit_test(test_one_service),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
