#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/resp/emit.h"

static void check_bytes(struct buf *b, struct slice want)
{
    assert_int_equal(buf_len(b), want.n);
    assert_memory_equal(buf_head(b), want.p, want.n);
    buf_release(b);
}

static void commands(void **state)
{
    struct buf b = {0};
    const struct slice argv[] = {slice_str("SET"), slice_of("\0\r\n", 3), {NULL, 0}};
    (void)state;
    emit_command(&b, argv, 3);
    check_bytes(&b, slice_of("*3\r\n$3\r\nSET\r\n$3\r\n\0\r\n\r\n$0\r\n\r\n", 28));
    emit_command(&b, NULL, 0);
    check_bytes(&b, slice_str("*0\r\n"));
}

static void words(void **state)
{
    struct buf b = {0};
    (void)state;
    emit_words(&b, "ROLE", NULL);
    emit_words(&b, "SELECT", "10", "", NULL);
    check_bytes(&b, slice_str("*1\r\n$4\r\nROLE\r\n*3\r\n$6\r\nSELECT\r\n$2\r\n10\r\n$0\r\n\r\n"));
}

static void errors(void **state)
{
    struct buf b = {0};
    (void)state;
    emit_error(&b, "ERR 100% wrong");
    emit_error(&b, "LOADING x");
    check_bytes(&b, slice_str("-ERR 100% wrong\r\n-LOADING x\r\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands),
        cmocka_unit_test(words),
        cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
