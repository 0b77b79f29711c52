/* The time of a blocking command: found where the server finds it, and replaced by less without
 * touching another byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/resp/emit.h"
#include "proxy/resp/scan.h"
#include "proxy/timeout.h"

#define NONE UINT64_MAX

static const struct {
    const char *line;
    uint64_t ms;
    const char *with_1234; /* the line with 1234 ms; NULL: as it was */
} rows[] = {
    {"BLPOP q 5", 5000, "BLPOP q 1.234"},
    {"BLPOP a b c d e f g h i j 0.5", 500, "BLPOP a b c d e f g h i j 1.234"},
    {"brpop 5 5", 5000, "brpop 5 1.234"},
    {"BLPOP q 0", 0, "BLPOP q 1.234"},
    {"BLPOP q 0.0000001", 1, "BLPOP q 1.234"},
    {"BLPOP q 0.0015", 2, "BLPOP q 1.234"},
    {"BLPOP q 1e1", 10000, "BLPOP q 1.234"},
    {"BZPOPMIN q r 1.5", 1500, "BZPOPMIN q r 1.234"},
    {"BZPOPMAX q 2", 2000, "BZPOPMAX q 1.234"},
    {"BRPOPLPUSH a b 3", 3000, "BRPOPLPUSH a b 1.234"},
    {"BLMOVE a b LEFT RIGHT 4", 4000, "BLMOVE a b LEFT RIGHT 1.234"},
    {"BLMPOP 5 1 q LEFT COUNT 7", 5000, "BLMPOP 1.234 1 q LEFT COUNT 7"},
    {"BZMPOP 0 1 q MIN", 0, "BZMPOP 1.234 1 q MIN"},
    {"XREAD BLOCK 700 STREAMS s $", 700, "XREAD BLOCK 1234 STREAMS s $"},
    {"XREAD COUNT 2 block 0 STREAMS s 0", 0, "XREAD COUNT 2 block 1234 STREAMS s 0"},
    {"XREAD BLOCK 1 BLOCK 2 STREAMS s 0", 2, "XREAD BLOCK 1 BLOCK 1234 STREAMS s 0"},
    {"XREADGROUP GROUP BLOCK BLOCK COUNT 9 NOACK BLOCK 50 STREAMS a b > >", 50,
     "XREADGROUP GROUP BLOCK BLOCK COUNT 9 NOACK BLOCK 1234 STREAMS a b > >"},
    {"WAIT 1 300", 300, "WAIT 1 1234"},
    {"WAITAOF 1 1 300", 300, "WAITAOF 1 1 1234"},
    /* not understood, or without a time: the server's */
    {"BLPOP q x", NONE, NULL},
    {"BLPOP q -1", NONE, NULL},
    {"BLPOP q nan", NONE, NULL},
    {"BLPOP q inf", NONE, NULL},
    {"BLPOP q 1x", NONE, NULL},
    {"BLPOP q 99999999999999999", NONE, NULL},
    {"BLPOP 1", NONE, NULL},
    {"BLMOVE a b LEFT 1", NONE, NULL},
    {"WAIT 1 1.5", NONE, NULL},
    {"WAIT 1 01", NONE, NULL},
    {"WAIT 1 -1", NONE, NULL},
    {"XREAD STREAMS BLOCK 5", NONE, NULL},
    {"XREAD COUNT BLOCK STREAMS s 0", NONE, NULL},
    {"XREADGROUP GROUP g BLOCK STREAMS s >", NONE, NULL},
    {"LPOP q 5", NONE, NULL},
    {"NOSUCH q 5", NONE, NULL},
    {"SET q 5", NONE, NULL},
};

/* The words of a line that are parted by single spaces, as a multibulk. */
static void put_words(struct buf *out, const char *line)
{
    struct slice words[16];
    size_t count = 0;
    for (const char *p = line; *p != '\0';) {
        size_t n = strcspn(p, " ");
        words[count++] = slice_of(p, n);
        p += n + (p[n] == ' ');
    }
    emit_command(out, words, count);
}

static const struct command *command_of(struct slice frame)
{
    struct args args;
    assert_int_equal(args_parse(frame, &args), ARGS_OK);
    const struct command *command = command_lookup(&args);
    args_free(&args);
    return command;
}

static void assert_same(const struct buf *is, const struct buf *want)
{
    assert_int_equal(buf_len(is), buf_len(want));
    assert_memory_equal(buf_head(is), buf_head(want), buf_len(want));
}

static void check(struct slice frame, uint64_t ms, const struct buf *want)
{
    const struct command *command = command_of(frame);
    uint64_t found = NONE;
    struct buf out = {0};
    assert_int_equal(timeout_of(command, frame, &found), ms != NONE);
    assert_int_equal(found, ms);
    assert_int_equal(timeout_put(command, frame, 1234, &out), want != NULL);
    if (want != NULL) {
        assert_same(&out, want);
    } else {
        assert_int_equal(buf_len(&out), 0);
    }
    buf_release(&out);
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf frame = {0}, want = {0}, line = {0};
        put_words(&frame, rows[i].line);
        if (rows[i].with_1234 != NULL) {
            put_words(&want, rows[i].with_1234);
        }
        check(buf_slice(&frame), rows[i].ms, rows[i].with_1234 != NULL ? &want : NULL);
        buf_printf(&line, "%s\r\n", rows[i].line);
        check(buf_slice(&line), rows[i].ms, rows[i].with_1234 != NULL ? &want : NULL);
        buf_release(&frame);
        buf_release(&want);
        buf_release(&line);
    }
}

/* Bytes that Redis passes unread stay as they are. */
static void test_odd_line_ends(void **state)
{
    (void)state;
    struct slice odd = slice_str("*3\r\n$5\r\nBLPOP\r\n$1\rXqYZ$1\r$5!!");
    struct buf want = {0};
    buf_append_str(&want, "*3\r\n$5\r\nBLPOP\r\n$1\rXqYZ$5\r\n1.234!!");
    check(odd, 5000, &want);
    buf_release(&want);
}

static void test_never_for_ever(void **state)
{
    (void)state;
    struct slice pop = slice_str("*3\r\n$5\r\nBLPOP\r\n$1\r\nq\r\n$1\r\n5\r\n");
    struct slice wait = slice_str("*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$1\r\n5\r\n");
    struct buf out = {0};
    assert_true(timeout_put(command_of(pop), pop, 0, &out));
    assert_memory_equal(buf_head(&out) + buf_len(&out) - 7, "0.001\r\n", 7);
    buf_release(&out);
    assert_true(timeout_put(command_of(wait), wait, 0, &out));
    assert_memory_equal(buf_head(&out) + buf_len(&out) - 7, "$1\r\n1\r\n", 7);
    buf_release(&out);
}

int main(void)
{
    command_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_odd_line_ends),
        cmocka_unit_test(test_never_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
