/* Messages and confirmations, and how many of them answer a request. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/resp/pubsub.h"

#define SUB(name, count) "*3\r\n$9\r\nsubscribe\r\n" name ":" count "\r\n"

static const struct {
    const char *reply;
    enum pubsub_what what;
    struct pubsub_verb verb;
    bool confirms; /* all of it is as it must be */
    const char *name;
    uint32_t count;
} rows[] = {
    {"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n", PUBSUB_MESSAGE, {0}, false, NULL, 0},
    {">3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$1\r\nx\r\n", PUBSUB_MESSAGE, {0}, false, NULL, 0},
    {"*4\r\n$8\r\npmessage\r\n$1\r\np\r\n$1\r\nc\r\n$0\r\n\r\n",
     PUBSUB_MESSAGE,
     {0},
     false,
     NULL,
     0},
    {"*3\r\n$8\r\npmessage\r\n$1\r\np\r\n$1\r\nc\r\n", PUBSUB_OTHER, {0}, false, NULL, 0},
    {"*4\r\n$7\r\nmessage\r\n:1\r\n:1\r\n:1\r\n", PUBSUB_OTHER, {0}, false, NULL, 0},
    {"*2\r\n$4\r\npong\r\n$0\r\n\r\n", PUBSUB_OTHER, {0}, false, NULL, 0},
    {"*3\r\n:1\r\n:2\r\n:3\r\n", PUBSUB_OTHER, {0}, false, NULL, 0},
    {"*0\r\n", PUBSUB_OTHER, {0}, false, NULL, 0},
    {"*-1\r\n", PUBSUB_OTHER, {0}, false, NULL, 0},
    {"*3\r\n$-1\r\n:1\r\n:1\r\n", PUBSUB_OTHER, {0}, false, NULL, 0},
    {"$7\r\nmessage\r\n", PUBSUB_OTHER, {0}, false, NULL, 0},
    {"+OK\r\n", PUBSUB_OTHER, {0}, false, NULL, 0},
    {">2\r\n$10\r\ninvalidate\r\n_\r\n", PUBSUB_OTHER, {0}, false, NULL, 0},
    {SUB("$3\r\na\rb\r\n", "7"), PUBSUB_CONFIRMED, {PUBSUB_CHANNEL, true}, true, "a\rb", 7},
    {SUB("$0\r\n\r\n", "1"), PUBSUB_CONFIRMED, {PUBSUB_CHANNEL, true}, true, "", 1},
    {">3\r\n$10\r\nssubscribe\r\n$1\r\na\r\n:1\r\n",
     PUBSUB_CONFIRMED,
     {PUBSUB_SHARD, true},
     true,
     "a",
     1},
    {"*3\r\n$12\r\npunsubscribe\r\n$-1\r\n:3\r\n",
     PUBSUB_CONFIRMED,
     {PUBSUB_PATTERN, false},
     true,
     NULL,
     3},
    {">3\r\n$11\r\nunsubscribe\r\n_\r\n:0\r\n",
     PUBSUB_CONFIRMED,
     {PUBSUB_CHANNEL, false},
     true,
     NULL,
     0},
    {SUB("$-1\r\n", "0"), PUBSUB_CONFIRMED, {PUBSUB_CHANNEL, true}, false, NULL, 0},
    {SUB("$1\r\na\r\n", "-1"), PUBSUB_CONFIRMED, {PUBSUB_CHANNEL, true}, false, NULL, 0},
    {SUB("$1\r\na\r\n", "01"), PUBSUB_CONFIRMED, {PUBSUB_CHANNEL, true}, false, NULL, 0},
    {SUB("+a\r\n", "1"), PUBSUB_CONFIRMED, {PUBSUB_CHANNEL, true}, false, NULL, 0},
    {"*4\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n:1\r\n", PUBSUB_OTHER, {0}, false, NULL, 0},
};

/* The first n bytes of a reply, in memory of their very size. */
static enum pubsub_what look_at(const char *reply, size_t n, struct pubsub_verb *verb)
{
    char *bytes = malloc(n);
    assert_non_null(bytes);
    memcpy(bytes, reply, n);
    enum pubsub_what what = pubsub_look(slice_of(bytes, n), verb);
    free(bytes);
    return what;
}

/* Every reply is looked at whole and as far as it has come. */
static void what_it_is(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        size_t n = strlen(rows[i].reply);
        for (size_t part = 1; part <= n; part++) {
            struct pubsub_verb verb = {0};
            enum pubsub_what what = look_at(rows[i].reply, part, &verb);
            if (part == n || what != PUBSUB_UNSURE) {
                assert_int_equal(what, rows[i].what);
            }
            if (what == PUBSUB_CONFIRMED) {
                assert_int_equal(verb.kind, rows[i].verb.kind);
                assert_int_equal(verb.on, rows[i].verb.on);
            }
        }
    }
}

static void what_it_confirms(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct confirmation c;
        if (pubsub_confirmation(slice_str(rows[i].reply), &c) != rows[i].confirms) {
            fail_msg("%s", rows[i].reply);
        }
        if (rows[i].confirms) {
            assert_int_equal(c.verb.kind, rows[i].verb.kind);
            assert_int_equal(c.verb.on, rows[i].verb.on);
            assert_int_equal(c.count, rows[i].count);
            assert_int_equal(c.named, rows[i].name != NULL);
            assert_true(!c.named || slice_eq(c.name, slice_str(rows[i].name)));
        }
    }
}

/* A long word is no reason to wait for its end. */
static void no_word_of_it(void **state)
{
    struct pubsub_verb verb;
    (void)state;
    assert_int_equal(pubsub_look(slice_str("*3\r\n$13\r\n"), &verb), PUBSUB_OTHER);
    assert_int_equal(pubsub_look(slice_str("*3\r\n$1000000000\r\n"), &verb), PUBSUB_OTHER);
    assert_int_equal(pubsub_look(slice_str("*3\r\n$12\r\n"), &verb), PUBSUB_UNSURE);
}

static void line_of_monitor(void **state)
{
    static const char *const lines[] = {"+1795265335.214416 [0 127.0.0.1:1] \"PING\"\r\n",
                                        "+1.000000 [3 lua] \"a\"\r\n"};
    static const char *const others[] = {"+OK\r\n",          "+1\r\n",          "+\r\n",
                                         "+12.12345 [0\r\n", "+.123456 [\r\n",  "+1.1234567 [\r\n",
                                         "+1.123456 x\r\n",  "-1.123456 [\r\n", "$1.123456 [\r\n"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lines) + ARRAY_LEN(others); i++) {
        bool is = i < ARRAY_LEN(lines);
        const char *text = is ? lines[i] : others[i - ARRAY_LEN(lines)];
        for (size_t n = 1; n <= strlen(text); n++) {
            enum pubsub_what what = monitor_look(slice_of(text, n));
            if (n == strlen(text) || what != PUBSUB_UNSURE) {
                assert_int_equal(what, is ? PUBSUB_MESSAGE : PUBSUB_OTHER);
            }
        }
    }
}

static struct confirmation said(enum pubsub_kind kind, bool on, uint32_t count)
{
    return (struct confirmation){.verb = {kind, on}, .named = true, .count = count};
}

static void count_them(void **state)
{
    static const struct {
        enum pubsub_kind kind;
        uint32_t count;
        uint32_t want[PUBSUB_KINDS];
        bool on, possible;
    } steps[] = {
        {PUBSUB_CHANNEL, 2, {0, 0, 0}, true, false},  {PUBSUB_CHANNEL, 0, {0, 0, 0}, false, true},
        {PUBSUB_CHANNEL, 1, {1, 0, 0}, true, true},   {PUBSUB_CHANNEL, 1, {1, 0, 0}, true, true},
        {PUBSUB_PATTERN, 2, {1, 1, 0}, true, true},   {PUBSUB_SHARD, 1, {1, 1, 1}, true, true},
        {PUBSUB_SHARD, 3, {1, 1, 1}, true, false},    {PUBSUB_CHANNEL, 3, {2, 1, 1}, true, true},
        {PUBSUB_PATTERN, 3, {2, 1, 1}, false, true},  {PUBSUB_CHANNEL, 3, {2, 1, 1}, false, true},
        {PUBSUB_CHANNEL, 4, {2, 1, 1}, false, false}, {PUBSUB_PATTERN, 2, {2, 0, 1}, false, true},
        {PUBSUB_PATTERN, 1, {2, 0, 1}, false, false}, {PUBSUB_SHARD, 0, {2, 0, 0}, false, true},
        {PUBSUB_CHANNEL, 1, {1, 0, 0}, false, true},  {PUBSUB_CHANNEL, 0, {0, 0, 0}, false, true},
    };
    struct pubsub_counts c = {0};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        struct confirmation what = said(steps[i].kind, steps[i].on, steps[i].count);
        assert_int_equal(pubsub_count(&c, &what), steps[i].possible);
        assert_memory_equal(c.of, steps[i].want, sizeof c.of);
    }
}

static void how_many_to_expect(void **state)
{
    struct pubsub_counts c = {.of = {3, 1, 0}};
    struct pubsub_verb all = {PUBSUB_CHANNEL, false}, patterns = {PUBSUB_PATTERN, false},
                       shards = {PUBSUB_SHARD, false};
    (void)state;
    assert_int_equal(pubsub_expected(&c, all, 5), 5);
    assert_int_equal(pubsub_expected(&c, all, 0), 3);
    assert_int_equal(pubsub_expected(&c, patterns, 0), 1);
    assert_int_equal(pubsub_expected(&c, shards, 0), 1);
    assert_int_equal(pubsub_total(&c), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_it_is),    cmocka_unit_test(what_it_confirms),
        cmocka_unit_test(no_word_of_it), cmocka_unit_test(line_of_monitor),
        cmocka_unit_test(count_them),    cmocka_unit_test(how_many_to_expect),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
