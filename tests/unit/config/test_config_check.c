/* What must hold between values: Sentinels, credentials, listeners, protected mode, descriptors. */
#include <sys/resource.h>

#include "tests/unit/config/config_test.h"

static void test_sentinels(void **state)
{
    static const struct config_case cases[] = {
        {.said = "E no Sentinel is configured; give one as --sentinel HOST:PORT, as "
                 "VEDETTE_SENTINEL_ADDRESS, or as address = HOST:PORT in [sentinel] of a file\n"},
        {.file = "[sentinel]\n[proxy]\nworkers = 99\n",
         .said = "E v.ini:3: bad value '99' for 'workers' in [proxy]; allowed: auto or 1..64\n"
                 "E no Sentinel is configured; give one as --sentinel HOST:PORT, as "
                 "VEDETTE_SENTINEL_ADDRESS, or as address = HOST:PORT in [sentinel] of a file\n"},
        /* Not said when it may only be mistyped. */
        {.file = "[sentinel]\nadress = s1\n",
         .said = "E v.ini:2: unknown key 'adress' in [sentinel]; did you mean 'address'?\n"},
        {.file = "[sentinel]\naddress = s1\naddress = S1:26379\naddress = s1:1\n",
         .said = "W v.ini:3: the Sentinel S1:26379 is listed twice; leave one out\n"},
        {.file = SENTINEL_LINES "poll-interval = 100ms\npoll-interval-fast = 101ms\n",
         .said = "E v.ini:4: poll-interval-fast = 101ms is longer than poll-interval = 100ms; it "
                 "has to be shorter\n"},
        {.file = SENTINEL_LINES "poll-interval = 50ms\n",
         .said = "E v.ini:1: poll-interval-fast = 100ms is longer than poll-interval = 50ms; it "
                 "has to be shorter\n"},
    };
    (void)state;
    check_cases(cases, ARRAY_LEN(cases));
}

static void test_too_many(void **state)
{
    struct buf text = {0};
    (void)state;
    buf_append_str(&text, "[sentinel]\n");
    for (int i = 0; i < 33; i++) {
        buf_printf(&text, "address = s%d\n", i);
    }
    buf_append(&text, slice_of("", 1));
    struct config_case c = {.file = buf_head(&text),
                            .said = "E v.ini:2: 33 Sentinels are more than 32; list fewer, the "
                                    "others are learnt from them\n"};
    check_case(&c);
    buf_release(&text);
    buf_append_str(&text, SENTINEL_LINES);
    for (int i = 0; i < 65; i++) {
        buf_printf(&text, "[service s%d]\nlisten = h:%d\n", i, i + 1);
    }
    buf_append(&text, slice_of("", 1));
    c.file = buf_head(&text);
    c.said = "E v.ini:131: more than 64 services; start a second proxy for the others\n";
    check_case(&c);
    buf_release(&text);
    buf_append_str(&text, SENTINEL_LINES "[service a]\n");
    for (int i = 0; i < 17; i++) {
        buf_printf(&text, "listen = h:%d\n", i + 1);
    }
    buf_append(&text, slice_of("", 1));
    c.file = buf_head(&text);
    c.said = "E v.ini:4: 17 addresses of 'listen' in [service a] are more than 16; list fewer\n";
    check_case(&c);
    buf_release(&text);
    buf_append_str(&text, SENTINEL_LINES);
    for (int i = 0; i < 257; i++) {
        buf_printf(&text, "address-map = h%d h\n", i);
    }
    buf_append(&text, slice_of("", 1));
    c.file = buf_head(&text);
    c.said = "E v.ini:3: 257 entries of address-map are more than 256; map hosts with all their "
             "ports\n";
    check_case(&c);
    buf_release(&text);
}

static void test_credentials(void **state)
{
    static const struct config_case cases[] = {
        {.file = SENTINEL_LINES "user = bob\n",
         .said = "E v.ini:3: 'user' without a password in [sentinel]; add password-file or "
                 "password\n"},
        {.file = SENTINEL_LINES "[service a]\nuser = bob\n",
         .said = "E v.ini:4: 'user' without a password in [service a]; add password-file or "
                 "password\n"},
        {.file = SENTINEL_LINES "user = bob\npassword = x\n[service a]\nuser = bob\n"
                                "password = x\n",
         .said = ""},
    };
    (void)state;
    check_cases(cases, ARRAY_LEN(cases));
}

struct listen_case {
    const char *one, *other;
    bool clash;
};

static void test_listeners(void **state)
{
    static const struct listen_case cases[] = {
        {"127.0.0.1:1", "127.0.0.1:1", true},  {"127.0.0.1:1", "127.0.0.1:2", false},
        {"127.0.0.1:1", "127.0.0.2:1", false}, {"0.0.0.0:1", "127.0.0.2:1", true},
        {"10.0.0.1:1", "0.0.0.0:1", true},     {"0.0.0.0:1", "0.0.0.0:2", false},
        {"[::]:1", "[::1]:1", true},           {"[::]:1", "0.0.0.0:1", false},
        {"[::1]:1", "[0:0::1]:1", true},       {"localhost:1", "127.0.0.1:1", true},
        {"LOCALHOST:1", "0.0.0.0:1", true},    {"a.example:1", "A.example:1", true},
        {"a.example:1", "b.example:1", false}, {"a.example:1", "0.0.0.0:1", false},
        {"unix:/a", "unix:/b", false},         {"unix:/a", "127.0.0.1:1", false},
        {"unix:/a", "unix:/A", false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char text[256], said[256] = "";
        (void)snprintf(text, sizeof text,
                       SENTINEL_LINES "[service a]\nlisten = %s\n[service b]\nlisten = %s\n",
                       cases[i].one, cases[i].other);
        if (cases[i].clash) {
            (void)snprintf(said, sizeof said,
                           "E v.ini:6: [service b] listens on %s and [service a] on %s (v.ini:4); "
                           "give one of them another port\n",
                           cases[i].other, cases[i].one);
        }
        struct config_case c = {.file = text, .said = said};
        check_case(&c);
    }
    static const struct config_case unix_twice = {
        .file = SENTINEL_LINES "[service a]\nlisten = unix:/a\nlisten = h:1\nlisten = unix:/a\n",
        .said = "E v.ini:6: [service a] listens on unix:/a and [service a] on unix:/a (v.ini:4); "
                "give one of them another path\n"};
    check_case(&unix_twice);
    static const struct config_case defaults = {
        .file = SENTINEL_LINES "[service a]\n[service b]\n",
        .said = "E v.ini:4: [service b] listens on 127.0.0.1:6379 and [service a] on "
                "127.0.0.1:6379 (v.ini:3); give one of them another port\n"};
    check_case(&defaults);
}

static void test_protected_mode(void **state)
{
    static const char *const open[] = {"0.0.0.0:6379", "[::]:6379", "10.0.0.1:6379", "h:6379",
                                       "128.0.0.1:6379"};
    static const char *const closed[] = {"127.0.0.1:6379", "127.9.9.9:1", "[::1]:6379",
                                         "localhost:6379", "unix:/run/v.sock"};
    char text[256], said[512];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(open); i++) {
        (void)snprintf(text, sizeof text, SENTINEL_LINES "[service a]\nlisten = %s\npassword = x\n",
                       open[i]);
        (void)snprintf(
            said, sizeof said,
            "E v.ini:4: [service a] listens on %s, beyond this machine, with a password "
            "of its own: whoever connects there uses it without giving one; listen on "
            "127.0.0.1, or let clients log in (client-auth = users), or set "
            "protected-mode = no in [proxy] if only trusted clients reach that address\n",
            open[i]);
        struct config_case c = {.file = text, .said = said};
        check_case(&c);
        c.args[0] = "--set=proxy.protected-mode=no";
        c.said = "";
        check_case(&c);
    }
    for (size_t i = 0; i < ARRAY_LEN(closed); i++) {
        (void)snprintf(text, sizeof text, SENTINEL_LINES "[service a]\nlisten = %s\npassword = x\n",
                       closed[i]);
        struct config_case c = {.file = text, .said = ""};
        check_case(&c);
    }
    static const struct config_case others[] = {
        {.file = SENTINEL_LINES "password = x\n[service a]\nlisten = 0.0.0.0:6379\n", .said = ""},
        /* A certificate lets in too. */
        {.file = SENTINEL_LINES "[service a]\nlisten = 0.0.0.0:6379\ntls = yes\n"
                                "tls-client-cert-file = /c\nclient-auth = none\n",
         .said = "E v.ini:4: [service a] listens on 0.0.0.0:6379, beyond this machine, with a "
                 "certificate of its own: whoever connects there uses it without giving one; "
                 "listen on 127.0.0.1, or let clients log in (client-auth = users), or set "
                 "protected-mode = no in [proxy] if only trusted clients reach that address\n"},
        {.file = SENTINEL_LINES "[service a]\nlisten = 0.0.0.0:6379\ntls = yes\n"
                                "tls-client-cert-file = /c\n",
         .said = ""},
        {.file = SENTINEL_LINES "[service a]\nlisten = 127.0.0.1:6379\ntls = yes\n"
                                "tls-client-cert-file = /c\nclient-auth = none\n",
         .said = ""},
    };
    check_cases(others, ARRAY_LEN(others));
}

static void test_buffers(void **state)
{
    static const struct config_case cases[] = {
        {.file = SENTINEL_LINES "[service a]\nretain-max = 512m\n", .said = ""},
        {.file = SENTINEL_LINES "[proxy]\nbuffer-memory = 16m\n[service a]\nretain-max = 16m\n",
         .said = ""},
        {.file = SENTINEL_LINES "[proxy]\nbuffer-memory = 16m\n[service a]\nretain-max = 17m\n",
         .said = "W v.ini:6: retain-max = 17m of [service a] is more than all requests may take, "
                 "buffer-memory = 16m in [proxy]: who sends one as large is closed; lower the one "
                 "or raise the other\n"},
        {.file = SENTINEL_LINES "[proxy]\nbuffer-memory = 1\n[service a]\nretain-max = 17m\n",
         .said = "E v.ini:4: bad value '1' for 'buffer-memory' in [proxy]; allowed: 16m..1024g\n"},
    };
    (void)state;
    check_cases(cases, ARRAY_LEN(cases));
}

static void test_descriptors(void **state)
{
    static const struct config_case cases[] = {
        {.args = {"--sentinel=s1"}, .fd_limit = 20256, .said = ""},
        {.args = {"--sentinel=s1"},
         .fd_limit = 20255,
         .said = "W max-clients lowered from 10000 to 9999: it needs 10000 x 2 + 256 = 20256 file "
                 "descriptors, and the limit is 20255; raise it (ulimit -Hn, LimitNOFILE) or set "
                 "max-clients\n"},
        {.file = SENTINEL_LINES "[proxy]\nmax-clients = 400\n",
         .fd_limit = 1024,
         .said = "E v.ini:4: max-clients = 400 needs 400 x 2 + 256 = 1056 file descriptors, and "
                 "the limit is 1024; raise it (ulimit -Hn, LimitNOFILE) or set max-clients to 384 "
                 "or less\n"},
        {.file = SENTINEL_LINES "[proxy]\nmax-clients = 384\n", .fd_limit = 1024, .said = ""},
        {.args = {"--sentinel=s1"},
         .fd_limit = 257,
         .said = "E proxy: max-clients = 10000 needs 10000 x 2 + 256 = 20256 file descriptors, and "
                 "the limit is 257, too low for a single client; raise it (ulimit -Hn, "
                 "LimitNOFILE)\n"},
        {.args = {"--sentinel=s1", "--set=proxy.max-clients=1000000"}, .said = ""},
    };
    (void)state;
    check_cases(cases, ARRAY_LEN(cases));
    struct config_case c = cases[1];
    c.said = cases[1].said;
    struct loaded l = load_good(&c);
    assert_int_equal(l.config->proxy.max_clients, 9999);
    free_loaded(&l);
}

static void test_raise_limit(void **state)
{
    struct rlimit limit;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_max = limit.rlim_max < 512 ? limit.rlim_max : 512;
    limit.rlim_cur = limit.rlim_max / 2;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(config_raise_fd_limit(), limit.rlim_max);
    struct rlimit now;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &now), 0);
    assert_int_equal(now.rlim_cur, limit.rlim_max);
    assert_int_equal(config_raise_fd_limit(), limit.rlim_max);
}

static void test_tls_of_clients(void **state)
{
    static const struct config_case cases[] = {
        {.file = SENTINEL_LINES "[service a]\ntls-listen = 0.0.0.0:1\n",
         .said =
             "E v.ini:4: 'tls-listen' in [service a] needs a certificate; add tls-cert-file and "
             "tls-key-file\n"},
        {.file = SENTINEL_LINES "[service a]\ntls-listen = h:1\ntls-cert-file = c\n"
                                "tls-auth-clients = optional\n",
         .said = "E v.ini:6: 'tls-auth-clients' in [service a] needs to know whom to trust; add "
                 "tls-auth-ca-file\n"},
        {.file = SENTINEL_LINES "[service a]\ntls-cert-file = c\n",
         .said = "W v.ini:4: 'tls-cert-file' does nothing without tls-listen or read-tls-listen "
                 "in [service a]; add one, or leave it out\n"},
        {.file = SENTINEL_LINES "[service a]\ntls-auth-clients = yes\ntls-auth-ca-file = c\n",
         .said = "W v.ini:4: 'tls-auth-clients' does nothing without tls-listen or "
                 "read-tls-listen in [service a]; add one, or leave it out\n"
                 "W v.ini:5: 'tls-auth-ca-file' does nothing without tls-listen or "
                 "read-tls-listen in [service a]; add one, or leave it out\n"},
        {.file = SENTINEL_LINES "[service a]\ntls-listen = h:1\ntls-cert-file = c\n"
                                "tls-auth-ca-file = d\n",
         .said = "W v.ini:6: 'tls-auth-ca-file' does nothing without tls-auth-clients in [service "
                 "a]: no client is asked for a certificate; add tls-auth-clients = yes, or leave "
                 "it out\n"},
        {.file = SENTINEL_LINES "[service a]\nlisten = h:1\nread-tls-listen = h:2\n",
         .said = "E v.ini:5: 'read-tls-listen' in [service a] needs a certificate; add "
                 "tls-cert-file and tls-key-file\n"},
        {.file = SENTINEL_LINES "[service a]\nread-tls-listen = h:2\ntls-cert-file = c\n"
                                "tls-auth-clients = yes\n",
         .said = "E v.ini:6: 'tls-auth-clients' in [service a] needs to know whom to trust; add "
                 "tls-auth-ca-file\n"},
        {.file = SENTINEL_LINES "[service a]\nread-tls-listen = h:2\ntls-cert-file = c\n"
                                "read-listen = h:2\n",
         .said = "E v.ini:4: [service a] listens on h:2 and [service a] on h:2 (v.ini:6); give one "
                 "of them another port\n"},
        {.file =
             SENTINEL_LINES "[service a]\ntls-key-file = c\ntls-client-key-file = d\ntls = yes\n",
         .said = "E v.ini:5: 'tls-client-key-file' without a certificate in [service a]; add "
                 "tls-client-cert-file\n"
                 "E v.ini:4: 'tls-key-file' without a certificate in [service a]; add "
                 "tls-cert-file\n"},
        {.file = SENTINEL_LINES "[service a]\nlisten = h:1\ntls-listen = h:1\ntls-cert-file = c\n",
         .said = "E v.ini:5: [service a] listens on h:1 and [service a] on h:1 (v.ini:4); give one "
                 "of them another port\n"},
        /* Whoever gets in has a certificate, and then the proxy's password is theirs. */
        {.file =
             SENTINEL_LINES "[service a]\npassword = x\ntls-listen = 0.0.0.0:1\ntls-cert-file = "
                            "c\ntls-auth-clients = yes\ntls-auth-ca-file = d\n"
                            "read-tls-listen = 0.0.0.0:2\n",
         .said = ""},
        {.file =
             SENTINEL_LINES "[service a]\npassword = x\ntls-listen = 0.0.0.0:1\ntls-cert-file = "
                            "c\ntls-auth-clients = optional\ntls-auth-ca-file = d\n",
         .said =
             "E v.ini:5: [service a] listens on 0.0.0.0:1, beyond this machine, with a password "
             "of its own: whoever connects there uses it without giving one; listen on "
             "127.0.0.1, or let clients log in (client-auth = users), or set protected-mode = no "
             "in [proxy] if only trusted clients reach that address\n"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        check_case(&cases[i]);
    }
}

static void test_tls_of_our_own(void **state)
{
    static const struct config_case cases[] = {
        {.file = SENTINEL_LINES "tls-ca-cert-file = c\n[service a]\n",
         .said = "W v.ini:3: 'tls-ca-cert-file' does nothing without tls = yes in [sentinel]; add "
                 "that, or leave it out\n"},
        {.file = SENTINEL_LINES "tls = yes\ntls-server-name = .example\n[service a]\ntls = yes\n"
                                "tls-server-name = redis.example:6379\n",
         .said = "E v.ini:4: bad tls-server-name: '.example' is no host name and no address; write "
                 "one that the certificates are for, without a port\n"
                 "E v.ini:7: bad tls-server-name: 'redis.example:6379' is no host name and no "
                 "address; write one that the certificates are for, without a port\n"},
        {.file = SENTINEL_LINES "tls = yes\ntls-server-name = ::1\n[service a]\ntls = yes\n"
                                "tls-server-name = /run/redis.sock\n",
         .said = "E v.ini:7: bad tls-server-name: '/run/redis.sock' is no host name and no "
                 "address; write one that the certificates are for, without a port\n"},
        {.file = SENTINEL_LINES "[service a]\ntls = yes\ntls-verify = no\n",
         .said =
             "W v.ini:5: tls-verify = no in [service a]: whoever answers there is believed, and "
             "is told passwords; use tls-ca-cert-file, and tls-server-name where addresses are "
             "not names\n"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        check_case(&cases[i]);
    }
}

/* Who listens with TLS only does not listen without. */
static void test_tls_alone(void **state)
{
    (void)state;
    static const struct config_case alone = {.file = SENTINEL_LINES
                                             "[service a]\ntls-listen = h:1\ntls-cert-file = c\n"};
    struct loaded l = load_good(&alone);
    assert_int_equal(l.config->services[0].listen.count, 0);
    assert_int_equal(l.config->services[0].clients.listen.count, 1);
    free_loaded(&l);
    static const struct config_case reads = {
        .file = SENTINEL_LINES "[service a]\nread-tls-listen = h:1\ntls-cert-file = c\n"};
    l = load_good(&reads);
    assert_int_equal(l.config->services[0].listen.count, 0);
    assert_int_equal(l.config->services[0].clients.read_listen.count, 1);
    assert_true(config_reads_replicas(&l.config->services[0]));
    free_loaded(&l);
}

#define OPEN                                                                                       \
    "E v.ini:4: [service a] listens on 0.0.0.0:1, beyond this machine, with a password of its "    \
    "own: whoever connects there uses it without giving one; listen on 127.0.0.1, or let clients " \
    "log in (client-auth = users), or set protected-mode = no in [proxy] if only trusted clients " \
    "reach that address\n"
#define SERVICE SENTINEL_LINES "[service a]\nlisten = "
#define A_FILE  "/proc/sys/kernel/ostype"

static void test_client_auth(void **state)
{
    static const struct config_case cases[] = {
        {.file = SERVICE "0.0.0.0:1\npassword = x\nclient-auth = none\n", .said = OPEN},
        {.file = SERVICE "0.0.0.0:1\npassword = x\nclient-auth = forward\n", .said = OPEN},
        {.file = SERVICE "0.0.0.0:1\npassword = x\nclient-auth = users\nacl-file = u\n",
         .said = ""},
        {.file = SERVICE "0.0.0.0:1\nclient-auth = none\n", .said = ""},
        {.file = SERVICE "127.0.0.1:1\nclient-auth = users\n",
         .said = "E v.ini:5: client-auth = users in [service a] needs to know them; add acl-file = "
                 "PATH\n"},
        {.file = SERVICE "127.0.0.1:1\nclient-auth = user\n",
         .said = "E v.ini:5: bad value 'user' for 'client-auth' in [service a]; allowed: forward, "
                 "none or users\n"},
        {.file = SERVICE "127.0.0.1:1\nacl-file = u\nupstream-user = a b " A_FILE "\n",
         .said = "W v.ini:5: 'acl-file' does nothing without client-auth = users in [service a]; "
                 "add that, or leave it out\n"
                 "W v.ini:6: 'upstream-user' does nothing without client-auth = users in [service "
                 "a]; add that, or leave it out\n"},
        {.file =
             SERVICE "127.0.0.1:1\nclient-auth = users\nacl-file = u\nupstream-user = a b " A_FILE
                     "\nupstream-user = b\tb  " A_FILE "\nupstream-user = a c " A_FILE "\n",
         .said = "E v.ini:9: 'a' has an upstream-user already; the first is v.ini:7; keep one of "
                 "them\n"},
        {.file = SERVICE "127.0.0.1:1\nclient-auth = users\nacl-file = u\nupstream-user = a b\n",
         .said = "E v.ini:7: bad value 'a b' for 'upstream-user' in [service a]; write a user of "
                 "acl-file, a user "
                 "at the server, and a file with that one's password, without other spaces\n"},
        {.file =
             SERVICE "127.0.0.1:1\nclient-auth = users\nacl-file = u\nupstream-user = a b c d\n",
         .said = "E v.ini:7: bad value 'a b c d' for 'upstream-user' in [service a]; write a user "
                 "of acl-file, a "
                 "user at the server, and a file with that one's password, without other spaces\n"},
        {.file = SERVICE "127.0.0.1:1\nclient-auth = users\nacl-file = u\nupstream-user = a b /x\n",
         .said =
             "E v.ini:7: bad secret file '/x': it can't be read: No such file or directory; put "
             "the secret alone into its first line, and during a rotation the one before into "
             "its second\n"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        check_case(&cases[i]);
    }
}

static void test_many_identities(void **state)
{
    (void)state;
    for (int more = 0; more < 2; more++) {
        struct buf text = {0};
        buf_append_str(&text, SERVICE "127.0.0.1:1\nclient-auth = users\nacl-file = u\n");
        for (int i = 0; i < CONFIG_IDENTITIES_MAX + more; i++) {
            buf_printf(&text, "upstream-user = a%d b " A_FILE "\n", i);
        }
        buf_append(&text, slice_of("", 1));
        struct config_case c = {
            .file = buf_head(&text),
            .said = more == 0 ? ""
                              : "E v.ini:7: 257 entries of upstream-user are more than 256; let "
                                "users share one\n"};
        check_case(&c);
        buf_release(&text);
    }
}

/* Who shares connections: those with one user and one file of its password. */
static void test_identities(void **state)
{
    (void)state;
    struct config_case c = {.file = SERVICE "127.0.0.1:1\nclient-auth = users\nacl-file = u\n"
                                            "upstream-user = a x " A_FILE
                                            "\nupstream-user = b y " A_FILE
                                            "\nupstream-user = c x " A_FILE
                                            "\nupstream-user = d x /proc/sys/kernel/osrelease\n"};
    struct loaded l = load_good(&c);
    const struct config_service *s = &l.config->services[0];
    static const char *const names[] = {"a", "b", "c", "d", "e", ""};
    static const unsigned identities[] = {1, 2, 1, 4, 0, 0};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        assert_int_equal(config_identity_of(s, names[i]), identities[i]);
    }
    free_loaded(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sentinels),      cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_tls_of_clients), cmocka_unit_test(test_tls_of_our_own),
        cmocka_unit_test(test_tls_alone),      cmocka_unit_test(test_credentials),
        cmocka_unit_test(test_listeners),      cmocka_unit_test(test_protected_mode),
        cmocka_unit_test(test_buffers),        cmocka_unit_test(test_descriptors),
        cmocka_unit_test(test_raise_limit),    cmocka_unit_test(test_client_auth),
        cmocka_unit_test(test_identities),     cmocka_unit_test(test_many_identities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
