#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/base/buf.h"
#include "proxy/resp/args.h"

struct expected {
    const char *frame;
    size_t n;
    enum args_result result;
    uint32_t count;
    const char *words[ARGS_KEPT]; /* as C strings: none of them holds a NUL */
};

static void check_words(const struct expected *want, const struct args *args)
{
    assert_int_equal(args->kept, want->count < ARGS_KEPT ? want->count : ARGS_KEPT);
    for (uint32_t i = 0; i < args->kept; i++) {
        struct slice word = args->v[i];
        if (!slice_eq(word, slice_str(want->words[i]))) {
            fail_msg("%s: word %u is '%.*s'", want->frame, i, (int)word.n, word.p);
        }
    }
}

/* The frame is parsed from memory of its very size, so that a byte read past its end shows. */
static void check_row(const struct expected *want)
{
    char *frame = malloc(want->n);
    struct args args;
    assert_non_null(frame);
    memcpy(frame, want->frame, want->n);
    enum args_result result = args_parse(slice_of(frame, want->n), &args);
    if (result != want->result || (result == ARGS_OK && args.count != want->count)) {
        fail_msg("%s: result %d, count %u", want->frame, (int)result, args.count);
    }
    if (result == ARGS_OK) {
        check_words(want, &args);
    }
    args_free(&args);
    args_free(&args);
    free(frame);
}

#define ROW(literal, outcome, number, ...)                                                         \
    {                                                                                              \
        .frame = (literal), .n = sizeof(literal) - 1, .result = (outcome), .count = (number),      \
        .words = {                                                                                 \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define SPLITS(literal, number, ...) ROW(literal, ARGS_OK, number, __VA_ARGS__)
#define EMPTY(literal)               ROW(literal, ARGS_EMPTY, 0, NULL)
#define UNBALANCED(literal)          ROW(literal, ARGS_UNBALANCED, 0, NULL)

static void multibulk(void **state)
{
    static const struct expected rows[] = {
        SPLITS("*1\r\n$4\r\nPING\r\n", 1, "PING"),
        SPLITS("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$0\r\n\r\n", 3, "SET", "a", ""),
        SPLITS("*2\r\n$4\r\n\r\n$1\r\n$12\r\nabcdefghijkl\r\n", 2, "\r\n$1", "abcdefghijkl"),
        SPLITS("*1\rx$4\r\rPINGxy", 1, "PING"),
        SPLITS("*9\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n$1\r\ne\r\n$1\r\nf\r\n"
               "$1\r\ng\r\n$1\r\nh\r\n$1\r\ni\r\n",
               9, "a", "b", "c", "d", "e", "f", "g", "h"),
        EMPTY("*0\r\n"),
        EMPTY("*-1\r\n"),
        EMPTY("*-9223372036854775808\r\n"),
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        check_row(&rows[i]);
    }
}

static void inline_lines(void **state)
{
    static const struct expected rows[] = {
        SPLITS("PING\r\n", 1, "PING"),
        SPLITS("PING\n", 1, "PING"),
        SPLITS(" set  k\tv \r\n", 3, "set", "k", "v"),
        SPLITS("a b c d e f g h i j\r\n", 10, "a", "b", "c", "d", "e", "f", "g", "h"),
        SPLITS("set k \"\"\r\n", 3, "set", "k", ""),
        SPLITS("set k ''\n", 3, "set", "k", ""),
        SPLITS("set \"a b\" 'c d'\r\n", 3, "set", "a b", "c d"),
        SPLITS("x \"\\n\\r\\t\\b\\a\\q\\\"\\\\\"\r\n", 2, "x", "\n\r\t\b\aq\"\\"),
        SPLITS("x \"\\x41\\x4a\\xZZ\\x4\"\r\n", 2, "x", "AJxZZx4"),
        SPLITS("x \"\\xfF\"\r\n", 2, "x", "\xff"),
        SPLITS("x 'a\\'b\\n\"'\r\n", 2, "x", "a'b\\n\""),
        SPLITS("x a\\nb\r\n", 2, "x", "a\\nb"),
        SPLITS("x ab\"c d\"\r\n", 2, "x", "abc d"),
        SPLITS("x ab'c d' e\r\n", 3, "x", "abc d", "e"),
        SPLITS("a\rb\r\n", 2, "a", "b"),
        /* Redis parts words at these only where one would begin, or behind a quote. */
        SPLITS("a\vb\r\n", 1, "a\vb"),
        SPLITS("\v\fa\r\n", 1, "a"),
        SPLITS("\"a\"\vb\r\n", 2, "a", "b"),
        SPLITS("\xc3\xa9 \x01\r\n", 2, "\xc3\xa9", "\x01"),
        EMPTY("\n"),
        EMPTY("\r\n"),
        EMPTY(" \t \r\r\n"),
        UNBALANCED("\"\r\n"),
        UNBALANCED("set \"a\r\n"),
        UNBALANCED("set 'a\r\n"),
        UNBALANCED("set \"a\\\"\r\n"),
        UNBALANCED("set 'a\\'\r\n"),
        UNBALANCED("set \"a\\\r\n"),
        UNBALANCED("set \"a\"b\r\n"),
        UNBALANCED("set 'a'b\r\n"),
        UNBALANCED("set \"a\"'b'\r\n"),
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        check_row(&rows[i]);
    }
}

static void binary_word(void **state)
{
    struct args args;
    (void)state;
    assert_int_equal(args_parse(slice_str("set k \"a\\x00b\"\r\n"), &args), ARGS_OK);
    assert_true(slice_eq(args.v[2], slice_of("a\0b", 3)));
    args_free(&args);
    assert_int_equal(args_parse(slice_of("*1\r\n$3\r\na\0b\r\n", 13), &args), ARGS_OK);
    assert_true(slice_eq(args.v[0], slice_of("a\0b", 3)));
    assert_null(args.storage);
    args_free(&args);
}

static void plain_inline(void **state)
{
    static const char *const plain[] = {"PING\r\n", "set k v\r\n", "a\r\n", "get *$+\r\n"};
    static const char *const odd[] = {
        "PING\n",    "\r\n",        " PING\r\n", "PING \r\n", "a  b\r\n",
        "a\tb\r\n",  "a \"b\"\r\n", "a 'b'\r\n", "a\\b\r\n",  "\xc3\xa9\r\n",
        "a\x7f\r\n", "a\r\r\n",     "a\x01\r\n", "\n"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
        assert_true(args_inline_plain(slice_str(plain[i])));
    }
    for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
        assert_false(args_inline_plain(slice_str(odd[i])));
    }
}

static void without_some(void **state)
{
    static const struct {
        const char *frame, *want;
        uint32_t skip;
    } rows[] = {
        {"*3\r\n$1\r\nS\r\n$1\r\na\r\n$2\r\nbb\r\n", "*2\r\n$1\r\nS\r\n$2\r\nbb\r\n", 1},
        {"*3\r\n$1\r\nS\r\n$1\r\na\r\n$2\r\nbb\r\n", "*1\r\n$1\r\nS\r\n", 2},
        {"*2\r\n$1\r\nS\r\n$0\r\n\r\n", "*2\r\n$1\r\nS\r\n$0\r\n\r\n", 0},
        {"*2\rx$1\r\nSxx$1\r\naxx", "*1\r\n$1\r\nSxx", 1},
        {"S a bb\r\n", "*2\r\n$1\r\nS\r\n$2\r\nbb\r\n", 1},
        {"S a \"b \\x41\" c d e f g h i\n", "*2\r\n$1\r\nS\r\n$1\r\ni\r\n", 8},
        {" S\t'a b' \"b \\x41\"\n", "*2\r\n$1\r\nS\r\n$3\r\nb A\r\n", 1},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf out = {0};
        args_without(slice_str(rows[i].frame), rows[i].skip, &out);
        if (!slice_eq(buf_slice(&out), slice_str(rows[i].want))) {
            fail_msg("%s: %.*s", rows[i].frame, (int)buf_len(&out), buf_head(&out));
        }
        buf_release(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_some), cmocka_unit_test(multibulk),
        cmocka_unit_test(inline_lines), cmocka_unit_test(binary_word),
        cmocka_unit_test(plain_inline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
