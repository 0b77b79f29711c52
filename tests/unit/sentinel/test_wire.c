/* AUTH with one or two passwords: what is said, and what the answers tell. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "config/secret.h"
#include "sentinel/wire.h"

#define PATH "/tmp/vedette-test-wire-passwords"

static void put(const char *text)
{
    FILE *file = fopen(PATH, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static const struct {
    const char *file;
    const char *user;
    const char *said;
} greetings[] = {
    {"a\n", NULL, "*2\r\n$4\r\nAUTH\r\n$1\r\na\r\n"},
    {"a\n", "bob", "*3\r\n$4\r\nAUTH\r\n$3\r\nbob\r\n$1\r\na\r\n"},
    {"new\nold\n", NULL, "*2\r\n$4\r\nAUTH\r\n$3\r\nnew\r\n*2\r\n$4\r\nAUTH\r\n$3\r\nold\r\n"},
};

static void test_said(void **state)
{
    char problem[SECRET_PROBLEM_MAX];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(greetings); i++) {
        struct wire w = {0};
        put(greetings[i].file);
        struct secret *s = secret_open(PATH, problem);
        assert_non_null(s);
        size_t count = wire_put_auth(&w, greetings[i].user, s);
        assert_int_equal(count, i == 2 ? 2 : 1);
        assert_int_equal(buf_len(&w.out), strlen(greetings[i].said));
        assert_memory_equal(buf_head(&w.out), greetings[i].said, buf_len(&w.out));
        wire_close(&w);
        assert_false(wire_awaits_auth(&w));
        secret_free(&s);
    }
    struct wire w = {0};
    assert_int_equal(wire_put_auth(&w, "bob", NULL), 0);
    assert_false(wire_awaits_auth(&w));
    assert_false(wire_auth_outdated(&w));
}

#define MORE    WIRE_AUTH_MORE
#define LET_IN  WIRE_AUTH_LET_IN
#define REFUSED WIRE_AUTH_REFUSED

static void test_answers(void **state)
{
    static const struct {
        bool accepted[2];
        enum wire_auth told[2];
    } cases[] = {
        {{true, true}, {LET_IN, MORE}},
        {{true, false}, {LET_IN, MORE}},
        {{false, true}, {MORE, LET_IN}},
        {{false, false}, {MORE, REFUSED}},
    };
    char problem[SECRET_PROBLEM_MAX];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct wire w = {0};
        put("new\nold\n");
        struct secret *s = secret_open(PATH, problem);
        assert_non_null(s);
        (void)wire_put_auth(&w, NULL, s);
        for (size_t k = 0; k < 2; k++) {
            assert_true(wire_awaits_auth(&w));
            assert_int_equal(wire_take_auth(&w, cases[i].accepted[k]), cases[i].told[k]);
        }
        assert_false(wire_awaits_auth(&w));
        /* There are other passwords now: only who is outside has a use for them. */
        assert_false(wire_auth_outdated(&w));
        put("newer\n");
        assert_true(secret_reload(s, 1, problem));
        assert_int_equal(wire_auth_outdated(&w), i == 3);
        wire_close(&w);
        assert_false(wire_auth_outdated(&w));
        secret_free(&s);
    }
    assert_int_equal(remove(PATH), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_said), cmocka_unit_test(test_answers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
