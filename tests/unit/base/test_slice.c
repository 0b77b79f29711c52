#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/base/slice.h"

static void compares(void **state)
{
    struct slice none = {0};
    (void)state;
    assert_true(slice_eq(none, slice_str("")));
    assert_true(slice_eq(slice_of("a\0b", 3), slice_of("a\0b", 3)));
    assert_false(slice_eq(slice_of("a\0b", 3), slice_of("a\0c", 3)));
    assert_false(slice_eq(slice_str("a"), slice_str("ab")));
    assert_true(slice_eq_nocase(slice_str("SeT"), "sEt"));
    assert_false(slice_eq_nocase(slice_str("set"), "sets"));
    assert_false(slice_eq_nocase(slice_of("se\0t", 4), "se"));
    assert_false(slice_eq_nocase(slice_of("s\0t", 3), "set"));
    assert_true(slice_eq_nocase(none, ""));
    assert_true(slice_starts_with(slice_str("READONLY x"), "READONLY"));
    assert_true(slice_starts_with(slice_str("a"), ""));
    assert_false(slice_starts_with(slice_str("READ"), "READONLY"));
    assert_false(slice_starts_with(slice_str("readonly"), "READONLY"));
}

static void numbers(void **state)
{
    static const struct {
        const char *text;
        int64_t value;
    } valid[] = {
        {"0", 0},
        {"7", 7},
        {"-1", -1},
        {"10", 10},
        {"9223372036854775807", INT64_MAX},
        {"-9223372036854775808", INT64_MIN},
        {"-9223372036854775807", -INT64_MAX},
    };
    static const char *const invalid[] = {"",
                                          "-",
                                          "+1",
                                          "01",
                                          "-0",
                                          "-01",
                                          "00",
                                          " 1",
                                          "1 ",
                                          "1x",
                                          "x",
                                          "1.0",
                                          "--1",
                                          "1-",
                                          "0x1",
                                          "\xb2",
                                          "1\n",
                                          "9223372036854775808",
                                          "-9223372036854775809",
                                          "92233720368547758070",
                                          "18446744073709551617"};
    int64_t value;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(valid); i++) {
        value = 42;
        assert_true(slice_to_i64(slice_str(valid[i].text), INT64_MIN, INT64_MAX, &value));
        assert_true(value == valid[i].value);
    }
    for (size_t i = 0; i < ARRAY_LEN(invalid); i++) {
        value = 42;
        if (slice_to_i64(slice_str(invalid[i]), INT64_MIN, INT64_MAX, &value) || value != 42) {
            fail_msg("'%s' was taken for a number", invalid[i]);
        }
    }
    assert_false(slice_to_i64((struct slice){0}, INT64_MIN, INT64_MAX, &value));
}

static void number_ranges(void **state)
{
    int64_t value = 42;
    (void)state;
    assert_true(slice_to_i64(slice_str("65535"), 1, 65535, &value));
    assert_true(slice_to_i64(slice_str("1"), 1, 65535, &value));
    assert_int_equal(value, 1);
    assert_false(slice_to_i64(slice_str("0"), 1, 65535, &value));
    assert_false(slice_to_i64(slice_str("65536"), 1, 65535, &value));
    assert_false(slice_to_i64(slice_str("-1"), 0, 10, &value));
    assert_int_equal(value, 1);
}

/* Every number near a power of ten, against the C library's own writing. */
static void numbers_round_trip(void **state)
{
    (void)state;
    for (int64_t power = 1; power < INT64_MAX / 10; power *= 10) {
        for (int64_t n = power - 2; n <= power + 2; n++) {
            char text[32];
            int64_t value;
            (void)snprintf(text, sizeof text, "%lld", (long long)n);
            assert_true(slice_to_i64(slice_str(text), INT64_MIN, INT64_MAX, &value));
            assert_true(value == n);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compares),
        cmocka_unit_test(numbers),
        cmocka_unit_test(number_ranges),
        cmocka_unit_test(numbers_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
