/* The client's side of a session: its socket, its output, its life. What is done with its requests
 * is in session_input.c, with their answers in session_reply.c, and with those a lost link leaves
 * in session_recover.c. */
#include "proxy/session.h"

#include <errno.h>
#include <stdlib.h>

#include "proxy/admission.h"
#include "proxy/base/limits.h"
#include "proxy/base/log.h"
#include "proxy/client_auth.h"
#include "proxy/session_blocking.h"
#include "proxy/session_reads.h"
#include "proxy/session_redirect.h"
#include "proxy/session_subscribe.h"
#include "proxy/session_tracking.h"
#include "proxy/transaction.h"
#include "proxy/worker.h"

#define SESSION_MAGIC 0x5e550005u
#define WRITE_PIECES  64

static const struct transport_events session_events;

const char *session_end_word(enum session_end end)
{
    switch (end) {
    case SESSION_END_CLIENT: return "client-left";
    case SESSION_END_QUIT: return "quit";
    case SESSION_END_PROTOCOL: return "protocol-error";
    case SESSION_END_IDLE: return "frame-timeout";
    case SESSION_END_QUIET: return "idle-timeout";
    case SESSION_END_CUT: return "reply-cut";
    case SESSION_END_UNCARRIED: return "state-not-carried";
    case SESSION_END_LINGER: return "output-not-read";
    case SESSION_END_OUTPUT: return "output-limit";
    case SESSION_END_MEMORY: return "buffer-memory";
    case SESSION_END_SHUTDOWN: return "shutdown";
    case SESSION_END_USER: return "user-removed";
    }
    UNREACHABLE("session end");
}

static void on_silent(struct wheel_timer *timer);

static struct session *session_of(void *owner)
{
    struct session *s = owner;
    CHECK_MAGIC(s, SESSION_MAGIC);
    return s;
}

struct session *session_open(struct worker_service *service, const struct newcomer *newcomer)
{
    struct session *s = xcalloc(1, sizeof *s);
    s->magic = SESSION_MAGIC;
    s->service = service;
    s->scan.first = true;
    s->transport = transport_accept(service->worker->loop, newcomer->fd, &session_events, s);
    if (s->transport == NULL) {
        free(s);
        return NULL;
    }
    transport_secure_accepted(s->transport, newcomer->tls ? service->tls_clients : NULL,
                              service->worker->config->proxy.handshake_timeout_ms);
    s->guest = newcomer->guest;
    if (service->worker->config->proxy.first_byte_timeout_ms > 0) {
        loop_arm(service->worker->loop, &s->patience_timer,
                 service->worker->config->proxy.first_byte_timeout_ms, on_silent);
    }
    s->reading = true;
    s->reader = newcomer->reader;
    session_set_plain_profile(s);
    worker_take_slot(service->worker, s);
    list_append(&service->worker->sessions, &s->node);
    return s;
}

const char *session_peer(const struct session *s, char *text)
{
    struct addr peer = {.host = "?"};
    if (!guest_address(s->guest, &peer)) {
        (void)transport_peer(s->transport, &peer);
    }
    return addr_text(&peer, text);
}

void session_set_plain_profile(struct session *s)
{
    struct profile plain;
    bool fresh = s->set == NULL;
    uint32_t home = s->reader && !fresh ? s->set->replica : 0;
    profile_init(&plain);
    service_unwait(s->service, s); /* for a link that nobody asks for any more */
    linkset_drop(&s->set);
    s->set = linkset_get(s->service, &plain, home);
    s->vetted = s->refused = false;
    client_auth_begin(s);
    reads_begin(s, fresh);
}

/* Its own link dies with it; on a shared one its requests become orphans as far as they were sent,
 * and the others are never sent. */
static void leave_link(struct session *s)
{
    redirect_end(s); /* before the server knows */
    if (s->link != NULL && s->link->kind == LINK_EXCLUSIVE) {
        link_close(&s->link, LINK_END_SESSION);
    } else if (s->link != NULL) {
        (void)journal_drop_unsent(&s->link->journal, s->asker);
    }
    worker_leave_slot(s->service->worker, s);
    s->link = NULL;
    s->outstanding = s->restoring = 0;
}

bool session_busy(const struct session *s)
{
    return s->outstanding > 0 || s->parked.count > 0 || s->front == FRONT_WHOLE || s->streaming ||
           s->tentative != NULL;
}

size_t session_held(const struct session *s)
{
    size_t held = s->raw.cap + s->out.len;
    if (s->transport != NULL) {
        held += transport_held(s->transport); /* encrypted, and not sent */
    }
    for (struct list_node *n = s->parked.first; n != NULL; n = n->next) {
        held += CONTAINER_OF(n, struct parked, node)->bytes.cap;
    }
    if (s->tentative != NULL) {
        held += s->tentative->reply_bytes;
    }
    held += listening_held(s);
    if (s->transaction != NULL) {
        held += transaction_held(s->transaction);
    }
    if (s->link != NULL && s->link->kind == LINK_EXCLUSIVE) {
        held += s->link->in.cap + s->link->journal.bytes.len;
    }
    return held;
}

bool session_blocked(const struct session *s)
{
    if (s->outstanding == 0 || s->link->kind != LINK_EXCLUSIVE) {
        return false;
    }
    const struct journal *j = &s->link->journal;
    const struct record *head = journal_at(j, 0);
    return head->command->may_block && journal_state(j, head) == RECORD_SENT;
}

void session_touch(struct session *s)
{
    if (s->state != SESSION_CLOSED && !list_on(&s->touched)) {
        list_append(&s->service->worker->touched_sessions, &s->touched);
    }
}

void session_give(struct session *s, struct block *block, struct slice bytes)
{
    if (s->state == SESSION_CLOSED || s->hushed) {
        return;
    }
    chain_lend(&s->out, &s->service->worker->pool, block, bytes);
    session_touch(s);
    if (s->out.len > SESSION_OUTPUT_HIGH && s->link != NULL && s->link->kind == LINK_EXCLUSIVE) {
        link_set_reading(s->link, false);
        if (s->link->listens) {
            listening_paused(s);
        }
    }
}

void session_give_str(struct session *s, const char *text)
{
    session_give(s, NULL, slice_str(text));
}

void session_give_push(struct session *s, struct slice bytes)
{
    bool hushed = s->hushed;
    s->hushed = false;
    session_give(s, NULL, bytes);
    s->hushed = hushed;
}

static void on_linger_over(struct wheel_timer *timer)
{
    session_close(session_of(CONTAINER_OF(timer, struct session, patience_timer)),
                  SESSION_END_LINGER);
}

void session_finish(struct session *s, enum session_end end)
{
    if (s->state >= SESSION_CLOSING) {
        return;
    }
    s->state = SESSION_CLOSING;
    s->end = end;
    leave_link(s);
    service_unwait(s->service, s);
    session_set_reading(s);
    loop_arm(s->service->worker->loop, &s->patience_timer, CLOSE_LINGER_MS, on_linger_over);
    session_touch(s);
}

void session_close(struct session *s, enum session_end end)
{
    if (s->state == SESSION_CLOSED) {
        return;
    }
    struct worker *w = s->service->worker;
    log_debug("session-closed", "service=%s reason=%s", s->service->config->name,
              session_end_word(s->state == SESSION_CLOSING ? s->end : end));
    s->state = SESSION_CLOSED;
    service_unwait(s->service, s);
    leave_link(s);
    transport_close(&s->transport);
    admission_leave(&s->guest);
    loop_disarm(w->loop, &s->deadline_timer);
    loop_disarm(w->loop, &s->patience_timer);
    blocking_free(s);
    list_remove(&s->node);
    list_remove(&s->again);
    list_remove(&s->touched);
    list_append(&w->dead_sessions, &s->touched);
    worker_session_closed(w);
}

void session_free(struct session *s)
{
    CHECK_MAGIC(s, SESSION_MAGIC);
    CHECK(s->state == SESSION_CLOSED && s->link == NULL);
    list_remove(&s->touched);
    input_drop(s);
    buf_wipe(&s->raw);
    chain_clear(&s->out);
    tentative_clear(&s->tentative);
    transaction_free(&s->transaction);
    reads_end(s);
    client_auth_end(s);
    linkset_drop(&s->set);
    buf_release(&s->name);
    session_forget_asked(s);
    listening_forget(s);
    tracking_end(s);
    redirect_free(s);
    s->magic = 0;
    free(s);
}

/* Whether the client may be read now; called whenever something it depends on has changed. */
void session_set_reading(struct session *s)
{
    if (s->transport == NULL) {
        return;
    }
    bool on = s->state == SESSION_OPEN && s->out.len <= SESSION_OUTPUT_HIGH && !input_blocked(s);
    /* Between the marks it stays as it is. */
    if (on && !s->reading && s->out.len > SESSION_OUTPUT_LOW) {
        return;
    }
    if (s->reading != on) {
        s->reading = on;
        transport_set_reading(s->transport, on);
    }
}

/* What the client has sent is all there will be. */
static void end_of_input(struct session *s)
{
    if (s->streaming) {
        /* A frame without its end is nothing. */
        session_close(s, SESSION_END_CLIENT);
        return;
    }
    s->state = SESSION_ENDING;
    if (s->link != NULL && s->link->raw) {
        link_end_requests(s->link); /* only the server knows when it is done */
    }
    session_forsake(s);
    session_pump(s);
}

void session_forsake(struct session *s)
{
    bool leaves = s->state == SESSION_ENDING || (s->state == SESSION_OPEN && s->left);
    if (!leaves || linkset_serving(s->set)) {
        return;
    }
    uint32_t dropped = 0;
    if (s->link != NULL && s->link->kind == LINK_SHARED && s->link->replica == 0) {
        dropped = journal_drop_unsent(&s->link->journal, s->asker);
        s->outstanding -= dropped;
        if (s->outstanding == 0 && s->tentative != NULL) {
            tentative_decide(s); /* nothing more is awaited */
        } else if (s->outstanding == 0) {
            s->link = NULL;
            session_forget_asked(s);
        }
    }
    if (s->deadline_ms != 0 || dropped > 0) { /* nor what stands behind it */
        s->state = SESSION_ENDING;
        input_drop_frames(s);
        service_unwait(s->service, s);
    }
}

/* It is in its first request, and that is none that takes its time because it is large. */
static bool begins(const struct session *s)
{
    return s->scan.first && s->scan.length <= REQUEST_BUFFER_MAX;
}

static uint64_t handshake_timeout(const struct session *s)
{
    return s->service->worker->config->proxy.handshake_timeout_ms;
}

static void on_frame_idle(struct wheel_timer *timer)
{
    struct session *s = session_of(CONTAINER_OF(timer, struct session, patience_timer));
    char text[ADDR_TEXT_MAX];
    if (s->hurried && !begins(s)) { /* what had waited was taken since, and another one begun */
        s->hurried = false;
        loop_arm(s->service->worker->loop, timer, FRAME_IDLE_MAX_MS, on_frame_idle);
        return;
    }
    if (s->reading && s->scan.length > 0) {
        uint64_t most = begins(s) ? handshake_timeout(s) : FRAME_IDLE_MAX_MS;
        log_limited(LOG_INFO, "frame-timeout", "service=%s client=%s ms=%llu first=%s",
                    s->service->config->name, session_peer(s, text), (unsigned long long)most,
                    begins(s) ? "yes" : "no");
        session_close(s, SESSION_END_IDLE);
    }
}

static void on_silent(struct wheel_timer *timer)
{
    struct session *s = session_of(CONTAINER_OF(timer, struct session, patience_timer));
    char text[ADDR_TEXT_MAX];
    log_limited(LOG_INFO, "first-byte-timeout", "service=%s client=%s", s->service->config->name,
                session_peer(s, text));
    session_close(s, SESSION_END_QUIET);
}

static void watch_frame(struct session *s)
{
    struct loop *loop = s->service->worker->loop;
    if (s->state != SESSION_OPEN) {
        return; /* patience is for its last reply now */
    }
    if (s->scan.length > 0 && begins(s)) {
        if (!s->hurried || !list_on(&s->patience_timer.node)) {
            s->hurried = true; /* each byte takes of the same time */
            loop_arm(loop, &s->patience_timer, handshake_timeout(s), on_frame_idle);
        }
    } else if (s->scan.length > 0) {
        s->hurried = false;
        loop_arm(loop, &s->patience_timer, FRAME_IDLE_MAX_MS, on_frame_idle);
    } else {
        loop_disarm(loop, &s->patience_timer);
    }
}

static void log_tls_failure(const struct session *s, int err)
{
    char text[ADDR_TEXT_MAX];
    if (s->service->tls_clients != NULL && (err == -EPROTO || err == -ETIMEDOUT)) {
        log_limited(LOG_NOTICE, "client-tls-failed", "service=%s client=%s error=%s",
                    s->service->config->name, session_peer(s, text),
                    log_quote(slice_str(transport_error(s->transport, err))));
    }
}

/* Into the worker's block, behind what is here of an incomplete request. */
static ssize_t read_requests(struct session *s)
{
    struct worker *w = s->service->worker;
    struct slice before = buf_slice(&s->raw);
    char *at;
    if (before.n > REQUEST_CARRIED_MAX) {
        at = buf_reserve(&s->raw, READ_CHUNK);
        ssize_t n = transport_read(s->transport, at, READ_CHUNK);
        if (n > 0) {
            buf_commit(&s->raw, (size_t)n);
            session_pump(s);
        }
        return n;
    }
    ssize_t n = worker_read(w, &w->requests, s->transport, before, &at);
    if (n > 0) {
        struct slice bytes = slice_of(at, before.n + (size_t)n);
        buf_consume(&s->raw, before.n);
        input_take(s, w->requests.block, bytes);
        worker_read_done(&w->requests, bytes.n);
    }
    return n;
}

static void on_readable(void *owner)
{
    struct session *s = session_of(owner);
    s->quiet = 0;
    ssize_t n = read_requests(s);
    if (s->state == SESSION_CLOSED || n == -EAGAIN) {
        return;
    }
    if (n > 0) {
        watch_frame(s);
    } else if (n == 0) {
        end_of_input(s);
    } else {
        log_tls_failure(s, (int)n);
        session_close(s, SESSION_END_CLIENT);
    }
}

static void on_writable(void *owner)
{
    struct session *s = session_of(owner);
    s->out_blocked = false;
    session_touch(s);
}

static void on_hangup(void *owner)
{
    struct session *s = session_of(owner);
    if (transport_broken(s->transport)) {
        session_close(s, SESSION_END_CLIENT);
    } else {
        s->left = true; /* its end is read once it may be read again, unless that takes too long */
        session_forsake(s);
        session_pump(s);
    }
}

static void on_connected(void *owner, int err)
{
    (void)owner;
    (void)err;
    UNREACHABLE("an accepted connection does not connect");
}

static const struct transport_events session_events = {on_connected, on_readable, on_writable,
                                                       on_hangup};

/* False when the client is gone. */
static bool write_out(struct session *s)
{
    while (s->out.len > 0 && !s->out_blocked) {
        struct iovec iov[WRITE_PIECES];
        size_t pieces = chain_iov(&s->out, 0, s->out.len, iov, WRITE_PIECES);
        size_t offered = 0;
        for (size_t i = 0; i < pieces; i++) {
            offered += iov[i].iov_len;
        }
        ssize_t n = transport_write(s->transport, iov, pieces);
        if (n < 0) {
            return false;
        }
        chain_consume(&s->out, (size_t)n);
        s->out_blocked = (size_t)n < offered;
    }
    return true;
}

void session_flush(struct session *s)
{
    s->quiet = 0;
    if (!write_out(s)) {
        session_close(s, SESSION_END_CLIENT);
        return;
    }
    if (s->out.len == 0) {
        chain_clear(&s->out);
        if (s->state == SESSION_CLOSING && transport_held(s->transport) == 0) {
            session_close(s, s->end);
            return;
        }
    }
    chain_settle(&s->out, &s->service->worker->pool);
    if (s->out.len > s->service->config->client_output_limit) {
        log_limited(LOG_WARNING, "client-output-limit", "service=%s bytes=%zu",
                    s->service->config->name, s->out.len);
        session_close(s, SESSION_END_OUTPUT);
        return;
    }
    if (s->out.len <= SESSION_OUTPUT_LOW && s->link != NULL && s->link->kind == LINK_EXCLUSIVE &&
        !s->link->reading) {
        link_set_reading(s->link, true);
        if (s->link->listens) {
            listening_resumed(s);
        }
        link_resume(s->link);
        session_pump(s);
    }
    session_set_reading(s);
}

void session_lose_link(struct session *s)
{
    if (s->state < SESSION_CLOSING && s->link != NULL) {
        if (s->link->kind == LINK_EXCLUSIVE) {
            session_give_up_link(s, LINK_END_SESSION);
        } else {
            linkset_reclaim(s);
        }
    }
}

void session_look_if_idle(struct session *s)
{
    char text[ADDR_TEXT_MAX];
    bool may_be_quiet = session_busy(s) || s->subs != NULL || (s->link != NULL && s->link->raw);
    if (s->state != SESSION_OPEN || may_be_quiet || s->quiet++ < IDLE_STEPS) {
        return;
    }
    log_limited(LOG_INFO, "idle-timeout", "service=%s client=%s", s->service->config->name,
                session_peer(s, text));
    session_close(s, SESSION_END_QUIET);
}

void session_drain(struct session *s)
{
    if (!session_busy(s) && s->state < SESSION_CLOSING) {
        session_finish(s, SESSION_END_SHUTDOWN);
    }
}

void session_drain_now(struct session *s)
{
    session_lose_link(s);
    if (s->state < SESSION_CLOSING) {
        input_expire(s);
        session_pump(s);
        session_finish(s, SESSION_END_SHUTDOWN);
    }
}
