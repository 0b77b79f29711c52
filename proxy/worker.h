/* A worker: one thread with its loop, its sessions and their links. Nothing here is locked; the
 * main thread speaks to it by mail. */
#ifndef VEDETTE_PROXY_WORKER_H
#define VEDETTE_PROXY_WORKER_H

#include <pthread.h>

#include "config/config.h"
#include "proxy/base/block.h"
#include "proxy/link.h"
#include "proxy/net/loop.h"
#include "proxy/scripts.h"
#include "proxy/service.h"
#include "proxy/session.h"
#include "sentinel/certificates.h"
#include "sentinel/credentials.h"
#include "sentinel/topology.h"

struct server;

/* What sockets of one kind are read into; views of it travel on. */
struct reader {
    struct block *block;
    enum block_class cls;
};

struct worker {
    uint32_t magic;
    unsigned index;
    struct server *server;
    const struct config *config;
    struct loop *loop;
    pthread_t thread;
    struct block_pool pool;
    struct reader requests, replies;
    struct topology *topology, *next_topology;
    struct worker_service *services;
    struct list redirects; /* of its sessions; see session_redirect.h */
    uint64_t moment;       /* another one before, in and behind each flush phase */
    struct list sessions;
    struct session **slots; /* sessions by the numbers that journals know them by; NULL: free */
    uint32_t slot_count, slots_used;
    uint32_t next_slot, next_serial;
    struct list touched_links, touched_sessions;
    struct list again; /* sessions whose share of this turn is used up */
    struct list dead_links, dead_sessions;
    uint32_t handshakes; /* links not yet READY */
    uint32_t warm_links;
    struct wheel_timer drain_timer;
    struct wheel_timer idle_timer; /* looks for clients that are idle */
    bool draining;
    bool drained;          /* its time is over: what is blocked was unblocked, the rest has ended */
    bool relieve;          /* it holds too much, and more than other workers */
    uint64_t given_up;     /* sessions closed for that */
    _Atomic int64_t held;  /* by its buffers, as of its last turn */
    _Atomic uint32_t load; /* sessions, counted by the acceptor at hand-over */
};

/* certificates: NULL: no TLS anywhere; credentials: NULL: clients are no users of ours. */
struct worker *worker_start(struct server *server, const struct config *config,
                            const struct certificates *certificates,
                            const struct credentials *credentials, unsigned index);
/* From the main thread. All of it belongs to the worker from then on. */
void worker_take_client(struct worker *w, const struct newcomer *newcomer);
/* From the main thread; takes over one reference. */
void worker_take_topology(struct worker *w, struct topology *topology);
/* From the main thread, which keeps what mail tells. */
void worker_hear_scripts(struct worker *w, const struct script_news *news);
/* From the main thread: something that sessions in redirects wait for has changed. */
void worker_hear_redirects(struct worker *w);
/* From the main thread: there are other users of clients now. */
void worker_hear_users(struct worker *w);
/* From the main thread: all buffers hold too much; it closes those of its sessions that hold the
 * most until they do not. */
void worker_relieve(struct worker *w);
/* From the main thread: ends idle sessions, waits for busy ones up to timeout_ms, then the thread
 * ends. A second call shortens the wait. */
void worker_drain(struct worker *w, uint64_t timeout_ms);
/* After worker_drain: waits for the thread and frees it all. Sets *w to NULL. */
void worker_join(struct worker **w);

/* Within the worker's thread. */

/* Reads what a socket holds, at most one block, behind a copy of `before`, which is at most a
 * quarter of a block. On > 0 all of that lies at *at in r->block; finish with worker_read_done,
 * which takes the length of all, once the views of it are taken. */
ssize_t worker_read(struct worker *w, struct reader *r, struct transport *t, struct slice before,
                    char **at);
void worker_read_done(struct reader *r, size_t n);

/* s has used its share of this turn; it is pumped again in the next one. */
void worker_again(struct worker *w, struct session *s);
/* s is pumped at the end of this turn. */
void worker_pump(struct worker *w, struct session *s);
/* Gives s->asker a number of its own; and takes it back: what it asked before is nobody's then. */
void worker_take_slot(struct worker *w, struct session *s);
void worker_leave_slot(struct worker *w, struct session *s);
/* The session that asked; NULL: it is gone, or there was none. */
struct session *worker_asker(const struct worker *w, struct asker asker);
/* A session of this worker has ended. */
void worker_session_closed(struct worker *w);

#endif
