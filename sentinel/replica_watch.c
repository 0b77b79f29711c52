#include "sentinel/replica_watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "sentinel/asker.h"

#define WATCH_MAGIC      0x4e9105c7u
#define LINES_PER_SECOND 20u

struct replica_watch {
    uint32_t magic;
    struct probe_group *group;
    struct names *names;
    void (*changed)(void *owner);
    void *owner;
    struct replicas judge;
    struct addr primary_name;
    struct asker *primary; /* NULL: there is none */
    uint64_t round;        /* which the primary was asked in last */
    uint64_t begun_ms;     /* when that was */
    bool hurry;            /* another one is wanted */
    unsigned looks;        /* left for this one */
    struct {
        struct asker *asker;
        uint64_t serial; /* of the replica that it asks */
        uint64_t informed_ms;
    } node[REPLICAS_MAX]; /* as the judge's slots */
    struct wheel_timer beat, soon, look, patience;
    struct topology_replicas *now;
    struct log_limit log_limit;
};

static struct replica_watch *watch_of(void *owner)
{
    struct replica_watch *w = owner;
    CHECK_MAGIC(w, WATCH_MAGIC);
    return w;
}

static void arm(struct replica_watch *w, struct wheel_timer *timer, uint64_t delay_ms,
                void (*fire)(struct wheel_timer *))
{
    loop_arm(w->group->loop, timer, delay_ms, fire);
}

/* Telling. */

static void log_news(struct replica_watch *w, const struct replica_node *n, bool fit,
                     const char *reason)
{
    char name[ADDR_TEXT_MAX], lag[32] = "";
    uint32_t dropped;
    if (!log_allow(&w->log_limit, LINES_PER_SECOND, &dropped)) {
        return;
    }
    if (n->lag_ms != UINT64_MAX) {
        (void)snprintf(lag, sizeof lag, " lag-ms=%llu", (unsigned long long)n->lag_ms);
    }
    const char *service = log_quote(slice_str(w->group->service->name));
    const char *replica = log_quote(slice_str(addr_text(&n->listed.name, name)));
    if (fit) {
        log_notice("replica-fit", "service=%s replica=%s%s%s%s", service, replica, lag,
                   n->near ? " near=yes" : "", n->slow ? " starts=slowly" : "");
    } else {
        log_notice("replica-unfit", "service=%s replica=%s reason=\"%s\"%s", service, replica,
                   reason, lag);
    }
}

static void tell_log(struct replica_watch *w, uint64_t now_ms)
{
    for (size_t i = 0; i < REPLICAS_MAX; i++) {
        enum replica_news news = replicas_news(&w->judge, i, now_ms);
        if (news != REPLICA_SAME) {
            const struct replica_node *n = &w->judge.node[i];
            log_news(w, n, news == REPLICA_BECAME_FIT, n->lack);
        }
    }
}

/* True if it says something else, or of somebody. */
static bool renew_snapshot(struct replica_watch *w, uint64_t now_ms)
{
    struct topology_replicas *last = w->now;
    w->now = replicas_snapshot(&w->judge, now_ms);
    bool news = last->count > 0 || w->now->count > 0 || strcmp(last->lack, w->now->lack) != 0;
    topology_replicas_unref(&last);
    return news;
}

static void publish(struct replica_watch *w, uint64_t now_ms)
{
    loop_disarm(w->group->loop, &w->patience);
    if (renew_snapshot(w, now_ms)) {
        w->changed(w->owner);
    }
}

static void on_patience(struct wheel_timer *timer)
{
    struct replica_watch *w = CONTAINER_OF(timer, struct replica_watch, patience);
    CHECK_MAGIC(w, WATCH_MAGIC);
    publish(w, clock_ms());
}

/* Asking. */

static void ask_replicas(struct replica_watch *w)
{
    uint64_t now = clock_ms();
    for (size_t i = 0; i < REPLICAS_MAX; i++) {
        struct asker *asker = w->node[i].asker;
        if (asker == NULL) {
            continue;
        }
        if (w->judge.node[i].id == 0 && now - w->node[i].informed_ms >= UNFIT_INFO_MS) {
            w->node[i].informed_ms = now;
            asker_inform(asker);
        }
        (void)asker_ask(asker); /* else it is asked already, or can't be */
    }
}

static void on_look(struct wheel_timer *timer)
{
    struct replica_watch *w = CONTAINER_OF(timer, struct replica_watch, look);
    CHECK_MAGIC(w, WATCH_MAGIC);
    ask_replicas(w);
}

/* The round is counted before the primary is asked: what the primary has done before anybody saw
 * the old count is then within the offset that it tells. */
static void begin_round(struct replica_watch *w)
{
    bool asked = false;
    if (w->primary == NULL) {
        return;
    }
    if (!asker_asking(w->primary)) {
        w->round = replicas_round(&w->judge);
        w->begun_ms = clock_ms();
        asked = asker_ask(w->primary);
    }
    if (!asked) {
        ask_replicas(w); /* which may be fit without it */
    }
}

/* True if all that serve have answered; *behind if one of them lacks the last round. */
static bool all_answered(const struct replica_watch *w, bool *behind)
{
    bool all = true;
    *behind = false;
    for (size_t i = 0; i < REPLICAS_MAX; i++) {
        const struct replica_node *n = &w->judge.node[i];
        if (n->id != 0) {
            all = all && !asker_awaits(w->node[i].asker);
            *behind = *behind || n->caught < w->round;
        }
    }
    return all;
}

/* True if somebody has come or gone, which is published. */
static bool judge(struct replica_watch *w)
{
    uint64_t now = clock_ms();
    bool changed = replicas_judge(&w->judge, now);
    tell_log(w, now);
    if (changed) {
        publish(w, now);
    }
    return changed;
}

/* What follows from the answer, or the failure, of the replica in this slot: the round is published
 * when all that serve have answered, or after ROUND_PATIENCE_MS. */
static void settle(struct replica_watch *w, size_t slot)
{
    bool changed = judge(w), serves = w->judge.node[slot].id != 0, behind;
    bool all = all_answered(w, &behind);
    if (serves && all && behind && w->looks > 0) {
        w->looks--;
        arm(w, &w->look, LOOK_AGAIN_MS, on_look);
    }
    if (!changed && serves && all) {
        publish(w, clock_ms());
    } else if (!changed && (serves || w->now->count == 0) && w->patience.due_ms == 0) {
        arm(w, &w->patience, ROUND_PATIENCE_MS, on_patience);
    }
}

static void on_beat(struct wheel_timer *timer)
{
    struct replica_watch *w = CONTAINER_OF(timer, struct replica_watch, beat);
    CHECK_MAGIC(w, WATCH_MAGIC);
    arm(w, &w->beat, ROUND_MS, on_beat);
    begin_round(w);
    (void)judge(w); /* time alone makes a replica stale */
}

static void on_soon(struct wheel_timer *timer)
{
    struct replica_watch *w = CONTAINER_OF(timer, struct replica_watch, soon);
    CHECK_MAGIC(w, WATCH_MAGIC);
    if (w->primary == NULL || !asker_asking(w->primary)) {
        w->hurry = false;
        w->looks = LOOKS_MAX;
        arm(w, &w->beat, ROUND_MS, on_beat);
        begin_round(w);
    }
}

static void arm_soon(struct replica_watch *w)
{
    uint64_t since = clock_ms() - w->begun_ms;
    arm(w, &w->soon, since < ROUND_GAP_MS ? ROUND_GAP_MS - since : 0, on_soon);
}

void replica_watch_hurry(struct replica_watch *w)
{
    if (!w->hurry) {
        w->hurry = true;
        arm_soon(w);
    }
}

/* Hearing. */

static void find_master(const struct replica_watch *w, struct node_answer *said)
{
    if (!addr_is_set(&said->master_name) ||
        !names_one(w->names, &said->master_name, &said->master)) {
        said->master.len = 0;
    }
}

static size_t slot_of(const struct replica_watch *w, const struct asker *a)
{
    size_t i = 0;
    while (w->node[i].asker != a) {
        i++;
        CHECK(i < REPLICAS_MAX);
    }
    return i;
}

static void on_replica(void *owner, struct asker *a, struct node_answer *said)
{
    struct replica_watch *w = watch_of(owner);
    find_master(w, said);
    size_t slot = slot_of(w, a);
    replicas_said(&w->judge, slot, said, clock_ms());
    settle(w, slot);
}

static void on_replica_failed(void *owner, struct asker *a, const char *why)
{
    struct replica_watch *w = watch_of(owner);
    size_t slot = slot_of(w, a);
    replicas_failed(&w->judge, slot, why);
    settle(w, slot);
}

static void after_primary(struct replica_watch *w)
{
    if (w->hurry) {
        arm_soon(w);
    }
    ask_replicas(w);
}

static void on_primary(void *owner, struct asker *a, struct node_answer *said)
{
    struct replica_watch *w = watch_of(owner);
    (void)a;
    replicas_primary_said(&w->judge, w->round, said, clock_ms());
    after_primary(w);
}

static void on_primary_failed(void *owner, struct asker *a, const char *why)
{
    (void)a;
    (void)why; /* the judge of the primary finds out by itself */
    after_primary(watch_of(owner));
}

/* Following. */

static void ask_another_primary(struct replica_watch *w)
{
    static const struct asker_events events = {on_primary, on_primary_failed};
    asker_free(&w->primary);
    if (w->judge.generation > 0) {
        w->primary = asker_new(w->group, &w->judge.primary, &w->primary_name, &events, w);
    }
}

/* An asker for each that is listed. */
static void ask_the_listed(struct replica_watch *w)
{
    static const struct asker_events events = {on_replica, on_replica_failed};
    for (size_t i = 0; i < REPLICAS_MAX; i++) {
        const struct replica_node *n = &w->judge.node[i];
        if (w->node[i].serial == n->serial) {
            continue;
        }
        asker_free(&w->node[i].asker);
        w->node[i].serial = n->serial;
        w->node[i].informed_ms = 0;
        if (n->serial != 0) {
            w->node[i].asker = asker_new(w->group, &n->listed.at, &n->listed.name, &events, w);
        }
    }
}

static void on_gone(void *owner, const struct replica_node *n)
{
    log_news(watch_of(owner), n, false, "not listed any more");
}

bool replica_watch_follow(struct replica_watch *w, uint64_t generation,
                          const struct sockaddr_any *primary, const struct addr *primary_name,
                          const struct replica_listed *listed, size_t count)
{
    uint64_t now = clock_ms();
    bool another = replicas_follow(&w->judge, generation, primary, now);
    if (another) {
        w->primary_name = *primary_name;
        ask_another_primary(w);
    }
    if (!replicas_list(&w->judge, listed, count, on_gone, w) && !another) {
        return false;
    }
    ask_the_listed(w);
    arm(w, &w->beat, 0, on_beat);
    (void)replicas_judge(&w->judge, now);
    return renew_snapshot(w, now);
}

void replica_watch_failed(struct replica_watch *w, uint32_t id)
{
    size_t slot = replicas_slot_of(&w->judge, id);
    if (slot < REPLICAS_MAX) {
        asker_renew(w->node[slot].asker);
        replicas_failed(&w->judge, slot, "a connection to it failed");
        settle(w, slot);
    }
}

struct topology_replicas *replica_watch_snapshot(const struct replica_watch *w)
{
    return topology_replicas_ref(w->now);
}

struct replica_watch *replica_watch_new(struct probe_group *group, struct names *names,
                                        struct rounds *rounds, void (*changed)(void *owner),
                                        void *owner)
{
    struct replica_watch *w = xcalloc(1, sizeof *w);
    w->magic = WATCH_MAGIC;
    w->group = group;
    w->names = names;
    w->changed = changed;
    w->owner = owner;
    replicas_init(&w->judge, group->service, rounds, clock_ms());
    w->now = replicas_snapshot(&w->judge, clock_ms());
    arm(w, &w->beat, ROUND_MS, on_beat);
    return w;
}

void replica_watch_free(struct replica_watch **w)
{
    struct replica_watch *left = *w;
    if (left == NULL) {
        return;
    }
    CHECK_MAGIC(left, WATCH_MAGIC);
    *w = NULL;
    loop_disarm(left->group->loop, &left->beat);
    loop_disarm(left->group->loop, &left->soon);
    loop_disarm(left->group->loop, &left->look);
    loop_disarm(left->group->loop, &left->patience);
    asker_free(&left->primary);
    for (size_t i = 0; i < REPLICAS_MAX; i++) {
        asker_free(&left->node[i].asker);
    }
    topology_replicas_unref(&left->now);
    left->magic = 0;
    free(left);
}
