/* shared-commands: names of commands, kept in lower case. */
#include "tests/unit/config/config_test.h"

#define ENTRY SENTINEL_LINES "[service a]\nshared-commands = "
#define BAD   "E v.ini:4: bad value '"
#define OF    "' for 'shared-commands' in [service a]; "
#define NAME  "write one name, as in json.get or ft.config|get\n"
#define SUB   "a sub-command is written NAME|SUB-COMMAND\n"

static void check_names(const struct config_case *c, const char *const *names, size_t count)
{
    struct loaded l = load_good(c);
    const struct config_commands *shared = &l.config->services[0].shared_commands;
    assert_int_equal(shared->count, count);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(shared->v[i], names[i]);
    }
    free_loaded(&l);
}

static void test_names(void **state)
{
    static const struct config_case file = {.file = ENTRY
                                            "JSON.Get ; why\nshared-commands = ft.config|GET\n"};
    static const struct config_case environment = {
        .args = {"--sentinel=s1"}, .env = {"VEDETTE_SHARED_COMMANDS=json.get, FT.CONFIG|get"}};
    static const struct config_case none = {.args = {"--sentinel=s1"}};
    static const char *const names[] = {"json.get", "ft.config|get"};
    (void)state;
    check_names(&file, names, 2);
    check_names(&environment, names, 2);
    check_names(&none, NULL, 0);
}

static void test_mistakes(void **state)
{
    static const struct config_case cases[] = {
        {.file = ENTRY "a b\n", .said = BAD "a b" OF NAME},
        {.file = ENTRY "'a'\n", .said = BAD "'a'" OF NAME},
        {.file = ENTRY "a,b\n", .said = BAD "a,b" OF "one command only; repeat the key for each\n"},
        {.file = ENTRY "a|b|c\n", .said = BAD "a|b|c" OF SUB},
        {.file = ENTRY "|b\n", .said = BAD "|b" OF SUB},
        {.file = ENTRY "a|\n", .said = BAD "a|" OF SUB},
        {.file = ENTRY "0123456789012345678901234567890123456789012345678901234567890123x\n",
         .said = BAD "0123456789012345678901234567890123456789012345678901234567890123" OF
                     "it is longer than 64 bytes\n"},
    };
    (void)state;
    check_cases(cases, ARRAY_LEN(cases));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_mistakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
