/* Which replicas are fit, and how far each has come, by what is told of nodes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sentinel/replicas.h"

#define HISTORY  "0123456789abcdef0123456789abcdef01234567"
#define ANOTHER  "fedcba9876543210fedcba9876543210fedcba98"
#define ROUND    UINT64_C(50)
#define PRIMARY  7000u
#define REPLICAS 2u

struct world {
    struct config_service config;
    struct rounds *rounds;
    struct replicas *judge;
    uint64_t now;
    int64_t offset; /* of the primary */
    size_t gone;
};

static struct sockaddr_any at(unsigned port)
{
    struct addr a = {.host = "10.0.0.1", .port = (uint16_t)port};
    struct sockaddr_any out;
    assert_true(addr_numeric(&a, &out));
    return out;
}

static struct replica_listed listed(unsigned port)
{
    return (struct replica_listed){.at = at(port), .name = {"10.0.0.1", (uint16_t)port}};
}

static void on_gone(void *owner, const struct replica_node *n)
{
    struct world *w = owner;
    assert_int_not_equal(n->id, 0);
    w->gone++;
}

static bool list(struct world *w, unsigned first, unsigned count)
{
    struct replica_listed all[2 * REPLICAS_MAX];
    for (unsigned i = 0; i < count; i++) {
        all[i] = listed(first + i);
    }
    return replicas_list(w->judge, all, count, on_gone, w);
}

static bool follow(struct world *w, uint64_t generation, unsigned port)
{
    struct sockaddr_any primary = at(port);
    return replicas_follow(w->judge, generation, &primary, w->now);
}

/* A primary with REPLICAS replicas behind it, in slots 0 and 1. */
static struct world *setup(void)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->now = 100000;
    w->offset = 1000;
    w->config = (struct config_service){
        .max_replica_lag_ms = 1000, .replica_slow_start_ms = 10000, .reads_during_failover = true};
    w->rounds = rounds_new();
    w->judge = calloc(1, sizeof *w->judge);
    assert_non_null(w->judge);
    replicas_init(w->judge, &w->config, w->rounds, w->now);
    assert_true(follow(w, 1, PRIMARY));
    assert_true(list(w, PRIMARY + 1, REPLICAS));
    return w;
}

static void teardown(struct world *w)
{
    rounds_unref(&w->rounds);
    free(w->judge);
    free(w);
}

static struct node_answer master(const struct world *w)
{
    struct node_answer said = {.asked_ms = w->now, .role = ROLE_MASTER, .informed = true};
    said.repl.offset = w->offset;
    memcpy(said.info.repl_id, HISTORY, sizeof HISTORY);
    return said;
}

static struct node_answer slave(const struct world *w, int64_t offset)
{
    struct node_answer said = {
        .asked_ms = w->now, .role = ROLE_REPLICA, .master = w->judge->primary, .informed = true};
    said.repl = (struct repl_state){.link = REPL_UP, .offset = offset};
    memcpy(said.info.repl_id, HISTORY, sizeof HISTORY);
    return said;
}

static struct node_answer cut_off(const struct world *w)
{
    struct node_answer said = slave(w, -1);
    said.repl.link = REPL_DOWN;
    return said;
}

/* A round that the primary answers. Returns its number. */
static uint64_t ask_primary(struct world *w)
{
    w->now += ROUND;
    uint64_t next = rounds_next(w->rounds), round = replicas_round(w->judge);
    assert_int_equal(round, next); /* what was seen before it is within it */
    assert_int_equal(rounds_next(w->rounds), round + 1);
    struct node_answer said = master(w);
    replicas_primary_said(w->judge, round, &said, w->now);
    return round;
}

static void say(struct world *w, size_t slot, const struct node_answer *said)
{
    replicas_said(w->judge, slot, said, w->now);
}

static const struct replica_node *node(const struct world *w, size_t slot)
{
    return &w->judge->node[slot];
}

/* A round in which all replicas have what the primary has. */
static uint64_t good_round(struct world *w)
{
    uint64_t round = ask_primary(w);
    for (size_t i = 0; i < REPLICAS; i++) {
        struct node_answer said = slave(w, w->offset);
        say(w, i, &said);
    }
    (void)replicas_judge(w->judge, w->now);
    return round;
}

static uint64_t good_rounds(struct world *w, unsigned count)
{
    uint64_t round = 0;
    for (unsigned i = 0; i < count; i++) {
        round = good_round(w);
    }
    return round;
}

static void assert_lack(struct world *w, size_t slot, const char *lack)
{
    (void)replicas_judge(w->judge, w->now);
    const struct replica_node *n = node(w, slot);
    assert_int_equal(n->id, 0);
    if (lack == NULL) {
        assert_null(n->lack);
    } else {
        assert_non_null(n->lack);
        assert_string_equal(n->lack, lack);
    }
}

static void assert_fit(struct world *w, size_t slot)
{
    (void)replicas_judge(w->judge, w->now);
    assert_null(node(w, slot)->lack);
    assert_int_not_equal(node(w, slot)->id, 0);
}

static void good_rounds_make_fit(void **state)
{
    struct world *w = setup();
    (void)state;
    assert_lack(w, 0, "not asked yet");
    for (unsigned i = 1; i < REPLICA_GOOD_ROUNDS; i++) {
        (void)good_round(w);
        assert_lack(w, 0, NULL);
    }
    struct node_answer again = slave(w, w->offset); /* a second look in one round is none more */
    say(w, 0, &again);
    assert_lack(w, 0, NULL);
    uint64_t last = good_round(w);
    struct topology_replicas *t = replicas_snapshot(w->judge, w->now);
    assert_int_equal(t->count, REPLICAS);
    assert_null(t->lack);
    assert_int_equal(t->replica[0].caught, last);
    assert_int_equal(t->replica[0].name.port, PRIMARY + 1);
    assert_int_not_equal(t->replica[0].id, t->replica[1].id);
    assert_int_equal(t->replica[0].share, 100);
    assert_false(replicas_judge(w->judge, w->now)); /* no news */
    topology_replicas_unref(&t);
    teardown(w);
}

static void what_is_caught_up_with(void **state)
{
    struct world *w = setup();
    (void)state;
    uint64_t first = good_rounds(w, REPLICA_GOOD_ROUNDS), round[4];
    for (size_t i = 0; i < ARRAY_LEN(round); i++) {
        w->offset += 100;
        round[i] = ask_primary(w);
    }
    const struct {
        int64_t offset; /* behind the first rounds' */
        uint64_t caught;
    } rows[] = {{0, first}, {99, first}, {100, round[0]}, {299, round[1]}, {300, round[2]}};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct node_answer said = slave(w, 1000 + rows[i].offset);
        say(w, 0, &said);
        assert_int_equal(node(w, 0)->caught, rows[i].caught);
    }
    /* A round that is answered behind the replica counts from its next answer on. */
    struct node_answer ahead = slave(w, 5000);
    say(w, 0, &ahead);
    assert_int_equal(node(w, 0)->caught, round[3]);
    w->offset = 2000;
    uint64_t last = ask_primary(w);
    assert_int_equal(node(w, 0)->caught, round[3]);
    say(w, 0, &ahead);
    assert_int_equal(node(w, 0)->caught, last);
    assert_fit(w, 0);
    teardown(w);
}

/* An answer that comes late tells what was true, and is one of its own round. */
static void late_answers(void **state)
{
    struct world *w = setup();
    (void)state;
    (void)good_rounds(w, REPLICA_GOOD_ROUNDS);
    struct node_answer old = slave(w, w->offset);
    uint64_t early = rounds_next(w->rounds) - 1;
    w->offset += 100;
    (void)ask_primary(w);
    say(w, 0, &old);
    assert_int_equal(node(w, 0)->caught, early);
    /* The primary is asked in a round, and answers when others would have been due. */
    uint64_t round = replicas_round(w->judge);
    struct node_answer said = master(w);
    said.repl.offset = w->offset + 50;
    w->now += 10 * ROUND;
    replicas_primary_said(w->judge, round, &said, w->now);
    struct node_answer fresh = slave(w, w->offset + 50);
    say(w, 0, &fresh);
    assert_int_equal(node(w, 0)->caught, round);
    assert_int_equal(node(w, 0)->caught_ms, w->now - 10 * ROUND);
    teardown(w);
}

static void faults(void **state)
{
    (void)state;
    enum { MASTER, REFUSED, OTHER, UNKNOWN, SYNC, SYNC_INFO, LOADING, ZERO, HISTORY_OF_ANOTHER };
    static const char *const lacks[] = {
        [MASTER] = "a master",
        [REFUSED] = "ROLE refused",
        [OTHER] = "replica of another node",
        [UNKNOWN] = "replica of another node",
        [SYNC] = "syncing",
        [SYNC_INFO] = "syncing",
        [LOADING] = "loading",
        [ZERO] = "replica-priority 0",
        [HISTORY_OF_ANOTHER] = "another history than the primary's",
    };
    for (size_t i = 0; i < ARRAY_LEN(lacks); i++) {
        struct world *w = setup();
        (void)good_rounds(w, REPLICA_GOOD_ROUNDS);
        uint32_t id = node(w, 0)->id;
        struct node_answer said = slave(w, w->offset);
        switch (i) {
        case MASTER: said = master(w); break;
        case REFUSED: said.role = ROLE_REFUSED; break;
        case OTHER: said.master = at(PRIMARY + 2); break;
        case UNKNOWN: said.master.len = 0; break;
        case SYNC: said.repl.link = REPL_SYNCING; break;
        case SYNC_INFO: said.info.syncing = true; break;
        case LOADING: said.info.loading = true; break;
        case ZERO: said.info.priority_zero = true; break;
        default: memcpy(said.info.repl_id, ANOTHER, sizeof ANOTHER); break;
        }
        say(w, 0, &said);
        assert_lack(w, 0, lacks[i]); /* at once */
        assert_fit(w, 1);
        (void)good_rounds(w, REPLICA_GOOD_ROUNDS - 1);
        assert_lack(w, 0, NULL);
        (void)good_round(w);
        assert_fit(w, 0);
        assert_true(node(w, 0)->id > id); /* never the same again */
        teardown(w);
    }
}

static void failures(void **state)
{
    struct world *w = setup();
    (void)state;
    uint64_t last = good_rounds(w, REPLICA_GOOD_ROUNDS);
    uint32_t id = node(w, 0)->id;
    assert_int_equal(replicas_slot_of(w->judge, id), 0);
    replicas_failed(w->judge, 0, "no connection");
    struct node_answer said = slave(w, w->offset);
    said.informed = false;
    say(w, 0, &said); /* even if it answers before anybody has judged */
    assert_true(replicas_judge(w->judge, w->now));
    assert_lack(w, 0, "not asked yet"); /* it may be another one now */
    assert_int_equal(replicas_slot_of(w->judge, id), REPLICAS_MAX);
    assert_int_equal(replicas_slot_of(w->judge, 0), REPLICAS_MAX);
    assert_int_equal(node(w, 0)->lag_ms, UINT64_MAX);
    replicas_failed(w->judge, 0, "no connection");
    assert_lack(w, 0, "no connection");
    assert_int_equal(node(w, 1)->caught, last);
    (void)good_rounds(w, REPLICA_GOOD_ROUNDS);
    assert_fit(w, 0);
    assert_int_not_equal(node(w, 0)->id, id);
    teardown(w);
}

static void an_offset_falls(void **state)
{
    struct world *w = setup();
    (void)state;
    (void)good_rounds(w, REPLICA_GOOD_ROUNDS);
    uint32_t id = node(w, 0)->id;
    /* Its link is down: it tells none. */
    struct node_answer none = cut_off(w);
    say(w, 0, &none);
    assert_fit(w, 0);
    assert_int_equal(node(w, 0)->id, id);
    struct node_answer less = slave(w, w->offset - 1);
    say(w, 0, &less);
    assert_true(replicas_judge(w->judge, w->now));
    assert_int_equal(node(w, 0)->id, 0);
    assert_string_equal(node(w, 0)->lack, "its data was replaced");
    assert_int_equal(node(w, 0)->caught, 0);
    (void)good_rounds(w, REPLICA_GOOD_ROUNDS);
    assert_fit(w, 0);
    teardown(w);
}

/* The primary has restarted, or was flushed behind its back: another history. */
static void the_primary_begins_anew(void **state)
{
    (void)state;
    for (int by_offset = 0; by_offset < 2; by_offset++) {
        struct world *w = setup();
        (void)good_rounds(w, REPLICA_GOOD_ROUNDS);
        uint64_t before = node(w, 0)->caught;
        w->now += ROUND;
        uint64_t round = replicas_round(w->judge);
        struct node_answer said = master(w);
        if (by_offset) {
            said.repl.offset = 10;
            said.informed = false;
        } else {
            memcpy(said.info.repl_id, ANOTHER, sizeof ANOTHER);
        }
        struct node_answer old = slave(w, w->offset);
        old.asked_ms--; /* before anybody knew */
        replicas_primary_said(w->judge, round, &said, w->now);
        say(w, 0, &old);
        assert_lack(w, 0, "the primary's history began anew");
        assert_lack(w, 1, "not asked yet");
        /* One that has not noticed yet tells an offset of its old history. */
        struct node_answer blind = slave(w, w->offset);
        w->now += ROUND;
        w->offset = 20;
        round = replicas_round(w->judge);
        said = master(w);
        memcpy(said.info.repl_id, ANOTHER, sizeof ANOTHER);
        replicas_primary_said(w->judge, round, &said, w->now);
        for (unsigned i = 0; i < 2 * REPLICA_GOOD_ROUNDS; i++) {
            (void)replicas_round(w->judge);
            blind.asked_ms = w->now;
            say(w, 0, &blind);
            assert_lack(w, 0, "another history than the primary's");
            assert_int_equal(node(w, 0)->caught, 0);
        }
        memcpy(blind.info.repl_id, ANOTHER, sizeof ANOTHER);
        blind.repl.offset = 20;
        for (unsigned i = 0; i < REPLICA_GOOD_ROUNDS; i++) {
            (void)replicas_round(w->judge);
            say(w, 0, &blind);
        }
        assert_fit(w, 0);
        assert_true(node(w, 0)->caught > before);
        teardown(w);
    }
}

static void another_generation(void **state)
{
    struct world *w = setup();
    (void)state;
    (void)good_rounds(w, REPLICA_GOOD_ROUNDS);
    uint64_t next = rounds_next(w->rounds);
    struct node_answer old = slave(w, w->offset);
    assert_false(follow(w, 1, PRIMARY));
    w->now += ROUND;
    assert_true(follow(w, 2, PRIMARY + 1));
    assert_true(list(w, PRIMARY, REPLICAS + 1)); /* the old one is a replica now, or will be */
    assert_int_equal(w->gone, 0);                /* nothing that the log need be told */
    struct topology_replicas *t = replicas_snapshot(w->judge, w->now);
    assert_int_equal(t->count, 0);
    topology_replicas_unref(&t);
    say(w, 1, &old);
    assert_lack(w, 1, "not asked yet");
    w->offset = 500;
    for (unsigned i = 0; i < REPLICA_GOOD_ROUNDS; i++) {
        (void)ask_primary(w);
        struct node_answer said = slave(w, 10000); /* offsets of before mean nothing now */
        say(w, 1, &said);
    }
    assert_fit(w, 1);
    assert_true(node(w, 1)->caught >= next);
    assert_int_equal(node(w, 0)->listed.name.port, PRIMARY); /* the slot that the new one left */
    assert_false(node(w, 1)->slow);
    teardown(w);
}

/* Its link to the primary is down: that counts once the primary is known to have been alive then.
 */
static void links_to_a_lost_primary(void **state)
{
    struct world *w = setup();
    (void)state;
    (void)good_rounds(w, REPLICA_GOOD_ROUNDS);
    uint64_t lost = w->now;
    uint32_t id = node(w, 0)->id;
    while (w->now < lost + w->config.max_replica_lag_ms) {
        w->now += ROUND;
        (void)replicas_round(w->judge); /* it does not answer */
        struct node_answer said = cut_off(w);
        say(w, 0, &said);
        assert_fit(w, 0);
        assert_int_equal(node(w, 0)->id, id);
    }
    w->now++;
    assert_lack(w, 0, "too far behind");
    assert_int_equal(node(w, 0)->lag_ms, w->config.max_replica_lag_ms + 1);
    teardown(w);

    w = setup();
    (void)good_rounds(w, REPLICA_GOOD_ROUNDS);
    struct node_answer said = cut_off(w);
    say(w, 0, &said);
    assert_fit(w, 0); /* the primary was asked before */
    (void)ask_primary(w);
    assert_lack(w, 0, "not connected to the primary");
    (void)good_rounds(w, REPLICA_GOOD_ROUNDS - 1);
    assert_lack(w, 0, NULL);
    said = cut_off(w);
    say(w, 0, &said);
    (void)good_rounds(w, REPLICA_GOOD_ROUNDS - 1);
    assert_lack(w, 0, NULL); /* it was not fit: nothing is waived, and good rounds are in a row */
    teardown(w);

    w = setup();
    w->config.reads_during_failover = false;
    (void)good_rounds(w, REPLICA_GOOD_ROUNDS);
    said = cut_off(w);
    say(w, 0, &said);
    assert_lack(w, 0, "not connected to the primary");
    teardown(w);
}

static void too_far_behind(void **state)
{
    struct world *w = setup();
    (void)state;
    (void)good_rounds(w, REPLICA_GOOD_ROUNDS);
    uint64_t caught_up = w->now;
    int64_t stands = w->offset;
    while (w->now - caught_up < w->config.max_replica_lag_ms) {
        w->offset += 10;
        (void)ask_primary(w);
        struct node_answer said = slave(w, stands);
        say(w, 0, &said);
        said = slave(w, w->offset);
        say(w, 1, &said);
        assert_fit(w, 0);
    }
    w->offset += 10;
    (void)ask_primary(w);
    assert_lack(w, 0, "too far behind");
    struct node_answer said = slave(w, w->offset); /* and back with a single step */
    say(w, 1, &said);
    assert_fit(w, 1);
    for (unsigned i = 0; i < REPLICA_GOOD_ROUNDS; i++) {
        (void)ask_primary(w);
        say(w, 0, &said);
    }
    assert_fit(w, 0);
    teardown(w);
}

static void options(void **state)
{
    struct world *w = setup();
    (void)state;
    w->config.replica_priority_zero = true;
    w->config.zone = (char[]){"eu-1b"};
    for (unsigned i = 0; i < REPLICA_GOOD_ROUNDS; i++) {
        (void)ask_primary(w);
        struct node_answer said = slave(w, w->offset);
        said.info.priority_zero = true;
        (void)snprintf(said.info.zone, sizeof said.info.zone, "eu-1b");
        say(w, 0, &said);
        (void)snprintf(said.info.zone, sizeof said.info.zone, "eu-1a");
        say(w, 1, &said);
    }
    assert_fit(w, 0);
    assert_fit(w, 1);
    assert_true(node(w, 0)->near);
    assert_false(node(w, 1)->near);
    teardown(w);

    struct addr_net nets[2];
    assert_null(addr_net_parse(slice_str("192.168.0.0/16"), &nets[0]));
    assert_null(addr_net_parse(slice_str("10.0.0.0/8"), &nets[1]));
    w = setup();
    assert_false(node(w, 0)->near);
    assert_true(list(w, PRIMARY, 0));
    w->config.prefer = (struct config_nets){nets, ARRAY_LEN(nets)};
    assert_true(list(w, PRIMARY + 1, REPLICAS));
    (void)good_round(w);
    assert_true(node(w, 0)->near);
    teardown(w);
}

static void slow_start(void **state)
{
    struct world *w = setup();
    (void)state;
    (void)good_rounds(w, REPLICA_GOOD_ROUNDS);
    replicas_failed(w->judge, 0, "no connection");
    (void)replicas_judge(w->judge, w->now);
    (void)good_rounds(w, REPLICA_GOOD_ROUNDS);
    static const struct {
        uint64_t after_ms;
        uint32_t share;
    } rows[] = {{0, 1}, {1000, 10}, {5000, 50}, {9999, 99}, {10000, 100}, {99999, 100}};
    uint64_t since = w->now;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct topology_replicas *t = replicas_snapshot(w->judge, since + rows[i].after_ms);
        assert_int_equal(t->replica[0].share, rows[i].share);
        assert_int_equal(t->replica[1].share, 100);
        topology_replicas_unref(&t);
    }
    /* With no other it gets everything, and one that comes next begins behind it. */
    replicas_failed(w->judge, 0, "no connection");
    replicas_failed(w->judge, 1, "no connection");
    (void)replicas_judge(w->judge, w->now);
    w->now += UINT64_C(2) * REPLICA_SETTLE_MS;
    for (unsigned i = 0; i < REPLICA_GOOD_ROUNDS; i++) {
        (void)ask_primary(w);
        struct node_answer said = slave(w, w->offset);
        say(w, 1, &said);
    }
    assert_fit(w, 1);
    assert_false(node(w, 1)->slow);
    (void)good_rounds(w, REPLICA_GOOD_ROUNDS);
    assert_true(node(w, 0)->slow);
    w->config.replica_slow_start_ms = 0;
    replicas_failed(w->judge, 0, "no connection");
    (void)replicas_judge(w->judge, w->now);
    (void)good_rounds(w, REPLICA_GOOD_ROUNDS);
    assert_false(node(w, 0)->slow);
    teardown(w);
}

/* limit: REPLICAS_MAX */
static void lists(void **state)
{
    struct world *w = setup();
    (void)state;
    (void)good_rounds(w, REPLICA_GOOD_ROUNDS);
    uint32_t id = node(w, 1)->id;
    assert_false(list(w, PRIMARY, REPLICAS + 1)); /* the primary is none */
    assert_true(list(w, PRIMARY + 2, 1));
    assert_int_equal(w->gone, 1);
    assert_int_equal(node(w, 0)->serial, 0);
    assert_int_equal(node(w, 1)->id, id);
    (void)list(w, PRIMARY + 1, 2 * REPLICAS_MAX);
    assert_int_equal(node(w, 1)->id, id);
    for (size_t i = 0; i < REPLICAS_MAX; i++) {
        assert_int_not_equal(node(w, i)->serial, 0);
    }
    assert_false(list(w, PRIMARY + 1, 2 * REPLICAS_MAX));
    teardown(w);
}

static void assert_none(struct world *w, const char *lack)
{
    (void)replicas_judge(w->judge, w->now);
    struct topology_replicas *t = replicas_snapshot(w->judge, w->now);
    assert_int_equal(t->count, 0);
    assert_string_equal(t->lack, lack);
    topology_replicas_unref(&t);
}

static void why_there_is_none(void **state)
{
    struct world *w = setup();
    (void)state;
    assert_none(w, "not asked yet");
    replicas_failed(w->judge, 0, "no connection");
    assert_none(w, "none is well");
    replicas_failed(w->judge, 1, "no connection");
    assert_none(w, "no connection");
    w->now += ROUND;
    struct node_answer refusal = {.asked_ms = w->now, .role = ROLE_REFUSED};
    replicas_primary_said(w->judge, replicas_round(w->judge), &refusal, w->now);
    for (size_t i = 0; i < REPLICAS; i++) {
        struct node_answer said = slave(w, 1);
        say(w, i, &said);
    }
    assert_none(w, "the primary refuses ROLE");
    (void)list(w, PRIMARY, 1);
    assert_none(w, "the Sentinels list none");
    (void)follow(w, 0, 1);
    assert_none(w, "no primary is known");
    teardown(w);
}

static void the_log_is_told_once(void **state)
{
    struct world *w = setup();
    (void)state;
    (void)replicas_judge(w->judge, w->now);
    assert_int_equal(replicas_news(w->judge, 0, w->now), REPLICA_SAME); /* it had no time yet */
    (void)good_rounds(w, REPLICA_GOOD_ROUNDS);
    assert_int_equal(replicas_news(w->judge, 0, w->now), REPLICA_BECAME_FIT);
    assert_int_equal(replicas_news(w->judge, 0, w->now), REPLICA_SAME);
    replicas_failed(w->judge, 0, "no connection");
    (void)replicas_judge(w->judge, w->now);
    assert_int_equal(replicas_news(w->judge, 0, w->now), REPLICA_BECAME_UNFIT);
    assert_int_equal(replicas_news(w->judge, 0, w->now), REPLICA_SAME);
    assert_int_equal(replicas_news(w->judge, REPLICAS_MAX - 1, w->now), REPLICA_SAME);
    (void)follow(w, 2, PRIMARY + 9);
    assert_int_equal(replicas_news(w->judge, 1, w->now), REPLICA_SAME);
    w->now += REPLICA_SETTLE_MS + 1;
    assert_int_equal(replicas_news(w->judge, 1, w->now), REPLICA_BECAME_UNFIT);
    teardown(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_rounds_make_fit),
        cmocka_unit_test(what_is_caught_up_with),
        cmocka_unit_test(late_answers),
        cmocka_unit_test(faults),
        cmocka_unit_test(failures),
        cmocka_unit_test(an_offset_falls),
        cmocka_unit_test(the_primary_begins_anew),
        cmocka_unit_test(another_generation),
        cmocka_unit_test(links_to_a_lost_primary),
        cmocka_unit_test(too_far_behind),
        cmocka_unit_test(options),
        cmocka_unit_test(slow_start),
        cmocka_unit_test(lists),
        cmocka_unit_test(why_there_is_none),
        cmocka_unit_test(the_log_is_told_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
