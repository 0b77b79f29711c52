/* Every example that is a configuration loads as it stands, without a word. */
#include <glob.h>

#include "tests/unit/config/config_test.h"

static void test_examples(void **state)
{
    glob_t found;
    (void)state;
    int found_any = glob("examples/*.ini", 0, NULL, &found); /* NOLINT: there is one thread */
    assert_int_equal(found_any, 0);
    assert_true(found.gl_pathc >= 2);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        struct config_case c = {.args = {"--config", found.gl_pathv[i]}, .fd_limit = 1048576};
        struct loaded l = load_good(&c);
        free_loaded(&l);
    }
    globfree(&found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_examples)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
