#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/command.h"

#define WORDS_MAX 16

/* The arguments of a request made of words, parted by single spaces in text. */
static struct args request(const char *text)
{
    struct args args = {0};
    while (*text != '\0') {
        size_t n = strcspn(text, " ");
        if (args.kept < ARGS_KEPT) {
            args.v[args.kept++] = slice_of(text, n);
        }
        args.count++;
        text += n + (text[n] == ' ');
    }
    return args;
}

static const struct command *lookup(const char *text)
{
    struct args args = request(text);
    return command_lookup(&args);
}

struct expected {
    const char *request, *name;
    enum command_class cls;
    bool may_block, forgeable;
};

static void check_all(const struct expected *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct expected *want = &rows[i];
        const struct command *got = lookup(want->request);
        if (got->cls != want->cls || strcmp(got->name, want->name) != 0 ||
            got->may_block != want->may_block || got->forgeable != want->forgeable) {
            fail_msg("%s: got %s, class %d, may_block %d, forgeable %d", want->request, got->name,
                     (int)got->cls, got->may_block, got->forgeable);
        }
    }
}

static void every_class(void **state)
{
    static const struct expected rows[] = {
        {"get k", "get", COMMAND_READ, false, false},
        {"ping", "ping", COMMAND_READ, false, false},
        {"config get maxmemory", "config|get", COMMAND_READ, false, false},
        {"script load x", "script|load", COMMAND_READ, false, false},
        {"client getname", "client|getname", COMMAND_GETNAME, false, false},
        {"set k v", "set", COMMAND_WRITE, false, false},
        {"getex k", "getex", COMMAND_WRITE, false, false},
        {"publish c m", "publish", COMMAND_WRITE, false, false},
        {"config set a b", "config|set", COMMAND_WRITE, false, false},
        {"shutdown", "shutdown", COMMAND_WRITE, false, false},
        {"migrate h p k 0 1", "migrate", COMMAND_WRITE, false, false},
        {"wait 1 0", "wait", COMMAND_WAIT, true, false},
        {"waitaof 1 1 0", "waitaof", COMMAND_WAIT, true, false},
        {"eval s 0", "eval", COMMAND_SCRIPT, false, true},
        {"evalsha s 0", "evalsha", COMMAND_SCRIPT, false, true},
        {"fcall f 0", "fcall", COMMAND_SCRIPT, false, true},
        {"eval_ro s 0", "eval_ro", COMMAND_READ, false, true},
        {"evalsha_ro s 0", "evalsha_ro", COMMAND_READ, false, true},
        {"fcall_ro f 0", "fcall_ro", COMMAND_READ, false, true},
        {"blpop k 0", "blpop", COMMAND_BLOCKING, true, false},
        {"brpop k 0", "brpop", COMMAND_BLOCKING, true, false},
        {"blmove a b LEFT LEFT 0", "blmove", COMMAND_BLOCKING, true, false},
        {"brpoplpush a b 0", "brpoplpush", COMMAND_BLOCKING, true, false},
        {"blmpop 0 1 k LEFT", "blmpop", COMMAND_BLOCKING, true, false},
        {"bzpopmin k 0", "bzpopmin", COMMAND_BLOCKING, true, false},
        {"bzpopmax k 0", "bzpopmax", COMMAND_BLOCKING, true, false},
        {"bzmpop 0 1 k MIN", "bzmpop", COMMAND_BLOCKING, true, false},
        {"lpop k", "lpop", COMMAND_WRITE, false, false},
        {"multi", "multi", COMMAND_MULTI, false, false},
        {"exec", "exec", COMMAND_EXEC, false, false},
        {"discard", "discard", COMMAND_DISCARD, false, false},
        {"watch k", "watch", COMMAND_WATCH, false, false},
        {"unwatch", "unwatch", COMMAND_UNWATCH, false, false},
        {"auth p", "auth", COMMAND_AUTH, false, false},
        {"hello 3", "hello", COMMAND_HELLO, false, false},
        {"select 1", "select", COMMAND_SELECT, false, false},
        {"client setname n", "client|setname", COMMAND_SETNAME, false, false},
        {"quit", "quit", COMMAND_QUIT, false, false},
        {"reset", "reset", COMMAND_RESET, false, false},
        {"subscribe c", "subscribe", COMMAND_SUBSCRIBE, false, false},
        {"psubscribe c", "psubscribe", COMMAND_SUBSCRIBE, false, false},
        {"ssubscribe c", "ssubscribe", COMMAND_SUBSCRIBE, false, false},
        {"unsubscribe", "unsubscribe", COMMAND_SUBSCRIBE, false, false},
        {"punsubscribe", "punsubscribe", COMMAND_SUBSCRIBE, false, false},
        {"sunsubscribe", "sunsubscribe", COMMAND_SUBSCRIBE, false, false},
        {"monitor", "monitor", COMMAND_MONITOR, false, false},
        {"sync", "sync", COMMAND_RAW, false, false},
        {"psync ? -1", "psync", COMMAND_RAW, false, false},
        {"replconf ack 1", "replconf", COMMAND_RAW, false, false},
        {"client reply off", "client|reply", COMMAND_REPLY, false, false},
        {"script debug yes", "script|debug", COMMAND_RAW, false, false},
        {"client tracking on", "client|tracking", COMMAND_TRACKING, false, false},
        {"client caching yes", "client|caching", COMMAND_CACHING, false, false},
        {"client no-evict on", "client|no-evict", COMMAND_EVICT, false, false},
        {"client no-touch on", "client|no-touch", COMMAND_EVICT, false, false},
        {"client capa redirect", "client|capa", COMMAND_STATE, false, false},
    };
    (void)state;
    check_all(rows, ARRAY_LEN(rows));
}

static void case_does_not_matter(void **state)
{
    (void)state;
    assert_ptr_equal(lookup("GET k"), lookup("get k"));
    assert_ptr_equal(lookup("gEt k"), lookup("get k"));
    assert_ptr_equal(lookup("CLIENT SetName n"), lookup("client setname n"));
    assert_ptr_equal(lookup("EVAL_RO s 0"), lookup("eval_ro s 0"));
    assert_ptr_equal(command_lookup_name(slice_str("HGETALL")), lookup("hgetall h"));
    assert_int_equal(lookup("XREAD Block 0 STREAMS s 0")->may_block, true);
}

static void unknown_is_a_write(void **state)
{
    static const char *const requests[] = {
        "nosuchcommand a",
        "client nosuch",
        "client|kill 1",
        "object freqq k",
        "ge",
        "gett k",
        "get|x k",
        "json.get k",
        "@get k",
        "client kill|",
        "client",
        "command frob x",
        "client client|kill",
        "[et k",
        "GET\xc3 k",
        "command|count",
        "averyveryveryveryveryveryverylongcommandname k",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        const struct command *got = lookup(requests[i]);
        assert_int_equal(got->cls, COMMAND_WRITE);
        if (strcmp(requests[i], "client") != 0 && got != &command_unknown) {
            fail_msg("%s was taken for %s", requests[i], got->name);
        }
    }
    struct args none = {0};
    assert_ptr_equal(command_lookup(&none), &command_unknown);
    struct args empty_word = {.count = 1, .kept = 1};
    assert_ptr_equal(command_lookup(&empty_word), &command_unknown);
    assert_false(command_unknown.may_block || command_unknown.forgeable);
}

/* Redis may take them for what stands before the NUL: reset\0x for RESET, at which it forgets who
 * the client is. */
static void names_up_to_a_nul(void **state)
{
    struct args args = {
        .count = 2, .kept = 2, .v = {slice_of("Client\0y", 8), slice_of("id\0", 3)}};
    (void)state;
    assert_int_equal(command_lookup_plain(slice_of("get\0", 4))->cls, COMMAND_READ);
    assert_int_equal(command_lookup_name(slice_of("SYNC\0x", 6))->cls, COMMAND_RAW);
    assert_string_equal(command_lookup(&args)->name, "client|id");
    assert_ptr_equal(command_lookup_name(slice_of("\0get", 4)), &command_unknown);
    assert_ptr_equal(command_lookup_name(slice_of("ge\0t", 4)), &command_unknown);
    args = (struct args){.count = 1, .kept = 1, .v = {slice_of("reset\0x", 7)}};
    assert_int_equal(command_lookup(&args)->cls, COMMAND_RESET);
}

static void containers(void **state)
{
    (void)state;
    assert_string_equal(lookup("command")->name, "command");
    assert_int_equal(lookup("command")->cls, COMMAND_READ);
    assert_int_equal(lookup("command docs")->cls, COMMAND_READ);
    assert_int_equal(lookup("xinfo")->cls, COMMAND_READ);
    assert_int_equal(lookup("script")->cls, COMMAND_WRITE);
    /* Known by name alone only where all sub-commands are alike. */
    assert_int_equal(command_lookup_name(slice_str("object"))->cls, COMMAND_READ);
    assert_int_equal(command_lookup_name(slice_str("pubsub"))->cls, COMMAND_READ);
    static const char *const mixed[] = {"client",   "config",  "script", "acl",
                                        "function", "xgroup",  "memory", "cluster",
                                        "module",   "slowlog", "latency"};
    for (size_t i = 0; i < ARRAY_LEN(mixed); i++) {
        assert_ptr_equal(command_lookup_name(slice_str(mixed[i])), &command_unknown);
    }
    assert_ptr_equal(command_lookup_name(slice_str("client|kill")), &command_unknown);
}

static void block_is_an_option(void **state)
{
    static const struct expected rows[] = {
        {"xread streams s 0", "xread", COMMAND_READ, false, false},
        {"xread count 2 streams s 0", "xread", COMMAND_READ, false, false},
        {"xread block 0 streams s 0", "xread", COMMAND_READ, true, false},
        {"xread count 2 block 0 streams s 0", "xread", COMMAND_READ, true, false},
        {"xread streams block 0", "xread", COMMAND_READ, false, false},
        {"xread count block streams s 0", "xread", COMMAND_READ, false, false},
        {"xreadgroup group g c streams s >", "xreadgroup", COMMAND_WRITE, false, false},
        {"xreadgroup group block block streams s >", "xreadgroup", COMMAND_WRITE, false, false},
        {"xreadgroup group g c block 5 streams s >", "xreadgroup", COMMAND_BLOCKING, true, false},
        {"xreadgroup group g c count 1 noack block 5 streams s >", "xreadgroup", COMMAND_BLOCKING,
         true, false},
        {"xreadgroup group streams streams block 5 streams s >", "xreadgroup", COMMAND_BLOCKING,
         true, false},
        /* What stands past the arguments kept can't be told: careful. */
        {"xread count 1 count 1 count 1 count 1 block 5 streams s 0", "xread", COMMAND_READ, true,
         false},
        {"xreadgroup count 1 count 1 group g c noack streams s >", "xreadgroup", COMMAND_BLOCKING,
         true, false},
        {"xread", "xread", COMMAND_READ, false, false},
        {"xreadgroup group", "xreadgroup", COMMAND_WRITE, false, false},
    };
    (void)state;
    check_all(rows, ARRAY_LEN(rows));
    const struct command *by_name = command_lookup_name(slice_str("xread"));
    assert_true(by_name->may_block && by_name->cls == COMMAND_READ);
    by_name = command_lookup_name(slice_str("XREADGROUP"));
    assert_true(by_name->may_block && by_name->cls == COMMAND_WRITE);
}

/* Every name that COMMAND of Redis 7.0.15 tells, by the flag it has there: an independent witness.
 */
static const char flagged_write[] =
    "append bitfield bitop blmove blmpop blpop brpop brpoplpush bzmpop bzpopmax bzpopmin copy "
    "decr decrby del expire expireat flushall flushdb function|delete function|flush "
    "function|load function|restore geoadd georadius georadiusbymember geosearchstore getdel "
    "getex getset hdel hincrby hincrbyfloat hmset hset hsetnx incr incrby incrbyfloat linsert "
    "lmove lmpop lpop lpush lpushx lrem lset ltrim migrate move mset msetnx persist pexpire "
    "pexpireat pfadd pfdebug pfmerge psetex rename renamenx restore restore-asking rpop "
    "rpoplpush rpush rpushx sadd sdiffstore set setbit setex setnx setrange sinterstore smove "
    "sort spop srem sunionstore swapdb unlink xack xadd xautoclaim xclaim xdel xgroup|create "
    "xgroup|createconsumer xgroup|delconsumer xgroup|destroy xgroup|setid xreadgroup xsetid "
    "xtrim zadd zdiffstore zincrby zinterstore zmpop zpopmax zpopmin zrangestore zrem "
    "zremrangebylex zremrangebyrank zremrangebyscore zunionstore";
static const char flagged_readonly[] =
    "bitcount bitfield_ro bitpos dbsize dump eval_ro evalsha_ro exists expiretime fcall_ro "
    "geodist geohash geopos georadius_ro georadiusbymember_ro geosearch get getbit getrange "
    "hexists hget hgetall hkeys hlen hmget hrandfield hscan hstrlen hvals keys lcs lindex "
    "llen lolwut lpos lrange memory|usage mget object|encoding object|freq object|idletime "
    "object|refcount pexpiretime pfcount pttl randomkey scan scard sdiff sinter sintercard "
    "sismember smembers smismember sort_ro srandmember sscan strlen substr sunion touch ttl "
    "type xinfo|consumers xinfo|groups xinfo|stream xlen xpending xrange xread xrevrange "
    "zcard zcount zdiff zinter zintercard zlexcount zmscore zrandmember zrange zrangebylex "
    "zrangebyscore zrank zrevrange zrevrangebylex zrevrangebyscore zrevrank zscan zscore "
    "zunion";
static const char flagged_neither[] =
    "acl acl|cat acl|deluser acl|dryrun acl|genpass acl|getuser acl|help acl|list acl|load "
    "acl|log acl|save acl|setuser acl|users acl|whoami asking auth bgrewriteaof bgsave client "
    "client|caching client|getname client|getredir client|help client|id client|info "
    "client|kill client|list client|no-evict client|pause client|reply client|setname "
    "client|tracking client|trackinginfo client|unblock client|unpause cluster "
    "cluster|addslots cluster|addslotsrange cluster|bumpepoch cluster|count-failure-reports "
    "cluster|countkeysinslot cluster|delslots cluster|delslotsrange cluster|failover "
    "cluster|flushslots cluster|forget cluster|getkeysinslot cluster|help cluster|info "
    "cluster|keyslot cluster|links cluster|meet cluster|myid cluster|nodes cluster|replicas "
    "cluster|replicate cluster|reset cluster|saveconfig cluster|set-config-epoch "
    "cluster|setslot cluster|shards cluster|slaves cluster|slots command command|count "
    "command|docs command|getkeys command|getkeysandflags command|help command|info "
    "command|list config config|get config|help config|resetstat config|rewrite config|set "
    "debug discard echo eval evalsha exec failover fcall function function|dump function|help "
    "function|kill function|list function|stats hello info lastsave latency latency|doctor "
    "latency|graph latency|help latency|histogram latency|history latency|latest "
    "latency|reset memory memory|doctor memory|help memory|malloc-stats memory|purge "
    "memory|stats module module|help module|list module|load module|loadex module|unload "
    "monitor multi object object|help pfselftest ping psubscribe psync publish pubsub "
    "pubsub|channels pubsub|help pubsub|numpat pubsub|numsub pubsub|shardchannels "
    "pubsub|shardnumsub punsubscribe quit readonly readwrite replconf replicaof reset role "
    "save script script|debug script|exists script|flush script|help script|kill script|load "
    "select shutdown slaveof slowlog slowlog|get slowlog|help slowlog|len slowlog|reset "
    "spublish ssubscribe subscribe sunsubscribe sync time unsubscribe unwatch wait watch "
    "xgroup xgroup|help xinfo xinfo|help";

/* Calls check for each word of list; returns how many there were. */
static size_t each_word(const char *list, void (*check)(const char *, const struct command *))
{
    size_t count = 0;
    for (size_t n; *list != '\0'; list += n + (list[n] == ' '), count++) {
        char text[64];
        n = strcspn(list, " ");
        assert_true(n < sizeof text);
        memcpy(text, list, n);
        text[n] = '\0';
        char *bar = strchr(text, '|');
        if (bar != NULL) {
            *bar = ' ';
        }
        check(text, lookup(text));
    }
    return count;
}

static void check_not_repeatable(const char *text, const struct command *command)
{
    if (command == &command_unknown || command_repeatable(command)) {
        fail_msg("%s writes, and would be sent again", text);
    }
}

static void check_repeatable(const char *text, const struct command *command)
{
    if (!command_repeatable(command)) {
        fail_msg("%s only reads, and would be in doubt", text);
    }
}

static void check_known(const char *text, const struct command *command)
{
    if (command == &command_unknown) {
        fail_msg("%s is not in the table", text);
    }
}

static void agrees_with_the_server(void **state)
{
    (void)state;
    assert_int_equal(each_word(flagged_write, check_not_repeatable), 108);
    assert_int_equal(each_word(flagged_readonly, check_repeatable), 90);
    assert_int_equal(each_word(flagged_neither, check_known), 168);
}

static unsigned going(uint32_t mask)
{
    unsigned n = 0;
    for (size_t i = 1; i <= command_count(); i++) {
        n += command_goes(command_numbered(i), mask) ? 1 : 0;
    }
    return n;
}

/* Which commands a replica may be asked. */
static void may_go_to_replicas(void **state)
{
    (void)state;
    static char keys[] = "keys", pfcount[] = "pfcount";
    char *names[] = {keys, pfcount};
    struct config_commands none = {0}, two = {names, 2};
    uint32_t plain = command_replica_mask(&none), more = command_replica_mask(&two);
    assert_int_equal(going(plain), 75);
    assert_int_equal(going(more), 77);
    assert_true(command_goes(lookup("get k"), plain));
    assert_true(command_goes(lookup("xinfo stream x"), plain));
    assert_true(command_goes(lookup("keys *"), more));
    assert_true(command_goes(lookup("pfcount p"), more));
    static const char *const never[] = {
        "set k v",     "getex k",        "sort l",   "bitfield k", "eval s 0",  "scan 0",
        "touch k",     "object freq k",  "ping",     "wait 1 0",   "dbsize",    "eval_ro s 0",
        "xread s x 0", "memory usage k", "nosuch",   "multi",      "subscribe", "pubsub channels",
        "info",        "script exists",  "readonly", "time",       "auth p",    "select 1"};
    for (size_t i = 0; i < ARRAY_LEN(never); i++) {
        if (command_goes(lookup(never[i]), more)) {
            fail_msg("%s would go to a replica", never[i]);
        }
    }
}

/* What goes there was proven to read, even by another table. */
static void what_goes_reads(void **state)
{
    (void)state;
    for (size_t i = 1; i <= command_count(); i++) {
        const struct command *c = command_numbered(i);
        if (c->replica >= REPLICA_READS) {
            assert_int_equal(c->cls, COMMAND_READ);
            assert_false(c->may_block);
            const struct command *writes = command_stricter(i, true, false);
            assert_true(writes != NULL && writes->replica == REPLICA_NEVER);
            assert_true(command_only_reads(c) && !command_only_reads(writes));
        }
    }
}

struct row {
    const char *name;
    enum command_class cls;
};

static const struct row rows[] = {
#define C(name, cls)                     {name, COMMAND_##cls},
#define R(name)                          C(name, READ)
#define LEASES(name, cls)                C(name, cls)
#define PINS(name, cls)                  C(name, cls)
#define BLOCKS(name, cls)                C(name, cls)
#define FORGES(name, cls)                C(name, cls)
#define STREAM(name, cls)                C(name, cls)
#define CONTAINER(name, cls)             C(name, cls)
#define SCRIPTS(name, cls, script, runs) C(name, cls)
#include "proxy/command_table.def"
};

/* A row that changes its class, comes or goes is to be noticed here. */
static void table_is_sorted_and_counted(void **state)
{
    size_t count[COMMAND_STATE + 1] = {0};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        count[rows[i].cls]++;
        if (i > 0 && strcmp(rows[i - 1].name, rows[i].name) >= 0) {
            fail_msg("%s does not follow %s", rows[i].name, rows[i - 1].name);
        }
    }
    assert_int_equal(ARRAY_LEN(rows), 385);
    assert_int_equal(count[COMMAND_READ], 161);
    assert_int_equal(count[COMMAND_READONLY], 2);
    assert_int_equal(count[COMMAND_WRITE], 176);
    assert_int_equal(count[COMMAND_KILL], 2);
    assert_int_equal(count[COMMAND_SCRIPT], 3);
    assert_int_equal(count[COMMAND_BLOCKING], 8);
    assert_int_equal(count[COMMAND_RAW], 4);
    assert_int_equal(count[COMMAND_REPLY], 1);
    assert_int_equal(count[COMMAND_EVICT], 2);
    assert_int_equal(count[COMMAND_SUBSCRIBE], 6);
    assert_int_equal(count[COMMAND_HTTP], 2);
    assert_int_equal(count[COMMAND_TRACKING], 1);
    assert_int_equal(count[COMMAND_CACHING], 1);
    assert_int_equal(count[COMMAND_STATE], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_class),
        cmocka_unit_test(may_go_to_replicas),
        cmocka_unit_test(what_goes_reads),
        cmocka_unit_test(case_does_not_matter),
        cmocka_unit_test(unknown_is_a_write),
        cmocka_unit_test(names_up_to_a_nul),
        cmocka_unit_test(containers),
        cmocka_unit_test(block_is_an_option),
        cmocka_unit_test(agrees_with_the_server),
        cmocka_unit_test(table_is_sorted_and_counted),
    };
    command_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
