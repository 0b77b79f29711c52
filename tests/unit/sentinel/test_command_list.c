/* What COMMAND answers: real bytes, other versions' shapes, and what no server should say. */
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
#include "sentinel/command_list.h"
#include "sentinel/reply_stream.h"

#define SEEDS "tests/fuzz/corpus/sentinel_commands/"

static struct slice load(const char *path, char *bytes, size_t max)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t n = fread(bytes, 1, max, file);
    assert_true(n > 0 && n < max);
    assert_int_equal(fclose(file), 0);
    return slice_of(bytes, n);
}

static struct command_list *load_list(const char *path)
{
    char bytes[8192];
    return command_list_read(load(path, bytes, sizeof bytes));
}

struct expected {
    const char *name;
    uint32_t flags;
};

/* Exactly these. */
static void check_list(struct command_list *list, const struct expected *want, size_t count)
{
    assert_non_null(list);
    for (size_t i = 0; i < count; i++) {
        if (command_list_flags(list, want[i].name) != want[i].flags) {
            fail_msg("%s: %u", want[i].name, command_list_flags(list, want[i].name));
        }
    }
    assert_int_equal(list->count, count);
    for (size_t i = 1; i < list->count; i++) {
        assert_true(strcmp(list->v[i - 1].name, list->v[i].name) < 0);
    }
    command_list_unref(&list);
    assert_null(list);
}

/* COMMAND INFO get set xgroup blpop object subscribe eval nosuch, of Redis 7.0.15. */
static const struct expected redis_7_0[] = {
    {"get", LISTED_READONLY},
    {"set", LISTED_WRITE},
    {"xgroup", LISTED_PARENT},
    {"xgroup|create", LISTED_WRITE},
    {"xgroup|createconsumer", LISTED_WRITE},
    {"xgroup|delconsumer", LISTED_WRITE},
    {"xgroup|destroy", LISTED_WRITE},
    {"xgroup|setid", LISTED_WRITE},
    {"blpop", LISTED_WRITE | LISTED_BLOCKING},
    {"object", LISTED_PARENT},
    {"object|encoding", LISTED_READONLY},
    {"object|freq", LISTED_READONLY},
    {"object|idletime", LISTED_READONLY},
    {"object|refcount", LISTED_READONLY},
    {"subscribe", LISTED_ODD},
    {"eval", LISTED_ODD},
};

static void real_bytes(void **state)
{
    (void)state;
    check_list(load_list(SEEDS "redis-7.0.15"), redis_7_0, ARRAY_LEN(redis_7_0));
}

static void before_subcommands_were_told(void **state)
{
    static const struct expected want[] = {{"get", LISTED_READONLY},
                                           {"xgroup", LISTED_WRITE},
                                           {"blpop", LISTED_WRITE | LISTED_ODD},
                                           {"auth", LISTED_ODD},
                                           {"subscribe", LISTED_ODD}};
    (void)state;
    check_list(load_list(SEEDS "redis-6.2"), want, ARRAY_LEN(want));
}

static void modules(void **state)
{
    static const struct expected want[] = {{"ft.search", LISTED_READONLY},
                                           {"json.set", LISTED_WRITE},
                                           {"ft.config", LISTED_PARENT},
                                           {"ft.config|get", LISTED_READONLY},
                                           {"ft.config|set", LISTED_WRITE},
                                           {"rg.wait", LISTED_WRITE | LISTED_BLOCKING},
                                           {"login", LISTED_READONLY | LISTED_ODD},
                                           {"listen", LISTED_READONLY | LISTED_ODD}};
    (void)state;
    check_list(load_list(SEEDS "modules"), want, ARRAY_LEN(want));
}

/* limit: COMMAND_NAME_MAX. A name that is there twice has the flags of both; what is no command is
 * passed over. */
static void odd_entries(void **state)
{
    static const struct expected want[] = {{"two", LISTED_READONLY | LISTED_WRITE}};
    (void)state;
    check_list(load_list(SEEDS "odd"), want, ARRAY_LEN(want));
    check_list(load_list(SEEDS "empty"), NULL, 0);
}

static void no_answer_to_command(void **state)
{
    static const char *const answers[] = {
        "*-1\r\n",
        "$-1\r\n",
        "+OK\r\n",
        "-NOPERM no\r\n",
        ":1\r\n",
        "$3\r\nget\r\n",
        "*1\r\n",
        "*1\r\n*",
        "*1\r\n*3\r\n$3\r\nget\r\n:2\r\n",
        "*1\r\n*3\r\n$3\r\nget\r\n:2\r\n*2\r\n+write\r\n",
        "*1\r\n*1\r\n$9\r\nget\r\n",
        "*1\r\n*1\r\n$-2\r\n",
        "*1\r\n*9999999\r\n",
        "*1\r\n*01\r\n",
        "*0\r\n*0\r\n",
        "*1\r\n~1\r\n$3\r\nget\r\n",
        "%0\r\n",
        "\r\n",
        "",
        "HTTP/1.1 400 Bad Request\r\n\r\n",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        if (command_list_read(slice_str(answers[i])) != NULL) {
            fail_msg("taken: %s", answers[i]);
        }
    }
}

static void part_of_an_answer_is_none(void **state)
{
    char bytes[8192];
    struct slice whole = load(SEEDS "redis-7.0.15", bytes, sizeof bytes);
    (void)state;
    for (size_t n = 0; n < whole.n; n++) {
        assert_null(command_list_read(slice_of(whole.p, n)));
    }
}

static void every_cut_gives_the_same(void **state)
{
    char bytes[8192];
    struct slice whole = load(SEEDS "redis-7.0.15", bytes, sizeof bytes);
    (void)state;
    for (size_t cut = 0; cut <= whole.n; cut++) {
        struct reply_stream s;
        struct slice frame;
        const char *why = NULL;
        reply_stream_init(&s);
        s.bytes_max = COMMANDS_REPLY_MAX;
        s.elements_max = COMMANDS_ELEMENTS_MAX;
        buf_append(&s.in, slice_of(whole.p, cut));
        enum stream_result result = reply_stream_frame(&s, &frame, &why);
        assert_int_equal(result, cut == whole.n ? STREAM_REPLY : STREAM_MORE);
        if (cut < whole.n) {
            buf_append(&s.in, slice_of(whole.p + cut, whole.n - cut));
            assert_int_equal(reply_stream_frame(&s, &frame, &why), STREAM_REPLY);
        }
        assert_true(slice_eq(frame, whole));
        if (cut % 97 == 0) {
            check_list(command_list_read(frame), redis_7_0, ARRAY_LEN(redis_7_0));
        }
        reply_stream_release(&s);
    }
}

static struct command_list *read_many(unsigned count)
{
    struct buf answer = {0};
    buf_printf(&answer, "*%u\r\n", count);
    for (unsigned i = 0; i < count; i++) {
        buf_printf(&answer, "*3\r\n$7\r\nc%06u\r\n:1\r\n*1\r\n+write\r\n", i);
    }
    struct command_list *list = command_list_read(buf_slice(&answer));
    buf_release(&answer);
    return list;
}

/* limit: COMMANDS_MAX */
static void no_more_than_is_kept(void **state)
{
    (void)state;
    struct command_list *list = read_many(COMMANDS_MAX);
    assert_non_null(list);
    assert_int_equal(list->count, COMMANDS_MAX);
    assert_int_equal(command_list_flags(list, "c000077"), LISTED_WRITE);
    assert_int_equal(command_list_flags(list, "c"), 0);
    struct command_list *second = command_list_ref(list);
    command_list_unref(&list);
    assert_int_equal(second->count, COMMANDS_MAX); /* the sanitizer would tell */
    command_list_unref(&second);
    assert_null(read_many(COMMANDS_MAX + 1));
}

static struct buf read_stream(struct slice head, size_t fill)
{
    struct reply_stream s;
    struct slice frame;
    const char *why = "";
    struct buf said = {0};
    reply_stream_init(&s);
    s.bytes_max = COMMANDS_REPLY_MAX;
    s.elements_max = COMMANDS_ELEMENTS_MAX;
    buf_append(&s.in, head);
    memset(buf_reserve(&s.in, fill), 'x', fill);
    buf_commit(&s.in, fill);
    enum stream_result result = reply_stream_frame(&s, &frame, &why);
    buf_append_str(&said, result == STREAM_BAD ? why : "more");
    buf_append(&said, slice_of("", 1));
    reply_stream_release(&s);
    return said;
}

/* limit: COMMANDS_REPLY_MAX COMMANDS_ELEMENTS_MAX */
static void no_longer_answer_is_taken(void **state)
{
    char head[64];
    (void)state;
    (void)snprintf(head, sizeof head, "$%u\r\n", 2 * COMMANDS_REPLY_MAX);
    struct buf said = read_stream(slice_str(head), COMMANDS_REPLY_MAX - strlen(head));
    assert_string_equal(buf_head(&said), "more");
    buf_release(&said);
    said = read_stream(slice_str(head), COMMANDS_REPLY_MAX - strlen(head) + 1);
    assert_string_equal(buf_head(&said), "the answer is too long");
    buf_release(&said);
    (void)snprintf(head, sizeof head, "*%u\r\n", COMMANDS_ELEMENTS_MAX - 1);
    said = read_stream(slice_str(head), 0);
    assert_string_equal(buf_head(&said), "more");
    buf_release(&said);
    (void)snprintf(head, sizeof head, "*%u\r\n", COMMANDS_ELEMENTS_MAX);
    said = read_stream(slice_str(head), 0);
    assert_string_equal(buf_head(&said), "the answer is not RESP, or has too many elements");
    buf_release(&said);
}

static void no_list_knows_nothing(void **state)
{
    struct command_list *none = command_list_ref(NULL);
    (void)state;
    assert_null(none);
    assert_int_equal(command_list_flags(none, "get"), 0);
    command_list_unref(&none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(real_bytes),
        cmocka_unit_test(before_subcommands_were_told),
        cmocka_unit_test(modules),
        cmocka_unit_test(odd_entries),
        cmocka_unit_test(no_answer_to_command),
        cmocka_unit_test(part_of_an_answer_is_none),
        cmocka_unit_test(every_cut_gives_the_same),
        cmocka_unit_test(no_more_than_is_kept),
        cmocka_unit_test(no_longer_answer_is_taken),
        cmocka_unit_test(no_list_knows_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
