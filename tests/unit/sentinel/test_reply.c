/* What Sentinels and nodes answer, and what hostile ones might. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/base/buf.h"
#include "sentinel/reply.h"

static struct reply *parse(const char *text)
{
    struct reply *r = reply_parse(slice_str(text));
    assert_non_null(r);
    return r;
}

/* An array of bulk strings from words divided by '|'. */
static struct reply *parse_words(const char *words)
{
    struct buf body = {0}, all = {0};
    size_t count = 0;
    while (*words != '\0') {
        size_t n = strcspn(words, "|");
        buf_printf(&body, "$%zu\r\n%.*s\r\n", n, (int)n, words);
        words += n + (words[n] == '|' ? 1 : 0);
        count++;
    }
    buf_printf(&all, "*%zu\r\n", count);
    buf_append(&all, buf_slice(&body));
    struct reply *r = reply_parse(buf_slice(&all));
    assert_non_null(r);
    buf_release(&body);
    buf_release(&all);
    return r;
}

static void types_are_told(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum reply_type type;
        const char *says;
    } rows[] = {{"+OK\r\n", REPLY_STRING, "OK"},
                {"$2\r\nhi\r\n", REPLY_STRING, "hi"},
                {"$-1\r\n", REPLY_NIL, ""},
                {"*-1\r\n", REPLY_NIL, ""},
                {"-ERR no\r\n", REPLY_ERROR, "ERR no"},
                {":7\r\n", REPLY_NUMBER, ""},
                {"*0\r\n", REPLY_ARRAY, ""}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct reply *r = parse(rows[i].text);
        assert_int_equal(reply_type(r), rows[i].type);
        assert_true(slice_eq(reply_text(r), slice_str(rows[i].says)));
        reply_free(&r);
        assert_null(r);
        reply_free(&r);
    }
}

static void what_is_no_reply_is_refused(void **state)
{
    (void)state;
    static const char deep[] = "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n+x\r\n";
    static const char *const rows[] = {"",         "_\r\n",        "%0\r\n",    "#t\r\n",
                                       "+OK",      "$5\r\nabc",    "hello\r\n", "*1\r\n",
                                       ",1.5\r\n", ">1\r\n+x\r\n", deep};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_null(reply_parse(slice_str(rows[i])));
    }
}

static void error_words_match_whole(void **state)
{
    (void)state;
    struct reply *r = parse("-NOAUTH Authentication required.\r\n");
    assert_true(reply_is_error(r, "NOAUTH"));
    assert_false(reply_is_error(r, "NOA"));
    assert_false(reply_is_error(r, "NOPERM"));
    reply_free(&r);
    r = parse("-NOAUTH\r\n");
    assert_true(reply_is_error(r, "NOAUTH"));
    reply_free(&r);
    r = parse("+NOAUTH really\r\n");
    assert_false(reply_is_error(r, "NOAUTH"));
    reply_free(&r);
}

static void addresses(void **state)
{
    (void)state;
    static const struct {
        const char *host, *port;
        bool good;
    } rows[] = {
        {"10.0.0.1", "6379", true},
        {"fe80::1", "1", true},
        {"redis-0.svc", "65535", true},
        {"10.0.0.1", "0", false},
        {"10.0.0.1", "65536", false},
        {"10.0.0.1", "-1", false},
        {"10.0.0.1", "06379", false},
        {"10.0.0.1", "", false},
        {"10.0.0.1", "6379 ", false},
        {"10.0.0.1", "99999999999999999999999", false},
        {"", "6379", false},
        {"?", "6379", false},
        {"0.0.0.0", "6379", false},
        {"0:0:0:0:0:0:0:0", "6379", false},
        {"::0", "6379", false},
        {"::ffff:0.0.0.0", "6379", false},
        {"", "6379", false},
        {"::1", "6379", true},
        {"/run/redis.sock", "6379", false},
        {"::", "6379", false},
        {"a b", "6379", false},
        {"a\nb", "6379", false},
        {"h\xc3\xa9", "6379", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct addr a = {.port = 9};
        assert_int_equal(reply_make_addr(slice_str(rows[i].host), slice_str(rows[i].port), &a),
                         rows[i].good);
        assert_int_equal(a.port == 9, !rows[i].good); /* untouched when it is not good */
    }
    char host[ADDR_HOST_MAX + 2];
    struct addr a;
    memset(host, 'a', sizeof host);
    assert_true(reply_make_addr(slice_of(host, ADDR_HOST_MAX), slice_str("1"), &a));
    assert_false(reply_make_addr(slice_of(host, ADDR_HOST_MAX + 1), slice_str("1"), &a));
    assert_false(reply_make_addr(slice_of("a\0b", 3), slice_str("1"), &a));
}

static void the_primarys_address(void **state)
{
    (void)state;
    struct addr a;
    struct reply *r = parse_words("10.0.0.1|6379");
    assert_true(reply_read_address(r, &a));
    assert_string_equal(a.host, "10.0.0.1");
    assert_int_equal(a.port, 6379);
    reply_free(&r);
    static const char *const no[] = {"*-1\r\n",
                                     "$-1\r\n",
                                     "-ERR no\r\n",
                                     "*0\r\n",
                                     "*1\r\n$1\r\na\r\n",
                                     "*3\r\n$1\r\na\r\n$1\r\n1\r\n$1\r\n1\r\n",
                                     "*2\r\n$1\r\na\r\n:1\r\n",
                                     "*2\r\n:1\r\n$1\r\n1\r\n",
                                     "*2\r\n*-1\r\n*-1\r\n",
                                     "*2\r\n$1\r\na\r\n$-1\r\n",
                                     "+a 1\r\n"};
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++) {
        r = parse(no[i]);
        assert_false(reply_read_address(r, &a));
        reply_free(&r);
    }
}

static void ids(void **state)
{
    (void)state;
    char id[SENTINEL_ID_MAX + 1];
    struct reply *r = parse("$40\r\n2bfe08f55a85a4f7acfeb0648be14efad62f3897\r\n");
    assert_true(reply_read_id(r, id));
    assert_string_equal(id, "2bfe08f55a85a4f7acfeb0648be14efad62f3897");
    reply_free(&r);
    static const char *const no[] = {"$0\r\n\r\n", "$-1\r\n",       "-ERR\r\n",
                                     ":12\r\n",    "$3\r\na b\r\n", "*1\r\n$1\r\na\r\n"};
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++) {
        r = parse(no[i]);
        assert_false(reply_read_id(r, id));
        reply_free(&r);
    }
    struct buf long_id = {0};
    buf_printf(&long_id, "$%d\r\n%0*d\r\n", SENTINEL_ID_MAX + 1, SENTINEL_ID_MAX + 1, 0);
    r = reply_parse(buf_slice(&long_id));
    assert_false(reply_read_id(r, id));
    reply_free(&r);
    buf_release(&long_id);
}

static void ids_from_info(void **state)
{
    (void)state;
    static const struct {
        const char *text, *id;
    } rows[] = {
        {"# Server\r\nredis_version:5.0.14\r\nrun_id:abc123\r\nport:26379\r\n", "abc123"},
        {"run_id:x", "x"},
        {"old_run_id:x\r\n", NULL},
        {"run_id:\r\n", NULL},
        {"run_id:a b\r\n", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char id[SENTINEL_ID_MAX + 1];
        struct buf b = {0};
        buf_printf(&b, "$%zu\r\n%s\r\n", strlen(rows[i].text), rows[i].text);
        struct reply *r = reply_parse(buf_slice(&b));
        assert_int_equal(reply_read_info_id(r, id), rows[i].id != NULL);
        if (rows[i].id != NULL) {
            assert_string_equal(id, rows[i].id);
        }
        reply_free(&r);
        buf_release(&b);
    }
}

#define MASTER "name|mymaster|ip|10.0.0.1|port|6379|flags|"

static void sentinel_master(void **state)
{
    (void)state;
    struct sentinel_master m;
    struct reply *r = parse_words(MASTER "master,s_down,failover_in_progress|config-epoch|7|"
                                         "num-other-sentinels|2|down-after-milliseconds|1500");
    assert_true(reply_read_master(r, &m));
    assert_string_equal(m.addr.host, "10.0.0.1");
    assert_int_equal(m.config_epoch, 7);
    assert_int_equal(m.other_sentinels, 2);
    assert_int_equal(m.down_after_ms, 1500);
    assert_true(m.s_down && m.failover_in_progress && !m.o_down);
    reply_free(&r);
    /* The order is of no account, and fields may come that nobody knows. */
    r = parse_words("config-epoch|0|new-field|x|flags|master,o_down|port|1|ip|h");
    assert_true(reply_read_master(r, &m));
    assert_true(m.o_down && !m.s_down && !m.failover_in_progress);
    assert_int_equal(m.down_after_ms, 0);
    reply_free(&r);
    /* Nonsense in what may be missing counts as missing. */
    r = parse_words(MASTER "master,xs_down,s_downx|config-epoch|1|num-other-sentinels|-1|"
                           "down-after-milliseconds|99999999999999");
    assert_true(reply_read_master(r, &m));
    assert_int_equal(m.other_sentinels, 0);
    assert_int_equal(m.down_after_ms, 0);
    assert_false(m.s_down);
    reply_free(&r);
}

static void sentinel_master_without_the_essential(void **state)
{
    (void)state;
    static const char *const no[] = {
        MASTER "master",
        MASTER "master|config-epoch|-1",
        MASTER "master|config-epoch|9223372036854775808",
        MASTER "master|config-epoch|x",
        MASTER "master|config-epoch",
        "ip|10.0.0.1|port|6379|config-epoch|1",
        "ip|10.0.0.1|port|0|flags|master|config-epoch|1",
        "ip|0.0.0.0|port|6379|flags|master|config-epoch|1",
        "port|6379|flags|master|config-epoch|1",
    };
    struct sentinel_master m;
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++) {
        struct reply *r = parse_words(no[i]);
        assert_false(reply_read_master(r, &m));
        reply_free(&r);
    }
    struct reply *r = parse("-ERR No such master with that name\r\n");
    assert_false(reply_read_master(r, &m));
    reply_free(&r);
}

static void peers(void **state)
{
    (void)state;
    static const char text[] = "*4\r\n"
                               "*8\r\n$2\r\nip\r\n$8\r\n10.0.0.1\r\n$4\r\nport\r\n$5\r\n26379\r\n"
                               "$5\r\nflags\r\n$8\r\nsentinel\r\n$5\r\nrunid\r\n$3\r\nabc\r\n"
                               "*6\r\n$5\r\nflags\r\n$12\r\nslave,s_down\r\n$2\r\nip\r\n$1\r\nh\r\n"
                               "$4\r\nport\r\n$4\r\n6379\r\n"
                               "*4\r\n$2\r\nip\r\n$7\r\n0.0.0.0\r\n$4\r\nport\r\n$1\r\n1\r\n"
                               ":5\r\n";
    struct sentinel_peer peer[3];
    bool valid;
    struct reply *r = parse(text);
    assert_int_equal(reply_read_peers(r, peer, 3, &valid), 2);
    assert_true(valid);
    assert_string_equal(peer[0].id, "abc");
    assert_false(peer[0].down);
    assert_string_equal(peer[1].addr.host, "h");
    assert_string_equal(peer[1].id, "");
    assert_true(peer[1].down);
    assert_int_equal(reply_read_peers(r, peer, 1, &valid), 1);
    reply_free(&r);
    r = parse("-ERR No such master with that name\r\n");
    assert_int_equal(reply_read_peers(r, peer, 3, &valid), 0);
    assert_false(valid);
    reply_free(&r);
    r = parse("*0\r\n");
    assert_int_equal(reply_read_peers(r, peer, 3, &valid), 0);
    assert_true(valid);
    reply_free(&r);
}

static void roles(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum role role;
        uint16_t port;
    } rows[] = {
        {"*3\r\n$6\r\nmaster\r\n:10\r\n*0\r\n", ROLE_MASTER, 0},
        {"*5\r\n$5\r\nslave\r\n$8\r\n10.0.0.2\r\n:6380\r\n$9\r\nconnected\r\n:5\r\n", ROLE_REPLICA,
         6380},
        {"*5\r\n$5\r\nslave\r\n$8\r\n10.0.0.2\r\n:0\r\n$4\r\nsync\r\n:-1\r\n", ROLE_REPLICA, 0},
        {"*5\r\n$5\r\nslave\r\n$8\r\n10.0.0.2\r\n:70000\r\n$4\r\nsync\r\n:-1\r\n", ROLE_REPLICA, 0},
        {"*5\r\n$5\r\nslave\r\n$1\r\n?\r\n:6380\r\n$4\r\nsync\r\n:-1\r\n", ROLE_REPLICA, 0},
        {"*1\r\n$5\r\nslave\r\n", ROLE_REPLICA, 0},
        {"*2\r\n$8\r\nsentinel\r\n*0\r\n", ROLE_STRANGE, 0},
        {"*0\r\n", ROLE_STRANGE, 0},
        {"*-1\r\n", ROLE_STRANGE, 0},
        {"*1\r\n:1\r\n", ROLE_STRANGE, 0},
        {"$6\r\nmaster\r\n", ROLE_STRANGE, 0},
        {"+OK\r\n", ROLE_STRANGE, 0},
        {"-BUSY Redis is busy\r\n", ROLE_REFUSED, 0},
        {"-NOPERM no\r\n", ROLE_REFUSED, 0},
        {"-NOAUTH Authentication required.\r\n", ROLE_REFUSED, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct addr master;
        struct reply *r = parse(rows[i].text);
        assert_int_equal(reply_read_role(r, &master), rows[i].role);
        assert_int_equal(master.port, rows[i].port);
        reply_free(&r);
    }
}

static void replication(void **state)
{
#define SLAVE(word) "*5\r\n$5\r\nslave\r\n$1\r\nh\r\n:1\r\n" word "\r\n"
    static const struct {
        const char *text;
        enum repl_link link;
        int64_t offset;
    } rows[] = {
        {"*3\r\n$6\r\nmaster\r\n:10\r\n*0\r\n", REPL_DOWN, 10},
        {"*3\r\n$6\r\nmaster\r\n:-1\r\n*0\r\n", REPL_DOWN, -1},
        {"*1\r\n$6\r\nmaster\r\n", REPL_DOWN, -1},
        {"*2\r\n$6\r\nmaster\r\n$2\r\n10\r\n", REPL_DOWN, -1},
        {SLAVE("$9\r\nconnected\r\n:5"), REPL_UP, 5},
        {SLAVE("$9\r\nconnected\r\n$1\r\n5"), REPL_UP, -1},
        {SLAVE("$4\r\nsync\r\n:-1"), REPL_SYNCING, -1},
        {SLAVE("$9\r\nhandshake\r\n:-1"), REPL_DOWN, -1},
        {SLAVE("$10\r\nconnecting\r\n:-1"), REPL_DOWN, -1},
        {SLAVE("$9\r\nCONNECTED\r\n:-7"), REPL_DOWN, -1},
        {SLAVE(":1\r\n:5"), REPL_DOWN, 5},
        {"*3\r\n$5\r\nslave\r\n$1\r\nh\r\n:1\r\n", REPL_DOWN, -1},
        {"*0\r\n", REPL_DOWN, -1},
        {"-BUSY Redis is busy\r\n", REPL_DOWN, -1},
        {"$6\r\nmaster\r\n", REPL_DOWN, -1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct reply *r = parse(rows[i].text);
        struct repl_state got;
        reply_read_repl(r, &got);
        assert_int_equal(got.link, rows[i].link);
        assert_int_equal(got.offset, rows[i].offset);
        reply_free(&r);
    }
}

static void fitness(void **state)
{
    static const struct {
        const char *text;
        bool loading, syncing, priority_zero;
        const char *repl_id, *zone;
    } rows[] = {
        {"# Server\r\nredis_version:7.0.15\r\n", false, false, false, "", ""},
        {"loading:0\r\nasync_loading:0\r\nmaster_sync_in_progress:0\r\nslave_priority:100\r\n"
         "master_replid:f00\r\navailability_zone:eu-1b\r\n",
         false, false, false, "f00", "eu-1b"},
        {"loading:1\r\n", true, false, false, "", ""},
        {"async_loading:1\r\n", true, false, false, "", ""},
        {"master_sync_in_progress:1\nslave_priority:0", false, true, true, "", ""},
        {"availability_zone:\r\nmaster_replid:\r\n", false, false, false, "", ""},
        {"xloading:1\r\nloading_:1\r\nmaster_replid2:f00\r\n", false, false, false, "", ""},
        {"master_replid:0123456789012345678901234567890123456789a\r\navailability_zone:a b\r\n",
         false, false, false, "", ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct buf b = {0};
        struct node_info got;
        buf_printf(&b, "$%zu\r\n%s\r\n", strlen(rows[i].text), rows[i].text);
        struct reply *r = reply_parse(buf_slice(&b));
        assert_true(reply_read_info(r, &got));
        assert_int_equal(got.loading, rows[i].loading);
        assert_int_equal(got.syncing, rows[i].syncing);
        assert_int_equal(got.priority_zero, rows[i].priority_zero);
        assert_string_equal(got.repl_id, rows[i].repl_id);
        assert_string_equal(got.zone, rows[i].zone);
        reply_free(&r);
        buf_release(&b);
    }
    struct node_info got = {.loading = true};
    struct reply *r = parse("-NOPERM no\r\n");
    assert_false(reply_read_info(r, &got));
    assert_false(got.loading);
    reply_free(&r);
}

static void pushes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum push_kind kind;
        const char *channel, *payload;
    } rows[] = {
        {"*3\r\n$7\r\nmessage\r\n$2\r\n+a\r\n$3\r\nx y\r\n", PUSH_MESSAGE, "+a", "x y"},
        {"*3\r\n$9\r\nsubscribe\r\n$2\r\n+a\r\n:1\r\n", PUSH_SUBSCRIBED, "+a", ""},
        {"*2\r\n$4\r\npong\r\n$0\r\n\r\n", PUSH_PONG, "", ""},
        {"+PONG\r\n", PUSH_PONG, "", ""},
        {"+OK\r\n", PUSH_OTHER, "", ""},
        {"*2\r\n$7\r\nmessage\r\n$2\r\n+a\r\n", PUSH_OTHER, "", ""},
        {"*3\r\n$7\r\nmessage\r\n:1\r\n*-1\r\n", PUSH_MESSAGE, "", ""},
        {"*-1\r\n", PUSH_OTHER, "", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct reply *r = parse(rows[i].text);
        struct push push = reply_read_push(r);
        assert_int_equal(push.kind, rows[i].kind);
        assert_true(slice_eq(push.channel, slice_str(rows[i].channel)));
        assert_true(slice_eq(push.payload, slice_str(rows[i].payload)));
        reply_free(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_are_told),
        cmocka_unit_test(what_is_no_reply_is_refused),
        cmocka_unit_test(error_words_match_whole),
        cmocka_unit_test(addresses),
        cmocka_unit_test(the_primarys_address),
        cmocka_unit_test(ids),
        cmocka_unit_test(ids_from_info),
        cmocka_unit_test(sentinel_master),
        cmocka_unit_test(sentinel_master_without_the_essential),
        cmocka_unit_test(peers),
        cmocka_unit_test(roles),
        cmocka_unit_test(replication),
        cmocka_unit_test(fitness),
        cmocka_unit_test(pushes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
