/* --print-config, --help and the option table. */
#include "tests/unit/config/config_test.h"

#include "config/config_keys.h"

/* The keys that say how a peer is reached by TLS. */
#define UPSTREAM_TLS                                                                               \
    "tls = no\n"                                                                                   \
    "# tls-ca-cert-file is not set\n"                                                              \
    "# tls-ca-cert-dir is not set\n"                                                               \
    "# tls-client-cert-file is not set\n"                                                          \
    "# tls-client-key-file is not set\n"                                                           \
    "# tls-server-name is not set\n"                                                               \
    "# default\n"                                                                                  \
    "tls-verify = full\n"                                                                          \
    "# default\n"                                                                                  \
    "tls-min-version = 1.2\n"                                                                      \
    "# tls-ciphers is not set\n"                                                                   \
    "# tls-ciphersuites is not set\n"                                                              \
    "# tls-groups is not set\n"

static void print_text(const struct config *config, struct buf *out)
{
    config_print(config, out);
    buf_append(out, slice_of("", 1));
}

/* What test_print expects. */
static const char printed[] = "[proxy]\n"
                              "# default\n"
                              "workers = auto\n"
                              "# from VEDETTE_PROXY_LOG_LEVEL\n"
                              "log-level = debug\n"
                              "# default, lowered to the limit of file descriptors\n"
                              "max-clients = 384\n"
                              "# default\n"
                              "max-clients-per-address = 0\n"
                              "# default\n"
                              "handshake-timeout = 10s\n"
                              "# default\n"
                              "first-byte-timeout = 0\n"
                              "# default\n"
                              "idle-timeout = 0\n"
                              "# default\n"
                              "buffer-memory = 1g\n"
                              "# default\n"
                              "drain-delay = 0\n"
                              "# default\n"
                              "drain-timeout = 20s\n"
                              "# default\n"
                              "protected-mode = yes\n"
                              "# user is not set\n"
                              "# group is not set\n"
                              "# default\n"
                              "core-dumps = no\n"
                              "\n"
                              "[sentinel]\n"
                              "# from v.ini:2\n"
                              "address = s1:26379\n"
                              "# from v.ini:3\n"
                              "address = [::1]:7\n"
                              "# from v.ini:4\n"
                              "user = watcher\n"
                              "# from v.ini:5\n"
                              "password = ********\n"
                              "# password-file is not set\n"
                              "# default\n"
                              "connect-timeout = 300ms\n"
                              "# default\n"
                              "poll-interval = 1s\n"
                              "# default\n"
                              "poll-interval-fast = 100ms\n"
                              "# default\n"
                              "min-agree = auto\n"
                              "# default\n"
                              "learn = yes\n"
                              "# default\n" UPSTREAM_TLS "\n"
                              "[service cache]\n"
                              "# master is not set\n"
                              "# sentinel is not set\n"
                              "# from --listen\n"
                              "listen = 127.0.0.1:7000\n"
                              "# default\n"
                              "unix-mode = 0700\n"
                              "# default\n"
                              "proxy-protocol = no\n"
                              "# user is not set\n"
                              "# password is not set\n"
                              "# password-file is not set\n"
                              "# default\n"
                              "client-auth = forward\n"
                              "# acl-file is not set\n"
                              "# from v.ini:7\n"
                              "hold-timeout = 90s\n"
                              "# default\n"
                              "hold-on-failover = yes\n"
                              "# default\n"
                              "follow-role = yes\n"
                              "# default\n"
                              "hold-grace = 50ms\n"
                              "# default\n"
                              "blocking-in-doubt = nil\n"
                              "# default\n"
                              "stall-timeout = 250ms\n"
                              "# default\n"
                              "connect-timeout = 1s\n"
                              "# default\n"
                              "links = shared\n"
                              "# default\n"
                              "links-per-profile = 1\n"
                              "# default\n"
                              "client-output-limit = 512m\n"
                              "# from VEDETTE_RETAIN_MAX\n"
                              "retain-max = 65537\n"
                              "# default\n"
                              "script-cache = yes\n"
                              "# default\n"
                              "script-cache-memory = 4m\n"
                              "# default\n"
                              "read-policy = primary\n"
                              "# default\n"
                              "read-listen-policy = prefer-replica\n"
                              "# default\n"
                              "consistency = session\n"
                              "# default\n"
                              "max-replica-lag = 10s\n"
                              "# default\n"
                              "replica-slow-start = 10s\n"
                              "# default\n"
                              "replica-priority-zero = no\n"
                              "# default\n"
                              "reads-during-failover = yes\n"
                              "# zone is not set\n"
                              "# default\n" UPSTREAM_TLS "# tls-cert-file is not set\n"
                              "# tls-key-file is not set\n"
                              "# default\n"
                              "tls-auth-clients = no\n"
                              "# tls-auth-ca-file is not set\n";

static void test_print(void **state)
{
    static const struct config_case c = {
        .file = "[sentinel]\naddress = s1\naddress = [::1]:7\nuser = watcher\npassword = hunter2\n"
                "[service cache]\nhold-timeout = 90s\n",
        .args = {"--listen", "127.0.0.1:7000"},
        .env = {"VEDETTE_PROXY_LOG_LEVEL=debug", "VEDETTE_RETAIN_MAX=65537"},
        .fd_limit = 1024,
        .said = "W max-clients lowered from 10000 to 384: it needs 10000 x 2 + 256 = 20256 file "
                "descriptors, and the limit is 1024; raise it (ulimit -Hn, LimitNOFILE) or set "
                "max-clients\n"};
    struct loaded l = load_good(&c);
    struct buf out = {0};
    (void)state;
    print_text(l.config, &out);
    assert_string_equal(buf_head(&out), printed);
    buf_release(&out);
    free_loaded(&l);
}

/* The text without its comments. */
static void strip_comments(char *text)
{
    char *to = text;
    for (const char *line = text; *line != '\0';) {
        size_t n = strcspn(line, "\n") + 1;
        if (*line != '#') {
            memmove(to, line, n);
            to += n;
        }
        line += n;
    }
    *to = '\0';
}

/* What is printed loads again, says nothing, and means the same. */
static void test_loads_again(void **state)
{
    static const struct config_case cases[] = {
        {.args = {"--sentinel=s1"}},
        {.file = SENTINEL_LINES "[service a]\nlisten = [::]:1\nretain-max = 511m\n"
                                "stall-timeout = 59999ms\n[service b]\nfollow-role = no\n"
                                "hold-on-failover = no\nhold-timeout = 1h\npassword = x\n",
         .args = {"--set=proxy.workers=3", "--set=sentinel.min-agree=2"}},
        {.file = SENTINEL_LINES "[service a]\nlisten = unix:/a\nlisten = h:1\nunix-mode = 7\n"},
        {.file = SENTINEL_LINES "address-map = c:1 unix:/x\n"},
        {.file = SENTINEL_LINES "tls = yes\ntls-ca-cert-file = /a b/c\n[service a]\ntls = yes\n"
                                "tls-verify = ca\ntls-listen = h:1\ntls-listen = h:2\n"
                                "tls-cert-file = c\ntls-auth-clients = yes\n"
                                "tls-auth-ca-file = d\ntls-groups = X25519:P-256\n"},
        {.file = SENTINEL_LINES "address-map = [0:0::1] b\naddress-map = c:1 [::1]:2\n"},
        {.file = "[service a]\nsentinel = two\n[sentinel two]\naddress = s2\nuser = u\n"
                 "password-file = /proc/sys/kernel/ostype\n"},
        {.file = SENTINEL_LINES "[service a]\npassword-file = README.md\n",
         .env = {"VEDETTE_PASSWORD=x"}},
        {.file = SENTINEL_LINES "[service a]\npassword-file = examples/minimal.ini\n",
         .env = {"VEDETTE_PASSWORD_FILE=/proc/sys/kernel/ostype"}},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf first = {0}, second = {0};
        struct loaded l = load_good(&cases[i]);
        print_text(l.config, &first);
        free_loaded(&l);
        struct config_case again = {.file = buf_head(&first)};
        l = load_good(&again);
        print_text(l.config, &second);
        free_loaded(&l);
        strip_comments(first.data + first.begin);
        strip_comments(second.data + second.begin);
        assert_string_equal(buf_head(&first), buf_head(&second));
        buf_release(&first);
        buf_release(&second);
    }
}

/* --help and the table name every key with its default; help fits a terminal. */
static void test_help_and_table(void **state)
{
    struct buf help = {0}, table = {0};
    (void)state;
    config_help(&help);
    config_option_table(&table);
    buf_append(&help, slice_of("", 1));
    buf_append(&table, slice_of("", 1));
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        char entry[128], row[256];
        const struct config_key *key = &config_keys[i];
        /* Behind a long name the text begins on the next line. */
        bool is_long = strlen(key->name) > 20;
        (void)snprintf(entry, sizeof entry, "\n  %s%c", key->name, is_long ? '\n' : ' ');
        assert_non_null(strstr(buf_head(&help), entry));
        (void)snprintf(
            row, sizeof row, "\n| `[%s%s]` | `%s` | %s%s%s | ", config_section_word(key->section),
            key->section == SECTION_SERVICE ? " NAME" : "", key->name, key->def == NULL ? "" : "`",
            key->def == NULL ? "" : key->def, key->def == NULL ? "" : "`");
        assert_non_null(strstr(buf_head(&table), row));
        assert_non_null(strstr(buf_head(&table), key->help));
    }
    for (const char *line = buf_head(&help); *line != '\0'; line += strcspn(line, "\n") + 1) {
        assert_true(strcspn(line, "\n") <= 80);
    }
    assert_non_null(
        strstr(buf_head(&help),
               "usage: vedette [--config FILE] [--sentinel HOST:PORT]... [--master "
               "NAME]\n"
               "               [--listen ADDR]... [--set SECTION.KEY=VALUE]... [--check]\n"
               "               [--print-config] [--version] [--help]\n"));
    assert_non_null(strstr(buf_head(&help), "\n  --sentinel HOST:PORT  a Sentinel; repeat it for "
                                            "each\n"));
    assert_non_null(strstr(buf_head(&table),
                           "| `[proxy]` | `workers` | `auto` | auto or 1..64 | event-loop "
                           "threads; auto: one for each CPU the process may run on |\n"));
    buf_release(&help);
    buf_release(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_print),
        cmocka_unit_test(test_loads_again),
        cmocka_unit_test(test_help_and_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
