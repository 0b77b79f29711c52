/* The judgement of who is primary: talks to all Sentinels and to the nodes they name, and publishes
 * a topology whenever the answer changes. Main thread only. */
#ifndef VEDETTE_SENTINEL_WATCHER_H
#define VEDETTE_SENTINEL_WATCHER_H

#include "config/config.h"
#include "proxy/net/loop.h"
#include "sentinel/certificates.h"
#include "sentinel/topology.h"

struct watcher;

/* What a worker noticed on its links to a service's primary. */
enum hint {
    HINT_CONNECT_FAILED, /* a fresh connection failed: refused, timed out, no greeting */
    HINT_NOT_PRIMARY,    /* ROLE in a greeting said something other than master */
    HINT_REFUSED,        /* READONLY, MASTERDOWN or UNBLOCKED from a command that can't forge it */
    HINT_STALLED,        /* a request got no byte of an answer for stall-timeout */
    HINT_KINDS
};

/* What a worker wants of a service's replicas, or noticed on its links to one. */
enum replica_hint {
    HINT_REPLICAS_WANTED, /* a session asks for them: probed for REPLICAS_WANTED_MS from now on */
    HINT_ROUND_WANTED,    /* a session waits for one of them to catch up: a round at once */
    HINT_REPLICA_FAILED,  /* a link to the one with this id failed, stalled or was refused: it is
                             dropped, and comes back with another id once it is well */
};

/* How long a session's wish for replicas is remembered. */
#define REPLICAS_WANTED_MS 30000u

/* Begins to watch. publish hands over one reference of a new topology whenever something in it
 * changed (the first soon after the start, SEEKING), always from a callback of the loop. config
 * and certificates (NULL: no TLS anywhere) outlive the watcher. */
struct watcher *watcher_start(struct loop *loop, const struct config *config,
                              const struct certificates *certificates,
                              void (*publish)(void *owner, struct topology *topology), void *owner);
/* service: index into config->services. Hints of another generation than the published one are
 * ignored. */
void watcher_hint(struct watcher *w, size_t service, uint64_t generation, enum hint hint);
/* id: that of the replica for HINT_REPLICA_FAILED, else 0. One that has gone is ignored. */
void watcher_hint_replica(struct watcher *w, size_t service, enum replica_hint hint, uint32_t id);
/* Closes everything; nothing is published any more. Sets *w to NULL. */
void watcher_stop(struct watcher **w);

#endif
