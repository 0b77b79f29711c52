/* The table completed by what a primary says: never less strict than it is, never less safe. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/base/buf.h"
#include "proxy/learnt.h"

static const struct config_commands nothing_shared;

/* From "name:flag,flag" separated by spaces; sub-commands behind their container, as "a|b:flags".
 */
static struct command_list *list_of(const char *text)
{
    struct buf all = {0};
    unsigned count = 0;
    while (*text != '\0') {
        unsigned subs = 0;
        struct buf below = {0}, *out = &all;
        size_t container = strcspn(text, ":");
        const char *first = text;
        do {
            size_t name = strcspn(text, ":"), word = strcspn(text, " "), flags = 0;
            struct buf list = {0};
            for (size_t at = name + 1, n; at < word; at += n + 1, flags++) {
                n = strcspn(text + at, ", ");
                buf_printf(&list, "+%.*s\r\n", (int)n, text + at);
            }
            bool last = out == &below;
            buf_printf(last ? &below : &all, "*10\r\n$%zu\r\n%.*s\r\n:1\r\n*%zu\r\n", name,
                       (int)name, text, flags);
            buf_append(last ? &below : &all, buf_slice(&list));
            buf_append_str(last ? &below : &all, ":0\r\n:0\r\n:0\r\n*0\r\n*0\r\n*0\r\n");
            buf_append_str(&below, last ? "*0\r\n" : "");
            subs += last;
            buf_release(&list);
            text += word + (text[word] == ' ');
            out = &below;
        } while (strncmp(text, first, container) == 0 && text[container] == '|');
        buf_printf(&all, "*%u\r\n", subs);
        buf_append(&all, buf_slice(&below));
        buf_release(&below);
        count++;
    }
    struct buf answer = {0};
    buf_printf(&answer, "*%u\r\n", count);
    buf_append(&answer, buf_slice(&all));
    struct command_list *list = command_list_read(buf_slice(&answer));
    assert_non_null(list);
    buf_release(&all);
    buf_release(&answer);
    return list;
}

static struct learnt *learn(const char *text, const struct config_commands *shared)
{
    struct command_list *list = list_of(text);
    struct learnt *l = learnt_new(list, shared, NULL);
    command_list_unref(&list);
    return l;
}

static const struct command *lookup(struct learnt *l, const char *request)
{
    struct args args;
    struct buf frame = {0};
    buf_printf(&frame, "%s\r\n", request);
    assert_int_equal(args_parse(buf_slice(&frame), &args), ARGS_OK);
    const struct command *whole = learnt_lookup(l, &args);
    const struct command *plain = learnt_lookup_plain(l, args.v[0]);
    if (plain != NULL && plain != whole) {
        fail_msg("%s is %s by its name alone, and %s", request, plain->name, whole->name);
    }
    args_free(&args);
    buf_release(&frame);
    return whole;
}

struct expected {
    const char *request;
    enum command_class cls;
    enum command_link link;
    bool may_block;
};

static void check_all(struct learnt *l, const struct expected *want, size_t count, bool learnt)
{
    for (size_t i = 0; i < count; i++) {
        const struct command *got = lookup(l, want[i].request);
        if (got->cls != want[i].cls || got->link != want[i].link ||
            got->may_block != want[i].may_block || got == &command_unknown ||
            (learnt && !got->forgeable)) {
            fail_msg("%s: %s, class %d, link %d", want[i].request, got->name, (int)got->cls,
                     (int)got->link);
        }
    }
}

static void check_unknown(struct learnt *l, const char *const *requests, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct command *got = lookup(l, requests[i]);
        if (got != &command_unknown) {
            fail_msg("%s was taken for %s", requests[i], got->name);
        }
    }
}

static const char modules[] =
    "json.get:readonly,module json.set:write,denyoom "
    "mod.pop:write,blocking,noscript mod.wait:readonly,blocking both:readonly,write "
    "ft.config: ft.config|get:readonly ft.config|set:write "
    "ft.config|on:pubsub,readonly plain:fast login:readonly,no_auth "
    "script:noscript,write listen:pubsub,readonly only:blocking "
    "xinfo: xinfo|new:readonly get:readonly";

static void what_flags_make_of_a_name(void **state)
{
    static const struct expected want[] = {
        {"json.get k", COMMAND_READ, COMMAND_LEASED, false},
        {"JSON.Get k", COMMAND_READ, COMMAND_LEASED, false},
        {"json.set k", COMMAND_WRITE, COMMAND_LEASED, false},
        {"both k", COMMAND_WRITE, COMMAND_LEASED, false},
        {"mod.pop k", COMMAND_WRITE, COMMAND_LEASED, true},
        {"mod.wait k", COMMAND_READ, COMMAND_LEASED, true},
        {"ft.config get x", COMMAND_READ, COMMAND_LEASED, false},
        {"FT.CONFIG SET x", COMMAND_WRITE, COMMAND_LEASED, false},
        {"xinfo new x", COMMAND_READ, COMMAND_LEASED, false},
    };
    static const char *const unknown[] = {
        "plain k",        "login k",     "listen k",        "only k",         "ft.config",
        "ft.config on x", "ft.config x", "ft.config|get x", "json.get|x",     "json.ge k",
        "json.gett k",    "nosuch",      "xinfo newer x",   "ft.config get|x"};
    struct learnt *l = learn(modules, &nothing_shared);
    (void)state;
    check_all(l, want, ARRAY_LEN(want), true);
    check_unknown(l, unknown, ARRAY_LEN(unknown));
    assert_int_equal(l->count, 8);
    assert_int_equal(l->stricter_count, 3); /* what only reads below script */
    /* By the name alone, as for what is streamed. */
    assert_int_equal(learnt_lookup_name(l, slice_str("JSON.GET"), NULL)->cls, COMMAND_READ);
    assert_ptr_equal(learnt_lookup_name(l, slice_str("ft.config"), NULL), &command_unknown);
    assert_ptr_equal(learnt_lookup_name(l, slice_str("ft.config|get"), NULL), &command_unknown);
    assert_null(learnt_lookup_plain(l, slice_str("ft.config")));
    assert_ptr_equal(learnt_lookup_plain(l, slice_str("ft.config|get")), &command_unknown);
    learnt_free(&l);
    assert_null(l);
}

static void configured_ones_share(void **state)
{
    static char names[][16] = {"json.get", "json.set", "mod.pop",       "ft.config|get",
                               "listen",   "unlisted", "new.group|one", "get",
                               "plain",    "group",    "client|kill"};
    char *pointers[ARRAY_LEN(names)];
    const struct config_commands shared = {pointers, ARRAY_LEN(names)};
    static const struct expected want[] = {
        {"json.get k", COMMAND_READ, COMMAND_SHARED, false},
        {"json.set k", COMMAND_WRITE, COMMAND_SHARED, false},
        {"mod.pop k", COMMAND_WRITE, COMMAND_LEASED, true},
        {"ft.config get x", COMMAND_READ, COMMAND_SHARED, false},
        {"ft.config set x", COMMAND_WRITE, COMMAND_LEASED, false},
        {"unlisted k", COMMAND_WRITE, COMMAND_SHARED, false},
        {"plain k", COMMAND_WRITE, COMMAND_SHARED, false},
        {"new.group one", COMMAND_WRITE, COMMAND_SHARED, false},
        {"group a", COMMAND_READ, COMMAND_SHARED, false},
        {"group b", COMMAND_WRITE, COMMAND_SHARED, false},
    };
    static const char *const unknown[] = {"listen k", "new.group two", "new.group", "ft.config x"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        pointers[i] = names[i];
    }
    char text[sizeof modules + 64];
    (void)snprintf(text, sizeof text, "%s group: group|a:readonly group|b:fast", modules);
    struct learnt *l = learn(text, &shared);
    (void)state;
    check_all(l, want, ARRAY_LEN(want), true);
    check_unknown(l, unknown, ARRAY_LEN(unknown));
    /* The table's own are not for the configuration to change. */
    assert_int_equal(lookup(l, "client kill x")->link, COMMAND_PINNED);
    assert_int_equal(lookup(l, "get k")->cls, COMMAND_READ);
    assert_true(command_is_known(slice_str("client|kill")) && command_is_known(slice_str("get")));
    assert_false(command_is_known(slice_str("client|k")) || command_is_known(slice_str("g|t")));
    learnt_free(&l);
    /* Where the server does not tell. */
    l = learnt_new(NULL, &shared, NULL);
    assert_int_equal(lookup(l, "json.get k")->link, COMMAND_SHARED);
    assert_int_equal(lookup(l, "json.get k")->cls, COMMAND_WRITE);
    assert_int_equal(lookup(l, "ft.config get")->link, COMMAND_SHARED);
    assert_ptr_equal(lookup(l, "ft.config set"), &command_unknown);
    assert_int_equal(lookup(l, "get k")->cls, COMMAND_READ);
    learnt_free(&l);
}

static void flags_only_make_a_row_stricter(void **state)
{
    static const struct expected want[] = {
        {"get k", COMMAND_WRITE, COMMAND_SHARED, false},
        {"strlen k", COMMAND_READ, COMMAND_LEASED, true},
        {"mget k", COMMAND_WRITE, COMMAND_LEASED, true},
        {"incr k", COMMAND_WRITE, COMMAND_LEASED, true},
        {"eval s 0", COMMAND_SCRIPT, COMMAND_LEASED, true},
        {"client id", COMMAND_WRITE, COMMAND_PINNED, false},
        {"client list", COMMAND_READ, COMMAND_PINNED, true},
        {"xread streams s 0", COMMAND_WRITE, COMMAND_LEASED, true},
        {"xread block 0 streams s 0", COMMAND_WRITE, COMMAND_LEASED, true},
        /* As they were. */
        {"set k v", COMMAND_WRITE, COMMAND_SHARED, false},
        {"del k", COMMAND_WRITE, COMMAND_SHARED, false},
        {"blpop k 0", COMMAND_BLOCKING, COMMAND_LEASED, true},
        {"brpop k 0", COMMAND_BLOCKING, COMMAND_LEASED, true},
        {"xreadgroup group g c streams s >", COMMAND_WRITE, COMMAND_SHARED, false},
        {"xreadgroup group g c block 0 streams s >", COMMAND_BLOCKING, COMMAND_LEASED, true},
        {"multi", COMMAND_MULTI, COMMAND_LEASED, false},
        {"auth p", COMMAND_AUTH, COMMAND_SHARED, false},
        {"wait 1 0", COMMAND_WAIT, COMMAND_LEASED, true},
        {"llen k", COMMAND_READ, COMMAND_SHARED, false},
    };
    struct learnt *l =
        learn("get:write strlen:readonly,blocking mget:write,blocking incr:write,blocking "
              "eval:blocking client: client|id:write client|list:blocking xread:write,blocking "
              "set:readonly del:fast blpop:readonly brpop:write xreadgroup:write,blocking "
              "multi:write,blocking auth:write wait:blocking llen:readonly",
              &nothing_shared);
    (void)state;
    check_all(l, want, ARRAY_LEN(want), false);
    assert_int_equal(l->count, 0);
    assert_int_equal(l->stricter_count, 8);
    assert_string_equal(lookup(l, "get k")->name, "get");
    assert_int_equal(learnt_lookup_name(l, slice_str("get"), NULL)->cls, COMMAND_WRITE);
    learnt_free(&l);
}

/* Before Redis 7.0 a container has the flags of all below it. */
static void containers_speak_for_their_subcommands(void **state)
{
    struct learnt *l = learn("object:write memory:readonly", &nothing_shared);
    (void)state;
    assert_int_equal(lookup(l, "object freq k")->cls, COMMAND_WRITE);
    assert_int_equal(lookup(l, "object")->cls, COMMAND_WRITE);
    assert_int_equal(lookup(l, "memory usage k")->cls, COMMAND_READ);
    assert_int_equal(lookup(l, "memory purge")->cls, COMMAND_WRITE);
    learnt_free(&l);
    l = learn("object:write object|freq:readonly", &nothing_shared);
    assert_int_equal(lookup(l, "object freq k")->cls, COMMAND_READ);
    assert_int_equal(lookup(l, "object encoding k")->cls, COMMAND_WRITE);
    learnt_free(&l);
}

static void what_was_found_outlives_the_list(void **state)
{
    struct learnt *l = learn("json.get:readonly get:write", &nothing_shared);
    const struct command *learnt = lookup(l, "json.get k"), *stricter = lookup(l, "get k");
    (void)state;
    learnt_free(&l);
    assert_int_equal(learnt->cls, COMMAND_READ); /* the sanitizer would tell */
    assert_int_equal(stricter->cls, COMMAND_WRITE);
    assert_string_equal(stricter->name, "get");
    l = learn("json.get:write", &nothing_shared);
    assert_int_equal(lookup(l, "json.get k")->cls, COMMAND_WRITE);
    assert_int_equal(learnt->cls, COMMAND_READ);
    assert_int_equal(lookup(l, "get k")->cls, COMMAND_READ);
    learnt_free(&l);
}

static void without_a_list_the_table_serves(void **state)
{
    (void)state;
    assert_ptr_equal(lookup(NULL, "json.get k"), &command_unknown);
    assert_int_equal(lookup(NULL, "get k")->cls, COMMAND_READ);
    assert_int_equal(lookup(NULL, "client setname n")->cls, COMMAND_SETNAME);
    assert_int_equal(learnt_lookup_name(NULL, slice_str("get"), NULL)->cls, COMMAND_READ);
    struct args none = {0};
    assert_ptr_equal(learnt_lookup(NULL, &none), &command_unknown);
    struct learnt *l = learn("json.get:readonly", &nothing_shared);
    assert_ptr_equal(learnt_lookup(l, &none), &command_unknown);
    learnt_free(&l);
    learnt_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_flags_make_of_a_name),
        cmocka_unit_test(configured_ones_share),
        cmocka_unit_test(flags_only_make_a_row_stricter),
        cmocka_unit_test(containers_speak_for_their_subcommands),
        cmocka_unit_test(what_was_found_outlives_the_list),
        cmocka_unit_test(without_a_list_the_table_serves),
    };
    command_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
