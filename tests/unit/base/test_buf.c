#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/base/buf.h"
#include "proxy/base/held.h"

static void assert_holds(const struct buf *b, const char *want)
{
    assert_true(slice_eq(buf_slice(b), slice_str(want)));
}

static void empty_owns_nothing(void **state)
{
    struct buf b = {0};
    (void)state;
    assert_int_equal(buf_len(&b), 0);
    assert_null(buf_head(&b));
    buf_append(&b, (struct slice){0});
    buf_append_str(&b, "");
    assert_null(b.data);
    buf_consume(&b, 0);
    buf_release(&b);
    buf_wipe(&b);
}

static void appends_and_consumes(void **state)
{
    struct buf b = {0};
    (void)state;
    buf_append_str(&b, "hello ");
    buf_append(&b, slice_of("wo\0rld", 6));
    assert_int_equal(buf_len(&b), 12);
    buf_consume(&b, 6);
    assert_true(slice_eq(buf_slice(&b), slice_of("wo\0rld", 6)));
    buf_consume(&b, 6);
    assert_int_equal(buf_len(&b), 0);
    assert_int_equal(b.begin, 0);
    buf_append_str(&b, "again");
    assert_holds(&b, "again");
    buf_release(&b);
    assert_null(b.data);
    assert_int_equal(b.cap, 0);
    buf_append_str(&b, "and again");
    assert_holds(&b, "and again");
    buf_release(&b);
}

static void prints(void **state)
{
    struct buf b = {0};
    char long_text[1000];
    (void)state;
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    buf_printf(&b, "%s:%u", "host", 1u);
    assert_holds(&b, "host:1");
    buf_printf(&b, "%s", "");
    assert_holds(&b, "host:1");
    buf_consume(&b, 5);
    buf_printf(&b, "%s.", long_text);
    assert_int_equal(buf_len(&b), 1001);
    assert_int_equal(buf_head(&b)[0], '1');
    assert_int_equal(buf_head(&b)[1000], '.');
    buf_release(&b);
}

static void reserve_and_commit(void **state)
{
    struct buf b = {0};
    (void)state;
    char *at = buf_reserve(&b, 10);
    memset(at, 'a', 10);
    buf_commit(&b, 4);
    assert_holds(&b, "aaaa");
    buf_commit(&b, 0);
    /* Room is found at the front before memory grows. */
    size_t cap = b.cap;
    memset(buf_reserve(&b, cap - 4), 'x', cap - 4);
    buf_commit(&b, cap - 4);
    buf_consume(&b, cap - 2);
    (void)buf_reserve(&b, cap - 2);
    assert_int_equal(b.cap, cap);
    assert_holds(&b, "xx");
    (void)buf_reserve(&b, cap);
    assert_true(b.cap > cap);
    assert_holds(&b, "xx");
    buf_release(&b);
}

/* A long random course beside a plain model: the bytes are those of a counter, so that the model
 * is two numbers. */
static void long_course(void **state)
{
    struct buf b = {0};
    uint64_t in = 0, out = 0;
    uint32_t seed = 1;
    (void)state;
    for (int round = 0; round < 20000; round++) {
        seed = seed * 1103515245u + 12345u;
        size_t n = (seed >> 16) % 300;
        char *at = buf_reserve(&b, n);
        for (size_t i = 0; i < n; i++) {
            at[i] = (char)(in++ * 7);
        }
        buf_commit(&b, n);
        seed = seed * 1103515245u + 12345u;
        size_t drop = (seed >> 16) % 310;
        drop = drop < buf_len(&b) ? drop : buf_len(&b);
        for (size_t i = 0; i < drop; i++) {
            assert_int_equal(buf_head(&b)[i], (char)(out++ * 7));
        }
        buf_consume(&b, drop);
        assert_int_equal(buf_len(&b), in - out);
    }
    assert_true(b.cap < 1 << 20);
    buf_wipe(&b);
    assert_null(b.data);
}

static void what_is_held_is_counted(void **state)
{
    struct buf b = {0};
    int64_t before = held_by_thread;
    (void)state;
    (void)buf_reserve(&b, 5000);
    assert_int_equal(held_by_thread - before, b.cap);
    (void)buf_reserve(&b, 100000);
    assert_int_equal(held_by_thread - before, b.cap);
    buf_commit(&b, 100000);
    struct buf moved = b;
    buf_consume(&moved, 100000);
    assert_int_equal(held_by_thread - before, moved.cap);
    buf_wipe(&moved);
    assert_int_equal(held_by_thread, before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_owns_nothing),
        cmocka_unit_test(appends_and_consumes),
        cmocka_unit_test(prints),
        cmocka_unit_test(reserve_and_commit),
        cmocka_unit_test(long_course),
        cmocka_unit_test(what_is_held_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
