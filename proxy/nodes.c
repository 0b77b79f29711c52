#include "proxy/nodes.h"

#include <stdlib.h>

#include "proxy/base/limits.h"
#include "proxy/base/log.h"
#include "proxy/linkset.h"
#include "proxy/server.h"
#include "proxy/session_reads.h"
#include "proxy/worker.h"

/* How long an attempt to reach a replica rests that failed on our side, how often a session's wish
 * for replicas is told again, and how often a round of probes is asked for. */
#define RETRY_MS                 100u
#define WANTED_AGAIN_MS          (REPLICAS_WANTED_MS / 3)
#define ROUND_WANTED_INTERVAL_MS 1u

static uint64_t now_ms(const struct worker_service *ws)
{
    return loop_now_ms(ws->worker->loop);
}

static struct node_use *entry(const struct worker_service *ws, uint32_t id)
{
    for (uint32_t i = 0; i < ws->nodes.count; i++) {
        if (ws->nodes.v[i].id == id) {
            return &ws->nodes.v[i];
        }
    }
    return NULL;
}

static bool usable(const struct node_use *r)
{
    return r != NULL && !r->failed;
}

const struct topology_replica *nodes_find(const struct worker_service *ws, uint32_t id)
{
    const struct node_use *r = entry(ws, id);
    return usable(r) ? &ws->now->replicas->replica[r - ws->nodes.v] : NULL;
}

/* Says since when there has been none. */
static void note_lack(struct worker_service *ws)
{
    struct nodes *r = &ws->nodes;
    for (uint32_t i = 0; i < r->count; i++) {
        if (!r->v[i].failed) {
            r->none_since_ms = 0;
            return;
        }
    }
    r->none_since_ms = r->none_since_ms != 0 ? r->none_since_ms : now_ms(ws);
}

void nodes_failed(struct worker_service *ws, uint32_t id, const char *why)
{
    struct node_use *r = entry(ws, id);
    if (!usable(r)) {
        return;
    }
    char text[ADDR_TEXT_MAX];
    log_limited(LOG_INFO, "replica-left", "service=%s replica=%s reason=%s", ws->config->name,
                addr_text(&nodes_find(ws, id)->name, text), why);
    r->failed = true;
    ws->nodes.lost = true;
    note_lack(ws);
    loop_again(ws->worker->loop);
    server_hint_replica(ws->worker->server, ws->index, HINT_REPLICA_FAILED, id);
}

void nodes_try_later(struct worker_service *ws)
{
    ws->nodes.retry_at_ms = now_ms(ws) + RETRY_MS;
}

bool nodes_may_open(const struct worker_service *ws, uint32_t id)
{
    return nodes_find(ws, id) != NULL && ws->worker->handshakes < HANDSHAKES_MAX &&
           now_ms(ws) >= ws->nodes.retry_at_ms;
}

void nodes_count(struct link *l)
{
    uint32_t count = l->state == LINK_CLOSED ? 0 : l->journal.count;
    if (count != l->counted) {
        struct worker_service *ws = l->service;
        struct node_use *u = l->replica != 0 ? entry(ws, l->replica) : &ws->nodes.primary;
        if (u != NULL) {
            u->outstanding += count - l->counted;
        }
        l->counted = count;
    }
}

/* Waiting sessions look again, in this turn or the next. */
static void pump_all(struct worker_service *ws, struct list *waiting)
{
    if (waiting->count == 0) {
        return;
    }
    for (struct list_node *n = list_pop(waiting); n != NULL; n = list_pop(waiting)) {
        worker_pump(ws->worker, CONTAINER_OF(n, struct session, waiting));
    }
    loop_again(ws->worker->loop);
}

static void on_catching_over(struct wheel_timer *timer)
{
    struct worker_service *ws = CONTAINER_OF(timer, struct worker_service, nodes.catching_timer);
    pump_all(ws, &ws->nodes.catching);
}

static void on_lack_over(struct wheel_timer *timer)
{
    struct worker_service *ws = CONTAINER_OF(timer, struct worker_service, nodes.wanting_timer);
    pump_all(ws, &ws->nodes.wanting);
}

static void want_round(struct worker_service *ws)
{
    if (now_ms(ws) >= ws->nodes.round_wanted_ms + ROUND_WANTED_INTERVAL_MS) {
        ws->nodes.round_wanted_ms = now_ms(ws);
        server_hint_replica(ws->worker->server, ws->index, HINT_ROUND_WANTED, 0);
    }
}

void nodes_wait(struct worker_service *ws, struct session *s, bool moment)
{
    struct nodes *r = &ws->nodes;
    if (list_on(&s->waiting)) {
        return;
    }
    list_append(moment ? &r->catching : &r->wanting, &s->waiting);
    if (r->none_since_ms == 0) {
        want_round(ws);
    }
    struct wheel_timer *timer = moment ? &r->catching_timer : &r->wanting_timer;
    if (!list_on(&timer->node)) {
        loop_arm(ws->worker->loop, timer, moment ? CATCH_UP_MAX_MS : REPLICA_LACK_MS,
                 moment ? on_catching_over : on_lack_over);
    }
}

void nodes_wanted(struct worker_service *ws)
{
    uint64_t now = now_ms(ws);
    if (!config_reads_replicas(ws->config) &&
        (ws->nodes.wanted_ms == 0 || now >= ws->nodes.wanted_ms + WANTED_AGAIN_MS)) {
        ws->nodes.wanted_ms = now;
        server_hint_replica(ws->worker->server, ws->index, HINT_REPLICAS_WANTED, 0);
    }
}

void nodes_start(struct worker_service *ws)
{
    ws->nodes.mask = command_replica_mask(&ws->config->replica_commands);
    note_lack(ws);
}

void nodes_stop(struct worker_service *ws)
{
    loop_disarm(ws->worker->loop, &ws->nodes.catching_timer);
    loop_disarm(ws->worker->loop, &ws->nodes.wanting_timer);
    free(ws->nodes.v);
    ws->nodes.v = NULL;
    ws->nodes.count = 0;
}

/* True if nothing came or went. */
static bool same_ones(const struct nodes *r, const struct topology_replicas *list)
{
    uint32_t count = list != NULL ? list->count : 0;
    for (uint32_t i = 0; i < count && count == r->count; i++) {
        if (r->v[i].id != list->replica[i].id) {
            return false;
        }
    }
    return count == r->count;
}

void nodes_adopt(struct worker_service *ws, bool stirred)
{
    struct nodes *r = &ws->nodes;
    const struct topology_replicas *list = ws->now->replicas;
    if (!same_ones(r, list)) {
        struct node_use *before = r->v;
        uint32_t count = list != NULL ? list->count : 0;
        struct node_use *v = xcalloc(count + 1u, sizeof *v);
        for (uint32_t i = 0; i < count; i++) {
            const struct node_use *old = entry(ws, list->replica[i].id);
            v[i] = old != NULL ? *old : (struct node_use){.id = list->replica[i].id};
        }
        r->v = v;
        r->count = count;
        r->lost = true;
        free(before);
    }
    uint64_t caught = 0;
    for (uint32_t i = 0; i < r->count; i++) {
        caught += list->replica[i].caught;
    }
    note_lack(ws);
    if (stirred || r->lost || caught != r->caught) {
        pump_all(ws, &r->catching);
        pump_all(ws, &r->wanting);
    }
    r->caught = caught;
}

static void leave_lost(struct link *l)
{
    if (l->replica == 0 || l->state == LINK_RETIRING ||
        nodes_find(l->service, l->replica) != NULL) {
        return;
    }
    if (l->kind == LINK_EXCLUSIVE) {
        session_link_lost(l->session, LINK_END_GENERATION);
    } else {
        linkset_lost(l, LINK_END_GENERATION);
    }
}

void nodes_settle(struct worker_service *ws)
{
    while (ws->nodes.lost) {
        ws->nodes.lost = false;
        service_for_each_link(ws, leave_lost);
        linkset_forget_refused(ws, false);
    }
}

bool nodes_may_come(const struct worker_service *ws)
{
    uint64_t since = ws->nodes.none_since_ms;
    return since == 0 || now_ms(ws) < since + REPLICA_LACK_MS;
}

const char *nodes_lack(const struct worker_service *ws)
{
    const struct topology_replicas *list = ws->now->replicas;
    if (list == NULL) {
        return "none is known yet";
    }
    return list->count == 0 ? list->lack : "connections to those that were failed";
}

/* What a link of that profile was refused there, others will be too. */
static bool refuses(const struct session *s, uint32_t id)
{
    if (!s->service->nodes.refuse) {
        return false;
    }
    const struct linkset *set = linkset_find(s->service, &s->set->profile, id);
    return set != NULL && linkset_refused(set);
}

struct node_choice nodes_choose(struct session *s, const struct choice_demand *demand,
                                enum node_range range)
{
    struct worker_service *ws = s->service;
    struct choice_node nodes[REPLICAS_MAX + 1];
    struct chosen chosen = {0};
    size_t count = 0;
    for (uint32_t i = 0; i < ws->nodes.count && i < REPLICAS_MAX; i++) {
        const struct node_use *u = &ws->nodes.v[i];
        const struct topology_replica *t = &ws->now->replicas->replica[i];
        if (usable(u) && (range == NODES_REFUSING || !refuses(s, u->id))) {
            nodes[count++] = (struct choice_node){.id = u->id,
                                                  .caught = t->caught,
                                                  .outstanding = u->outstanding,
                                                  .homes = u->homes,
                                                  .share = t->share > 0 ? t->share : 1,
                                                  .near = t->near};
        }
    }
    if (range == NODES_ALL) {
        nodes[count++] = (struct choice_node){.caught = UINT64_MAX,
                                              .outstanding = ws->nodes.primary.outstanding,
                                              .homes = ws->nodes.primary.homes,
                                              .share = 100};
    }
    enum choice choice = choice_make(nodes, count, demand, &ws->nodes.turn, &chosen);
    bool found = choice == CHOICE_NODE;
    return (struct node_choice){
        .choice = choice, .id = found ? nodes[chosen.node].id : 0, .soon = found && chosen.soon};
}

void nodes_home(struct worker_service *ws, uint32_t id, bool on)
{
    struct node_use *u = id != 0 ? entry(ws, id) : &ws->nodes.primary;
    if (u != NULL) {
        u->homes += on ? 1 : UINT32_MAX;
    }
}
