#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/base/buf.h"
#include "proxy/base/limits.h"
#include "proxy/resp/scan.h"

/* What a scanner is to say of the first frame of a text. */
struct expected {
    const char *text;
    size_t n, used;
    const char *name;  /* NULL: not known */
    const char *error; /* behind "Protocol error: " */
    enum scan_result result;
    uint32_t argc;
    bool is_inline, empty, odd;
};

/* All that a caller can see. */
struct seen {
    enum scan_result result;
    struct request_scan scan;
    char error[SCAN_ERROR_MAX];
};

/* Feeds text in pieces that end at each of the cuts. */
static struct seen scan_cut(struct slice text, const size_t *cuts, size_t n_cuts, bool limited)
{
    struct seen seen = {.result = SCAN_MORE, .scan = {.unauthenticated = limited}};
    size_t at = 0;
    for (size_t i = 0; i <= n_cuts && seen.result == SCAN_MORE; i++) {
        size_t used, stop = i < n_cuts ? cuts[i] : text.n;
        seen.result = request_scan_feed(&seen.scan, slice_of(text.p + at, stop - at), &used);
        assert_true(used <= stop - at);
        assert_true(seen.result != SCAN_MORE || used == stop - at);
        at += used;
        assert_int_equal(seen.scan.length, at);
    }
    if (seen.result == SCAN_ERROR) {
        (void)request_scan_error(&seen.scan, seen.error);
    }
    return seen;
}

static struct seen scan_bytewise(struct slice text, bool limited)
{
    size_t *cuts = calloc(text.n + 1, sizeof *cuts);
    assert_non_null(cuts);
    for (size_t i = 0; i < text.n; i++) {
        cuts[i] = i;
    }
    struct seen seen = scan_cut(text, cuts, text.n, limited);
    free(cuts);
    return seen;
}

static void check_seen(const struct expected *want, const struct seen *got, const char *how)
{
    const struct request_scan *s = &got->scan;
    bool name_right = s->name_known == (want->name != NULL);
    if (name_right && want->name != NULL) {
        name_right = s->name_len == strlen(want->name) && s->name_at + s->name_len <= want->n &&
                     memcmp(want->text + s->name_at, want->name, s->name_len) == 0;
    }
    bool error_right =
        want->result != SCAN_ERROR || (strncmp(got->error, "Protocol error: ", 16) == 0 &&
                                       strcmp(got->error + 16, want->error) == 0);
    if (got->result != want->result || s->length != want->used || s->argc != want->argc ||
        s->is_inline != want->is_inline || s->empty != want->empty || s->odd != want->odd ||
        !name_right || !error_right) {
        fail_msg("%s, %s: result %d, used %zu, argc %u, inline %d, empty %d, odd %d, "
                 "name %d at %zu, '%s'",
                 want->text, how, (int)got->result, (size_t)s->length, s->argc, s->is_inline,
                 s->empty, s->odd, s->name_known, (size_t)s->name_at, got->error);
    }
}

/* What is taken at once is what the scanner takes. */
static void check_at_once(const struct expected *want)
{
    struct slice name = {0};
    const char *next = request_whole(want->text, want->text + want->n, &name);
    if (next == NULL) {
        return;
    }
    if (want->result != SCAN_DONE || (size_t)(next - want->text) != want->used || want->odd ||
        want->empty || want->is_inline || want->name == NULL || name.n != strlen(want->name) ||
        memcmp(name.p, want->name, name.n) != 0) {
        fail_msg("%s: %td bytes at once", want->text, next - want->text);
    }
}

static void check_every_split(const struct expected *want, bool limited)
{
    struct slice text = slice_of(want->text, want->n);
    struct seen seen = scan_cut(text, NULL, 0, limited);
    check_seen(want, &seen, "whole");
    if (!limited) {
        check_at_once(want);
    }
    for (size_t cut = 0; cut <= text.n; cut++) {
        char how[32];
        (void)snprintf(how, sizeof how, "cut at %zu", cut);
        seen = scan_cut(text, &cut, 1, limited);
        check_seen(want, &seen, how);
    }
    seen = scan_bytewise(text, limited);
    check_seen(want, &seen, "byte by byte");
}

#define ROW(literal, outcome, at, ...)                                                             \
    {                                                                                              \
        .text = (literal), .n = sizeof(literal) - 1, .result = (outcome), .used = (at),            \
        __VA_ARGS__                                                                                \
    }
#define DONE(literal, ...)      ROW(literal, SCAN_DONE, sizeof(literal) - 1, __VA_ARGS__)
#define MORE(literal, ...)      ROW(literal, SCAN_MORE, sizeof(literal) - 1, __VA_ARGS__)
#define FAILS(literal, at, ...) ROW(literal, SCAN_ERROR, at, __VA_ARGS__)

static void valid_frames(void **state)
{
    static const struct expected rows[] = {
        DONE("*1\r\n$4\r\nPING\r\n", .argc = 1, .name = "PING"),
        DONE("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\nbc\r\n", .argc = 3, .name = "SET"),
        DONE("*2\r\n$0\r\n\r\n$0\r\n\r\n", .argc = 2, .name = ""),
        DONE("*2\r\n$3\r\n\r\n$\r\n$4\r\n*1\r\n\r\n", .argc = 2, .name = "\r\n$"),
        DONE("*1\r\n$12\r\nabcdefghijkl\r\n", .argc = 1, .name = "abcdefghijkl"),
        DONE("*11\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n"
             "$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n$1\r\na\r\n",
             .argc = 11, .name = "a"),
        DONE("*0\r\n", .empty = true),
        DONE("*-1\r\n", .empty = true),
        DONE("*-9223372036854775808\r\n", .empty = true),
        DONE("PING\r\n", .is_inline = true),
        DONE("PING\n", .is_inline = true),
        DONE("  set \"a b\" 'c\r\n", .is_inline = true),
        DONE("$5\r\n", .is_inline = true),
        DONE("\r\n", .is_inline = true, .empty = true),
        DONE("\n", .is_inline = true, .empty = true),
        DONE(" \t\v\f\r \r\n", .is_inline = true, .empty = true),
        /* Redis does not look at the byte behind a header's CR, nor at the two behind a body. */
        DONE("*1\rx$4\r\nPING\r\n", .argc = 1, .name = "PING", .odd = true),
        DONE("*1\r\n$4\r\rPING\r\n", .argc = 1, .name = "PING", .odd = true),
        DONE("*1\r\n$4\r\nPING\n\r", .argc = 1, .name = "PING", .odd = true),
        DONE("*1\r\n$4\r\nPING\r*", .argc = 1, .name = "PING", .odd = true),
        DONE("*1\r\n$4\r\nPING*\n", .argc = 1, .name = "PING", .odd = true),
        DONE("*2\r\n$3\r\nGET**$1\r\na\r\n", .argc = 2, .name = "GET", .odd = true),
        DONE("*0\r*", .empty = true, .odd = true),
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        check_every_split(&rows[i], false);
    }
}

static void unfinished_frames(void **state)
{
    static const struct expected rows[] = {
        MORE("*"),
        MORE("*1\r"),
        MORE("*1\r\n", .argc = 1),
        MORE("*1\r\n$4\r\nPIN", .argc = 1),
        MORE("*1\r\n$4\r\nPING", .argc = 1, .name = "PING"),
        MORE("*1\r\n$4\r\nPING\r", .argc = 1, .name = "PING"),
        MORE("*2\r\n$3\r\nGET\r\n$536870912\r\nabc", .argc = 2, .name = "GET"),
        MORE("*1\r\n$0\r\n", .argc = 1, .name = ""),
        MORE("PING\r", .is_inline = true),
        MORE(" ", .is_inline = true),
        /* Nothing is judged before its line is whole. */
        MORE("*x"),
        MORE("*99999999999999999999999\r"),
        MORE("*1\r\nGET\r", .argc = 1),
        MORE("*1\r\n$-1\r", .argc = 1),
        /* Behind a NUL Redis sees no line end. */
        MORE("PI\0NG\r\n", .is_inline = true),
        MORE("*1\0\r\n$4\r\nPING\r\n"),
        MORE("*1\r\n$\0004\r\nPING\r\n", .argc = 1),
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        check_every_split(&rows[i], false);
    }
}

#define COUNT_ERROR .error = "invalid multibulk length"
#define BULK_ERROR  .argc = 1, .error = "invalid bulk length"

static void refused_frames(void **state)
{
    static const struct expected rows[] = {
        FAILS("*\r\n", 3, COUNT_ERROR),
        FAILS("*-\r\n", 4, COUNT_ERROR),
        FAILS("*-0\r\n", 5, COUNT_ERROR),
        FAILS("*01\r\n", 5, COUNT_ERROR),
        FAILS("*+1\r\n", 5, COUNT_ERROR),
        FAILS("* 1\r\n", 5, COUNT_ERROR),
        FAILS("*1 \r\n", 5, COUNT_ERROR),
        FAILS("*1x\r\n", 5, COUNT_ERROR),
        FAILS("*--1\r\n", 6, COUNT_ERROR),
        FAILS("*2147483648\r\n", 13, COUNT_ERROR),
        FAILS("*9223372036854775808\r\n", 22, COUNT_ERROR),
        FAILS("*-9223372036854775809\r\n", 23, COUNT_ERROR),
        FAILS("*18446744073709551617\r\n", 23, COUNT_ERROR),
        FAILS("*01\rx", 5, COUNT_ERROR, .odd = true),
        FAILS("*1\r\n$\r\n", 7, BULK_ERROR),
        FAILS("*1\r\n$-1\r\n", 9, BULK_ERROR),
        FAILS("*1\r\n$01\r\n", 9, BULK_ERROR),
        FAILS("*1\r\n$1 \r\n", 9, BULK_ERROR),
        FAILS("*1\r\n$536870913\r\nx", 16, BULK_ERROR),
        FAILS("*1\r\n$18446744073709551617\r\n", 27, BULK_ERROR),
        FAILS("*1\r\nGET\r\n", 9, .argc = 1, .error = "expected '$', got 'G'"),
        FAILS("*1\r\n:1\r\n", 8, .argc = 1, .error = "expected '$', got ':'"),
        FAILS("*1\r\n*1\r\n", 8, .argc = 1, .error = "expected '$', got '*'"),
        FAILS("*1\r\n\r\n", 6, .argc = 1, .error = "expected '$', got ' '"),
        FAILS("*1\r\n\nx\r\n", 8, .argc = 1, .error = "expected '$', got ' '"),
        FAILS("*2\r\n$1\r\na\r\n1\r\n", 14, .argc = 2, .name = "a",
              .error = "expected '$', got '1'"),
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        check_every_split(&rows[i], false);
    }
}

/* Before AUTH Redis allows 10 arguments of 16 KiB. */
static void limits_before_auth(void **state)
{
    static const struct expected limited[] = {
        FAILS("*11\r\n", 5, .error = "unauthenticated multibulk length"),
        FAILS("*1\r\n$16385\r\n", 12, .argc = 1, .error = "unauthenticated bulk length"),
        FAILS("*1\r\n$536870913\r\n", 16, BULK_ERROR),
        MORE("*10\r\n$16384\r\n", .argc = 10),
        DONE("*2\r\n$4\r\nAUTH\r\n$1\r\np\r\n", .argc = 2, .name = "AUTH"),
    };
    static const struct expected unlimited[] = {
        MORE("*11\r\n", .argc = 11),
        MORE("*1\r\n$16385\r\n", .argc = 1),
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(limited); i++) {
        check_every_split(&limited[i], true);
    }
    for (size_t i = 0; i < ARRAY_LEN(unlimited); i++) {
        check_every_split(&unlimited[i], false);
    }
    struct request_scan s = {.unauthenticated = true};
    request_scan_reset(&s);
    assert_true(s.unauthenticated);
}

/* A line that begins with head and goes on with c, n bytes in all, and then end. */
static struct buf long_line(const char *head, char c, size_t n, const char *end)
{
    struct buf b = {0};
    buf_append_str(&b, head);
    size_t more = n - strlen(head);
    memset(buf_reserve(&b, more), c, more);
    buf_commit(&b, more);
    buf_append_str(&b, end);
    return b;
}

/* The longest line is judged on what it says; a byte more, and it is too big. prefix: what comes
 * before the line. */
static void check_line_limit(const char *prefix, const char *head, char c, const char *end,
                             const char *too_big)
{
    for (size_t extra = 0; extra < 2; extra++) {
        struct buf text = {0};
        struct buf line = long_line(head, c, HEADER_LINE_MAX + extra, end);
        buf_append_str(&text, prefix);
        buf_append(&text, buf_slice(&line));
        size_t limit = strlen(prefix) + HEADER_LINE_MAX;
        for (size_t cut = limit - 1; cut <= limit + 1; cut++) {
            struct seen seen = scan_cut(buf_slice(&text), &cut, 1, false);
            if (extra == 0) {
                assert_true(seen.result == SCAN_DONE || strstr(seen.error, "invalid") != NULL);
                assert_int_equal(seen.scan.length, buf_len(&text));
            } else {
                assert_int_equal(seen.result, SCAN_ERROR);
                assert_string_equal(seen.error, too_big);
                assert_int_equal(seen.scan.length, limit + 1);
            }
        }
        buf_release(&line);
        buf_release(&text);
    }
}

static void line_limits(void **state)
{
    (void)state;
    check_line_limit("", "*", '1', "\r\n", "Protocol error: too big mbulk count string");
    check_line_limit("*1\r\n", "$", '1', "\r\n", "Protocol error: too big bulk count string");
    check_line_limit("", "PING", 'x', "\n", "Protocol error: too big inline request");
    check_line_limit("", " ", ' ', "\n", "Protocol error: too big inline request");
    /* A NUL: no line end counts any more. */
    struct buf stuck = long_line("PING", '\n', INLINE_MAX + 10, "");
    stuck.data[0] = '\0';
    struct seen seen = scan_bytewise(buf_slice(&stuck), false);
    assert_int_equal(seen.result, SCAN_ERROR);
    assert_int_equal(seen.scan.length, INLINE_MAX + 1);
    assert_string_equal(seen.error, "Protocol error: too big inline request");
    buf_release(&stuck);
}

/* A body is passed over by count: what it holds is never looked at. */
static void huge_bodies(void **state)
{
    static char block[1 << 20];
    struct request_scan s = {0};
    size_t used;
    uint64_t left = BULK_MAX;
    (void)state;
    assert_int_equal(request_scan_feed(&s, slice_str("*2\r\n$1\r\nx\r\n$536870912\r\n"), &used),
                     SCAN_MORE);
    while (left > 0) {
        size_t n = left < sizeof block ? (size_t)left : sizeof block;
        assert_int_equal(request_scan_feed(&s, slice_of(block, n), &used), SCAN_MORE);
        left -= n;
    }
    assert_int_equal(request_scan_feed(&s, slice_str("\r\n*1\r\n"), &used), SCAN_DONE);
    assert_int_equal(used, 2);
    assert_int_equal(s.length, 23 + (uint64_t)BULK_MAX + 2);
    assert_false(s.odd);
}

/* More arguments than a short header can tell, the most that a request can have, and one more. */
static void many_arguments(void **state)
{
    struct buf b = {0};
    size_t used;
    (void)state;
    buf_append_str(&b, "*1048577\r\n");
    for (uint32_t i = 0; i < 1048577; i++) {
        buf_append_str(&b, "$1\r\na\r\n");
    }
    struct request_scan s = {0};
    assert_int_equal(request_scan_feed(&s, buf_slice(&b), &used), SCAN_DONE);
    assert_int_equal(used, buf_len(&b));
    assert_int_equal(s.argc, 1048577);
    buf_release(&b);
    request_scan_reset(&s);
    assert_int_equal(request_scan_feed(&s, slice_str("*2147483647\r\n"), &used), SCAN_MORE);
    assert_int_equal(s.argc, REQUEST_ARGS_MAX);
    request_scan_reset(&s);
    assert_int_equal(request_scan_feed(&s, slice_str("*2147483648\r\n"), &used), SCAN_ERROR);
}

/* Ends of frames in a pipeline do not depend on how it is cut. */
static void pipelines(void **state)
{
    static const char text[] =
        "*1\r\n$4\r\nPING\r\nPING\r\n\r\n*0\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"
        "get k\n*-3\r\n*1\r\n$0\r\n\r\n";
    static const size_t ends[] = {14, 20, 22, 26, 46, 52, 57, 67};
    (void)state;
    for (size_t step = 1; step < sizeof text; step++) {
        struct request_scan s = {0};
        size_t frame = 0;
        for (size_t at = 0, used; at < sizeof text - 1; at += used) {
            size_t n = sizeof text - 1 - at < step ? sizeof text - 1 - at : step;
            enum scan_result result = request_scan_feed(&s, slice_of(text + at, n), &used);
            assert_int_not_equal(result, SCAN_ERROR);
            if (result == SCAN_DONE) {
                assert_int_equal(at + used, ends[frame++]);
                request_scan_reset(&s);
            }
        }
        assert_int_equal(frame, ARRAY_LEN(ends));
    }
}

static void taken_at_once(void **state)
{
    (void)state;
    const char frame[] = "*3\r\n$3\r\nSeT\r\n$0\r\n\r\n$4\r\na\r\nb\r\n*1\r\n$4\r\nPING\r\n";
    const char *end = frame + sizeof frame - 1;
    struct slice name;
    const char *second = request_whole(frame, end, &name);
    assert_int_equal(second - frame, 29);
    assert_int_equal(name.n, 3);
    assert_memory_equal(name.p, "SeT", 3);
    assert_ptr_equal(request_whole(second, end, &name), end);
    assert_memory_equal(name.p, "PING", 4);
    for (const char *cut = frame; cut < second; cut++) {
        assert_null(request_whole(frame, cut, &name));
    }
}

static void nothing_to_feed(void **state)
{
    struct request_scan s = {0};
    size_t used = 7;
    (void)state;
    assert_int_equal(request_scan_feed(&s, (struct slice){0}, &used), SCAN_MORE);
    assert_int_equal(used, 0);
    /* An error stays. */
    assert_int_equal(request_scan_feed(&s, slice_str("*x\r\n"), &used), SCAN_ERROR);
    assert_int_equal(request_scan_feed(&s, slice_str("PING\r\n"), &used), SCAN_ERROR);
    assert_int_equal(used, 0);
}

/* The first bytes of a TLS client: told at once, and only where a connection begins. */
static void test_tls_client(void **state)
{
    (void)state;
    char text[SCAN_ERROR_MAX];
    size_t used;
    struct request_scan s = {.first = true};
    assert_int_equal(request_scan_feed(&s, slice_of("\x16\x03\x01", 3), &used), SCAN_ERROR);
    assert_string_equal(request_scan_error(&s, text), "Protocol error: this port takes no TLS");
    s = (struct request_scan){.first = true};
    assert_int_equal(request_scan_feed(&s, slice_str("\x16\r\n"), &used), SCAN_DONE);
    request_scan_reset(&s);
    assert_int_equal(request_scan_feed(&s, slice_of("\x16\x03\x01", 3), &used), SCAN_MORE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_frames),    cmocka_unit_test(unfinished_frames),
        cmocka_unit_test(refused_frames),  cmocka_unit_test(limits_before_auth),
        cmocka_unit_test(line_limits),     cmocka_unit_test(huge_bodies),
        cmocka_unit_test(many_arguments),  cmocka_unit_test(pipelines),
        cmocka_unit_test(nothing_to_feed), cmocka_unit_test(taken_at_once),
        cmocka_unit_test(test_tls_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
