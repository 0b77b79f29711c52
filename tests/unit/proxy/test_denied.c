/* deny-commands in the look-up of commands: whole names, sub-commands, names of modules, and those
 * that Redis reads up to a NUL. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/denied.h"
#include "proxy/learnt.h"

static char *names[] = {(char[]){"flushall"},   (char[]){"config|set"}, (char[]){"object"},
                        (char[]){"json.set"},   (char[]){"mod.x|put"},  (char[]){"mod.y"},
                        (char[]){"config|odd"}, (char[]){"xread"}};
static const struct config_commands list = {names, ARRAY_LEN(names)}, nothing;

struct lookup_case {
    const char *words[3]; /* up to NULL */
    size_t cut;           /* a NUL stands here in the first word, with more behind it; 0: none */
    const char *denied;   /* by which name; NULL: it is not */
};

static const struct lookup_case cases[] = {
    {{"flushall"}, 0, "flushall"},
    {{"FlushAll", "async"}, 0, "flushall"},
    {{"flushdb"}, 0, NULL},
    {{"flushall", "x"}, 8, "flushall"},
    {{"config", "set", "a"}, 0, "config|set"},
    {{"CONFIG", "SET"}, 0, "config|set"},
    {{"config", "set"}, 6, "config|set"},
    {{"config", "get", "a"}, 0, NULL},
    {{"config"}, 0, NULL},
    {{"config", "odd"}, 0, "config|odd"},
    {{"config|set"}, 0, NULL},
    {{"object"}, 0, "object"},
    {{"object", "freq", "k"}, 0, "object|freq"},
    {{"object", "new", "k"}, 0, "object"},
    {{"json.set", "k"}, 0, "json.set"},
    {{"json.get", "k"}, 0, NULL},
    {{"mod.x", "put", "k"}, 0, "mod.x|put"},
    {{"MOD.X", "PUT", "k"}, 0, "mod.x|put"},
    {{"mod.x", "get", "k"}, 0, NULL},
    {{"mod.x"}, 0, NULL},
    {{"mod.y", "any", "k"}, 0, "mod.y"},
    {{"xread", "streams", "s"}, 0, "xread"},
    {{"xread", "block", "0"}, 0, "xread"},
    {{"sync"}, 0, "sync"}, /* behind which nobody could see what is said */
    {{"psync", "?", "-1"}, 0, "psync"},
    {{"replconf", "ack", "1"}, 0, "replconf"},
    {{"script", "debug", "yes"}, 0, "script|debug"},
    {{"script", "load", "x"}, 0, NULL},
    {{"get", "k"}, 0, NULL},
};

/* The frame of a case, as an array. */
static void put_frame(const struct lookup_case *c, struct buf *out)
{
    unsigned count = 0;
    while (count < ARRAY_LEN(c->words) && c->words[count] != NULL) {
        count++;
    }
    buf_printf(out, "*%u\r\n", count);
    for (unsigned i = 0; i < count; i++) {
        bool odd = i == 0 && c->cut > 0;
        buf_printf(out, "$%zu\r\n%s", strlen(c->words[i]) + (odd ? 3 : 0), c->words[i]);
        buf_append(out, slice_of("\0zz\r\n" + (odd ? 0 : 3), odd ? 5 : 2));
    }
}

static void check_same(const struct command *got, const struct lookup_case *c, const char *how)
{
    bool denied = got->cls == COMMAND_DENIED;
    if (denied != (c->denied != NULL) || (denied && strcmp(got->name, c->denied) != 0)) {
        fail_msg("%s %s: %s, class %d (%s)", c->words[0], c->words[1] == NULL ? "" : c->words[1],
                 got->name, (int)got->cls, how);
    }
    assert_true(!denied || (got->link == COMMAND_SHARED && !got->may_block &&
                            !command_is_plain(got) && !command_repeatable(got) &&
                            !command_goes(got, UINT32_MAX ^ (1u << REPLICA_NEVER))));
}

static void check_all(struct learnt *l)
{
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf frame = {0};
        struct args args;
        put_frame(&cases[i], &frame);
        assert_int_equal(args_parse(buf_slice(&frame), &args), ARGS_OK);
        check_same(learnt_lookup(l, &args), &cases[i], "whole");
        for (int again = 0; again < 2; again++) { /* the second time it may be remembered */
            const struct command *plain = learnt_lookup_plain(l, args.v[0]);
            if (plain != NULL) {
                check_same(plain, &cases[i], "by its name");
            }
        }
        const struct command *begun =
            learnt_lookup_name(l, args.v[0], args.kept > 1 ? &args.v[1] : NULL);
        assert_true(cases[i].denied == NULL || begun->cls == COMMAND_DENIED ||
                    strcmp(cases[i].denied, "script|debug") == 0);
        args_free(&args);
        buf_release(&frame);
    }
}

/* The second argument of what is streamed may be too large to be known, as no real one is. */
static void test_what_may_be_meant(void **state)
{
    struct denied *d = denied_new(&list);
    struct learnt *l = learnt_new(NULL, &nothing, d);
    const char *all[] = {"config", "CONFIG", "mod.x", "mod.y", "flushall"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        assert_int_equal(learnt_lookup_name(l, slice_str(all[i]), NULL)->cls, COMMAND_DENIED);
    }
    assert_int_equal(learnt_lookup_name(l, slice_of("config\0zzz", 10), NULL)->cls, COMMAND_DENIED);
    assert_int_equal(learnt_lookup_name(l, slice_str("get"), NULL)->cls, COMMAND_READ);
    assert_ptr_equal(learnt_lookup_name(l, slice_str("client"), NULL), &command_unknown);
    learnt_free(&l);
    denied_free(&d);
}

static void test_what_is_found(void **state)
{
    struct denied *d = denied_new(&list);
    struct learnt *l = learnt_new(NULL, &nothing, d);
    (void)state;
    check_all(l);
    assert_int_equal(l->count, 0);
    assert_int_equal(l->stricter_count, 0);
    learnt_free(&l);
    denied_free(&d);
    assert_null(d);
    denied_free(&d);
}

/* What the configuration shares of a module is denied all the same. */
static void test_shared_commands(void **state)
{
    char *shared[] = {(char[]){"json.set"}, (char[]){"mod.x"}, (char[]){"mod.y"}};
    const struct config_commands all = {shared, ARRAY_LEN(shared)};
    struct denied *d = denied_new(&list);
    struct learnt *l = learnt_new(NULL, &all, d);
    (void)state;
    check_all(l);
    learnt_free(&l);
    denied_free(&d);
}

static void test_nothing_is_denied(void **state)
{
    struct denied *d = denied_new(&nothing);
    struct learnt *l = learnt_new(NULL, &nothing, d);
    (void)state;
    assert_null(d);
    assert_int_equal(l->instead_count, 0);
    assert_int_equal(learnt_lookup_plain(l, slice_str("sync"))->cls, COMMAND_RAW);
    assert_int_equal(learnt_lookup_name(l, slice_str("flushall"), NULL)->cls, COMMAND_WRITE);
    learnt_free(&l);
}

/* The second argument of a frame that has only begun. */
static void test_begun(void **state)
{
    static const struct {
        const char *text;
        size_t at;
        const char *arg; /* NULL: it is not there */
    } frames[] = {
        {"$3\r\nset\r\n", 0, "set"},
        {"xx$3\r\nset", 2, "set"},
        {"$3\rxset", 0, "set"},
        {"$0\r\n", 0, ""},
        {"$3\r\nse", 0, NULL},
        {"$3\r\n", 0, NULL},
        {"$3\r", 0, NULL},
        {"$3", 0, NULL},
        {"$", 0, NULL},
        {"", 0, NULL},
        {"xx", 2, NULL},
        {"xx", 7, NULL},
        {"$03\r\nset\r\n", 0, NULL},
        {"$-1\r\nset", 0, NULL},
        {"$x\r\nset", 0, NULL},
        {"*3\r\nset\r\n", 0, NULL},
        {"$99999999999999999999\r\nset", 0, NULL},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(frames); i++) {
        struct slice arg;
        bool there = args_begun(slice_str(frames[i].text), frames[i].at, &arg);
        assert_int_equal(there, frames[i].arg != NULL);
        assert_true(!there || slice_eq(arg, slice_str(frames[i].arg)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_found),   cmocka_unit_test(test_what_may_be_meant),
        cmocka_unit_test(test_shared_commands), cmocka_unit_test(test_nothing_is_denied),
        cmocka_unit_test(test_begun),
    };
    command_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
