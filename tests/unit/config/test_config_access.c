/* Who may connect, what may be said, and whose word for an address is taken. */
#include "tests/unit/config/config_test.h"

#define SERVICE SENTINEL_LINES "[service a]\n"

static void test_lists(void **state)
{
    static const struct config_case cases[] = {
        {.file = SERVICE "allow = 10.1.0.0/16\nallow = fd00::/8\ndeny-commands = FlushAll\n"
                         "deny-commands = CONFIG|Set\nproxy-protocol = optional\n"
                         "proxy-protocol-from = 10.2.0.1\n"},
        {.args = {"--sentinel=s1", "--master=a"},
         .env = {"VEDETTE_ALLOW=10.1.0.0/16,fd00::/8", "VEDETTE_DENY_COMMANDS=flushall,config|set",
                 "VEDETTE_PROXY_PROTOCOL=optional", "VEDETTE_PROXY_PROTOCOL_FROM=10.2.0.1"}},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct loaded l = load_good(&cases[i]);
        const struct config_access *a = &l.config->services[0].access;
        char text[ADDR_NET_TEXT_MAX];
        assert_int_equal(a->allow.count, 2);
        assert_string_equal(addr_net_text(&a->allow.v[0], text), "10.1.0.0/16");
        assert_string_equal(addr_net_text(&a->allow.v[1], text), "fd00::/8");
        assert_int_equal(a->deny.count, 2);
        assert_string_equal(a->deny.v[0], "flushall");
        assert_string_equal(a->deny.v[1], "config|set");
        assert_int_equal(a->proxied, CONFIG_PROXIED_OPTIONAL);
        assert_int_equal(a->proxied_from.count, 1);
        assert_string_equal(addr_net_text(&a->proxied_from.v[0], text), "10.2.0.1");
        free_loaded(&l);
    }
}

static void test_mistakes(void **state)
{
    static const struct config_case cases[] = {
        {.file = SERVICE "allow = 10.1.0.1/16\n",
         .said = "E v.ini:4: bad value '10.1.0.1/16' for 'allow' in [service a]; the address has "
                 "bits beyond the first 16: write 10.1.0.0/16\n"},
        {.file = SERVICE "allow = office.example\n",
         .said = "E v.ini:4: bad value 'office.example' for 'allow' in [service a]; it is no "
                 "network: write a.b.c.d/n\n"},
        {.file = SERVICE "deny-commands = flushall, config\n",
         .said = "E v.ini:4: bad value 'flushall, config' for 'deny-commands' in [service a]; one "
                 "command only; repeat the key for each\n"},
        {.file = SERVICE "proxy-protocol = optional\n",
         .said = "E v.ini:4: 'proxy-protocol = optional' in [service a] needs to know who tells "
                 "addresses; add proxy-protocol-from, or write yes where all do\n"},
        {.file = SERVICE "proxy-protocol-from = 10.2.0.1\n",
         .said = "W v.ini:4: 'proxy-protocol-from' does nothing without proxy-protocol in [service "
                 "a]; add that, or leave it out\n"},
        {.file = SERVICE "proxy-protocol = yes\n", .said = ""}, /* on this machine only */
        {.file = SERVICE "proxy-protocol = yes\nlisten = 0.0.0.0:1\nlisten = unix:/a\n",
         .said = "W v.ini:5: [service a] listens on 0.0.0.0:1 and believes every address that a "
                 "PROXY header tells; list the proxies in proxy-protocol-from\n"},
        {.file = SERVICE "proxy-protocol = yes\nproxy-protocol-from = 10.2.0.0/24\n"
                         "listen = 0.0.0.0:1\n",
         .said = ""},
        /* Not said when it may only be mistyped. */
        {.file = SERVICE "proxy-protocol = optional\nproxy-protocol-from = x\n",
         .said = "E v.ini:5: bad value 'x' for 'proxy-protocol-from' in [service a]; it is no "
                 "network: write a.b.c.d/n\n"},
    };
    (void)state;
    check_cases(cases, ARRAY_LEN(cases));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_mistakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
