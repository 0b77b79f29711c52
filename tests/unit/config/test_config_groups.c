/* Groups of Sentinels: [sentinel NAME] sections and the services that choose them. */
#include "tests/unit/config/config_test.h"

#define WEST "[sentinel west]\naddress = w1\n"

static void test_services_choose(void **state)
{
    static const struct config_case c = {
        .file = "[service a]\nlisten = h:1\nsentinel = west\n" WEST "min-agree = 2\nuser = u\n"
                "password = x\n[service b]\nlisten = h:2\n[sentinel]\naddress = s1\n"
                "[sentinel east.2]\naddress = e1\naddress = e2:1\n[service c]\nlisten = h:3\n"
                "sentinel = east.2\n[service d]\nlisten = h:4\nsentinel = west\nmaster = a\n",
        .args = {"--set=sentinel.east.2.poll-interval=500ms", "--set=sentinel.min-agree=3"}};
    static const size_t group_of[] = {1, 0, 2, 1};
    struct loaded l = load_good(&c);
    const struct config_sentinel *groups = l.config->groups;
    (void)state;
    assert_int_equal(l.config->group_count, 3);
    assert_string_equal(groups[0].name, "");
    assert_string_equal(groups[1].name, "west");
    assert_string_equal(groups[2].name, "east.2");
    assert_int_equal(groups[0].min_agree, 3);
    assert_int_equal(groups[1].min_agree, 2);
    assert_password(groups[1].password, "x");
    assert_null(groups[0].password);
    assert_int_equal(groups[2].address.count, 2);
    assert_int_equal(groups[2].poll_interval_ms, 500);
    assert_int_equal(groups[1].poll_interval_ms, 1000);
    for (size_t i = 0; i < ARRAY_LEN(group_of); i++) {
        assert_int_equal(l.config->services[i].group, group_of[i]);
    }
    assert_string_equal(l.config->services[2].name, "c");
    assert_null(l.config->services[2].master);
    assert_string_equal(l.config->services[3].master, "a");
    free_loaded(&l);
}

/* Flags and variables mean the plain group. */
static void test_the_plain_group(void **state)
{
    static const struct config_case c = {
        .file = WEST "[service a]\nlisten = h:1\nsentinel = west\n[service b]\n",
        .args = {"--sentinel", "s1"},
        .env = {"VEDETTE_SENTINEL_MIN_AGREE=2"}};
    struct loaded l = load_good(&c);
    (void)state;
    assert_string_equal(l.config->groups[0].address.v[0].host, "s1");
    assert_int_equal(l.config->groups[0].min_agree, 2);
    assert_string_equal(l.config->groups[1].address.v[0].host, "w1");
    assert_int_equal(l.config->groups[1].min_agree, CONFIG_AUTO);
    free_loaded(&l);
}

static void test_mistakes(void **state)
{
    static const struct config_case cases[] = {
        /* A group alone is enough. */
        {.file = WEST "[service a]\nsentinel = west\n", .said = ""},
        {.file = WEST "[service a]\nsentinel = wets\n",
         .said = "E v.ini:4: unknown group of Sentinels 'wets'; did you mean 'west'?\n"},
        {.file = SENTINEL_LINES "[service a]\nsentinel = west\n",
         .said = "E v.ini:4: unknown group of Sentinels 'west'; add [sentinel west] to a file\n"},
        {.file = SENTINEL_LINES "[service a]\nsentinel = a b\n",
         .said = "E v.ini:4: bad value 'a b' for 'sentinel' in [service a]; leave out the space\n"},
        {.file = SENTINEL_LINES WEST "[service a]\n",
         .said = "W v.ini:3: no service uses [sentinel west]; leave it out, or name it in a "
                 "service: sentinel = NAME\n"},
        {.file = WEST "[service a]\nsentinel = west\n",
         .args = {"--sentinel=s1"},
         .said = "W --sentinel: no service uses [sentinel]; every service names another group: "
                 "leave it out\n"},
        {.file = WEST "[service a]\n",
         .said = "E v.ini:3: [service a] names no group of Sentinels, and the plain [sentinel] has "
                 "no address; add sentinel = NAME to the one or address = HOST:PORT to the other\n"
                 "W v.ini:1: no service uses [sentinel west]; leave it out, or name it in a "
                 "service: sentinel = NAME\n"},
        {.file = "[sentinel west]\n[service a]\nsentinel = west\n",
         .said = "E v.ini:1: no address in [sentinel west]; add address = HOST:PORT for each of "
                 "its Sentinels\n"},
        {.file = WEST WEST "[service a]\nsentinel = west\n",
         .said = "E v.ini:3: duplicate section [sentinel west]; the first is v.ini:1; put their "
                 "keys into one\n"
                 "W v.ini:4: the Sentinel w1:26379 is listed twice; leave one out\n"},
        {.file = WEST "poll-interval = 50ms\nuser = u\n[service a]\nsentinel = west\n",
         .said = "E v.ini:1: poll-interval-fast = 100ms is longer than poll-interval = 50ms; it "
                 "has to be shorter\n"
                 "E v.ini:4: 'user' without a password in [sentinel west]; add password-file or "
                 "password\n"},
        {.file = WEST "[service a]\nsentinel = west\n",
         .args = {"--set=sentinel.wset.min-agree=2"},
         .said = "E --set sentinel.wset.min-agree: unknown group of Sentinels 'wset'; did you mean "
                 "'west'?\n"},
        {.file = WEST "[service a]\nsentinel = west\n",
         .args = {"--set=sentinel.west.listen=h:1"},
         .said = "E --set sentinel.west.listen: unknown key 'listen' in [sentinel west]; it "
                 "belongs to [service NAME]\n"},
        {.file = SENTINEL_LINES,
         .env = {"VEDETTE_SENTINEL=west"},
         .said = "E VEDETTE_SENTINEL: unknown variable; did you mean VEDETTE_SENTINEL_ADDRESS?\n"},
    };
    (void)state;
    check_cases(cases, ARRAY_LEN(cases));
}

static void test_too_many(void **state)
{
    struct buf text = {0};
    (void)state;
    buf_append_str(&text, SENTINEL_LINES);
    for (int i = 0; i < CONFIG_GROUPS_MAX; i++) {
        buf_printf(&text, "[sentinel g%d]\naddress = s%d\n", i, i);
    }
    buf_append(&text, slice_of("", 1));
    struct config_case c = {.file = buf_head(&text)};
    struct loaded l = load_case(&c);
    assert_null(l.config);
    assert_int_equal(l.report.errors, 1);
    assert_string_equal(l.report.v[0].text, "v.ini:33: more than 16 groups of Sentinels; start a "
                                            "second proxy for the others");
    free_loaded(&l);
    buf_release(&text);
}

/* Each group has Sentinels of its own to be connected to. */
static void test_descriptors(void **state)
{
    static const struct config_case cases[] = {
        {.file = SENTINEL_LINES WEST "[service a]\nsentinel = west\n[service b]\nlisten = h:1\n"
                                     "[proxy]\nmax-clients = 353\n",
         .fd_limit = 1024,
         .said = "E v.ini:10: max-clients = 353 needs 353 x 2 + 320 = 1026 file descriptors, and "
                 "the limit is 1024; raise it (ulimit -Hn, LimitNOFILE) or set max-clients to 352 "
                 "or less\n"},
        {.file = WEST "[service a]\nsentinel = west\n[proxy]\nmax-clients = 384\n",
         .fd_limit = 1024,
         .said = ""},
    };
    (void)state;
    check_cases(cases, ARRAY_LEN(cases));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_services_choose), cmocka_unit_test(test_the_plain_group),
        cmocka_unit_test(test_mistakes),        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
