/* Rounds and offsets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sentinel/history.h"

static bool add(struct history *h, uint64_t number, int64_t offset)
{
    return history_add(
        h, &(struct round){.number = number, .begun_ms = number * 50, .offset = offset});
}

static uint64_t caught(const struct history *h, int64_t offset)
{
    const struct round *r = history_caught(h, offset);
    return r == NULL ? 0 : r->number;
}

static void the_latest_round_counts(void **state)
{
    struct history h = {0};
    (void)state;
    assert_int_equal(caught(&h, 100), 0);
    assert_true(add(&h, 3, 100));
    assert_true(add(&h, 4, 150));
    assert_true(add(&h, 7, 151));
    assert_int_equal(caught(&h, -1), 0);
    assert_int_equal(caught(&h, 99), 0);
    assert_int_equal(caught(&h, 100), 3);
    assert_int_equal(caught(&h, 149), 3);
    assert_int_equal(caught(&h, 150), 4);
    assert_int_equal(caught(&h, 151), 7);
    assert_int_equal(caught(&h, INT64_MAX), 7);
}

static void rounds_without_a_write_are_one(void **state)
{
    struct history h = {0};
    (void)state;
    for (uint64_t i = 1; i <= 3 * (uint64_t)ROUNDS_KEPT; i++) {
        assert_true(add(&h, i, i == 1 ? 10 : 20));
    }
    assert_int_equal(h.count, 2);
    assert_int_equal(caught(&h, 20), 3 * (uint64_t)ROUNDS_KEPT);
    assert_int_equal(caught(&h, 19), 1);
}

static void an_offset_that_falls_is_refused(void **state)
{
    struct history h = {0};
    (void)state;
    assert_true(add(&h, 1, 100));
    assert_false(add(&h, 2, 99));
    assert_int_equal(h.count, 1);
    assert_int_equal(caught(&h, 99), 0);
    assert_int_equal(caught(&h, 100), 1);
}

/* An hour of writes: what is told is never later than the truth, exact for the
 * last second, and off by a twentieth of the age before that. */
static void old_rounds_are_thinned_out(void **state)
{
    enum { HOUR = 72000 };
    static struct history h;
    (void)state;
    for (uint64_t i = 1; i <= HOUR; i++) {
        assert_true(add(&h, i, (int64_t)i));
        assert_true(h.count <= ROUNDS_KEPT);
    }
    for (int64_t i = 1; i <= HOUR; i++) {
        uint64_t told = caught(&h, i), age = (uint64_t)(HOUR - i);
        assert_true(told <= (uint64_t)i);
        assert_true((uint64_t)i - told <= age / 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_latest_round_counts),
        cmocka_unit_test(rounds_without_a_write_are_one),
        cmocka_unit_test(an_offset_that_falls_is_refused),
        cmocka_unit_test(old_rounds_are_thinned_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
