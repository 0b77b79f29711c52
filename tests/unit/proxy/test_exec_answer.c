/* Where EXEC's answer ends, and how each command was answered, however it comes in pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/exec_answer.h"

#define SUB(name, count)    "*3\r\n$9\r\nsubscribe\r\n$1\r\n" name "\r\n:" count "\r\n"
#define PUSHED(name, count) ">3\r\n$9\r\nsubscribe\r\n$1\r\n" name "\r\n:" count "\r\n"
#define UNSUB(name, count)  "*3\r\n$11\r\nunsubscribe\r\n$1\r\n" name "\r\n:" count "\r\n"
#define MESSAGE             "3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n"
#define LINE                "+1795265335.214416 [0 127.0.0.1:1] \"PING\"\r\n"

struct row {
    const char *said[4];
    const char *answer;
    const char *types;
    uint32_t channels, behind; /* on the connection, before and behind it */
    enum exec_state state;
    bool resp3, monitor;
};

static const struct row rows[] = {
    {{"GET k\r\n", "INCR n\r\n"}, "*2\r\n$-1\r\n-ERR no\r\n", "$-", 0, 0, EXEC_DONE, false, false},
    {{NULL}, "*0\r\n", "", 0, 0, EXEC_DONE, false, false},
    {{"GET k\r\n"}, "*-1\r\n", "", 0, 0, EXEC_DONE, false, false},
    {{"GET k\r\n"}, "*2\r\n+OK\r\n", "+", 0, 0, EXEC_DONE, false, false},
    {{"GET k\r\n"}, "*1\r\n+OK\r\n+OK\r\n", "+", 0, 0, EXEC_BROKEN, false, false},
    {{"GET k\r\n", "GET k\r\n"}, "*2\r\n+OK\r\n", "+", 0, 0, EXEC_MORE, false, false},
    {{"SUBSCRIBE a b\r\n", "GET k\r\n"},
     "*2\r\n" SUB("a", "1") SUB("b", "2") "+x\r\n",
     "*+",
     0,
     2,
     EXEC_DONE,
     false,
     false},
    {{"subscribe a a\r\n"},
     "*1\r\n" SUB("a", "1") SUB("a", "1"),
     "*",
     0,
     1,
     EXEC_DONE,
     false,
     false},
    {{"SUBSCRIBE a\r\n"}, "*1\r\n" SUB("a", "3"), "*", 0, 0, EXEC_BROKEN, false, false},
    {{"SUBSCRIBE a\r\n"}, "*1\r\n:1\r\n", ":", 0, 0, EXEC_BROKEN, false, false},
    {{"SUBSCRIBE a\r\n"}, "*1\r\n" UNSUB("a", "0"), "*", 0, 0, EXEC_BROKEN, false, false},
    {{"SUBSCRIBE a b\r\n"}, "*1\r\n-NOPERM\r\n", "-", 0, 0, EXEC_DONE, false, false},
    {{"SUBSCRIBE a b\r\n"},
     "*1\r\n" SUB("a", "1") "-ERR\r\n",
     "*",
     0,
     1,
     EXEC_BROKEN,
     false,
     false},
    {{"SUBSCRIBE a b\r\n"}, "*1\r\n" SUB("a", "1"), "*", 0, 1, EXEC_MORE, false, false},
    {{"UNSUBSCRIBE\r\n"},
     "*1\r\n" UNSUB("a", "1") UNSUB("b", "0"),
     "*",
     2,
     0,
     EXEC_DONE,
     true,
     false},
    {{"UNSUBSCRIBE\r\n"},
     "*1\r\n*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n",
     "*",
     0,
     0,
     EXEC_DONE,
     false,
     false},
    /* what answers nothing */
    {{"SUBSCRIBE a\r\n", "PUBLISH a x\r\n"},
     "*2\r\n" PUSHED("a", "1") ">" MESSAGE ":1\r\n",
     ">:",
     0,
     1,
     EXEC_DONE,
     true,
     false},
    {{"PUBLISH a x\r\n"},
     "*1\r\n>" MESSAGE ">" MESSAGE ":1\r\n",
     ":",
     1,
     1,
     EXEC_DONE,
     true,
     false},
    {{"PING\r\n"}, "*1\r\n" LINE "+PONG\r\n", "+", 0, 0, EXEC_DONE, false, true},
    {{"PING\r\n"}, "*1\r\n" LINE, "+", 0, 0, EXEC_DONE, false, false},
    /* what may be pushed, or not */
    {{"SUBSCRIBE a\r\n", "GET k\r\n"},
     "*2\r\n" SUB("a", "1") "*" MESSAGE,
     "*",
     0,
     1,
     EXEC_UNSURE,
     false,
     false},
    {{"GET k\r\n"}, "*1\r\n*" MESSAGE, "*", 0, 0, EXEC_DONE, false, false},
    {{"GET k\r\n"}, "*1\r\n*" MESSAGE, "*", 1, 1, EXEC_DONE, true, false},
    {{"HELLO 3\r\n", "SUBSCRIBE a\r\n", "GET k\r\n"},
     "*3\r\n%0\r\n" PUSHED("a", "1") "*" MESSAGE,
     "%>*",
     0,
     1,
     EXEC_DONE,
     false,
     false},
    {{"HELLO 2\r\n", "GET k\r\n"}, "*2\r\n*0\r\n*" MESSAGE, "*", 1, 1, EXEC_UNSURE, true, false},
    {{"HELLO 4\r\n", "GET k\r\n"},
     "*2\r\n-NOPROTO\r\n*" MESSAGE,
     "-*",
     1,
     1,
     EXEC_DONE,
     true,
     false},
};

static struct transaction *queued(const char *const *said)
{
    struct transaction *t = transaction_new();
    for (size_t i = 0; i < 4 && said[i] != NULL; i++) {
        const char *frames[] = {"NOSUCH\r\n", said[i]};
        const char *answers[] = {"-ERR unknown command\r\n", "+QUEUED\r\n"};
        for (size_t j = 0; j < ARRAY_LEN(frames); j++) {
            size_t n = strlen(frames[j]);
            char *to = transaction_keep(t, n, slice_str(answers[j]));
            assert_non_null(to);
            memcpy(to, frames[j], n);
        }
    }
    return t;
}

/* In pieces of that many bytes. */
static void check_in_pieces(const struct row *row, const struct transaction *t, size_t step)
{
    struct slice all = slice_str(row->answer);
    struct pubsub_counts counts = {{row->channels}};
    struct exec_answer *a = exec_answer_new(&counts, row->resp3, row->monitor);
    enum exec_state got = EXEC_MORE;
    for (size_t at = 0; at < all.n; at += step) {
        size_t n = all.n - at < step ? all.n - at : step;
        got = exec_answer_feed(a, t, slice_of(all.p + at, n));
    }
    if (got != row->state || a->counts.of[PUBSUB_CHANNEL] != row->behind ||
        !slice_eq(buf_slice(&a->types), slice_str(row->types))) {
        fail_msg("%s in pieces of %zu: %d %u", row->answer, step, (int)got,
                 a->counts.of[PUBSUB_CHANNEL]);
    }
    exec_answer_free(a);
}

static void test_answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct transaction *t = queued(rows[i].said);
        for (size_t step = 1; step <= strlen(rows[i].answer); step++) {
            check_in_pieces(&rows[i], t, step);
        }
        transaction_free(&t);
    }
}

/* limit: REPLY_BUFFER_MAX. A longer confirmation is not looked at as a whole. */
static void test_large_name(void **state)
{
    (void)state;
    static const char begun[] = "*1\r\n*3\r\n$9\r\nsubscribe\r\n$70000\r\n";
    static const char *const said[4] = {"SUBSCRIBE a\r\n"};
    struct transaction *t = queued(said);
    struct exec_answer *a = exec_answer_new(&(struct pubsub_counts){{0}}, false, false);
    assert_int_equal(exec_answer_feed(a, t, slice_str(begun)), EXEC_MORE);
    char part[1000];
    memset(part, 'x', sizeof part);
    enum exec_state got = EXEC_MORE;
    size_t n = 0;
    for (; got == EXEC_MORE && n < 70000; n += sizeof part) {
        got = exec_answer_feed(a, t, slice_of(part, sizeof part));
    }
    assert_int_equal(got, EXEC_UNSURE);
    assert_in_range(n, 65000, 66000);
    exec_answer_free(a);
    transaction_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_large_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
