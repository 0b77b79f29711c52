#include "proxy/link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/limits.h"
#include "proxy/base/log.h"
#include "proxy/linkset.h"
#include "proxy/session.h"
#include "proxy/session_reads.h"
#include "proxy/session_redirect.h"
#include "proxy/session_subscribe.h"
#include "proxy/worker.h"

#define LINK_MAGIC   0x11170004u
#define WRITE_PIECES 64

static const struct transport_events link_events;

const char *link_end_word(enum link_end end)
{
    switch (end) {
    case LINK_END_SESSION: return "session-ended";
    case LINK_END_CONNECT: return "connect-failed";
    case LINK_END_GREETING: return "greeting-failed";
    case LINK_END_PEER: return "server-closed";
    case LINK_END_PROTOCOL: return "protocol-error";
    case LINK_END_GENERATION: return "node-changed";
    case LINK_END_STALLED: return "stalled";
    case LINK_END_IDLE: return "idle";
    case LINK_END_REFUSED: return "refused";
    }
    UNREACHABLE("link end");
}

static uint64_t now_ms(const struct link *l)
{
    return loop_now_ms(l->service->worker->loop);
}

static struct link *link_of(void *owner)
{
    struct link *l = owner;
    CHECK_MAGIC(l, LINK_MAGIC);
    return l;
}

static bool handshaking(const struct link *l)
{
    return l->state == LINK_CONNECTING || l->state == LINK_GREETING;
}

/* Whoever it serves judges what it leaves. */
static void tell_lost(struct link *l, enum link_end end)
{
    if (l->kind == LINK_EXCLUSIVE) {
        session_link_lost(l->session, end);
    } else {
        linkset_lost(l, end);
    }
}

/* One that nothing was asked of may have been closed for being idle. */
static void replica_link_failed(const struct link *l, enum link_end end)
{
    if (handshaking(l) || (end != LINK_END_GENERATION && l->journal.count > 0)) {
        nodes_failed(l->service, l->replica, link_end_word(end));
    }
}

void link_settle(struct link *l)
{
    if (l->journal.sent != l->journal.given) {
        journal_settle(&l->journal, transport_held(l->transport));
    }
}

void link_take_unsent(struct link *l)
{
    link_settle(l);
    uint32_t from = journal_first_unsent(&l->journal);
    if (from == l->journal.count) {
        return;
    }
    if (l->kind == LINK_SHARED) {
        linkset_take_unsent(l, from);
    } else if (l->kind == LINK_EXCLUSIVE) {
        session_take_unsent(l->session, from);
    }
}

void link_lost(struct link *l, enum link_end end)
{
    if (l->replica != 0) {
        replica_link_failed(l, end);
    } else if (handshaking(l)) {
        service_link_failed(l->service);
        service_hint(l->service, l->generation, HINT_CONNECT_FAILED);
    }
    log_debug("link-lost", "service=%s reason=%s outstanding=%u", l->service->config->name,
              link_end_word(end), l->journal.count);
    bool failed = (end == LINK_END_PEER || end == LINK_END_PROTOCOL) && l->replica == 0;
    if (l->state == LINK_READY && failed && !l->proven && l->kind != LINK_WARM) {
        /* A server that takes links and drops them is not asked at once again. */
        service_link_failed(l->service);
    }
    tell_lost(l, end);
}

static void on_deadline(struct wheel_timer *timer)
{
    struct link *l = link_of(CONTAINER_OF(timer, struct link, timer));
    link_lost(l, handshaking(l) ? LINK_END_GREETING : LINK_END_GENERATION);
}

/* A replica has others beside it: it is given no longer than what is asked of it. */
static uint64_t patience_ms(const struct link *l, uint64_t most)
{
    uint64_t stall = l->service->config->stall_timeout_ms;
    return l->replica != 0 && stall < most ? stall : most;
}

static const struct addr *node_name(const struct link *l)
{
    const struct topology_replica *r = l->replica != 0 ? nodes_find(l->service, l->replica) : NULL;
    return r != NULL ? &r->name : &l->service->now->primary_name;
}

struct link *link_open(struct linkset *set, enum link_kind kind, struct session *s,
                       enum greeting_step until)
{
    struct worker_service *ws = set->service;
    CHECK(s == NULL || s->gate != GATE_SHUT);
    struct link *l = xcalloc(1, sizeof *l);
    l->magic = LINK_MAGIC;
    l->service = ws;
    l->set = linkset_use(set);
    l->kind = kind;
    l->session = s;
    l->replica = set->replica;
    l->generation = ws->now->generation;
    l->bare_from = until;
    l->reading = true;
    l->used_ms = loop_now_ms(ws->worker->loop);
    reply_scan_reset(&l->scan, REPLY_ELEMENTS_MAX);
    list_append(&ws->links, &l->node);
    ws->worker->handshakes++;
    struct slice name = s != NULL ? buf_slice(&s->name) : slice_str("");
    l->named = name.n > 0;
    greeting_begin(&l->greeting, &set->profile, name, ws->config, until);
    l->greeting.replica = l->replica != 0;
    if (kind != LINK_SHARED) {
        greeting_ask_id(&l->greeting);
    }
    const struct sockaddr_any *to =
        l->replica != 0 ? &nodes_find(ws, l->replica)->at : &ws->now->primary;
    l->transport = transport_connect(
        ws->worker->loop, to, patience_ms(l, ws->config->connect_timeout_ms), &link_events, l);
    transport_secure(l->transport, ws->tls_nodes, node_name(l));
    return l;
}

void link_touch(struct link *l)
{
    if (!list_on(&l->touched)) {
        list_append(&l->service->worker->touched_links, &l->touched);
    }
}

void link_ask(struct link *l, const struct command *command, struct asker asker,
              struct slice request)
{
    journal_begin(&l->journal, command, asker);
    journal_append(&l->journal, &l->service->worker->pool, NULL, request);
    journal_end(&l->journal);
    link_touch(l);
}

bool link_is_clean(const struct link *l)
{
    return l->state == LINK_READY && l->bare_from == GREET_STEPS && l->reading && !l->dirty &&
           !l->raw && !l->listens && !l->ending && !l->frozen && !l->stalled && !l->streaming &&
           l->scan.length == 0 && l->journal.count == 0 && buf_len(&l->in) == 0;
}

bool link_sendable(const struct link *l)
{
    return l->state == LINK_READY && !l->stalled && !l->frozen &&
           (l->replica != 0 || service_serving(l->service));
}

/* The stream offset up to which bytes may be written now. */
static uint64_t send_limit(const struct link *l)
{
    const struct journal *j = &l->journal;
    if (l->state != LINK_READY ||
        (l->replica == 0 && !service_serving(l->service) && l->kind != LINK_CONTROL)) {
        return j->given;
    }
    if (l->frozen) {
        /* Only the questions that decide about the refusal. */
        const struct tentative *t = l->session->tentative;
        return t->ask_role || t->healing != NULL ? j->queued : j->given;
    }
    if (!l->stalled) {
        return j->queued;
    }
    /* A frame begun is finished; a silent server gets nothing else. */
    for (uint32_t i = 0; i < j->count; i++) {
        const struct record *r = journal_at(j, i);
        if (r->begin < j->given && j->given < r->end) {
            return r->end < j->queued ? r->end : j->queued;
        }
    }
    return j->given;
}

/* The oldest request was sent whole. */
static bool waits_for_answer(const struct link *l)
{
    if (l->raw || l->journal.count == 0 || l->state != LINK_READY || l->frozen || !l->reading) {
        return false;
    }
    return journal_state(&l->journal, journal_at(&l->journal, 0)) == RECORD_SENT;
}

/* ... and may be expected to be answered soon. */
static bool answer_is_due(const struct link *l)
{
    return waits_for_answer(l) && !journal_at(&l->journal, 0)->command->may_block &&
           !(l->listens && listening_now(l->session));
}

uint64_t link_silent_ms(const struct link *l)
{
    return waits_for_answer(l) ? now_ms(l) - l->progress_ms : 0;
}

static void on_stall_timer(struct wheel_timer *timer)
{
    struct link *l = link_of(CONTAINER_OF(timer, struct link, timer));
    if (!answer_is_due(l) || l->stalled) {
        return;
    }
    uint64_t limit = l->service->config->stall_timeout_ms;
    uint64_t silent = link_silent_ms(l);
    if (silent < limit) {
        loop_arm(l->service->worker->loop, &l->timer, limit - silent, on_stall_timer);
        return;
    }
    if (l->replica != 0 && !l->streaming) {
        reads_stalled(l);
        link_lost(l, LINK_END_STALLED);
        return;
    }
    l->stalled = true;
    transport_look_for_room(l->transport);
    log_debug("link-stalled", "service=%s outstanding=%u", l->service->config->name,
              l->journal.count);
    if (l->replica != 0) { /* a reply that was begun may still end there */
        nodes_failed(l->service, l->replica, link_end_word(LINK_END_STALLED));
    } else {
        service_hint(l->service, l->generation, HINT_STALLED);
        link_take_unsent(l);
    }
}

static void watch_for_stall(struct link *l, bool did_wait)
{
    if (waits_for_answer(l) && !did_wait) {
        l->progress_ms = now_ms(l);
    }
    if (answer_is_due(l) && !list_on(&l->timer.node)) {
        loop_arm(l->service->worker->loop, &l->timer, l->service->config->stall_timeout_ms,
                 on_stall_timer);
    }
}

/* A request too large to be kept is forgotten as it leaves. */
static void forget_large(struct link *l)
{
    struct journal *j = &l->journal;
    if (l->raw && j->count == 0) {
        journal_forget_sent(j);
    } else if (j->count == 1) {
        const struct record *r = journal_at(j, 0);
        if (j->queued - r->begin > l->service->config->retain_max && j->sent > r->begin) {
            journal_forget_sent(j);
        }
    }
}

void link_flush(struct link *l)
{
    struct journal *j = &l->journal;
    uint64_t limit = send_limit(l);
    bool did_wait = waits_for_answer(l);
    link_settle(l);
    while (j->given < limit) {
        struct iovec iov[WRITE_PIECES];
        size_t pieces = chain_iov(&j->bytes, (size_t)(j->given - j->kept),
                                  (size_t)(limit - j->kept), iov, WRITE_PIECES);
        size_t offered = 0;
        for (size_t i = 0; i < pieces; i++) {
            offered += iov[i].iov_len;
        }
        ssize_t n = transport_write(l->transport, iov, pieces);
        if (n < 0) {
            /* Found by reading, which first takes what the server said before it went. */
            transport_shutdown(l->transport);
            return;
        }
        journal_given(j, (size_t)n, transport_held(l->transport));
        if ((size_t)n < offered) {
            break;
        }
    }
    forget_large(l);
    if (l->ending && l->state == LINK_READY && journal_unsent(j) == 0) {
        l->ending = false;
        transport_shutdown(l->transport);
    }
    watch_for_stall(l, did_wait);
    nodes_count(l);
    if (l->kind == LINK_EXCLUSIVE && journal_unsent(j) <= LINK_UNSENT_LOW) {
        session_link_drained(l->session);
    }
}

static void send_greeting(struct link *l)
{
    struct buf *out = &l->greeting.out;
    while (buf_len(out) > 0) {
        struct iovec iov = {out->data + out->begin, buf_len(out)};
        ssize_t n = transport_write(l->transport, &iov, 1);
        if (n < 0) {
            link_lost(l, LINK_END_GREETING);
            return;
        }
        if (n == 0) {
            return;
        }
        buf_consume(out, (size_t)n);
    }
}

static void on_connected(void *owner, int err)
{
    struct link *l = link_of(owner);
    if (err != 0) {
        char text[ADDR_TEXT_MAX];
        log_limited(err == -EPROTO ? LOG_ERROR : LOG_INFO, "link-connect-failed",
                    "service=%s %s=%s error=%s", l->service->config->name,
                    l->replica != 0 ? "replica" : "primary", addr_text(node_name(l), text),
                    log_quote(slice_str(transport_error(l->transport, err))));
        if (transport_error_is_local(err)) {
            if (l->replica != 0) {
                nodes_try_later(l->service);
            } else {
                service_link_failed(l->service);
            }
            tell_lost(l, LINK_END_CONNECT);
        } else {
            link_lost(l, LINK_END_CONNECT);
        }
        return;
    }
    l->state = LINK_GREETING;
    loop_arm(l->service->worker->loop, &l->timer, patience_ms(l, GREETING_TIMEOUT_MS), on_deadline);
    send_greeting(l);
}

static void ready(struct link *l)
{
    l->state = LINK_READY;
    l->service->worker->handshakes--;
    loop_disarm(l->service->worker->loop, &l->timer);
    l->needs_auth = l->greeting.needs_auth;
    l->client_id = l->greeting.client_id;
    l->progress_ms = now_ms(l);
    greeting_clear(&l->greeting);
    if (l->kind == LINK_EXCLUSIVE) {
        session_link_ready(l->session);
    } else {
        linkset_ready(l);
    }
}

static const char noauth_again[] =
    "NOAUTH The session could not be authenticated again on the new primary";

/* The server refused a part of the profile: no sign that the primary is gone. What the client asked
 * for is the client's to hear; our own credentials, or a server that turns us away, are the
 * operator's. */
static void greeting_refused(struct link *l)
{
    struct linkset *set = l->set;
    const struct greeting *g = &l->greeting;
    bool outdated = greeting_is_outdated(g);
    bool own =
        g->refused == GREET_ROLE || (g->refused == GREET_AUTH && !set->profile.authenticated);
    if (g->refused == GREET_AUTH && set->profile.identity > 0 && l->replica != 0) {
        own = outdated; /* the others of our users are served there all the same */
    }
    if (own && g->refused == GREET_AUTH && outdated) {
        log_debug("password-outdated", "service=%s", l->service->config->name); /* and once more */
    } else if (own && l->replica != 0) {
        nodes_failed(l->service, l->replica, "refused");
    } else if (own) {
        log_limited(LOG_ERROR, "link-refused",
                    "service=%s user=%s what=%s error=%s action=\"requests wait; mend it there, or "
                    "here\"",
                    l->service->config->name,
                    log_quote(slice_str(profile_own_user(&set->profile, l->service->config))),
                    g->refused == GREET_AUTH ? "credentials" : "connection",
                    log_quote(buf_slice(&g->words)));
        if (g->refused == GREET_AUTH) { /* of one of our users; others may come in */
            linkset_rest(set);
        } else {
            service_link_failed(l->service);
        }
    } else {
        set->refused = g->refused;
        buf_release(&set->refused_words);
        buf_append(&set->refused_words,
                   g->refused == GREET_AUTH ? slice_str(noauth_again) : buf_slice(&g->words));
    }
    if (!own && l->replica != 0) {
        char text[ADDR_TEXT_MAX];
        log_limited(LOG_WARNING, "replica-refuses", "service=%s replica=%s error=%s",
                    l->service->config->name, addr_text(node_name(l), text),
                    log_quote(buf_slice(&g->words)));
        linkset_keep_refused(set);
    }
    tell_lost(l, LINK_END_GREETING);
}

static void greet(struct link *l, struct slice bytes)
{
    const struct greeting *g = &l->greeting;
    switch (greeting_feed(&l->greeting, bytes)) {
    case GREETING_MORE: return;
    case GREETING_DONE:
        if (buf_len(&g->out) > 0 || buf_len(&g->in) > 0) {
            link_lost(l, LINK_END_GREETING); /* it answers what it was not asked */
        } else {
            ready(l);
        }
        return;
    case GREETING_REFUSED: greeting_refused(l); return;
    case GREETING_OTHER_ROLE:
        if (l->replica == 0) {
            service_hint(l->service, l->generation, HINT_NOT_PRIMARY);
        }
        link_lost(l, LINK_END_GREETING);
        return;
    case GREETING_BROKEN: link_lost(l, LINK_END_GREETING); return;
    }
}

static void log_tls_failure(const struct link *l, ssize_t err)
{
    if (err == -EPROTO) {
        log_limited(LOG_ERROR, "link-tls-failed", "service=%s error=%s", l->service->config->name,
                    log_quote(slice_str(transport_error(l->transport, (int)err))));
    }
}

static void read_greeting(struct link *l)
{
    char chunk[4096];
    ssize_t n = transport_read(l->transport, chunk, sizeof chunk);
    if (n > 0) {
        greet(l, slice_of(chunk, (size_t)n));
        return;
    }
    if (n == -EAGAIN) {
        return;
    }
    log_tls_failure(l, n);
    link_lost(l, LINK_END_GREETING);
}

static void on_readable(void *owner)
{
    struct link *l = link_of(owner);
    if (handshaking(l)) {
        read_greeting(l);
        return;
    }
    ssize_t n = link_read(l);
    if (l->state == LINK_CLOSED || n == -EAGAIN) {
        return;
    }
    if (n <= 0) {
        log_tls_failure(l, n);
        link_lost(l, LINK_END_PEER);
        return;
    }
    l->progress_ms = now_ms(l);
    nodes_count(l);
    if (l->stalled) {
        l->stalled = false;
        link_touch(l);
    }
    if (l->journal.count > 0) {
        link_touch(l); /* the next request's clock may have to be started */
    }
    if (l->kind == LINK_EXCLUSIVE) {
        session_pump(l->session);
    } else if (l->kind == LINK_SHARED && linkset_takes(l)) {
        linkset_release(l->set);
    }
}

static void on_writable(void *owner)
{
    struct link *l = link_of(owner);
    if (l->state == LINK_GREETING) {
        send_greeting(l);
    } else {
        link_settle(l);
        link_touch(l);
    }
}

/* Reading is off for the client's sake or for the hold's: a server that has gone meanwhile is found
 * when reading resumes, so that what it sent before is not lost. */
static void on_hangup(void *owner)
{
    (void)link_of(owner);
}

static const struct transport_events link_events = {on_connected, on_readable, on_writable,
                                                    on_hangup};

void link_end_requests(struct link *l)
{
    CHECK(l->raw);
    l->ending = true;
    link_touch(l);
}

void link_set_reading(struct link *l, bool on)
{
    if (l->reading != on && l->state != LINK_CLOSED) {
        l->reading = on;
        if (l->state != LINK_CONNECTING) {
            transport_set_reading(l->transport, on);
        }
        if (on) {
            l->progress_ms = now_ms(l);
            link_touch(l);
        }
    }
}

bool link_answer_begun(const struct link *l)
{
    /* A message answers nothing. */
    return l->streaming && l->scan.type != '>' && !journal_at(&l->journal, 0)->asker.mute;
}

bool link_may_retire(const struct link *l, enum link_end end)
{
    if (!link_answer_begun(l) || end != LINK_END_GENERATION || l->state != LINK_READY) {
        return false;
    }
    const struct record *r = journal_at(&l->journal, 0);
    return r->command->cls == COMMAND_READ && journal_state(&l->journal, r) == RECORD_SENT;
}

void link_retire(struct link *l)
{
    CHECK(l->state == LINK_READY && l->streaming);
    journal_keep_first(&l->journal);
    l->state = LINK_RETIRING;
    transport_give_up_writing(l->transport); /* what was held has been judged as not sent */
    loop_arm(l->service->worker->loop, &l->timer, RETIRING_MAX_MS, on_deadline);
}

void link_close(struct link **where, enum link_end end)
{
    struct link *l = *where;
    if (l == NULL) {
        return;
    }
    CHECK_MAGIC(l, LINK_MAGIC);
    CHECK(l->state != LINK_CLOSED);
    *where = NULL;
    struct worker *w = l->service->worker;
    if (handshaking(l)) {
        w->handshakes--;
    }
    log_debug("link-closed", "service=%s reason=%s", l->service->config->name, link_end_word(end));
    l->state = LINK_CLOSED;
    if (l->listens) {
        listening_link_gone(l->session);
    }
    if (l->session != NULL) {
        redirect_link_gone(l->session);
    }
    l->session = NULL;
    nodes_count(l);
    linkset_forget(l);
    transport_close(&l->transport);
    loop_disarm(w->loop, &l->timer);
    list_remove(&l->node);
    list_remove(&l->touched);
    list_append(&w->dead_links, &l->touched);
}

void link_free(struct link *l)
{
    CHECK_MAGIC(l, LINK_MAGIC);
    CHECK(l->state == LINK_CLOSED);
    list_remove(&l->touched);
    linkset_drop(&l->set);
    greeting_clear(&l->greeting);
    journal_clear(&l->journal);
    buf_release(&l->in);
    l->magic = 0;
    free(l);
}
