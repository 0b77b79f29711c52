/* The environment, and which source beats which. */
#include "tests/unit/config/config_test.h"

static void test_names(void **state)
{
    static const struct config_case c = {
        .env = {"VEDETTE_LISTEN=127.0.0.1:7000", "VEDETTE_HOLD_ON_FAILOVER=no",
                "VEDETTE_SENTINEL_ADDRESS=s1, s2:1,s3", "VEDETTE_SENTINEL_POLL_INTERVAL_FAST=50ms",
                "VEDETTE_PROXY_MAX_CLIENTS=7", "VEDETTE_PASSWORD= top ;secret", "OTHER=x",
                "vedette_listen=x"}};
    struct loaded l = load_good(&c);
    (void)state;
    assert_int_equal(l.config->services[0].listen.v[0].port, 7000);
    assert_false(l.config->services[0].hold_on_failover);
    assert_password(l.config->services[0].password, " top ;secret");
    assert_int_equal(l.config->groups[0].address.count, 3);
    assert_string_equal(l.config->groups[0].address.v[1].host, "s2");
    assert_int_equal(l.config->groups[0].address.v[1].port, 1);
    assert_int_equal(l.config->groups[0].poll_interval_fast_ms, 50);
    assert_int_equal(l.config->proxy.max_clients, 7);
    free_loaded(&l);
}

static void test_mistakes(void **state)
{
    static const struct config_case cases[] = {
        {.file = SENTINEL_LINES,
         .env = {"VEDETTE_LISTN=h:1"},
         .said = "E VEDETTE_LISTN: unknown variable; did you mean VEDETTE_LISTEN?\n"},
        {.file = SENTINEL_LINES,
         .env = {"VEDETTE_SENTINAL_ADDRESS=s1"},
         .said = "E VEDETTE_SENTINAL_ADDRESS: unknown variable; did you mean "
                 "VEDETTE_SENTINEL_ADDRESS?\n"},
        {.file = SENTINEL_LINES,
         .env = {"VEDETTE_WORKERS=2", "VEDETTE_PROXY_LISTEN=h:1"},
         .said = "E VEDETTE_WORKERS: unknown variable; did you mean VEDETTE_PROXY_WORKERS?\n"
                 "E VEDETTE_PROXY_LISTEN: unknown variable; did you mean VEDETTE_LISTEN?\n"},
        {.file = SENTINEL_LINES,
         .env = {"VEDETTE_SENTINEL=s1"},
         .said = "E VEDETTE_SENTINEL: unknown variable; did you mean VEDETTE_SENTINEL_ADDRESS?\n"},
        {.file = SENTINEL_LINES,
         .env = {"VEDETTE_MASTER=a", "VEDETTE_CONFIG=b"},
         .said = "E VEDETTE_MASTER: unknown variable; use the flag --master\n"
                 "E VEDETTE_CONFIG: unknown variable; use the flag --config\n"},
        {.file = SENTINEL_LINES,
         .env = {"VEDETTE_NO_SUCH_KEY=hunter2", "VEDETTE_=x"},
         .said = "E VEDETTE_NO_SUCH_KEY: unknown variable; unset it, vedette --help tells how they "
                 "are called\n"
                 "E VEDETTE_: unknown variable; unset it, vedette --help tells how they are "
                 "called\n"},
        {.file = SENTINEL_LINES,
         .env = {"VEDETTE_PROXY_WORKERS=many", "VEDETTE_LISTEN="},
         .said =
             "E VEDETTE_PROXY_WORKERS: bad value 'many' for 'workers' in [proxy]; allowed: auto "
             "or 1..64\n"
             "E VEDETTE_LISTEN: bad value of 'listen' in [service mymaster]: it is empty; give "
             "it a value or leave it out\n"},
        {.env = {"VEDETTE_SENTINEL_ADDRESS=s1,,s2"},
         .said = "E VEDETTE_SENTINEL_ADDRESS: bad value of 'address' in [sentinel]: it is empty; "
                 "give it a value or leave it out\n"},
        {.file = SENTINEL_LINES "[service a]\n[service b]\nlisten = h:1\n",
         .env = {"VEDETTE_LISTEN=h:2"},
         .said = "E VEDETTE_LISTEN: it means the one service, and there are 2 (a, b); write it in "
                 "their sections, or as --set service.NAME.KEY=VALUE\n"},
        {.file = SENTINEL_LINES,
         .env = {"VEDETTE_PASSWORD=hunter2", "VEDETTE_PASSWORD_FILE=tests/x"},
         .said = "E VEDETTE_PASSWORD_FILE: both 'password' and 'password-file' in [service "
                 "mymaster]; the first is VEDETTE_PASSWORD; keep one of them\n"},
    };
    (void)state;
    check_cases(cases, ARRAY_LEN(cases));
}

/* What Kubernetes injects for Services called vedette and vedette-sentinel. */
static void test_kubernetes(void **state)
{
    static const struct config_case c = {
        .file = SENTINEL_LINES,
        .env = {"VEDETTE_SERVICE_HOST=10.0.0.1", "VEDETTE_SERVICE_PORT=6379",
                "VEDETTE_SERVICE_PORT_REDIS=6379", "VEDETTE_PORT=tcp://10.0.0.1:6379",
                "VEDETTE_PORT_6379_TCP_ADDR=10.0.0.1", "VEDETTE_SENTINEL_PORT_26379_TCP=tcp://x",
                "VEDETTE_PORT_x_TCP=1"},
        .said = "E VEDETTE_PORT_x_TCP: unknown variable; unset it, vedette --help tells how they "
                "are called\n"
                "N ignored, because Kubernetes sets them for a Service: VEDETTE_SERVICE_HOST, "
                "VEDETTE_SERVICE_PORT, VEDETTE_SERVICE_PORT_REDIS, VEDETTE_PORT, "
                "VEDETTE_PORT_6379_TCP_ADDR, VEDETTE_SENTINEL_PORT_26379_TCP\n"};
    (void)state;
    check_case(&c);
}

struct platform_case {
    const char *env[3];
    const char *host;
    uint16_t port;
    const char *master;
};

static void test_platform(void **state)
{
    static const struct platform_case cases[] = {
        {{"REDIS_SENTINEL_HOST=s1"}, "s1", 26379, "mymaster"},
        {{"REDIS_SENTINEL_HOST=s1", "REDIS_SENTINEL_PORT=1234"}, "s1", 1234, "mymaster"},
        {{"REDIS_SENTINEL_PORT=tcp://10.0.0.9:1234", "REDIS_SENTINEL_HOST=s1"},
         "s1",
         1234,
         "mymaster"},
        {{"REDIS_SENTINEL_HOST=s1:99", "REDIS_SENTINEL_PORT=1234"}, "s1", 99, "mymaster"},
        {{"REDIS_SENTINEL_HOST=tcp://s1:99", "REDIS_SENTINEL_PORT="}, "s1", 99, "mymaster"},
        {{"REDIS_SENTINEL_HOST=s1", "REDIS_SENTINEL_MASTER=cache"}, "s1", 26379, "cache"},
        {{"REDIS_SENTINEL_HOST=s1", "REDIS_SENTINEL_MASTER="}, "s1", 26379, "mymaster"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct config_case c = {0};
        memcpy(c.env, cases[i].env, sizeof cases[i].env);
        struct loaded l = load_good(&c);
        assert_int_equal(l.config->groups[0].address.count, 1);
        assert_string_equal(l.config->groups[0].address.v[0].host, cases[i].host);
        assert_int_equal(l.config->groups[0].address.v[0].port, cases[i].port);
        assert_string_equal(l.config->services[0].name, cases[i].master);
        free_loaded(&l);
    }
    static const struct config_case list = {
        .env = {"REDIS_SENTINEL_HOST=s1,s2:7, s3", "REDIS_SENTINEL_PORT=1234"}};
    struct loaded l = load_good(&list);
    assert_int_equal(l.config->groups[0].address.count, 3);
    assert_int_equal(l.config->groups[0].address.v[1].port, 7);
    assert_string_equal(l.config->groups[0].address.v[2].host, "s3");
    assert_int_equal(l.config->groups[0].address.v[2].port, 1234);
    free_loaded(&l);
}

static void test_platform_mistakes(void **state)
{
    static const struct config_case cases[] = {
        {.env = {"REDIS_SENTINEL_HOST=s1", "REDIS_SENTINEL_PORT=http"},
         .said = "E REDIS_SENTINEL_PORT: bad port 'http'; allowed: 1..65535, or tcp://host:port\n"},
        {.env = {"REDIS_SENTINEL_HOST=s1", "REDIS_SENTINEL_PORT=tcp://s1"},
         .said = "E REDIS_SENTINEL_PORT: bad port 'tcp://s1'; allowed: 1..65535, or "
                 "tcp://host:port\n"},
        {.env = {"REDIS_SENTINEL_HOST=s 1"},
         .said = "E REDIS_SENTINEL_HOST: bad host 's 1'; the host has a character that no host "
                 "name has\n"},
        {.env = {"REDIS_SENTINEL_HOST=s1", "REDIS_SENTINEL_MASTER=a b"},
         .said = "E REDIS_SENTINEL_MASTER: bad name of a service: spaces, brackets, ';' and "
                 "control characters can't be part of it\n"},
        /* Injected for a Service called redis-sentinel: says nothing of where Sentinels are. */
        {.file = SENTINEL_LINES, .env = {"REDIS_SENTINEL_PORT=tcp://10.0.0.9:1234"}, .said = ""},
        {.file = SENTINEL_LINES "[service a]\n[service b]\nlisten = h:1\n",
         .env = {"REDIS_SENTINEL_MASTER=a"},
         .said = "N REDIS_SENTINEL_MASTER: ignored, because the file names 2 services itself\n"},
    };
    (void)state;
    check_cases(cases, ARRAY_LEN(cases));
}

/* flag > VEDETTE_* > REDIS_SENTINEL_* > file > default; a list replaces a list. */
static void test_precedence(void **state)
{
    struct config_case c = {.file = "[proxy]\nworkers = 2\n[sentinel]\naddress = f1\naddress = f2\n"
                                    "[service a]\npassword = filepw\nuser = bob\n"};
    struct loaded l = load_good(&c);
    (void)state;
    assert_int_equal(l.config->proxy.workers, 2);
    assert_int_equal(l.config->groups[0].address.count, 2);
    assert_string_equal(l.config->services[0].name, "a");
    free_loaded(&l);

    c.env[0] = "REDIS_SENTINEL_HOST=p1";
    c.env[1] = "REDIS_SENTINEL_MASTER=b";
    l = load_good(&c);
    assert_int_equal(l.config->groups[0].address.count, 1);
    assert_string_equal(l.config->groups[0].address.v[0].host, "p1");
    assert_string_equal(l.config->services[0].name, "b");
    free_loaded(&l);

    c.env[2] = "VEDETTE_SENTINEL_ADDRESS=e1,e2,e3";
    c.env[3] = "VEDETTE_PROXY_WORKERS=3";
    c.env[4] = "VEDETTE_PASSWORD=envpw";
    l = load_good(&c);
    assert_int_equal(l.config->groups[0].address.count, 3);
    assert_string_equal(l.config->groups[0].address.v[0].host, "e1");
    assert_int_equal(l.config->proxy.workers, 3);
    assert_password(l.config->services[0].password, "envpw");
    assert_string_equal(l.config->services[0].user, "bob");
    free_loaded(&l);

    static const char *const args[] = {"--sentinel=g1", "--set=proxy.workers=4", "--master=c"};
    memcpy(c.args, args, sizeof args);
    l = load_good(&c);
    assert_int_equal(l.config->groups[0].address.count, 1);
    assert_string_equal(l.config->groups[0].address.v[0].host, "g1");
    assert_int_equal(l.config->proxy.workers, 4);
    assert_string_equal(l.config->services[0].name, "c");
    free_loaded(&l);
}

/* A password of a higher level beats the password file of a lower one, which is not even read. */
static void test_secret_precedence(void **state)
{
    static const struct config_case c = {.file = SENTINEL_LINES
                                         "[service a]\npassword-file = tests/no-such\n",
                                         .env = {"VEDETTE_PASSWORD=envpw"}};
    struct loaded l = load_good(&c);
    (void)state;
    assert_password(l.config->services[0].password, "envpw");
    free_loaded(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_kubernetes),
        cmocka_unit_test(test_platform),
        cmocka_unit_test(test_platform_mistakes),
        cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_secret_precedence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
