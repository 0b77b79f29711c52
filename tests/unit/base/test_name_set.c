#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "proxy/base/held.h"
#include "proxy/base/name_set.h"

#define MANY 3000u

static struct slice numbered(unsigned i, char *room, size_t size)
{
    return slice_of(room, (size_t)snprintf(room, size, "name-%u", i));
}

static uint32_t walked(const struct name_set *set)
{
    uint32_t n = 0;
    for (const struct name *name = name_set_next(set, NULL); name != NULL;
         name = name_set_next(set, name)) {
        n++;
    }
    return n;
}

static void each_once(void **state)
{
    struct name_set set = {0};
    (void)state;
    assert_null(name_set_next(&set, NULL));
    assert_false(name_set_has(&set, slice_str("a")));
    assert_false(name_set_remove(&set, slice_str("a")));
    assert_true(name_set_add(&set, slice_str("a")));
    assert_false(name_set_add(&set, slice_str("a")));
    assert_true(name_set_add(&set, slice_str("")));
    assert_true(name_set_add(&set, slice_of("a\0b", 3)));
    assert_int_equal(set.count, 3);
    assert_int_equal(walked(&set), 3);
    assert_true(name_set_has(&set, slice_of("a\0b", 3)));
    assert_false(name_set_has(&set, slice_of("a\0c", 3)));
    assert_true(name_set_remove(&set, slice_str("a")));
    assert_false(name_set_has(&set, slice_str("a")));
    assert_false(name_set_remove(&set, slice_str("a")));
    assert_true(name_set_remove(&set, slice_str("")));
    assert_true(slice_eq(name_slice(name_set_next(&set, NULL)), slice_of("a\0b", 3)));
    name_set_clear(&set);
    assert_int_equal(set.count, 0);
}

static void many_names(void **state)
{
    struct name_set set = {0};
    int64_t before = held_by_thread;
    char room[32];
    (void)state;
    for (unsigned i = 0; i < MANY; i++) {
        assert_true(name_set_add(&set, numbered(i, room, sizeof room)));
    }
    for (unsigned i = 0; i < MANY; i += 2) {
        assert_true(name_set_remove(&set, numbered(i, room, sizeof room)));
    }
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(name_set_add(&set, numbered(i, room, sizeof room)), i % 2 == 0);
    }
    assert_int_equal(walked(&set), MANY);
    assert_int_equal(held_by_thread - before, (int64_t)set.bytes);
    name_set_clear(&set);
    assert_int_equal(held_by_thread, before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_once), cmocka_unit_test(many_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
