/* A worker's side of one service: its links, and the sessions that wait for a link, for a primary,
 * or for a primary that takes their request. */
#ifndef VEDETTE_PROXY_SERVICE_H
#define VEDETTE_PROXY_SERVICE_H

#include "config/config.h"
#include "proxy/base/limits.h"
#include "proxy/base/list.h"
#include "proxy/base/wheel.h"
#include "proxy/nodes.h"
#include "sentinel/topology.h"
#include "sentinel/watcher.h"

struct client_users;
struct link;
struct session;
struct tls_ctx;
struct worker;

#define LINKSET_BUCKETS 64u /* lists that the sets are found in */

/* What a switch meant to the requests of one worker; sent to the main thread once all that waited
 * has gone on. */
struct switch_report {
    uint64_t waited, resent, in_doubt, closed, longest_ms;
};

struct worker_service {
    struct worker *worker;
    size_t index;
    const struct config_service *config;
    struct client_users *users;              /* NULL: clients are no users of ours */
    struct tls_ctx *tls_clients, *tls_nodes; /* NULL: without TLS */
    const struct topology_service *now;      /* in the adopted topology */
    struct denied *denied;                   /* commands that its clients may not run; NULL: none */
    struct learnt *learnt;   /* what its primary says of commands, and what is denied */
    struct scripts *scripts; /* NULL: they are not remembered */
    bool loading;            /* nothing is sent before the primary has them */
    struct list links;
    struct list sets[LINKSET_BUCKETS]; /* by profile; see linkset.h */
    struct list waiting;               /* sessions in want of a link or a primary, in order */
    struct list refused; /* sessions whose request was refused; a scout tries for them */
    struct session *scout;
    struct wheel_timer scout_timer;
    uint64_t retry_at_ms; /* no link is opened before: the last attempt failed */
    uint64_t retry_delay_ms;
    struct wheel_timer retry_timer;
    struct wheel_timer idle_timer; /* looks for links without requests */
    struct nodes nodes;
    uint64_t hinted_ms[HINT_KINDS]; /* when the main thread was last told */
    bool report_due;
    struct switch_report report;
};

/* A request may be sent to this service's primary. */
static inline bool service_serving(const struct worker_service *ws)
{
    return ws->now->state == SERVICE_SERVING && !ws->loading;
}
/* Its sessions share links where they may. */
static inline bool service_shares(const struct worker_service *ws)
{
    return ws->config->links == LINKS_SHARED;
}
/* A link may be opened now. */
bool service_may_open(const struct worker_service *ws);
/* An answer that comes now may be one of a node that is no longer the primary. */
bool service_distrusts_answers(const struct worker_service *ws);
/* An attempt to open a link failed, or a link has answered a request: sets the pace of the next
 * attempts. */
void service_link_failed(struct worker_service *ws);
/* How long to wait after one that failed; *delay_ms, 0 at first, grows up to RECONNECT_MAX_MS. */
uint64_t service_next_delay(const struct worker_service *ws, uint64_t *delay_ms);
void service_link_proven(struct worker_service *ws);
/* Puts s among the waiting, or the refused (where it stays until a scout succeeds). */
void service_wait(struct worker_service *ws, struct session *s);
void service_wait_refused(struct worker_service *ws, struct session *s);
/* The scout's request was taken: the others may follow. */
void service_scout_succeeded(struct worker_service *ws, struct session *s);
/* s waits no more (it has gone on, or it ended). */
void service_unwait(struct worker_service *ws, struct session *s);
/* s must not send its request before a scout has. */
bool service_holds_back(const struct worker_service *ws, const struct session *s);
void service_hint(struct worker_service *ws, uint64_t generation, enum hint hint);
/* Calls visit for every link that there is now; it may close that link and open others. */
void service_for_each_link(struct worker_service *ws, void (*visit)(struct link *l));
/* The worker adopts a new topology: at the start of its flush phase only. */
void service_adopt(struct worker_service *ws, const struct topology_service *now);
/* The primary has got the scripts, as far as it could: what waits goes on. */
void service_scripts_loaded(struct worker_service *ws);
/* Lets waiting sessions go on, paced; once per turn. */
void service_release(struct worker_service *ws);
/* Looks after idle links from now on. */
void service_start(struct worker_service *ws);
/* Disarms what is armed and closes what no session uses; the worker ends. */
void service_stop(struct worker_service *ws);

#endif
