#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proxy/base/limits.h"
#include "proxy/redirects.h"

/* Whose number it is; the reference is given back. */
static const struct target *whose(struct redirects *all, size_t service, int64_t number)
{
    struct target *t = redirects_find(all, service, number);
    const struct target *found = t;
    target_unref(&t);
    return found;
}

static void end(struct target **t)
{
    target_end(*t);
    target_unref(t);
}

static void test_the_last_one_told(void **state)
{
    (void)state;
    struct redirects *all = redirects_new();
    struct target *a = NULL, *b = NULL;
    assert_null(whose(all, 0, 7));
    redirects_tell(all, 0, 7, &a);
    redirects_tell(all, 0, 9, &a);
    assert_ptr_equal(whose(all, 0, 7), a);
    assert_ptr_equal(whose(all, 0, 9), a);
    assert_null(whose(all, 1, 7)); /* of another service */
    redirects_tell(all, 0, 7, &b);
    assert_ptr_equal(whose(all, 0, 7), b);
    assert_ptr_equal(whose(all, 0, 9), a);
    redirects_tell(all, 0, 7, &a);
    redirects_tell(all, 0, 7, &a);
    assert_ptr_equal(whose(all, 0, 7), a);
    end(&a);
    end(&b);
    redirects_free(&all);
}

/* limit: REDIRECT_NUMBERS_MAX */
static void test_so_many_numbers(void **state)
{
    (void)state;
    struct redirects *all = redirects_new();
    struct target *t = NULL;
    for (int64_t n = 1; n <= (int64_t)REDIRECT_NUMBERS_MAX + 2; n++) {
        redirects_tell(all, 0, n, &t);
        redirects_tell(all, 0, 2, &t); /* told again, it is the newest */
    }
    assert_null(whose(all, 0, 1));
    assert_null(whose(all, 0, 3));
    assert_ptr_equal(whose(all, 0, 2), t);
    assert_ptr_equal(whose(all, 0, 4), t);
    end(&t);
    redirects_free(&all);
}

/* limit: REDIRECT_GONE_MAX */
static void test_those_gone(void **state)
{
    (void)state;
    struct redirects *all = redirects_new();
    struct target *last = NULL;
    for (int64_t n = 1; n <= (int64_t)REDIRECT_GONE_MAX + 1; n++) {
        struct target *t = NULL;
        redirects_tell(all, 0, n, &t);
        end(&t);
    }
    assert_null(whose(all, 0, 1));
    struct target *second = redirects_find(all, 0, 2);
    assert_true(target_look(second).gone);
    redirects_tell(all, 0, 2, &last); /* it is another's now */
    assert_ptr_equal(whose(all, 0, 2), last);
    assert_false(target_look(last).gone);
    target_unref(&second);
    end(&last);
    redirects_free(&all);
}

static void test_what_is_seen_of_it(void **state)
{
    (void)state;
    struct redirects *all = redirects_new();
    struct target *t = NULL;
    redirects_tell(all, 0, 7, &t);
    uint64_t version = target_version(t);
    target_set_link(t, 12, 3);
    assert_int_not_equal(target_version(t), version);
    assert_int_equal(target_look(t).version, target_version(t));
    assert_int_equal(target_look(t).id, 12);
    assert_int_equal(target_look(t).generation, 3);
    assert_false(target_is_aimed_at(t));
    target_aim(t, true);
    target_aim(t, true);
    target_aim(t, false);
    assert_true(target_is_aimed_at(t));
    target_aim(t, false);
    assert_false(target_is_aimed_at(t));
    uint64_t first = target_ask(t), second = target_ask(t);
    assert_true(target_is_due(t));
    target_told(t, first);
    assert_true(target_is_due(t));
    assert_true(target_look(t).told >= first && target_look(t).told < second);
    target_told(t, second);
    assert_false(target_is_due(t));
    target_end(t);
    assert_true(target_look(t).gone);
    assert_int_equal(target_look(t).id, 0);
    target_unref(&t);
    redirects_free(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_last_one_told),
        cmocka_unit_test(test_so_many_numbers),
        cmocka_unit_test(test_those_gone),
        cmocka_unit_test(test_what_is_seen_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
