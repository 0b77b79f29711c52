#include "sentinel/replicas.h"

#include <stdatomic.h>
#include <string.h>

#define SHARE_FULL 100u

void replicas_init(struct replicas *r, const struct config_service *config, struct rounds *rounds,
                   uint64_t now_ms)
{
    memset(r, 0, sizeof *r);
    r->config = config;
    r->rounds = rounds;
    r->since_ms = now_ms;
}

/* A new history: nothing that was known can be compared with it. */
static void begin_anew(struct replicas *r, uint64_t now_ms)
{
    r->since_ms = now_ms;
    r->informed = r->refused = false;
    r->repl_id[0] = '\0';
    r->history.count = 0;
    for (size_t i = 0; i < REPLICAS_MAX; i++) {
        r->node[i].heard = r->node[i].informed = false;
        r->node[i].broken = "the primary's history began anew";
    }
}

bool replicas_follow(struct replicas *r, uint64_t generation, const struct sockaddr_any *primary,
                     uint64_t now_ms)
{
    if (generation == r->generation) {
        return false;
    }
    begin_anew(r, now_ms);
    r->generation = generation;
    r->primary = *primary;
    r->alive_ms = 0;
    for (size_t i = 0; i < REPLICAS_MAX; i++) {
        struct replica_node *n = &r->node[i];
        n->id = 0;
        n->served = false;
        n->told = REPLICA_SAME; /* that the primary has changed is told already */
    }
    return true;
}

/* Both are told, and they are not the same. */
static bool differ(const char *one, const char *other)
{
    return one[0] != '\0' && other[0] != '\0' && strcmp(one, other) != 0;
}

/* Who is there. */

static bool is_near(const struct replicas *r, const struct replica_node *n)
{
    for (size_t i = 0; i < r->config->prefer.count; i++) {
        if (addr_net_has(&r->config->prefer.v[i], &n->listed.at)) {
            return true;
        }
    }
    return r->config->zone != NULL && n->info.zone[0] != '\0' &&
           strcmp(r->config->zone, n->info.zone) == 0;
}

static bool same_place(const struct replica_listed *a, const struct replica_listed *b)
{
    return addr_eq(&a->name, &b->name) && sockaddr_eq(&a->at, &b->at);
}

static bool is_among(const struct replica_listed *one, const struct replica_listed *all,
                     size_t count)
{
    size_t i = 0;
    while (i < count && !same_place(one, &all[i])) {
        i++;
    }
    return i < count;
}

static bool has_slot(const struct replicas *r, const struct replica_listed *one)
{
    size_t i = 0;
    while (i < REPLICAS_MAX && (r->node[i].serial == 0 || !same_place(&r->node[i].listed, one))) {
        i++;
    }
    return i < REPLICAS_MAX;
}

/* False when none is free. */
static bool take_slot(struct replicas *r, const struct replica_listed *one)
{
    for (size_t i = 0; i < REPLICAS_MAX; i++) {
        struct replica_node *n = &r->node[i];
        if (n->serial == 0) {
            *n = (struct replica_node){.serial = ++r->last_serial, .listed = *one};
            n->near = is_near(r, n);
            return true;
        }
    }
    return false;
}

bool replicas_list(struct replicas *r, const struct replica_listed *listed, size_t count,
                   void (*gone)(void *owner, const struct replica_node *n), void *owner)
{
    bool changed = false;
    for (size_t i = 0; i < REPLICAS_MAX; i++) {
        struct replica_node *n = &r->node[i];
        if (n->serial != 0 &&
            (sockaddr_eq(&n->listed.at, &r->primary) || !is_among(&n->listed, listed, count))) {
            if (n->id != 0) {
                gone(owner, n);
            }
            n->serial = 0;
            n->id = 0;
            changed = true;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (!sockaddr_eq(&listed[i].at, &r->primary) && !has_slot(r, &listed[i])) {
            changed = take_slot(r, &listed[i]) || changed;
        }
    }
    return changed;
}

size_t replicas_slot_of(const struct replicas *r, uint32_t id)
{
    size_t i = 0;
    while (i < REPLICAS_MAX && (id == 0 || r->node[i].id != id)) {
        i++;
    }
    return i;
}

/* What they say. */

uint64_t replicas_round(struct replicas *r)
{
    return atomic_fetch_add_explicit(&r->rounds->begun, 1, memory_order_seq_cst) + 1;
}

void replicas_primary_said(struct replicas *r, uint64_t round, const struct node_answer *said,
                           uint64_t now_ms)
{
    struct round told = {.number = round, .begun_ms = said->asked_ms, .offset = said->repl.offset};
    r->refused = said->role == ROLE_REFUSED;
    if (said->role != ROLE_MASTER || told.offset < 0 || said->asked_ms < r->since_ms) {
        return; /* as good as no answer */
    }
    r->alive_ms = said->asked_ms;
    if (said->informed && differ(r->repl_id, said->info.repl_id)) {
        begin_anew(r, now_ms);
    }
    if (!history_add(&r->history, &told)) {
        begin_anew(r, now_ms);
        CHECK(history_add(&r->history, &told));
    }
    if (said->informed) {
        r->informed = true;
        memcpy(r->repl_id, said->info.repl_id, sizeof r->repl_id);
    }
}

/* Its link to the primary is down. While the primary does not answer that says nothing against its
 * data: it counts once the primary was alive after it was told. */
static bool cut_off(const struct replicas *r, const struct replica_node *n)
{
    bool waived = n->id != 0 && r->config->reads_during_failover && r->alive_ms <= n->down_ms;
    return n->said.repl.link != REPL_UP && !waived;
}

/* How far behind it is in time; UINT64_MAX: not known. */
static uint64_t lag_of(const struct replica_node *n, uint64_t now_ms)
{
    return n->caught == 0 ? UINT64_MAX : now_ms - n->caught_ms;
}

static const char *lack_of(const struct replicas *r, const struct replica_node *n, uint64_t now_ms)
{
    uint64_t lag = lag_of(n, now_ms);
    if (n->id != 0 && n->broken != NULL) {
        return n->broken;
    }
    if (n->failure != NULL) {
        return n->failure;
    }
    if (!n->heard || !n->informed) {
        return "not asked yet";
    }
    if (n->said.role != ROLE_REPLICA) {
        return n->said.role == ROLE_MASTER ? "a master" : "ROLE refused";
    }
    if (!sockaddr_eq(&n->said.master, &r->primary)) {
        return "replica of another node";
    }
    if (n->said.repl.link == REPL_SYNCING || n->info.syncing) {
        return "syncing";
    }
    if (n->info.loading) {
        return "loading";
    }
    if (n->info.priority_zero && !r->config->replica_priority_zero) {
        return "replica-priority 0";
    }
    if (cut_off(r, n)) {
        return "not connected to the primary";
    }
    if (differ(r->repl_id, n->info.repl_id)) {
        return "another history than the primary's";
    }
    if (lag == UINT64_MAX) {
        return r->refused ? "the primary refuses ROLE" : "not caught up yet";
    }
    return lag > r->config->max_replica_lag_ms ? "too far behind" : NULL;
}

/* Its offset counts as far as it is one of the primary's history. */
static void note_progress(const struct replicas *r, struct replica_node *n)
{
    const struct node_answer *said = &n->said;
    if (said->role != ROLE_REPLICA || said->repl.offset < 0 || said->repl.link != REPL_UP ||
        !sockaddr_eq(&said->master, &r->primary) || !n->informed || !r->informed ||
        differ(r->repl_id, n->info.repl_id)) {
        return;
    }
    if (said->repl.offset < n->offset) {
        n->broken = "its data was replaced";
        n->caught = 0;
    }
    n->offset = said->repl.offset;
    const struct round *caught = history_caught(&r->history, n->offset);
    if (caught != NULL && caught->number > n->caught) {
        n->caught = caught->number;
        n->caught_ms = caught->begun_ms;
    }
}

void replicas_said(struct replicas *r, size_t slot, const struct node_answer *said, uint64_t now_ms)
{
    struct replica_node *n = &r->node[slot];
    uint64_t round = atomic_load_explicit(&r->rounds->begun, memory_order_relaxed);
    n->failure = NULL;
    if (said->asked_ms < r->since_ms) {
        return;
    }
    if (!n->heard) {
        n->caught = n->caught_ms = n->down_ms = 0;
        n->offset = -1;
    }
    n->heard = true;
    n->said = *said;
    n->down_ms = said->repl.link == REPL_UP ? 0 : n->down_ms == 0 ? now_ms : n->down_ms;
    if (said->informed) {
        n->informed = true;
        n->info = said->info;
        n->near = is_near(r, n);
    }
    note_progress(r, n);
    if (lack_of(r, n, now_ms) != NULL) {
        n->good = 0;
    } else if (n->good == 0 || n->good_round != round) {
        n->good++;
        n->good_round = round;
    }
}

void replicas_failed(struct replicas *r, size_t slot, const char *why)
{
    struct replica_node *n = &r->node[slot];
    n->failure = n->broken = why;
    n->good = 0;
    n->heard = n->informed = false; /* what answers next may be another one */
}

/* What follows from it. */

static size_t count_fit(const struct replicas *r)
{
    size_t count = 0;
    for (size_t i = 0; i < REPLICAS_MAX; i++) {
        count += r->node[i].id != 0 ? 1 : 0;
    }
    return count;
}

static void welcome(struct replicas *r, struct replica_node *n, uint64_t now_ms)
{
    bool late = n->served || now_ms - r->since_ms > REPLICA_SETTLE_MS;
    /* With no other there is nobody to leave the rest to. */
    n->slow = late && r->config->replica_slow_start_ms > 0 && count_fit(r) > 0;
    n->id = ++r->last_id;
    n->served = true;
    n->fit_ms = now_ms;
}

bool replicas_judge(struct replicas *r, uint64_t now_ms)
{
    bool changed = false;
    for (size_t i = 0; i < REPLICAS_MAX; i++) {
        struct replica_node *n = &r->node[i];
        if (n->serial == 0) {
            continue;
        }
        n->lack = lack_of(r, n, now_ms);
        n->lag_ms = lag_of(n, now_ms);
        n->broken = NULL;
        if (n->lack != NULL && n->id != 0) {
            n->id = 0;
            n->good = 0;
            changed = true;
        } else if (n->lack == NULL && n->id == 0 && n->good >= REPLICA_GOOD_ROUNDS) {
            welcome(r, n, now_ms);
            changed = true;
        }
    }
    return changed;
}

/* Those that were never fit are told of once they had their time. */
enum replica_news replicas_news(struct replicas *r, size_t slot, uint64_t now_ms)
{
    struct replica_node *n = &r->node[slot];
    bool waits = n->told == REPLICA_SAME && now_ms - r->since_ms <= REPLICA_SETTLE_MS;
    enum replica_news is = n->id != 0 ? REPLICA_BECAME_FIT
                           : waits    ? REPLICA_SAME
                                      : REPLICA_BECAME_UNFIT;
    if (n->serial == 0 || is == n->told) {
        return REPLICA_SAME;
    }
    n->told = is;
    return is;
}

static uint32_t share_of(const struct replicas *r, const struct replica_node *n, uint64_t now_ms)
{
    uint64_t all = r->config->replica_slow_start_ms, since = now_ms - n->fit_ms;
    return !n->slow || since >= all ? SHARE_FULL : 1 + (uint32_t)((SHARE_FULL - 1) * since / all);
}

/* Why there is none. */
static const char *lack_of_all(const struct replicas *r)
{
    const char *lack = NULL;
    if (r->generation == 0) {
        return "no primary is known";
    }
    for (size_t i = 0; i < REPLICAS_MAX; i++) {
        const char *its = r->node[i].serial == 0    ? NULL
                          : r->node[i].lack == NULL ? "not asked yet"
                                                    : r->node[i].lack;
        if (its != NULL && lack != NULL && strcmp(its, lack) != 0) {
            return "none is well";
        }
        lack = its != NULL ? its : lack;
    }
    return lack != NULL ? lack : "the Sentinels list none";
}

struct topology_replicas *replicas_snapshot(const struct replicas *r, uint64_t now_ms)
{
    struct topology_replicas *t = topology_replicas_new((uint32_t)count_fit(r));
    for (size_t i = 0; i < REPLICAS_MAX; i++) {
        const struct replica_node *n = &r->node[i];
        if (n->id != 0) {
            t->replica[t->count++] = (struct topology_replica){.id = n->id,
                                                               .at = n->listed.at,
                                                               .name = n->listed.name,
                                                               .caught = n->caught,
                                                               .near = n->near,
                                                               .share = share_of(r, n, now_ms)};
        }
    }
    t->lack = t->count == 0 ? lack_of_all(r) : NULL;
    return t;
}
