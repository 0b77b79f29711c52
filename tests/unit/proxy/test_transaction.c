/* What a transaction has said comes back frame by frame, and only the same answers pass. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/limits.h"
#include "proxy/transaction.h"

static const char *const said[][2] = {
    {"*1\r\n$5\r\nMULTI\r\n", "+OK\r\n"},
    {"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n", "+QUEUED\r\n"},
    {"PING\r\n", "+QUEUED\r\n"},
    {"*1\r\n$4\r\nNONE\r\n", "-ERR unknown command 'NONE'\r\n"},
    {"*2\r\n$4\r\nECHO\r\n$4\r\na\r\nb\r\n", "+QUEUED\r\n"},
};

static bool keep(struct transaction *t, const char *frame, const char *answer)
{
    struct slice bytes = slice_str(frame);
    char *to = transaction_keep(t, bytes.n, slice_str(answer));
    if (to != NULL) {
        memcpy(to, bytes.p, bytes.n);
    }
    return to != NULL;
}

static struct transaction *filled(void)
{
    struct transaction *t = transaction_new();
    for (size_t i = 1; i < ARRAY_LEN(said); i++) {
        assert_true(keep(t, said[i][0], said[i][1]));
    }
    return t;
}

static void test_frames_and_answers(void **state)
{
    (void)state;
    struct transaction *t = filled();
    struct transaction_at at = {0};
    struct slice frame, answer;
    for (size_t i = 0; i < ARRAY_LEN(said); i++) {
        assert_true(transaction_next(t, &at, &frame, &answer));
        assert_true(slice_eq(frame, slice_str(said[i][0])));
        assert_true(slice_eq(answer, slice_str(said[i][1])));
    }
    assert_false(transaction_next(t, &at, &frame, &answer));
    transaction_free(&t);
    assert_null(t);
}

static void test_only_the_same_answers(void **state)
{
    (void)state;
    for (size_t wrong = 0; wrong <= ARRAY_LEN(said); wrong++) {
        struct transaction *t = filled();
        for (int again = 0; again < 2; again++) {
            transaction_again(t);
            for (size_t i = 0; i < ARRAY_LEN(said) && i < wrong; i++) {
                assert_true(transaction_same(t, slice_str(said[i][1])));
            }
        }
        if (wrong < ARRAY_LEN(said)) {
            assert_false(transaction_same(t, slice_str("-ERR other\r\n")));
        } else {
            assert_false(transaction_same(t, slice_str("+QUEUED\r\n"))); /* one too many */
        }
        transaction_free(&t);
    }
}

/* It is kept up to the limit to a byte, and what is larger not at all. */
static void test_limit(void **state)
{
    (void)state;
    static const char answer[] = "+QUEUED\r\n";
    for (int over = 0; over < 2; over++) {
        struct transaction *t = transaction_new();
        size_t left = TRANSACTION_KEPT_MAX - strlen(said[0][0]) - strlen(said[0][1]);
        char *to = transaction_keep(t, left - strlen(answer) + (size_t)over, slice_str(answer));
        assert_true((to == NULL) == (over == 1));
        assert_true(t->whole == (over == 0));
        assert_false(keep(t, said[2][0], said[2][1]));
        assert_false(t->whole);
        assert_int_equal(transaction_held(t), 0);
        transaction_free(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames_and_answers),
        cmocka_unit_test(test_only_the_same_answers),
        cmocka_unit_test(test_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
