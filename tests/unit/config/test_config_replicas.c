/* What says where reads go: lists of networks and of commands, and the listeners for them. */
#include "tests/unit/config/config_test.h"

#define PREFER   SENTINEL_LINES "[service a]\nprefer = "
#define COMMANDS SENTINEL_LINES "[service a]\nreplica-commands = "
#define BAD      "E v.ini:4: bad value '"
#define OF       "' for 'prefer' in [service a]; "
#define ALLOWED                                                                                    \
    "' for 'replica-commands' in [service a]; allowed: eval_ro, evalsha_ro, fcall_ro, pfcount, "   \
    "keys, dbsize or randomkey; commands that only read data go to replicas anyway, and those "    \
    "that may write or tell of one node never do\n"

static void test_networks(void **state)
{
    static const struct config_case cases[] = {
        {.file = PREFER "10.1.0.0/16\nprefer = fd00::/8 ; the same site\n"},
        {.args = {"--sentinel=s1", "--master=a"}, .env = {"VEDETTE_PREFER=10.1.0.0/16, fd00::/8"}},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct loaded l = load_good(&cases[i]);
        const struct config_nets *prefer = &l.config->services[0].prefer;
        char text[ADDR_NET_TEXT_MAX];
        assert_int_equal(prefer->count, 2);
        assert_string_equal(addr_net_text(&prefer->v[0], text), "10.1.0.0/16");
        assert_string_equal(addr_net_text(&prefer->v[1], text), "fd00::/8");
        free_loaded(&l);
    }
}

static void test_too_many(void **state)
{
    struct buf text = {0};
    (void)state;
    buf_append_str(&text, SENTINEL_LINES "[service a]\n");
    for (int i = 0; i < 17; i++) {
        buf_printf(&text, "read-listen = h:%d\n", i + 1);
    }
    buf_append(&text, slice_of("", 1));
    struct config_case c = {.file = buf_head(&text),
                            .said = "E v.ini:4: 17 addresses of 'read-listen' in [service a] are "
                                    "more than 16; list fewer\n"};
    check_case(&c);
    buf_release(&text);
}

static void test_commands(void **state)
{
    static const struct config_case c = {.file = COMMANDS "EVAL_RO\nreplica-commands = keys\n"};
    struct loaded l = load_good(&c);
    const struct config_commands *list = &l.config->services[0].replica_commands;
    (void)state;
    assert_int_equal(list->count, 2);
    assert_string_equal(list->v[0], "eval_ro");
    assert_string_equal(list->v[1], "keys");
    free_loaded(&l);
}

static void test_mistakes(void **state)
{
    static const struct config_case cases[] = {
        {.file = PREFER "10.1.2.3/16\n",
         .said =
             BAD "10.1.2.3/16" OF "the address has bits beyond the first 16: write 10.1.0.0/16\n"},
        {.file = PREFER "a.example\n",
         .said = BAD "a.example" OF "it is no network: write a.b.c.d/n\n"},
        {.file = PREFER "10.1.0.0/16,fd00::/8\n",
         .said = BAD "10.1.0.0/16,fd00::/8" OF "one network only; repeat the key for each\n"},
        {.file = COMMANDS "get\n", .said = BAD "get" ALLOWED},
        {.file = COMMANDS "set\n", .said = BAD "set" ALLOWED},
        {.file = COMMANDS "scan\n", .said = BAD "scan" ALLOWED},
    };
    (void)state;
    check_cases(cases, ARRAY_LEN(cases));
}

/* Both kinds of listeners of all services are different ones. */
static void test_listeners(void **state)
{
    static const struct config_case cases[] = {
        {.file = SENTINEL_LINES "[service a]\nlisten = 127.0.0.1:1\nread-listen = 127.0.0.1:2\n"
                                "read-listen = 127.0.0.1:3\n",
         .said = ""},
        {.file = SENTINEL_LINES "[service a]\nlisten = 127.0.0.1:1\nread-listen = 127.0.0.1:1\n",
         .said = "E v.ini:5: [service a] listens on 127.0.0.1:1 and [service a] on 127.0.0.1:1 "
                 "(v.ini:4); give one of them another port\n"},
        {.file = SENTINEL_LINES "[service a]\nread-listen = 127.0.0.1:1\n"
                                "[service b]\nlisten = 0.0.0.0:2\nlisten = 127.0.0.1:1\n",
         .said = "E v.ini:7: [service b] listens on 127.0.0.1:1 and [service a] on 127.0.0.1:1 "
                 "(v.ini:4); give one of them another port\n"},
        {.file = SENTINEL_LINES "[service a]\nread-listen = 0.0.0.0:1\npassword = x\n",
         .said = "E v.ini:4: [service a] listens on 0.0.0.0:1, beyond this machine, with a "
                 "password of its own: whoever connects there uses it without giving one; listen "
                 "on 127.0.0.1, or let clients log in (client-auth = users), or set "
                 "protected-mode = no in [proxy] if only trusted clients reach that address\n"},
        /* Two listeners, and probes of its replicas */
        {.file = SENTINEL_LINES "[service a]\nread-listen = 127.0.0.1:1\n",
         .fd_limit = 1024,
         .said = "W max-clients lowered from 10000 to 351: it needs 10000 x 2 + 321 = 20321 file "
                 "descriptors, and the limit is 1024; raise it (ulimit -Hn, LimitNOFILE) or set "
                 "max-clients\n"},
        {.file = SENTINEL_LINES "[service a]\nread-policy = any\n",
         .fd_limit = 1024,
         .said = "W max-clients lowered from 10000 to 352: it needs 10000 x 2 + 320 = 20320 file "
                 "descriptors, and the limit is 1024; raise it (ulimit -Hn, LimitNOFILE) or set "
                 "max-clients\n"},
    };
    (void)state;
    check_cases(cases, ARRAY_LEN(cases));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_networks),  cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_commands),  cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_listeners),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
