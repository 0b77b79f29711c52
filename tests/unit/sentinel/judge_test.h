/* A small world for the tests of the judge: three Sentinels, some nodes and a clock, set by hand.
 */
#ifndef VEDETTE_TESTS_JUDGE_TEST_H
#define VEDETTE_TESTS_JUDGE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sentinel/judge.h"

#define TEST_NODES_MAX 6

struct world {
    struct judge judge;
    uint64_t now;
    struct judge_view view[JUDGE_VIEWS_MAX];
    size_t view_count;
    struct judge_node node[TEST_NODES_MAX];
    size_t node_count;
    struct sockaddr_any replica[4];
    size_t replica_count;
    size_t pending, known;
    struct judge_advice advice; /* of the last decision that changed something, else of the last */
};

/* Node 'A' is 10.0.0.65:6379, and so on. */
static inline struct addr name_of(char node)
{
    struct addr a = {.port = 6379};
    (void)snprintf(a.host, sizeof a.host, "10.0.0.%d", node);
    return a;
}

static inline struct sockaddr_any at(char node)
{
    struct addr a = name_of(node);
    struct sockaddr_any sa;
    assert_true(addr_numeric(&a, &sa));
    return sa;
}

static inline void world_init(struct world *w, const struct judge_rules *rules)
{
    memset(w, 0, sizeof *w);
    w->now = 100000;
    w->known = 3;
    judge_init(&w->judge, rules);
    w->judge.since_ms = w->now;
}

static const struct judge_rules usual = {.hold_on_failover = true, .follow_role = true};

static inline struct judge_view *view(struct world *w, const char *id)
{
    size_t i = 0;
    while (i < w->view_count && strcmp(w->view[i].id, id) != 0) {
        i++;
    }
    if (i == w->view_count) {
        w->view_count++;
        (void)snprintf(w->view[i].id, sizeof w->view[i].id, "%s", id);
    }
    return &w->view[i];
}

/* The Sentinel answers now: this primary with this epoch, no flags. Node 0: no opinion. */
static inline struct judge_view *says(struct world *w, const char *id, char node, int64_t epoch)
{
    struct judge_view *v = view(w, id);
    v->asked_ms = v->answered_ms = w->now;
    v->s_down = v->o_down = v->failover = false;
    v->primary.len = v->flagged.len = 0;
    if (node != 0) {
        v->primary = v->flagged = at(node);
        v->primary_name = name_of(node);
        v->epoch = epoch;
    }
    return v;
}

static inline void all_say(struct world *w, char node, int64_t epoch)
{
    (void)says(w, "s1", node, epoch);
    (void)says(w, "s2", node, epoch);
    (void)says(w, "s3", node, epoch);
}

/* Its connection is lost. */
static inline void gone(struct world *w, const char *id)
{
    *view(w, id) = w->view[w->view_count - 1];
    w->view_count--;
}

/* The node answers now, over a connection opened now. */
static inline struct judge_node *node_is(struct world *w, char node, enum node_role role)
{
    struct sockaddr_any sa = at(node);
    size_t i = 0;
    while (i < w->node_count && !sockaddr_eq(&w->node[i].at, &sa)) {
        i++;
    }
    assert_true(i < TEST_NODES_MAX);
    w->node_count += i == w->node_count ? 1 : 0;
    w->node[i] =
        (struct judge_node){.at = sa, .role = role, .opened_ms = w->now, .answered_ms = w->now};
    return &w->node[i];
}

static inline void node_follows(struct world *w, char node, char master)
{
    struct judge_node *n = node_is(w, node, NODE_REPLICA);
    n->master = at(master);
    n->master_name = name_of(master);
}

static inline void lists_replica(struct world *w, char node)
{
    w->replica[w->replica_count++] = at(node);
}

/* Time passes and everybody says again what they said. */
static inline void pass(struct world *w, uint64_t ms)
{
    w->now += ms;
    for (size_t i = 0; i < w->view_count; i++) {
        w->view[i].asked_ms = w->view[i].answered_ms = w->now;
    }
    for (size_t i = 0; i < w->node_count; i++) {
        w->node[i].opened_ms = w->node[i].answered_ms = w->now;
    }
}

/* Decides until nothing changes; returns the last change. */
static inline enum judge_change decide(struct world *w)
{
    struct judge_facts facts = {.now_ms = w->now,
                                .views = w->view,
                                .view_count = w->view_count,
                                .pending = w->pending,
                                .known = w->known,
                                .nodes = w->node,
                                .node_count = w->node_count,
                                .replicas = w->replica,
                                .replica_count = w->replica_count};
    enum judge_change change = JUDGE_SAME;
    for (int i = 0; i < 4; i++) {
        struct judge_advice advice;
        judge_decide(&w->judge, &facts, &advice);
        if (i == 0 || advice.change != JUDGE_SAME) {
            w->advice = advice;
        }
        if (advice.change == JUDGE_SAME) {
            break;
        }
        change = advice.change;
    }
    return change;
}

static inline void assert_primary(const struct world *w, char node, uint64_t generation)
{
    struct sockaddr_any sa = at(node);
    assert_true(sockaddr_eq(&w->judge.primary, &sa));
    assert_int_equal(w->judge.generation, generation);
}

/* SERVING with primary A at epoch 5, generation 1, named by all three Sentinels; a second has
 * passed since. */
static inline void serving(struct world *w, const struct judge_rules *rules)
{
    world_init(w, rules);
    all_say(w, 'A', 5);
    (void)node_is(w, 'A', NODE_MASTER);
    assert_int_equal(decide(w), JUDGE_SWITCHED);
    assert_primary(w, 'A', 1);
    pass(w, 1000);
    assert_int_equal(decide(w), JUDGE_SAME);
    assert_int_equal(w->judge.state, SERVICE_SERVING);
}

/* True if the last advice wants this node to be probed. */
static inline const struct judge_want *wanted(const struct world *w, char node)
{
    struct sockaddr_any sa = at(node);
    for (size_t i = 0; i < w->advice.want_count; i++) {
        if (sockaddr_eq(&w->advice.want[i].at, &sa)) {
            return &w->advice.want[i];
        }
    }
    return NULL;
}

#endif
