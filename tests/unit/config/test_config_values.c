/* Every key: its default, the ends of its range, and what lies beyond them. */
#include "tests/unit/config/config_test.h"

#include "config/config_keys.h"

static void test_defaults(void **state)
{
    static const struct config_case c = {.args = {"--sentinel", "s1"}};
    struct loaded l = load_good(&c);
    (void)state;
    const struct config_proxy *p = &l.config->proxy;
    assert_int_equal(p->workers, CONFIG_AUTO);
    assert_int_equal(p->log_level, LOG_NOTICE);
    assert_int_equal(p->max_clients, 10000);
    assert_int_equal(p->max_clients_per_address, 0);
    assert_int_equal(p->handshake_timeout_ms, 10000);
    assert_int_equal(p->first_byte_timeout_ms, 0);
    assert_int_equal(p->idle_timeout_ms, 0);
    assert_int_equal(p->drain_delay_ms, 0);
    assert_int_equal(p->drain_timeout_ms, 20000);
    assert_true(p->protected_mode);
    assert_false(p->core_dumps);
    assert_null(p->user);
    assert_null(p->group);
    const struct config_sentinel *s = &l.config->groups[0];
    assert_int_equal(s->address.count, 1);
    assert_null(s->user);
    assert_null(s->password);
    assert_int_equal(s->connect_timeout_ms, 300);
    assert_int_equal(s->poll_interval_ms, 1000);
    assert_int_equal(s->poll_interval_fast_ms, 100);
    assert_int_equal(s->min_agree, CONFIG_AUTO);
    assert_true(s->learn);
    assert_int_equal(l.config->service_count, 1);
    const struct config_service *v = &l.config->services[0];
    assert_string_equal(v->name, "mymaster");
    assert_int_equal(v->listen.count, 1);
    assert_string_equal(v->listen.v[0].host, "127.0.0.1");
    assert_int_equal(v->listen.v[0].port, 6379);
    assert_int_equal(v->unix_mode, 0700);
    assert_int_equal(v->access.allow.count, 0);
    assert_int_equal(v->access.deny.count, 0);
    assert_int_equal(v->access.proxied, CONFIG_PROXIED_NO);
    assert_null(v->user);
    assert_null(v->password);
    assert_int_equal(v->hold_timeout_ms, CONFIG_AUTO);
    assert_true(v->hold_on_failover);
    assert_true(v->follow_role);
    assert_int_equal(v->hold_grace_ms, 50);
    assert_int_equal(v->stall_timeout_ms, 250);
    assert_int_equal(v->connect_timeout_ms, 1000);
    assert_int_equal(v->blocking_in_doubt, DOUBT_NIL);
    assert_int_equal(v->links, LINKS_SHARED);
    assert_int_equal(v->links_per_profile, 1);
    assert_int_equal(v->client_output_limit, 512 * 1024 * 1024);
    assert_int_equal(v->retain_max, 1024 * 1024);
    assert_int_equal(v->read_policy, READS_PRIMARY);
    assert_int_equal(v->read_listen.count, 0);
    assert_int_equal(v->read_listen_policy, READS_PREFER_REPLICA);
    assert_int_equal(v->consistency, CONSISTENCY_SESSION);
    assert_int_equal(v->max_replica_lag_ms, 10000);
    assert_int_equal(v->replica_slow_start_ms, 10000);
    assert_false(v->replica_priority_zero);
    assert_true(v->reads_during_failover);
    assert_int_equal(v->prefer.count, 0);
    assert_null(v->zone);
    assert_int_equal(v->replica_commands.count, 0);
    assert_false(v->tls.on);
    assert_int_equal(v->tls.verify, CONFIG_VERIFY_FULL);
    assert_int_equal(v->tls.min_version, CONFIG_TLS_1_2);
    assert_null(v->tls.ca_file);
    assert_int_equal(v->clients.listen.count, 0);
    assert_int_equal(v->clients.auth, CONFIG_AUTH_NO);
    assert_false(s->tls.on);
    free_loaded(&l);
}

/* A key with the ends of its range, and the next values beyond them. */
struct range_case {
    const char *key; /* as --set takes it */
    const char *good[4];
    const char *bad[6];
    const char *allowed;
};

static const struct range_case ranges[] = {
    {"proxy.workers", {"auto", "1", "64"}, {"0", "65", "-1", "+1", "01", "2.5"}, "auto or 1..64"},
    {"proxy.log-level",
     {"debug", "info", "warning", "error"},
     {"Debug", "warn", "3"},
     "debug, info, notice, warning or error"},
    {"proxy.max-clients", {"1", "1000000"}, {"0", "1000001", "auto", "10k"}, "1..1000000"},
    {"proxy.max-clients-per-address", {"0", "1000000"}, {"1000001", "auto"}, "0..1000000"},
    {"proxy.handshake-timeout", {"100ms", "1h"}, {"99ms", "0", "61m"}, "100ms..1h"},
    {"proxy.first-byte-timeout", {"0", "1ms", "1h"}, {"61m", "auto", "300"}, "0..1h"},
    {"proxy.idle-timeout", {"0", "1ms", "24h"}, {"25h", "auto", "300"}, "0..24h"},
    {"proxy.buffer-memory", {"16m", "1g", "1024g"}, {"15m", "1025g", "0", "auto"}, "16m..1024g"},
    {"proxy.drain-delay",
     {"0", "0s", "1h", "60m"},
     {"61m", "3600001ms", "5", "-1s", "1 s", "s"},
     "0..1h"},
    {"proxy.drain-timeout", {"0", "1h"}, {"2h", "99999999999999999999h"}, "0..1h"},
    {"proxy.protected-mode", {"yes", "no"}, {"true", "on", "1", "YES"}, "yes or no"},
    {"proxy.core-dumps", {"yes", "no"}, {"0", "unlimited"}, "yes or no"},
    {"sentinel.learn", {"yes", "no"}, {"true", "auto"}, "yes or no"},
    {"sentinel.connect-timeout", {"10ms", "10s"}, {"9ms", "10001ms", "0"}, "10ms..10s"},
    {"sentinel.poll-interval", {"100ms", "2s"}, {"49ms", "2001ms"}, "50ms..2s"},
    {"sentinel.poll-interval-fast", {"10ms", "1s"}, {"9ms", "1001ms"}, "10ms..1s"},
    {"sentinel.min-agree", {"auto", "1", "32"}, {"0", "33", "majority"}, "auto or 1..32"},
    {"service.mymaster.unix-mode",
     {"0700", "0777", "0"},
     {"1000", "08", "rwx", "00700", "-1"},
     "octal 0000..0777"},
    {"service.mymaster.proxy-protocol", {"yes", "no"}, {"v2", "on"}, "no, optional or yes"},
    {"service.mymaster.hold-timeout",
     {"auto", "100ms", "1h"},
     {"99ms", "61m", "0", "30"},
     "auto or 100ms..1h"},
    {"service.mymaster.hold-on-failover", {"yes", "no"}, {"maybe"}, "yes or no"},
    {"service.mymaster.follow-role", {"yes", "no"}, {"maybe"}, "yes or no"},
    {"service.mymaster.hold-grace", {"0", "10s"}, {"10001ms"}, "0..10s"},
    {"service.mymaster.blocking-in-doubt",
     {"nil", "error", "resend"},
     {"Nil", "null", "yes"},
     "nil, error or resend"},
    {"service.mymaster.stall-timeout", {"10ms", "1m"}, {"9ms", "61s"}, "10ms..1m"},
    {"service.mymaster.connect-timeout", {"10ms", "1m"}, {"9ms", "61s"}, "10ms..1m"},
    {"service.mymaster.links",
     {"shared", "exclusive"},
     {"Shared", "both", "yes"},
     "shared or exclusive"},
    {"service.mymaster.links-per-profile", {"1", "8"}, {"0", "9", "auto"}, "1..8"},
    {"service.mymaster.client-output-limit", {"1m", "64g"}, {"1023k", "65g", "0"}, "1m..64g"},
    {"service.mymaster.retain-max",
     {"64k", "65536", "512m", "512M"},
     {"63k", "65535", "513m", "1g", "1mb", "1t"},
     "64k..512m"},
    {"service.mymaster.script-cache", {"yes", "no"}, {"4m", "0"}, "yes or no"},
    {"service.mymaster.script-cache-memory", {"4k", "256m"}, {"4095", "257m", "0"}, "4k..256m"},
    {"service.mymaster.read-policy",
     {"primary", "prefer-replica", "replica", "any"},
     {"Any", "replicas", "master", "yes"},
     "primary, prefer-replica, replica or any"},
    {"service.mymaster.read-listen-policy",
     {"prefer-replica", "replica"},
     {"primary", "any", "no"},
     "prefer-replica or replica"},
    {"service.mymaster.consistency",
     {"session", "eventual"},
     {"strong", "Session", "no"},
     "session or eventual"},
    {"service.mymaster.max-replica-lag",
     {"100ms", "1h"},
     {"99ms", "61m", "0", "auto"},
     "100ms..1h"},
    {"service.mymaster.replica-slow-start", {"0", "1h"}, {"61m", "auto"}, "0..1h"},
    {"service.mymaster.replica-priority-zero", {"yes", "no"}, {"0", "1"}, "yes or no"},
    {"service.mymaster.reads-during-failover", {"yes", "no"}, {"maybe"}, "yes or no"},
    {"sentinel.tls", {"yes", "no"}, {"on", "1"}, "yes or no"},
    {"sentinel.tls-verify", {"full", "ca"}, {"yes", "none", "Full"}, "full, ca or no"},
    {"sentinel.tls-min-version", {"1.2", "1.3"}, {"1.1", "TLSv1.3", "2"}, "1.2 or 1.3"},
    {"service.mymaster.tls", {"yes", "no"}, {"on", "1"}, "yes or no"},
    {"service.mymaster.tls-verify", {"full", "ca"}, {"yes", "none", "Full"}, "full, ca or no"},
    {"service.mymaster.tls-min-version", {"1.2", "1.3"}, {"1.1", "TLSv1.3", "2"}, "1.2 or 1.3"},
    {"service.mymaster.tls-auth-clients", {"no"}, {"required", "maybe"}, "no, optional or yes"},
    {"service.mymaster.client-auth",
     {"forward", "none"},
     {"Users", "yes", "user"},
     "forward, none or users"},
};

static void check_good(const struct range_case *r, const char *value)
{
    char set[128];
    (void)snprintf(set, sizeof set, "%s=%s", r->key, value);
    struct config_case c = {.args = {"--sentinel", "s1", "--set", set}, .said = ""};
    check_case(&c);
}

static void check_bad(const struct range_case *r, const char *value)
{
    char set[128], section[64], said[512];
    const char *dot = strrchr(r->key, '.');
    (void)snprintf(set, sizeof set, "%s=%s", r->key, value);
    (void)snprintf(section, sizeof section, "%.*s", (int)(dot - r->key), r->key);
    if (strchr(section, '.') != NULL) {
        *strchr(section, '.') = ' ';
    }
    (void)snprintf(said, sizeof said, "E --set %s: bad value '%s' for '%s' in [%s]; allowed: %s\n",
                   r->key, value, dot + 1, section, r->allowed);
    struct config_case c = {.args = {"--sentinel", "s1", "--set", set}, .said = said};
    check_case(&c);
}

static void test_ranges(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ranges); i++) {
        for (size_t j = 0; j < ARRAY_LEN(ranges[i].good) && ranges[i].good[j] != NULL; j++) {
            check_good(&ranges[i], ranges[i].good[j]);
        }
        for (size_t j = 0; j < ARRAY_LEN(ranges[i].bad) && ranges[i].bad[j] != NULL; j++) {
            check_bad(&ranges[i], ranges[i].bad[j]);
        }
    }
}

/* No key may be added without its row above. */
static void test_every_key_has_a_range_case(void **state)
{
    (void)state;
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        const struct config_key *key = &config_keys[i];
        char name[128];
        bool found = key->type >= TYPE_ADDRS; /* addresses and text are below */
        (void)snprintf(name, sizeof name, "%s%s.%s", config_section_word(key->section),
                       key->section == SECTION_SERVICE ? ".mymaster" : "", key->name);
        for (size_t j = 0; j < ARRAY_LEN(ranges); j++) {
            found = found || strcmp(ranges[j].key, name) == 0;
        }
        if (!found) {
            fail_msg("no case for %s", name);
        }
    }
}

static void test_units(void **state)
{
    static const struct config_case c = {
        .file = SENTINEL_LINES
        "[proxy]\ndrain-delay = 250ms\ndrain-timeout = 5s\n"
        "[service a]\nhold-timeout = 2m\nretain-max = 64k\nstall-timeout = 1M\n"
        "[service b]\nlisten = h:1\nhold-timeout = 1h\nretain-max = 16m\nhold-grace = 0ms\n"
        "[service c]\nlisten = h:2\nretain-max = 70001\n"};
    struct loaded l = load_good(&c);
    (void)state;
    assert_int_equal(l.config->proxy.drain_delay_ms, 250);
    assert_int_equal(l.config->proxy.drain_timeout_ms, 5000);
    assert_int_equal(l.config->services[0].hold_timeout_ms, 120000);
    assert_int_equal(l.config->services[0].stall_timeout_ms, 60000);
    assert_int_equal(l.config->services[0].retain_max, 65536);
    assert_int_equal(l.config->services[1].hold_timeout_ms, 3600000);
    assert_int_equal(l.config->services[1].hold_grace_ms, 0);
    assert_int_equal(l.config->services[1].retain_max, 16777216);
    assert_int_equal(l.config->services[2].retain_max, 70001);
    free_loaded(&l);
}

static void test_addresses(void **state)
{
    static const struct config_case cases[] = {
        {.args = {"--sentinel", "s1", "--listen", "/run/redis.sock"},
         .said = "E --listen: bad value '/run/redis.sock' for 'listen' in [service mymaster]; a "
                 "unix socket is written unix:/path\n"},
        {.args = {"--sentinel", "s1", "--listen", "unix:redis.sock"},
         .said = "E --listen: bad value 'unix:redis.sock' for 'listen' in [service mymaster]; the "
                 "path of a unix socket begins with '/': write unix:/path\n"},
        {.args = {"--sentinel", "s1", "--listen",
                  "unix:/2345678901234567890123456789012345678901234567890123456789012345678901234"
                  "56789012345678901234567890123456789"},
         .said = "E --listen: bad value "
                 "'unix:/2345678901234567890123456789012345678901234567890123456789' for 'listen' "
                 "in [service mymaster]; the path of a unix socket is longer than 107 bytes; write "
                 "a shorter one\n"},
        {.args = {"--sentinel", "s1,s2"},
         .said = "E --sentinel: bad value 's1,s2' for 'address' in [sentinel]; one address only; "
                 "repeat it for each\n"},
        {.args = {"--sentinel", "s1", "--listen", "a:1,b:1"},
         .said = "E --listen: bad value 'a:1,b:1' for 'listen' in [service mymaster]; one address "
                 "only; repeat it for each\n"},
        {.args = {"--sentinel", "s1", "--listen", "0.0.0.0"},
         .said = "E --listen: bad value '0.0.0.0' for 'listen' in [service mymaster]; the port is "
                 "missing: write host:port\n"},
        {.args = {"--sentinel", "::1"},
         .said = "E --sentinel: bad value '::1' for 'address' in [sentinel]; an IPv6 address is "
                 "written in brackets: [address]:port; write host:port\n"},
        {.args = {"--sentinel", "s1:70000"},
         .said = "E --sentinel: bad value 's1:70000' for 'address' in [sentinel]; port '70000' is "
                 "not a number in 1..65535; write host:port\n"},
        {.file = "[sentinel]\naddress =;s1\n",
         .said = "E v.ini:2: bad value ';s1' for 'address' in [sentinel]; ';' can't be part of it; "
                 "write host:port\n"},
        {.args = {"--sentinel", "\"s1:1\""},
         .said =
             "E --sentinel: bad value '\"s1:1\"' for 'address' in [sentinel]; '\"' can't be part "
             "of it; write host:port\n"},
        {.args = {"--sentinel", ""},
         .said = "E --sentinel: bad value of 'address' in [sentinel]: it is empty; give it a value "
                 "or leave it out\n"},
    };
    static const struct config_case good = {
        .args = {"--sentinel", "[::1]", "--sentinel=s2.example:1", "--listen", "[::]:6380",
                 "--sentinel=unix:/run/s.sock", "--set=service.mymaster.listen=unix:/run/v.sock"}};
    struct loaded l = load_good(&good);
    (void)state;
    assert_int_equal(l.config->groups[0].address.count, 3);
    assert_string_equal(l.config->groups[0].address.v[2].host, "/run/s.sock");
    assert_int_equal(l.config->services[0].listen.count, 2);
    assert_string_equal(l.config->services[0].listen.v[1].host, "/run/v.sock");
    assert_string_equal(l.config->groups[0].address.v[0].host, "::1");
    assert_int_equal(l.config->groups[0].address.v[0].port, 26379);
    assert_string_equal(l.config->groups[0].address.v[1].host, "s2.example");
    assert_int_equal(l.config->groups[0].address.v[1].port, 1);
    assert_string_equal(l.config->services[0].listen.v[0].host, "::");
    free_loaded(&l);
    check_cases(cases, ARRAY_LEN(cases));
}

/* Text that comes from flags or the environment must fit a line of a file, too. */
static void test_text(void **state)
{
    static const struct config_case cases[] = {
        {.args = {"--sentinel", "s1", "--set", "sentinel.user=a b", "--set", "sentinel.password=x"},
         .said = "E --set sentinel.user: bad value 'a b' for 'user' in [sentinel]; leave out the "
                 "space\n"
                 "W --set sentinel.password: other users of this machine can read the command "
                 "line; use password-file\n"},
        {.args = {"--sentinel", "s1", "--set", "sentinel.password-file= x"},
         .said = "E --set sentinel.password-file: bad value ' x' for 'password-file' in "
                 "[sentinel]; leave out the space\n"},
        {.args = {"--sentinel", "s1"},
         .env = {"VEDETTE_SENTINEL_PASSWORD_FILE=a ;b"},
         .said = "E VEDETTE_SENTINEL_PASSWORD_FILE: bad value 'a ;b' for 'password-file' in "
                 "[sentinel]; ' ;' and ' #' can't be part of it; a comment begins with ' ;'\n"},
        {.args = {"--sentinel", "s1"},
         .env = {"VEDETTE_SENTINEL_PASSWORD_FILE=a\nb"},
         .said = "E VEDETTE_SENTINEL_PASSWORD_FILE: bad value 'a?b' for 'password-file' in "
                 "[sentinel]; a control character can't be part of it\n"},
    };
    char set[256], said[512];
    (void)state;
    check_cases(cases, ARRAY_LEN(cases));
    (void)snprintf(set, sizeof set, "--sentinel=%0181d", 7);
    (void)snprintf(said, sizeof said,
                   "E --sentinel: bad value '%064d' for 'address' in [sentinel]; it is longer than "
                   "180 bytes\n",
                   0);
    struct config_case c = {.args = {set}, .said = said};
    check_case(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_every_key_has_a_range_case),
        cmocka_unit_test(test_units),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
