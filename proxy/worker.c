#include "proxy/worker.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/admission.h"
#include "proxy/base/held.h"
#include "proxy/base/limits.h"
#include "proxy/base/log.h"
#include "proxy/client_auth.h"
#include "proxy/server.h"
#include "proxy/service.h"
#include "proxy/session_redirect.h"
#include "proxy/unblock.h"

#define WORKER_MAGIC    0x30b40006u
#define READ_SPACE_PART 4 /* with less room than this part of a block: a new one is taken */

#define SLOTS_MIN 64u /* a power of two */

struct client_mail {
    struct mail mail;
    struct newcomer newcomer;
};

struct topology_mail {
    struct mail mail;
    struct topology *topology;
};

struct drain_mail {
    struct mail mail;
    uint64_t timeout_ms;
};

static struct worker *worker_of(void *owner)
{
    struct worker *w = owner;
    CHECK_MAGIC(w, WORKER_MAGIC);
    return w;
}

ssize_t worker_read(struct worker *w, struct reader *r, struct transport *t, struct slice before,
                    char **at)
{
    struct block *b = r->block;
    if (b != NULL && b->refs == 1) {
        b->used = 0; /* nobody looks at it any more */
    }
    if (b == NULL || b->cap - b->used < b->cap / READ_SPACE_PART + before.n) {
        if (b != NULL) {
            block_unref(b);
        }
        b = r->block = block_new(&w->pool, r->cls);
    }
    *at = b->data + b->used;
    if (before.n > 0) {
        memcpy(*at, before.p, before.n);
    }
    return transport_read(t, *at + before.n, b->cap - b->used - before.n);
}

void worker_read_done(struct reader *r, size_t n)
{
    r->block->used += (uint32_t)n;
}

void worker_pump(struct worker *w, struct session *s)
{
    if (s->state != SESSION_CLOSED && !list_on(&s->again)) {
        list_append(&w->again, &s->again);
    }
}

void worker_again(struct worker *w, struct session *s)
{
    worker_pump(w, s);
    loop_again(w->loop);
}

void worker_take_slot(struct worker *w, struct session *s)
{
    if (w->slots_used == w->slot_count) {
        uint32_t count = w->slot_count > 0 ? w->slot_count * 2 : SLOTS_MIN;
        struct session **slots = xcalloc(count, sizeof(struct session *));
        if (w->slots != NULL) {
            memcpy(slots, w->slots, w->slot_count * sizeof(struct session *));
        }
        free(w->slots);
        w->slots = slots;
        w->next_slot = w->slot_count;
        w->slot_count = count;
    }
    while (w->slots[w->next_slot] != NULL) {
        w->next_slot = (w->next_slot + 1) & (w->slot_count - 1);
    }
    w->next_serial = (w->next_serial & SERIAL_MAX) % SERIAL_MAX + 1;
    s->asker = (struct asker){.slot = w->next_slot, .serial = w->next_serial & SERIAL_MAX};
    w->slots[w->next_slot] = s;
    w->slots_used++;
}

void worker_leave_slot(struct worker *w, struct session *s)
{
    if (s->asker.serial != 0) {
        CHECK(w->slots[s->asker.slot] == s);
        w->slots[s->asker.slot] = NULL;
        w->slots_used--;
        s->asker.serial = 0;
    }
}

struct session *worker_asker(const struct worker *w, struct asker asker)
{
    struct session *s = asker.serial != 0 ? w->slots[asker.slot] : NULL;
    return s != NULL && s->asker.serial == asker.serial ? s : NULL;
}

static void maybe_stop(struct worker *w)
{
    if (w->draining && w->sessions.count == 0) {
        loop_stop(w->loop);
    }
}

void worker_session_closed(struct worker *w)
{
    atomic_fetch_sub_explicit(&w->load, 1, memory_order_relaxed);
    maybe_stop(w);
}

static void adopt_topology(struct worker *w)
{
    if (w->next_topology == NULL) {
        return;
    }
    struct topology *old = w->topology;
    w->topology = w->next_topology;
    w->next_topology = NULL;
    for (size_t i = 0; i < w->topology->service_count; i++) {
        service_adopt(&w->services[i], &w->topology->service[i]);
    }
    topology_unref(&old);
}

static void pump_again(struct worker *w)
{
    for (size_t n = w->again.count; n > 0; n--) {
        session_pump(CONTAINER_OF(list_pop(&w->again), struct session, again));
    }
}

/* Links first: what they send is on its way while the clients are answered. */
static void flush_touched(struct worker *w)
{
    while (w->touched_links.count > 0 || w->touched_sessions.count > 0) {
        struct list_node *n = list_pop(&w->touched_links);
        if (n != NULL) {
            link_flush(CONTAINER_OF(n, struct link, touched));
            continue;
        }
        session_flush(CONTAINER_OF(list_pop(&w->touched_sessions), struct session, touched));
    }
}

static void free_dead(struct worker *w)
{
    while (w->dead_links.count > 0) {
        link_free(CONTAINER_OF(w->dead_links.first, struct link, touched));
    }
    while (w->dead_sessions.count > 0) {
        session_free(CONTAINER_OF(w->dead_sessions.first, struct session, touched));
    }
}

/* Once a turn, so that no request pays for it. */
static void count_held(struct worker *w)
{
    int64_t before = atomic_load_explicit(&w->held, memory_order_relaxed);
    if (held_by_thread != before) {
        atomic_store_explicit(&w->held, held_by_thread, memory_order_relaxed);
        server_held(w->server, held_by_thread - before);
    }
}

static struct session *largest_session(const struct worker *w, size_t *held)
{
    struct session *largest = NULL;
    *held = 0;
    for (struct list_node *n = w->sessions.first; n != NULL; n = n->next) {
        struct session *s = CONTAINER_OF(n, struct session, node);
        size_t its = session_held(s);
        if (its > *held) {
            *held = its;
            largest = s;
        }
    }
    return largest;
}

static void relieve(struct worker *w)
{
    if (!w->relieve) {
        return;
    }
    w->relieve = false;
    struct session *s;
    size_t held;
    while (server_holds_too_much(w->server) && (s = largest_session(w, &held)) != NULL) {
        log_limited(LOG_WARNING, "buffer-memory",
                    "service=%s held=%zu limit=%llu closed=%llu action=\"the client for which most "
                    "was held is closed\"",
                    s->service->config->name, held,
                    (unsigned long long)w->config->proxy.buffer_memory,
                    (unsigned long long)++w->given_up);
        session_close(s, SESSION_END_MEMORY);
        free_dead(w);
        count_held(w);
    }
}

static void flush(void *owner)
{
    struct worker *w = worker_of(owner);
    w->moment++;
    adopt_topology(w);
    for (size_t i = 0; i < w->config->service_count; i++) {
        nodes_settle(&w->services[i]);
    }
    pump_again(w);
    for (size_t i = 0; i < w->config->service_count; i++) {
        service_release(&w->services[i]);
    }
    flush_touched(w);
    free_dead(w);
    count_held(w);
    relieve(w);
    w->moment++;
}

static void for_each_session(struct worker *w, void (*visit)(struct session *s))
{
    /* A visit may close its session, and only that one. */
    for (struct list_node *n = w->sessions.first, *next; n != NULL; n = next) {
        next = n->next;
        visit(CONTAINER_OF(n, struct session, node));
    }
}

/* One look at all costs less than a timer for each that every request sets anew. */
static void on_idle_timer(struct wheel_timer *timer)
{
    struct worker *w = CONTAINER_OF(timer, struct worker, idle_timer);
    CHECK_MAGIC(w, WORKER_MAGIC);
    for_each_session(w, session_look_if_idle);
    loop_arm(w->loop, timer, w->config->proxy.idle_timeout_ms / IDLE_STEPS + 1, on_idle_timer);
}

static void *run(void *arg)
{
    struct worker *w = worker_of(arg);
    if (w->config->proxy.idle_timeout_ms > 0) {
        on_idle_timer(&w->idle_timer);
    }
    loop_run(w->loop);
    for (size_t i = 0; i < w->config->service_count; i++) {
        service_stop(&w->services[i]);
    }
    free_dead(w);
    loop_disarm(w->loop, &w->drain_timer);
    loop_disarm(w->loop, &w->idle_timer);
    server_worker_ended(w->server);
    return NULL;
}

struct worker *worker_start(struct server *server, const struct config *config,
                            const struct certificates *certificates,
                            const struct credentials *credentials, unsigned index)
{
    struct worker *w = xcalloc(1, sizeof *w);
    w->magic = WORKER_MAGIC;
    w->index = index;
    w->server = server;
    w->config = config;
    w->loop = loop_new(w, flush);
    w->requests.cls = BLOCK_64K;
    w->replies.cls = BLOCK_256K;
    w->topology = topology_new(config->service_count);
    w->services = xcalloc(config->service_count, sizeof *w->services);
    for (size_t i = 0; i < config->service_count; i++) {
        w->services[i] =
            (struct worker_service){.worker = w,
                                    .index = i,
                                    .config = &config->services[i],
                                    .users = credentials_users(credentials, i),
                                    .tls_clients = certificates_of_clients(certificates, i),
                                    .tls_nodes = certificates_of_nodes(certificates, i),
                                    .now = &w->topology->service[i]};
        /* Until the first topology comes. */
        uint64_t hold = config->services[i].hold_timeout_ms;
        w->topology->service[i].hold_timeout_ms = hold != CONFIG_AUTO ? hold : HOLD_TIMEOUT_MIN_MS;
        service_start(&w->services[i]);
    }
    /* Signals are the main thread's business. */
    sigset_t all, before;
    CHECK(sigfillset(&all) == 0 && pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
    CHECK(pthread_create(&w->thread, NULL, run, w) == 0);
    CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    return w;
}

static void deliver_client(struct mail *mail, void *owner)
{
    struct client_mail *m = CONTAINER_OF(mail, struct client_mail, mail);
    struct worker *w = worker_of(owner);
    struct newcomer *n = &m->newcomer;
    if (w->draining) {
        (void)close(n->fd);
        admission_leave(&n->guest);
        worker_session_closed(w);
    } else if (session_open(&w->services[n->service], n) == NULL) {
        log_limited(LOG_ERROR, "session-refused", "service=%s error=\"can't be watched\"",
                    w->config->services[n->service].name);
        admission_leave(&n->guest);
        worker_session_closed(w);
    }
    free(m);
}

void worker_take_client(struct worker *w, const struct newcomer *newcomer)
{
    struct client_mail *m = xcalloc(1, sizeof *m);
    *m = (struct client_mail){.mail = {.deliver = deliver_client}, .newcomer = *newcomer};
    atomic_fetch_add_explicit(&w->load, 1, memory_order_relaxed);
    loop_post(w->loop, &m->mail);
}

static void deliver_topology(struct mail *mail, void *owner)
{
    struct topology_mail *m = CONTAINER_OF(mail, struct topology_mail, mail);
    struct worker *w = worker_of(owner);
    topology_unref(&w->next_topology); /* only the newest counts */
    w->next_topology = m->topology;
    free(m);
}

void worker_take_topology(struct worker *w, struct topology *topology)
{
    struct topology_mail *m = xcalloc(1, sizeof *m);
    *m = (struct topology_mail){.mail = {.deliver = deliver_topology}, .topology = topology};
    loop_post(w->loop, &m->mail);
}

static void deliver_scripts(struct mail *mail, void *owner)
{
    struct script_news *news = CONTAINER_OF(mail, struct script_news, mail);
    scripts_hear(&worker_of(owner)->services[news->service], news);
    script_news_free(&news);
}

void worker_hear_scripts(struct worker *w, const struct script_news *news)
{
    struct script_news *copy = script_news_copy(news);
    copy->mail.deliver = deliver_scripts;
    loop_post(w->loop, &copy->mail);
}

static void deliver_redirects(struct mail *mail, void *owner)
{
    redirects_hear(worker_of(owner));
    free(mail);
}

void worker_hear_redirects(struct worker *w)
{
    struct mail *mail = xcalloc(1, sizeof *mail);
    mail->deliver = deliver_redirects;
    loop_post(w->loop, mail);
}

static void deliver_relieve(struct mail *mail, void *owner)
{
    worker_of(owner)->relieve = true;
    free(mail);
}

void worker_relieve(struct worker *w)
{
    struct mail *mail = xcalloc(1, sizeof *mail);
    mail->deliver = deliver_relieve;
    loop_post(w->loop, mail);
}

static void deliver_users(struct mail *mail, void *owner)
{
    for_each_session(worker_of(owner), client_auth_users_changed);
    free(mail);
}

void worker_hear_users(struct worker *w)
{
    struct mail *mail = xcalloc(1, sizeof *mail);
    mail->deliver = deliver_users;
    loop_post(w->loop, mail);
}

static void drain_unless_blocked(struct session *s)
{
    if (!session_blocked(s)) {
        session_drain_now(s);
    }
}

static void on_drain_over(struct wheel_timer *timer)
{
    struct worker *w = CONTAINER_OF(timer, struct worker, drain_timer);
    CHECK_MAGIC(w, WORKER_MAGIC);
    if (!w->drained) {
        /* Those that are blocked hear of it from the server, and end with that answer. */
        w->drained = true;
        for (size_t i = 0; i < w->config->service_count; i++) {
            unblock_begin(&w->services[i]);
        }
        for_each_session(w, drain_unless_blocked);
        if (w->sessions.count > 0) {
            loop_arm(w->loop, timer, DRAIN_UNBLOCK_MS, on_drain_over);
        }
        return;
    }
    for_each_session(w, session_drain_now);
}

static void deliver_drain(struct mail *mail, void *owner)
{
    struct drain_mail *m = CONTAINER_OF(mail, struct drain_mail, mail);
    struct worker *w = worker_of(owner);
    if (!w->draining) {
        w->draining = true;
        for_each_session(w, session_drain);
    }
    if (w->sessions.count > 0) {
        loop_arm(w->loop, &w->drain_timer, m->timeout_ms, on_drain_over);
    }
    maybe_stop(w);
    free(m);
}

void worker_drain(struct worker *w, uint64_t timeout_ms)
{
    struct drain_mail *m = xcalloc(1, sizeof *m);
    *m = (struct drain_mail){.mail = {.deliver = deliver_drain}, .timeout_ms = timeout_ms};
    loop_post(w->loop, &m->mail);
}

static void reader_clear(struct reader *r)
{
    if (r->block != NULL) {
        block_unref(r->block);
    }
}

void worker_join(struct worker **where)
{
    struct worker *w = *where;
    *where = NULL;
    CHECK(pthread_join(w->thread, NULL) == 0);
    loop_free(&w->loop);
    CHECK(w->sessions.count == 0 && w->dead_sessions.count == 0 && w->dead_links.count == 0);
    reader_clear(&w->requests);
    reader_clear(&w->replies);
    block_pool_clear(&w->pool);
    free(w->slots);
    topology_unref(&w->topology);
    topology_unref(&w->next_topology);
    free(w->services);
    w->magic = 0;
    free(w);
}
