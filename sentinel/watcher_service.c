/* One service: gathers what is known for the judge, and does what it says. */
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "sentinel/watcher_parts.h"

#define HOLD_TIMEOUT_EXTRA_MS 10000u
/* One decision may lead to the next (a switch, then its hold); more in a row is no progress. */
#define DECISIONS_MAX 4
/* A node in question is asked so often, or oftener. */
#define PROBE_FAST_MS 100u
/* A tick may come that much before its time. */
#define TICK_SLACK_MS 2u

_Static_assert(2 * PROBE_FAST_MS < JUDGE_ROLE_MAX_AGE_MS, "a word counts until the next one");

/* Room for what the judge is told; it points into this. */
struct evidence {
    struct judge_view view[JUDGE_VIEWS_MAX];
    struct judge_node node[PROBES_MAX];
    struct sockaddr_any replica[REPLICAS_MAX];
    struct judge_facts facts;
};

static bool is_listed(const struct service *s, const struct addr *name)
{
    for (size_t i = 0; i < s->replica_count; i++) {
        if (addr_eq(&s->replica[i].name, name)) {
            return true;
        }
    }
    return false;
}

static void on_told(void *owner, struct probe *p)
{
    struct service *s = owner;
    struct addr master;
    uint64_t opened_ms, answered_ms;
    enum node_role role = probe_answer(p, &master, &opened_ms, &answered_ms);
    if (role == NODE_UNREACHABLE) {
        names_failed(s->watcher->names, probe_at(p));
    } else {
        names_worked(s->watcher->names, probe_at(p));
    }
    if (role == NODE_REPLICA && !is_listed(s, &master)) {
        s->lists_wanted = true; /* to follow it, it has to be known */
    }
    service_decide(s);
}

/* Of a new primary nothing is known until it answers: what the last one said serves so long, for a
 * moment without it would pin clients to links of their own for good. */
static void learn(struct service *s)
{
    if (s->judge.generation != s->learning) {
        s->learning = s->judge.generation;
        s->lists_wanted = true; /* its replicas are others */
        learner_ask(s->learner, &s->judge.primary, &s->judge.primary_name);
    }
}

static void on_learnt(void *owner, struct command_list *list)
{
    struct service *s = owner;
    bool changed = list != NULL || s->commands != NULL;
    command_list_unref(&s->commands);
    s->commands = list;
    if (changed) {
        watcher_publish(s->watcher);
    }
}

static const struct config_sentinel *polling_of(const struct service *s)
{
    return s->group->group.config;
}

void service_init(struct service *s, struct watch_group *g, size_t index,
                  const struct config_service *config)
{
    s->watcher = g->watcher;
    s->group = g;
    s->index = index;
    s->config = config;
    struct judge_rules rules = {.hold_on_failover = s->config->hold_on_failover,
                                .follow_role = s->config->follow_role,
                                .min_agree = polling_of(s)->min_agree};
    judge_init(&s->judge, &rules);
    s->judge.since_ms = clock_ms();
    struct tls_ctx *tls = certificates_of_nodes(s->watcher->certificates,
                                                (size_t)(config - s->watcher->config->services));
    s->probes = (struct probe_group){.loop = s->watcher->loop,
                                     .service = s->config,
                                     .tls = tls,
                                     .map = &polling_of(s)->address_map,
                                     .told = on_told,
                                     .owner = s};
    s->learner = learner_new(s->watcher->loop, s->config, tls, on_learnt, s);
    s->rounds = rounds_new();
    s->fast = true;
    s->hold_timeout_ms = s->config->hold_timeout_ms != CONFIG_AUTO ? s->config->hold_timeout_ms
                                                                   : HOLD_TIMEOUT_MIN_MS;
}

void service_close(struct service *s)
{
    while (s->probe_count > 0) {
        probe_free(&s->probe[--s->probe_count]);
    }
    replica_watch_free(&s->reads);
    learner_free(&s->learner);
    command_list_unref(&s->commands);
    rounds_unref(&s->rounds);
}

/* Asking. */

static void ask_views(struct service *s)
{
    const struct sentinel_set *set = s->group->sentinels;
    s->asked_ms = clock_ms();
    for (size_t i = 0; i < sentinel_set_count(set); i++) {
        sentinel_ask(sentinel_set_at(set, i), s->index);
    }
}

static void ask_lists(struct service *s, uint64_t now_ms)
{
    const struct sentinel_set *set = s->group->sentinels;
    s->lists_wanted = false;
    s->listed_ms = now_ms;
    for (size_t i = 0; i < sentinel_set_count(set); i++) {
        sentinel_ask_lists(sentinel_set_at(set, i), s->index);
    }
}

void service_ask(struct service *s)
{
    ask_views(s);
    group_flush(s->group);
}

uint64_t service_interval(const struct service *s)
{
    const struct config_sentinel *config = polling_of(s);
    bool fast = s->fast && config->poll_interval_fast_ms < config->poll_interval_ms;
    return fast ? config->poll_interval_fast_ms : config->poll_interval_ms;
}

void service_tick(struct service *s, uint64_t now_ms)
{
    if (now_ms - s->asked_ms + TICK_SLACK_MS >= service_interval(s)) {
        ask_views(s);
        service_log_acquaintance(s);
        service_decide(s);
    }
    if (now_ms - s->listed_ms >= (s->lists_wanted ? LISTS_INTERVAL_MIN_MS : LISTS_INTERVAL_MS)) {
        ask_lists(s, now_ms);
    }
}

/* Gathering. */

static void gather_views(struct service *s, struct evidence *e)
{
    const struct sentinel_set *set = s->group->sentinels;
    e->facts.known = sentinel_set_known(set);
    for (size_t i = 0; i < sentinel_set_count(set); i++) {
        const struct sentinel *from = sentinel_set_at(set, i);
        const struct sentinel_view *view = sentinel_view(from, s->index);
        if (sentinel_state(from) != SENTINEL_UP || view->answered_ms == 0) {
            continue;
        }
        struct judge_view *out = &e->view[e->facts.view_count++];
        *out = (struct judge_view){.asked_ms = view->asked_ms, .answered_ms = view->answered_ms};
        memcpy(out->id, sentinel_id(from), strlen(sentinel_id(from)) + 1);
        if (!view->opinion) {
            continue;
        }
        if (names_one(s->watcher->names, &view->primary, &out->primary)) {
            out->primary_name = view->primary;
        }
        if (!names_one(s->watcher->names, &view->master.addr, &out->flagged)) {
            out->flagged.len = 0;
        }
        out->epoch = view->master.config_epoch;
        out->s_down = view->master.s_down;
        out->o_down = view->master.o_down;
        out->failover = view->master.failover_in_progress;
        if (view->master.other_sentinels + 1 > e->facts.known) {
            e->facts.known = view->master.other_sentinels + 1;
        }
    }
    e->facts.views = e->view;
}

static void gather_nodes(struct service *s, struct evidence *e)
{
    for (size_t i = 0; i < s->probe_count; i++) {
        struct judge_node *out = &e->node[e->facts.node_count++];
        *out = (struct judge_node){.at = *probe_at(s->probe[i])};
        out->role =
            probe_answer(s->probe[i], &out->master_name, &out->opened_ms, &out->answered_ms);
        if (addr_is_set(&out->master_name) &&
            !names_one(s->watcher->names, &out->master_name, &out->master)) {
            out->master.len = 0;
        }
    }
    e->facts.nodes = e->node;
    for (size_t i = 0; i < s->replica_count; i++) {
        struct sockaddr_any *out = &e->replica[e->facts.replica_count];
        e->facts.replica_count += names_one(s->watcher->names, &s->replica[i].name, out) ? 1 : 0;
    }
    e->facts.replicas = e->replica;
}

static void gather(struct service *s, struct evidence *e)
{
    e->facts = (struct judge_facts){.now_ms = clock_ms(),
                                    .pending = sentinel_set_pending(s->group->sentinels)};
    gather_views(s, e);
    gather_nodes(s, e);
}

/* Doing. */

static bool wanted(const struct judge_advice *advice, const struct probe *p)
{
    for (size_t i = 0; i < advice->want_count; i++) {
        if (sockaddr_eq(&advice->want[i].at, probe_at(p))) {
            return true;
        }
    }
    return false;
}

static struct probe *probe_of(struct service *s, const struct sockaddr_any *at)
{
    for (size_t i = 0; i < s->probe_count; i++) {
        if (sockaddr_eq(probe_at(s->probe[i]), at)) {
            return s->probe[i];
        }
    }
    CHECK(s->probe_count < PROBES_MAX);
    struct addr name = sockaddr_eq(at, &s->judge.primary) ? s->judge.primary_name
                                                          : names_called(s->watcher->names, at);
    return s->probe[s->probe_count++] = probe_new(&s->probes, at, &name);
}

static void probe_as_wanted(struct service *s, const struct judge_advice *advice)
{
    const struct config_sentinel *config = polling_of(s);
    uint64_t fast = config->poll_interval_fast_ms;
    fast = fast < PROBE_FAST_MS ? fast : PROBE_FAST_MS;
    for (size_t i = s->probe_count; i-- > 0;) {
        if (!wanted(advice, s->probe[i])) {
            probe_free(&s->probe[i]);
            s->probe[i] = s->probe[--s->probe_count];
        }
    }
    for (size_t i = 0; i < advice->want_count; i++) {
        const struct judge_want *want = &advice->want[i];
        probe_want(probe_of(s, &want->at), want->fast ? fast : config->poll_interval_ms,
                   want->fresh_from_ms);
    }
}

/* Waiting goes on a little longer than Sentinel may take. True if that changed. */
static bool update_hold_timeout(struct service *s)
{
    const struct sentinel_set *set = s->group->sentinels;
    uint64_t down_after = 0;
    if (s->config->hold_timeout_ms != CONFIG_AUTO) {
        return false;
    }
    for (size_t i = 0; i < sentinel_set_count(set); i++) {
        const struct sentinel_view *view = sentinel_view(sentinel_set_at(set, i), s->index);
        if (view->opinion && view->master.down_after_ms > down_after) {
            down_after = view->master.down_after_ms;
        }
    }
    uint64_t timeout = 2 * down_after + HOLD_TIMEOUT_EXTRA_MS;
    timeout = timeout < HOLD_TIMEOUT_MIN_MS ? HOLD_TIMEOUT_MIN_MS : timeout;
    if (down_after == 0 || timeout == s->hold_timeout_ms) {
        return false; /* without any Sentinel it stays as it was */
    }
    s->hold_timeout_ms = timeout;
    return true;
}

static void on_reads(void *owner)
{
    const struct service *s = owner;
    if (s->watcher->serial > 0) {
        watcher_publish(s->watcher);
    }
}

/* Those that are listed, without the primary. */
static size_t list_replicas(struct service *s, struct replica_listed out[REPLICAS_MAX])
{
    size_t count = 0;
    for (size_t i = 0; i < s->replica_count; i++) {
        struct replica_listed *r = &out[count];
        r->name = s->replica[i].name;
        count += names_one(s->watcher->names, &r->name, &r->at) &&
                         !sockaddr_eq(&r->at, &s->judge.primary)
                     ? 1
                     : 0;
    }
    return count;
}

/* Watches the replicas of the primary there is now while somebody wants to read from them. True if
 * there is something new to publish. */
static bool follow_replicas(struct service *s)
{
    struct replica_listed listed[REPLICAS_MAX];
    size_t count = list_replicas(s, listed);
    bool wanted = config_reads_replicas(s->config) || clock_ms() < s->reads_until_ms;
    bool news = count != s->listed || wanted != (s->reads != NULL);
    s->listed = (uint32_t)count;
    if (!wanted) {
        replica_watch_free(&s->reads);
        return news;
    }
    if (s->reads == NULL) {
        s->reads = replica_watch_new(&s->probes, s->watcher->names, s->rounds, on_reads, s);
    }
    return replica_watch_follow(s->reads, s->judge.generation, &s->judge.primary,
                                &s->judge.primary_name, listed, count) ||
           news;
}

void service_replica_hint(struct service *s, enum replica_hint hint, uint32_t id)
{
    if (hint == HINT_REPLICA_FAILED) {
        if (s->reads != NULL) {
            replica_watch_failed(s->reads, id);
        }
        return;
    }
    s->reads_until_ms = clock_ms() + REPLICAS_WANTED_MS;
    if (s->reads == NULL) {
        watcher_decide_soon(s->watcher);
    } else if (hint == HINT_ROUND_WANTED) {
        replica_watch_hurry(s->reads);
    }
}

void service_decide(struct service *s)
{
    struct judge_advice advice[DECISIONS_MAX];
    size_t count = 0;
    bool publish = update_hold_timeout(s), ask = false, was_fast = s->fast;
    do {
        struct evidence e;
        gather(s, &e);
        judge_decide(&s->judge, &e.facts, &advice[count]);
        publish = publish || advice[count].change != JUDGE_SAME;
        ask = ask || advice[count].ask;
    } while (advice[count++].change != JUDGE_SAME && count < DECISIONS_MAX);
    publish = follow_replicas(s) || publish;
    s->fast = advice[count - 1].fast;
    if (publish && s->watcher->serial > 0) {
        watcher_publish(s->watcher);
    }
    probe_as_wanted(s, &advice[count - 1]);
    learn(s);
    if (ask || (s->fast && !was_fast)) {
        service_ask(s);
        watcher_schedule(s->watcher);
    }
    for (size_t i = 0; i < count; i++) {
        service_log_change(s, &advice[i]);
    }
}

/* Listening. */

/* The primary an event speaks of. A name that is not resolved yet is taken for ours: a hold for
 * nothing is over in two seconds, a hold that was missed loses writes. */
static struct sockaddr_any subject(struct service *s, const struct event *event)
{
    struct sockaddr_any at;
    return names_one(s->watcher->names, &event->primary, &at) ? at : s->judge.primary;
}

void service_event(struct service *s, const struct event *event)
{
    uint64_t now = clock_ms();
    struct sockaddr_any primary = subject(s, event);
    struct sockaddr_any node;
    service_log_event(s, event);
    if (event->kind == EVENT_PEERS) {
        s->lists_wanted = true;
        return;
    }
    if (event->kind == EVENT_FAILOVER) {
        judge_failover_begins(&s->judge, &primary, now);
    } else if (event->kind == EVENT_ABORTED) {
        judge_failover_aborted(&s->judge, &primary, now);
    } else {
        judge_alert(&s->judge, now);
    }
    if (addr_is_set(&event->node) && names_one(s->watcher->names, &event->node, &node)) {
        judge_candidate(&s->judge, &node, now);
    }
    service_decide(s);
    service_ask(s);
}

static struct replica *replica_slot(struct service *s, const struct addr *name)
{
    for (size_t i = 0; i < s->replica_count; i++) {
        if (addr_eq(&s->replica[i].name, name)) {
            return &s->replica[i];
        }
    }
    return s->replica_count < REPLICAS_MAX ? &s->replica[s->replica_count++] : NULL;
}

void service_listed_replicas(struct service *s, const struct sentinel_peer *peers, size_t count)
{
    uint64_t now = clock_ms();
    for (size_t i = s->replica_count; i-- > 0;) {
        if (s->replica[i].listed_ms + REPLICA_FORGET_MS < now) {
            s->replica[i] = s->replica[--s->replica_count];
        }
    }
    for (size_t i = 0; i < count; i++) {
        struct replica *r = replica_slot(s, &peers[i].addr);
        if (r != NULL) {
            *r = (struct replica){.name = peers[i].addr, .listed_ms = now};
        }
    }
    watcher_decide_soon(s->watcher);
}
