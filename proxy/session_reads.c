/* See session_reads.h. */
#include "proxy/session_reads.h"

#include <string.h>

#include "proxy/base/limits.h"
#include "proxy/linkset.h"
#include "proxy/worker.h"

static uint64_t now_ms(const struct session *s)
{
    return loop_now_ms(s->service->worker->loop);
}

static uint64_t next_round(const struct session *s)
{
    const struct rounds *rounds = s->service->now->rounds;
    return rounds != NULL ? rounds_next(rounds) : 0;
}

/* Where it reads from now on; set: counted, or NULL. */
static void set_home(struct session *s, struct linkset *set)
{
    if (s->read_set != NULL) {
        nodes_home(s->service, s->read_set->replica, false);
    }
    linkset_drop(&s->read_set);
    s->read_set = set;
    if (set != NULL) {
        nodes_home(s->service, set->replica, true);
    }
}

void reads_begin(struct session *s, bool fresh)
{
    const struct config_service *c = s->service->config;
    if (!fresh && s->reads == READS_PRIMARY) {
        s->need = s->wrote = next_round(s); /* what was before was not noted */
    }
    s->reads = (uint8_t)(s->reader ? c->read_listen_policy : c->read_policy);
    set_home(s, NULL);
}

void reads_end(struct session *s)
{
    set_home(s, NULL);
    if (s->reader) {
        reader_end(s);
    }
}

void reads_profile_changed(struct session *s)
{
    if (s->read_set != NULL) {
        set_home(s, linkset_get(s->service, &s->set->profile, s->read_set->replica));
    }
}

/* Nothing of what the session has to do with only its primary's links is in the way. */
static bool may_go(const struct session *s, const struct request *r)
{
    return command_goes(r->command, s->service->nodes.mask) && r->whole && !r->odd &&
           r->frame.n <= REQUEST_BUFFER_MAX && !s->to_primary && !s->pinned && !s->multi &&
           !s->multi_lost && !s->watch && !s->watch_lost && s->subs == NULL &&
           s->tracking == NULL && s->uncarried == NULL && s->asked == NULL && !s->refused &&
           !s->scout && s->set->refused == GREET_STEPS && !s->set->needs_auth;
}

void reads_make_demand(const struct session *s, const struct linkset *home, struct choice_demand *d)
{
    *d = (struct choice_demand){.home = home != NULL ? home->replica : HOME_NONE};
    if (s->service->config->consistency != CONSISTENCY_EVENTUAL) {
        d->need = s->need;
        d->seen = s->seen;
        d->wrote = s->wrote;
    }
}

/* A read that lacks a round only: true while it is to wait for that. */
static bool waits_a_moment(struct session *s)
{
    uint32_t since = (uint32_t)now_ms(s) - s->caught_up_ms;
    if (!s->catching_up && since >= CATCH_UP_INTERVAL_MS) {
        s->catching_up = true;
        s->caught_up_ms = (uint32_t)now_ms(s);
        return true;
    }
    s->catching_up = s->catching_up && since < CATCH_UP_MAX_MS;
    return s->catching_up;
}

/* With a node for the read not to be had. */
enum reads_way reads_without_node(struct session *s, enum choice choice)
{
    struct worker_service *ws = s->service;
    if (s->reads == READS_REPLICA) {
        if (choice == CHOICE_NONE && !nodes_may_come(ws)) {
            return READS_WAY_REFUSED;
        }
        nodes_wait(ws, s, false);
        return READS_WAY_WAIT;
    }
    if (choice == CHOICE_NONE) {
        return READS_WAY_PRIMARY;
    }
    if (!service_serving(ws)) { /* it waits for whatever comes first */
        nodes_wait(ws, s, false);
        return READS_WAY_WAIT;
    }
    if (choice == CHOICE_SOON && waits_a_moment(s)) {
        nodes_wait(ws, s, true);
        return READS_WAY_WAIT;
    }
    return READS_WAY_PRIMARY;
}

/* The set of the session's profile at that node. */
static struct linkset *set_at(struct session *s, uint32_t node)
{
    if (s->read_set == NULL || s->read_set->replica != node) {
        set_home(s, linkset_get(s->service, &s->set->profile, node));
    }
    return s->read_set;
}

enum reads_way reads_way(struct session *s, const struct request *r, struct linkset **set)
{
    struct worker_service *ws = s->service;
    if (!may_go(s, r)) {
        return READS_WAY_PRIMARY;
    }
    if (s->outstanding > 0) { /* behind what is on its way */
        bool replica = s->link->replica != 0 && s->link->state != LINK_RETIRING;
        *set = replica ? s->link->set : NULL;
        return replica ? READS_WAY_REPLICA : READS_WAY_PRIMARY;
    }
    if (!service_serving(ws) && !ws->config->reads_during_failover) {
        return READS_WAY_PRIMARY;
    }
    if (!config_reads_replicas(ws->config)) {
        nodes_wanted(ws);
    }
    struct choice_demand demand;
    reads_make_demand(s, s->read_set, &demand);
    bool all = s->reads == READS_ANY && service_serving(ws);
    struct node_choice c = nodes_choose(s, &demand, all ? NODES_ALL : NODES_REPLICAS);
    if (c.choice != CHOICE_NODE) {
        return reads_without_node(s, c.choice);
    }
    if (c.soon && waits_a_moment(s)) {
        nodes_wait(ws, s, true);
        return READS_WAY_WAIT;
    }
    if (c.id == 0) {
        if (!c.soon) { /* else it is only until a replica has caught up */
            (void)set_at(s, 0);
        }
        return READS_WAY_PRIMARY;
    }
    s->catching_up = false;
    *set = set_at(s, c.id);
    return READS_WAY_REPLICA;
}

void reads_note(struct session *s, const struct link *l, enum reads_told told)
{
    uint64_t next = next_round(s);
    s->to_primary = false;
    if (l->replica != 0) {
        s->seen = next;
    } else {
        s->need = next;
        s->wrote = told == READS_TOLD_WRITE ? next : s->wrote;
    }
}

void reads_begin_to_note(struct session *s)
{
    if (s->reads != READS_PRIMARY) {
        s->need = s->wrote = next_round(s);
    }
}

/* The node is not fit: all others will be told the same. */
static bool is_unfit(struct slice reply)
{
    return slice_starts_with(reply, "-LOADING ") || slice_starts_with(reply, "-MASTERDOWN ");
}

bool reads_refused(const struct session *s, const struct record *r, struct slice reply)
{
    if (r->asker.own || s->link->replica == 0) {
        return false;
    }
    bool lost_script = r->command->script != SCRIPT_NONE && slice_starts_with(reply, "-NOSCRIPT ");
    return is_unfit(reply) || slice_starts_with(reply, "-READONLY ") || lost_script ||
           slice_starts_with(reply, "-ERR unknown command");
}

void reads_turn_away(struct session *s, const struct record *r, struct slice reply)
{
    if (is_unfit(reply) && !r->command->forgeable) {
        nodes_failed(s->service, s->link->replica, "refused");
    } else {
        s->to_primary = true;
    }
}

void reads_stalled(const struct link *l)
{
    struct session *s = worker_asker(l->service->worker, journal_at(&l->journal, 0)->asker);
    if (s != NULL && s->reads != READS_REPLICA) {
        s->to_primary = true;
    }
}

void reads_choose(struct session *s, const struct command *command)
{
    bool noted = s->reads != READS_PRIMARY;
    if (s->reader) {
        session_give_str(s, "+OK\r\n");
        return;
    }
    s->reads = strcmp(command->name, "readonly") == 0 ? READS_PREFER_REPLICA : READS_PRIMARY;
    if (!noted) {
        reads_begin_to_note(s);
    }
    session_give_str(s, "+OK\r\n");
}

void reads_say_refused(const struct session *s, struct buf *to)
{
    buf_printf(to,
               "-MASTERDOWN No replica of '%.64s' is fit to serve reads: %s; the command was not "
               "executed\r\n",
               s->service->config->name, nodes_lack(s->service));
}
