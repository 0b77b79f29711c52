#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/base/buf.h"
#include "proxy/resp/scan.h"

#define ELEMENTS_MAX 100

/* What a scanner is to say of the first reply of a text. */
struct expected {
    const char *text;
    size_t n, used;
    enum scan_result result;
    char type;
};

struct seen {
    enum scan_result result;
    uint64_t length;
    char type;
};

/* Feeds text whole (cut 0), in two parts, or byte by byte (cut SIZE_MAX). */
static struct seen scan_cut(struct slice text, size_t cut)
{
    struct reply_scan s;
    enum scan_result result = SCAN_MORE;
    reply_scan_reset(&s, ELEMENTS_MAX);
    for (size_t at = 0, used; at < text.n && result == SCAN_MORE; at += used) {
        size_t n = cut == SIZE_MAX ? 1 : at < cut ? cut - at : text.n - at;
        result = reply_scan_feed(&s, slice_of(text.p + at, n), &used);
        assert_true(used <= n && (result != SCAN_MORE || used == n));
        assert_int_equal(s.length, at + used);
    }
    return (struct seen){result, s.length, s.type};
}

static void check_seen(const struct expected *want, struct seen got, size_t cut)
{
    if (got.result != want->result || got.length != want->used || got.type != want->type) {
        fail_msg("%s, cut at %zu: result %d, used %zu, type %c", want->text, cut, (int)got.result,
                 (size_t)got.length, got.type);
    }
}

static void check_every_split(const struct expected *want)
{
    struct slice text = slice_of(want->text, want->n);
    for (size_t cut = 0; cut <= text.n; cut++) {
        check_seen(want, scan_cut(text, cut), cut);
    }
    check_seen(want, scan_cut(text, SIZE_MAX), SIZE_MAX);
    const char *next = reply_whole(text.p, text.p + text.n);
    if (next != NULL && (want->result != SCAN_DONE || (size_t)(next - text.p) != want->used ||
                         strchr("$+:_,#(", want->type) == NULL)) {
        fail_msg("%s: %td bytes at once", want->text, next - text.p);
    }
}

static void taken_at_once(void **state)
{
    (void)state;
    static const char *const whole[] = {
        "+OK\r\n",  ":-12\r\n", "$0\r\n\r\n", "$3\r\nabc\r\n",     "$-1\r\n", "_\r\n",
        ",1.5\r\n", "#t\r\n",   "(123\r\n",   "$5\r\na\r\nbc\r\n", "+\r\n"};
    static const char *const left[] = {
        "-ERR no\r\n",  "*0\r\n", "*1\r\n:1\r\n",   "%0\r\n",
        ">1\r\n+x\r\n", "~0\r\n", "!3\r\nERR\r\n",  "=7\r\ntxt:abc\r\n",
        "|0\r\n+x\r\n", "x\r\n",  "$03\r\nabc\r\n", "$3\r\nabcd\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(whole); i++) {
        const char *end = whole[i] + strlen(whole[i]);
        assert_ptr_equal(reply_whole(whole[i], end), end);
        for (const char *cut = whole[i]; cut < end; cut++) {
            assert_null(reply_whole(whole[i], cut));
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(left); i++) {
        assert_null(reply_whole(left[i], left[i] + strlen(left[i])));
    }
}

#define ROW(literal, outcome, at, kind)                                                            \
    {                                                                                              \
        .text = (literal), .n = sizeof(literal) - 1, .result = (outcome), .used = (at),            \
        .type = (kind)                                                                             \
    }
#define DONE(literal, kind)      ROW(literal, SCAN_DONE, sizeof(literal) - 1, kind)
#define MORE(literal, kind)      ROW(literal, SCAN_MORE, sizeof(literal) - 1, kind)
#define FAILS(literal, at, kind) ROW(literal, SCAN_ERROR, at, kind)

static void valid_replies(void **state)
{
    static const struct expected rows[] = {
        DONE("+OK\r\n", '+'),
        DONE("+\r\n", '+'),
        DONE("-ERR a text longer than what is looked at by hand\r\n", '-'),
        DONE(":-1\r\n", ':'),
        DONE("$5\r\nhello\r\n", '$'),
        DONE("$0\r\n\r\n", '$'),
        DONE("$-1\r\n", '$'),
        DONE("$6\r\n\r\n+\r\n.\r\n", '$'),
        DONE("$12\r\n123456789012\r\n", '$'),
        DONE("*-1\r\n", '*'),
        DONE("*0\r\n", '*'),
        DONE("*2\r\n$1\r\na\r\n*2\r\n:1\r\n*-1\r\n", '*'),
        DONE("*3\r\n*1\r\n*1\r\n*0\r\n+a\r\n$-1\r\n", '*'),
        DONE("*12\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n",
             '*'),
        /* RESP3 */
        DONE("_\r\n", '_'),
        DONE("#t\r\n", '#'),
        DONE(",-inf\r\n", ','),
        DONE("(3492890328409238509324850943850943825024385\r\n", '('),
        DONE("!10\r\nERR a\r\nb c\r\n", '!'),
        DONE("=7\r\ntxt:abc\r\n", '='),
        DONE("%0\r\n", '%'),
        DONE("%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n_\r\n", '%'),
        DONE("~2\r\n+a\r\n+b\r\n", '~'),
        DONE(">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n", '>'),
        DONE(">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n", '>'),
        /* An attribute belongs to what it precedes, on every level. */
        DONE("|1\r\n+ttl\r\n:3600\r\n$1\r\nv\r\n", '$'),
        DONE("|0\r\n+OK\r\n", '+'),
        DONE("|1\r\n+a\r\n|1\r\n+b\r\n+c\r\n+d\r\n|1\r\n+e\r\n%0\r\n*1\r\n|1\r\n+f\r\n+g\r\n:1\r\n",
             '*'),
        /* A lone CR or LF does not end a text. */
        DONE("+a\rb\nc\r\n", '+'),
        DONE("-a\r\r\n", '-'),
        DONE("+a\r\r\rb\r\n", '+'),
        /* As many elements as allowed. */
        MORE("*99\r\n", '*'),
        MORE("%49\r\n", '%'),
        MORE("*2\r\n*48\r\n", '*'),
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        check_every_split(&rows[i]);
    }
}

static void unfinished_replies(void **state)
{
    static const struct expected rows[] = {
        MORE("+OK\r", '+'),
        MORE("+OK\n", '+'),
        MORE("$", '$'),
        MORE("$-", '$'),
        MORE("$-1", '$'),
        MORE("$-1\r", '$'),
        MORE("$3\r\nabc", '$'),
        MORE("$3\r\nabc\r", '$'),
        MORE("$999999999999999999\r\nabc", '$'),
        MORE("*2\r\n:1\r\n", '*'),
        MORE("|1\r\n+a\r\n+b\r\n", 0),
        MORE("%1\r\n+a\r\n", '%'),
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        check_every_split(&rows[i]);
    }
}

static void refused_replies(void **state)
{
    static const struct expected rows[] = {
        FAILS("PONG\r\n", 1, 'P'),
        FAILS("\r\n", 1, '\r'),
        FAILS("$?\r\n", 2, '$'),
        FAILS("*?\r\n", 2, '*'),
        FAILS("$\r\n", 2, '$'),
        FAILS("$-\r\n", 3, '$'),
        FAILS("$-2\r\n", 5, '$'),
        FAILS("$-0\r\n", 5, '$'),
        FAILS("$01\r\n", 3, '$'),
        FAILS("$-01\r\n", 4, '$'),
        FAILS("$--1\r\n", 3, '$'),
        FAILS("$1-\r\n", 3, '$'),
        FAILS("$+1\r\n", 2, '$'),
        FAILS("$1 \r\n", 3, '$'),
        FAILS("$1000000000000000000\r\n", 20, '$'),
        FAILS("$3\rxabc\r\n", 4, '$'),
        FAILS("$3\r\nabcd\r\n", 8, '$'),
        FAILS("$3\r\nabc\rx", 9, '$'),
        FAILS("$0\r\nx\r\n", 5, '$'),
        FAILS("%-1\r\n", 5, '%'),
        FAILS("~-1\r\n", 5, '~'),
        FAILS(">-1\r\n", 5, '>'),
        FAILS("!-1\r\n", 5, '!'),
        FAILS("=-1\r\n", 5, '='),
        FAILS("|-1\r\n", 5, 0),
        FAILS("*1\r\n.\r\n", 5, '*'),
        /* More elements than allowed, at once or in parts. */
        FAILS("*100\r\n", 6, '*'),
        FAILS("%50\r\n", 5, '%'),
        FAILS("|50\r\n", 5, 0),
        FAILS("*2\r\n*98\r\n", 9, '*'),
        FAILS("*999999999999999999\r\n", 21, '*'),
        FAILS("%999999999999999999\r\n", 21, '%'),
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        check_every_split(&rows[i]);
    }
}

static void pipelines(void **state)
{
    static const char text[] = "+OK\r\n$3\r\nabc\r\n:1\r\n$-1\r\n*2\r\n+a\r\n_\r\n>1\r\n+p\r\n"
                               "|1\r\n+a\r\n+b\r\n#t\r\n-ERR x\r\n*0\r\n";
    static const size_t ends[] = {5, 14, 18, 23, 34, 42, 58, 66, 70};
    (void)state;
    for (size_t step = 1; step < sizeof text; step++) {
        struct reply_scan s;
        size_t reply = 0;
        reply_scan_reset(&s, ELEMENTS_MAX);
        for (size_t at = 0, used; at < sizeof text - 1; at += used) {
            size_t n = sizeof text - 1 - at < step ? sizeof text - 1 - at : step;
            enum scan_result result = reply_scan_feed(&s, slice_of(text + at, n), &used);
            assert_int_not_equal(result, SCAN_ERROR);
            if (result == SCAN_DONE) {
                assert_int_equal(at + used, ends[reply++]);
                reply_scan_reset(&s, ELEMENTS_MAX);
            }
        }
        assert_int_equal(reply, ARRAY_LEN(ends));
    }
}

/* Bodies and texts are passed over at any length. */
static void huge_bodies(void **state)
{
    static char block[1 << 20];
    struct reply_scan s;
    size_t used;
    (void)state;
    reply_scan_reset(&s, ELEMENTS_MAX);
    memset(block, '\r', sizeof block);
    assert_int_equal(reply_scan_feed(&s, slice_str("*2\r\n$3221225472\r\n"), &used), SCAN_MORE);
    for (size_t i = 0; i < 3072; i++) {
        assert_int_equal(reply_scan_feed(&s, slice_of(block, sizeof block), &used), SCAN_MORE);
    }
    assert_int_equal(reply_scan_feed(&s, slice_str("\r\n+"), &used), SCAN_MORE);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(reply_scan_feed(&s, slice_of(block, sizeof block), &used), SCAN_MORE);
    }
    assert_int_equal(reply_scan_feed(&s, slice_str("\n+OK\r\n"), &used), SCAN_DONE);
    assert_int_equal(used, 1);
}

/* Depth costs nothing. */
static void deep_nesting(void **state)
{
    struct reply_scan s;
    size_t used;
    (void)state;
    reply_scan_reset(&s, 1000001);
    for (size_t i = 0; i < 1000000; i++) {
        assert_int_equal(reply_scan_feed(&s, slice_str("*1\r\n"), &used), SCAN_MORE);
    }
    assert_int_equal(reply_scan_feed(&s, slice_str("+x\r\n"), &used), SCAN_DONE);
    assert_int_equal(s.length, 4000004);
}

static void nothing_to_feed(void **state)
{
    struct reply_scan s;
    size_t used = 7;
    (void)state;
    reply_scan_reset(&s, 1);
    assert_int_equal(reply_scan_feed(&s, (struct slice){0}, &used), SCAN_MORE);
    assert_int_equal(used, 0);
    assert_int_equal(reply_scan_feed(&s, slice_str("x"), &used), SCAN_ERROR);
    assert_int_equal(reply_scan_feed(&s, slice_str("+OK\r\n"), &used), SCAN_ERROR);
    assert_int_equal(used, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_replies),   cmocka_unit_test(unfinished_replies),
        cmocka_unit_test(refused_replies), cmocka_unit_test(pipelines),
        cmocka_unit_test(huge_bodies),     cmocka_unit_test(deep_nesting),
        cmocka_unit_test(nothing_to_feed), cmocka_unit_test(taken_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
