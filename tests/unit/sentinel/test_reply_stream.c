/* Replies come out the same wherever the stream is cut, and nothing grows past its limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/base/limits.h"
#include "sentinel/reply_stream.h"

static const char answers[] = "+OK\r\n"
                              "*2\r\n$9\r\n127.0.0.1\r\n$4\r\n6379\r\n"
                              "*4\r\n$2\r\nip\r\n$1\r\nh\r\n$4\r\nport\r\n$1\r\n1\r\n"
                              "*-1\r\n"
                              "-ERR No such master with that name\r\n"
                              "*3\r\n$6\r\nmaster\r\n:10\r\n*1\r\n*3\r\n$1\r\nh\r\n$1\r\n1\r\n"
                              "$1\r\n5\r\n"
                              "$-1\r\n:5\r\n";
static const enum reply_type types[] = {REPLY_STRING, REPLY_ARRAY, REPLY_ARRAY, REPLY_NIL,
                                        REPLY_ERROR,  REPLY_ARRAY, REPLY_NIL,   REPLY_NUMBER};
#define ANSWERS (sizeof types / sizeof types[0])

/* Takes all replies that are there, and checks their types. */
static void take(struct reply_stream *s, size_t *count)
{
    struct reply *reply;
    const char *why;
    enum stream_result result;
    while ((result = reply_stream_next(s, &reply, &why)) == STREAM_REPLY) {
        assert_true(*count < ANSWERS);
        assert_int_equal(reply_type(reply), types[(*count)++]);
        reply_free(&reply);
    }
    assert_int_equal(result, STREAM_MORE);
}

static void every_cut_gives_the_same(void **state)
{
    (void)state;
    size_t n = sizeof answers - 1;
    for (size_t a = 0; a <= n; a++) {
        for (size_t b = a; b <= n; b += 3) {
            struct reply_stream s;
            size_t count = 0;
            reply_stream_init(&s);
            buf_append(&s.in, slice_of(answers, a));
            take(&s, &count);
            buf_append(&s.in, slice_of(answers + a, b - a));
            take(&s, &count);
            buf_append(&s.in, slice_of(answers + b, n - b));
            take(&s, &count);
            assert_int_equal(count, ANSWERS);
            assert_int_equal(buf_len(&s.in), 0);
            reply_stream_release(&s);
        }
    }
}

static void byte_by_byte(void **state)
{
    (void)state;
    struct reply_stream s;
    size_t count = 0;
    reply_stream_init(&s);
    for (size_t i = 0; i < sizeof answers - 1; i++) {
        buf_append(&s.in, slice_of(answers + i, 1));
        take(&s, &count);
    }
    assert_int_equal(count, ANSWERS);
    reply_stream_release(&s);
}

static enum stream_result feed(struct reply_stream *s, struct slice bytes)
{
    struct reply *reply = NULL;
    const char *why = NULL;
    buf_append(&s->in, bytes);
    enum stream_result result = reply_stream_next(s, &reply, &why);
    assert_int_equal(reply != NULL, result == STREAM_REPLY);
    assert_int_equal(why != NULL, result == STREAM_BAD);
    reply_free(&reply);
    return result;
}

static void garbage_is_bad(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "HTTP/1.1 400 Bad Request\r\n", "*2147483647\r\n", "*4096\r\n",
        "$99999999999999999999\r\n",    "_\r\n",           "\r\n"};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct reply_stream s;
        reply_stream_init(&s);
        assert_int_equal(feed(&s, slice_str(rows[i])), STREAM_BAD);
        reply_stream_release(&s);
    }
}

static void a_long_answer_is_bad_before_it_is_whole(void **state)
{
    (void)state;
    struct reply_stream s;
    char block[1024];
    size_t fed = 0;
    enum stream_result result;
    memset(block, 'x', sizeof block);
    reply_stream_init(&s);
    assert_int_equal(feed(&s, slice_str("$500000000\r\n")), STREAM_MORE);
    do {
        result = feed(&s, slice_of(block, sizeof block));
        fed += sizeof block;
    } while (result == STREAM_MORE);
    assert_int_equal(result, STREAM_BAD);
    assert_in_range(fed, SENTINEL_REPLY_MAX - sizeof block, SENTINEL_REPLY_MAX + sizeof block);
    reply_stream_release(&s);
}

static void the_largest_allowed_answer_is_taken(void **state)
{
    (void)state;
    struct reply_stream s;
    reply_stream_init(&s);
    buf_printf(&s.in, "*%d\r\n", SENTINEL_REPLY_ELEMENTS_MAX - 1);
    for (int i = 0; i < SENTINEL_REPLY_ELEMENTS_MAX - 1; i++) {
        buf_append_str(&s.in, "$1\r\nx\r\n");
    }
    struct slice none = {0};
    assert_int_equal(feed(&s, none), STREAM_REPLY);
    assert_int_equal(feed(&s, none), STREAM_MORE);
    reply_stream_release(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cut_gives_the_same),
        cmocka_unit_test(byte_by_byte),
        cmocka_unit_test(garbage_is_bad),
        cmocka_unit_test(a_long_answer_is_bad_before_it_is_whole),
        cmocka_unit_test(the_largest_allowed_answer_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
