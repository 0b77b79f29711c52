#include "proxy/service.h"

#include "proxy/base/limits.h"
#include "proxy/base/log.h"
#include "proxy/learnt.h"
#include "proxy/linkset.h"
#include "proxy/scripts.h"
#include "proxy/server.h"
#include "proxy/unblock.h"
#include "proxy/worker.h"

#define HINT_INTERVAL_MS 10u

static uint64_t now_ms(const struct worker_service *ws)
{
    return loop_now_ms(ws->worker->loop);
}

bool service_may_open(const struct worker_service *ws)
{
    return service_serving(ws) && ws->worker->handshakes < HANDSHAKES_MAX &&
           now_ms(ws) >= ws->retry_at_ms;
}

bool service_distrusts_answers(const struct worker_service *ws)
{
    return ws->now->state == SERVICE_HOLDING &&
           now_ms(ws) >= ws->now->state_since_ms + ws->config->hold_grace_ms;
}

static void on_retry(struct wheel_timer *timer)
{
    (void)timer; /* the flush phase of this turn releases who waits */
}

uint64_t service_next_delay(const struct worker_service *ws, uint64_t *delay_ms)
{
    uint64_t delay = *delay_ms == 0 ? RECONNECT_MIN_MS : *delay_ms * 2;
    *delay_ms = delay < RECONNECT_MAX_MS ? delay : RECONNECT_MAX_MS;
    /* Jitter: workers and proxies should not come in step. */
    return *delay_ms +
           (now_ms(ws) * 2654435761u + (uint64_t)ws->worker->index * 40503u) % (*delay_ms / 4 + 1);
}

void service_link_failed(struct worker_service *ws)
{
    if (now_ms(ws) < ws->retry_at_ms) {
        return; /* one of many attempts that were under way together */
    }
    uint64_t delay = service_next_delay(ws, &ws->retry_delay_ms);
    ws->retry_at_ms = now_ms(ws) + delay;
    loop_arm(ws->worker->loop, &ws->retry_timer, delay, on_retry);
}

void service_link_proven(struct worker_service *ws)
{
    ws->retry_delay_ms = 0;
}

void service_wait(struct worker_service *ws, struct session *s)
{
    if (!list_on(&s->waiting)) {
        list_append(&ws->waiting, &s->waiting);
    }
}

void service_unwait(struct worker_service *ws, struct session *s)
{
    list_remove(&s->waiting);
    s->scout = false;
    if (ws->scout == s) {
        ws->scout = NULL;
    }
}

bool service_holds_back(const struct worker_service *ws, const struct session *s)
{
    return s->waiting.owner == &ws->refused;
}

/* One of the refused tries; the others follow if it is answered. */
static void on_scout(struct wheel_timer *timer)
{
    struct worker_service *ws = CONTAINER_OF(timer, struct worker_service, scout_timer);
    if (ws->scout != NULL && session_blocked(ws->scout)) {
        service_scout_succeeded(ws, ws->scout); /* a refusal would have come at once */
    }
    if (ws->refused.count == 0) {
        return;
    }
    loop_arm(ws->worker->loop, timer, SCOUT_INTERVAL_MS, on_scout);
    if (ws->scout != NULL && !session_busy(ws->scout)) {
        service_unwait(ws, ws->scout); /* it had nothing left to try with */
    }
    if (ws->scout == NULL && service_serving(ws)) {
        struct session *s = CONTAINER_OF(list_pop(&ws->refused), struct session, waiting);
        s->scout = true;
        ws->scout = s;
        session_pump(s);
    }
}

void service_wait_refused(struct worker_service *ws, struct session *s)
{
    service_unwait(ws, s);
    list_append(&ws->refused, &s->waiting);
    if (ws->scout_timer.due_ms == 0) {
        loop_arm(ws->worker->loop, &ws->scout_timer, SCOUT_INTERVAL_MS, on_scout);
    }
}

/* All that were refused may try, in order, behind those that wait already. */
static void release_refused(struct worker_service *ws)
{
    for (struct list_node *n = list_pop(&ws->refused); n != NULL; n = list_pop(&ws->refused)) {
        list_append(&ws->waiting, n);
    }
    loop_again(ws->worker->loop);
}

void service_scout_succeeded(struct worker_service *ws, struct session *s)
{
    s->scout = false;
    ws->scout = NULL;
    release_refused(ws);
}

void service_hint(struct worker_service *ws, uint64_t generation, enum hint hint)
{
    uint64_t now = now_ms(ws);
    if (generation == ws->now->generation && now >= ws->hinted_ms[hint] + HINT_INTERVAL_MS) {
        ws->hinted_ms[hint] = now;
        server_hint(ws->worker->server, ws->index, generation, hint);
    }
}

void service_for_each_link(struct worker_service *ws, void (*visit)(struct link *l))
{
    for (size_t n = ws->links.count; n > 0; n--) {
        struct list_node *node = list_pop(&ws->links);
        list_append(&ws->links, node);
        visit(CONTAINER_OF(node, struct link, node));
    }
}

static void leave_old_primary(struct link *l)
{
    if (l->state == LINK_RETIRING || l->replica != 0) {
        return; /* replicas are left by what is known of them */
    }
    if (l->kind == LINK_EXCLUSIVE) {
        session_link_lost(l->session, LINK_END_GENERATION);
    } else {
        linkset_lost(l, LINK_END_GENERATION);
    }
}

static void go_on(struct link *l)
{
    struct session *s = l->session;
    if (s == NULL || s->out.len <= SESSION_OUTPUT_HIGH) {
        link_set_reading(l, true);
        link_resume(l);
    }
    if (l->state != LINK_CLOSED) {
        link_touch(l);
    }
    if (s != NULL) {
        session_pump(s);
    } else if (l->state != LINK_CLOSED) {
        linkset_release(l->set);
    }
}

/* Among those that wait there may be some whose clients have gone. */
static void forsake_waiting(struct worker_service *ws)
{
    for (struct list_node *n = ws->worker->sessions.first, *next; n != NULL; n = next) {
        next = n->next; /* s may end, and only s */
        struct session *s = CONTAINER_OF(n, struct session, node);
        if (s->service == ws && (s->deadline_ms != 0 || s->outstanding > 0)) {
            session_forsake(s);
            session_pump(s);
        }
    }
}

static void renew_sets(struct worker_service *ws)
{
    for (uint32_t i = 0; i < LINKSET_BUCKETS; i++) {
        for (struct list_node *n = ws->sets[i].first; n != NULL; n = n->next) {
            linkset_renew(CONTAINER_OF(n, struct linkset, in_service));
        }
    }
}

/* A question of our own now and then shows whether the server is still there, before a request has
 * to find out. */
static void look_after(struct link *l)
{
    uint64_t idle = now_ms(l->service) - l->used_ms;
    if (l->state != LINK_READY || l->kind == LINK_EXCLUSIVE || l->journal.count > 0) {
        return;
    }
    if (idle >= LINK_IDLE_CLOSE_MS) {
        link_close(&l, LINK_END_IDLE);
    } else if (linkset_serving(l->set)) {
        link_ask(l, command_lookup_name(slice_str("ping")), ASKER_NOBODY,
                 slice_str("*1\r\n$4\r\nPING\r\n"));
    }
}

static void on_idle_timer(struct wheel_timer *timer)
{
    struct worker_service *ws = CONTAINER_OF(timer, struct worker_service, idle_timer);
    service_for_each_link(ws, look_after);
    linkset_forget_refused(ws, true);
    loop_arm(ws->worker->loop, timer, LINK_IDLE_PING_MS, on_idle_timer);
}

/* Told by one worker for all. */
static void log_learnt(const struct worker_service *ws)
{
    bool matters = ws->learnt->count > 0 || ws->learnt->stricter_count > 0;
    if (ws->now->commands != NULL && ws->worker->index == 0) {
        log_at(matters ? LOG_NOTICE : LOG_INFO, "commands-learnt",
               "service=%s listed=%zu learnt=%zu stricter=%zu",
               log_quote(slice_str(ws->config->name)), ws->now->commands->count, ws->learnt->count,
               ws->learnt->stricter_count);
    }
}

static void learn_commands(struct worker_service *ws)
{
    if (ws->learnt == NULL || ws->learnt->list != ws->now->commands) {
        learnt_free(&ws->learnt);
        ws->learnt = learnt_new(ws->now->commands, &ws->config->shared_commands, ws->denied);
        log_learnt(ws);
    }
}

void service_start(struct worker_service *ws)
{
    ws->denied = denied_new(&ws->config->access.deny);
    learn_commands(ws); /* what is denied is denied before a primary is known */
    scripts_start(ws);
    nodes_start(ws);
    loop_arm(ws->worker->loop, &ws->idle_timer, LINK_IDLE_PING_MS, on_idle_timer);
}

static void close_unused(struct link *l)
{
    if (l->kind != LINK_EXCLUSIVE) {
        link_close(&l, LINK_END_SESSION);
    }
}

/* The primary may be sent to. */
static void serve(struct worker_service *ws)
{
    service_for_each_link(ws, go_on); /* those that were there before */
    release_refused(ws);
    ws->report_due = true;
}

static void take_unsent(struct link *l)
{
    if (l->replica == 0 && l->state == LINK_READY) {
        link_take_unsent(l);
    }
}

void service_adopt(struct worker_service *ws, const struct topology_service *now)
{
    const struct topology_service before = *ws->now;
    ws->now = now;
    learn_commands(ws);
    bool moved = before.generation != now->generation;
    bool stirred = moved || before.state != now->state;
    nodes_adopt(ws, stirred);
    if (before.state == SERVICE_SERVING && (moved || now->state != SERVICE_SERVING)) {
        /* Who waited for no more than a link of its own is not part of the tale. */
        ws->report.waited = ws->waiting.count + ws->refused.count;
        ws->report.longest_ms = 0;
    }
    if (moved) {
        ws->retry_at_ms = ws->retry_delay_ms = 0;
        renew_sets(ws);
        service_for_each_link(ws, leave_old_primary);
    }
    if (now->state != SERVICE_SERVING && stirred) {
        forsake_waiting(ws);
        service_for_each_link(ws, take_unsent);
    }
    if (now->state == SERVICE_HOLDING && before.state != SERVICE_HOLDING) {
        unblock_begin(ws);
    }
    if (now->state != SERVICE_SERVING) {
        scripts_load_no_more(ws);
        ws->loading = false;
        return;
    }
    if (!moved && before.state == SERVICE_SERVING) {
        return;
    }
    ws->retry_at_ms = 0;
    ws->loading = scripts_load(ws);
    if (!ws->loading) {
        serve(ws);
    }
}

void service_scripts_loaded(struct worker_service *ws)
{
    scripts_load_no_more(ws);
    ws->loading = false;
    serve(ws);
}

static void report(struct worker_service *ws)
{
    if (!ws->report_due || ws->waiting.count > 0 || ws->refused.count > 0 ||
        ws->worker->handshakes > 0) {
        return;
    }
    ws->report_due = false;
    const struct switch_report *r = &ws->report;
    if (r->waited + r->resent + r->in_doubt + r->closed > 0) {
        server_report(ws->worker->server, ws->index, ws->now->generation, r);
    }
    ws->report = (struct switch_report){0};
}

void service_release(struct worker_service *ws)
{
    scripts_tell(ws);
    size_t n = ws->waiting.count < RELEASE_PER_TURN ? ws->waiting.count : RELEASE_PER_TURN;
    for (; n > 0 && service_may_open(ws) && ws->waiting.count > 0; n--) {
        session_pump(CONTAINER_OF(list_pop(&ws->waiting), struct session, waiting));
    }
    if (ws->waiting.count > 0 && service_may_open(ws)) {
        loop_again(ws->worker->loop);
    }
    report(ws);
}

void service_stop(struct worker_service *ws)
{
    loop_disarm(ws->worker->loop, &ws->scout_timer);
    loop_disarm(ws->worker->loop, &ws->retry_timer);
    loop_disarm(ws->worker->loop, &ws->idle_timer);
    service_for_each_link(ws, close_unused);
    linkset_forget_refused(ws, true);
    nodes_stop(ws);
    scripts_stop(ws);
    learnt_free(&ws->learnt);
    denied_free(&ws->denied);
}
