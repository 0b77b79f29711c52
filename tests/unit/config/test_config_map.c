/* address-map: what Sentinels announce, and where that is. */
#include "tests/unit/config/config_test.h"

#define ENTRY SENTINEL_LINES "address-map = "
#define BAD   "E v.ini:3: bad value '"
#define OF    "' for 'address-map' in [sentinel]; "
#define TWO                                                                                        \
    "write two addresses, the announced one and the one to use: 172.17.0.2:6379 10.0.0.5:16379\n"

static void test_entries(void **state)
{
    static const struct config_case c = {
        .file = ENTRY "172.17.0.2:6379 10.0.0.5:16379\naddress-map = redis-1 \t 10.0.0.5 ; why\n"
                      "address-map = [0:0::1]:7 [::2]\n[service a]\n[sentinel west]\naddress = w\n"
                      "address-map = 172.17.0.2:6379 h:1\n[service b]\nlisten = h:1\n"
                      "sentinel = west\n"};
    static const char *const texts[] = {"172.17.0.2:6379", "10.0.0.5:16379", "redis-1",
                                        "10.0.0.5",        "[::1]:7",        "[::2]"};
    struct loaded l = load_good(&c);
    const struct config_mappings *map = &l.config->groups[0].address_map;
    char text[ADDR_TEXT_MAX];
    (void)state;
    assert_int_equal(map->count, 3);
    for (size_t i = 0; i < ARRAY_LEN(texts) / 2; i++) {
        assert_string_equal(addr_text(&map->v[i].announced, text), texts[2 * i]);
        assert_string_equal(addr_text(&map->v[i].reachable, text), texts[2 * i + 1]);
    }
    assert_int_equal(l.config->groups[1].address_map.count, 1);
    free_loaded(&l);
}

static void test_environment(void **state)
{
    static const struct config_case c = {
        .args = {"--sentinel=s1"},
        .env = {"VEDETTE_SENTINEL_ADDRESS_MAP=a b, 172.17.0.2:6379 10.0.0.5:16379"}};
    struct loaded l = load_good(&c);
    (void)state;
    assert_int_equal(l.config->groups[0].address_map.count, 2);
    assert_int_equal(l.config->groups[0].address_map.v[1].reachable.port, 16379);
    free_loaded(&l);
}

static void test_mistakes(void **state)
{
    static const struct config_case cases[] = {
        {.file = ENTRY "a\n", .said = BAD "a" OF TWO},
        {.file = ENTRY "a b c\n", .said = BAD "a b c" OF TWO},
        {.file = ENTRY "a -> b\n", .said = BAD "a -> b" OF TWO},
        {.file = ENTRY "a:0 b\n",
         .said = BAD "a:0 b" OF "port '0' is not a number in 1..65535; write host:port\n"},
        {.file = ENTRY "a b:x\n",
         .said = BAD "a b:x" OF "port 'x' is not a number in 1..65535; write host:port\n"},
        {.file = ENTRY "::1 b\n",
         .said = BAD "::1 b" OF "an IPv6 address is written in brackets: [address]:port; write "
                     "host:port\n"},
        {.file = ENTRY "a,b c\n", .said = BAD "a,b c" OF "one address only; repeat it for each\n"},
        {.file = ENTRY "a b:1\n",
         .said = BAD "a b:1" OF "all ports of a host can't lead to one; write the announced port "
                     "too, or leave out the other one\n"},
        {.file = ENTRY "unix:/a b\n",
         .said = BAD "unix:/a b" OF "Sentinels announce no unix sockets; write host:port first\n"},
        {.file = ENTRY "a unix:/b\n",
         .said = BAD "a unix:/b" OF "all ports of a host can't lead to one; write the announced "
                     "port too, or leave out the other one\n"},
        {.file = ENTRY "a:1 unix:/b\n", .said = ""},
        {.file = ENTRY "a:1 b\naddress-map = a:1 c\n",
         .said = "E v.ini:4: a:1 is mapped twice; the first is v.ini:3; keep one of them\n"},
        {.file = ENTRY "[::1] b\naddress-map = [0::0:1] b\n",
         .said = "E v.ini:4: [::1] is mapped twice; the first is v.ini:3; keep one of them\n"},
        /* A host and one of its ports are two things. */
        {.file = ENTRY "a b\naddress-map = a:1 c\naddress-map = a:2 c\n", .said = ""},
        {.file = SENTINEL_LINES "[service a]\naddress-map = a b\n",
         .said = "E v.ini:4: unknown key 'address-map' in [service a]; it belongs to [sentinel]\n"},
    };
    (void)state;
    check_cases(cases, ARRAY_LEN(cases));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entries),
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_mistakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
