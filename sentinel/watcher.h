/* The judgement of who is primary: talks to all Sentinels and to the nodes they name, and publishes
 * a topology whenever the answer changes. Main thread only. */
#ifndef VEDETTE_SENTINEL_WATCHER_H
#define VEDETTE_SENTINEL_WATCHER_H

#include "config/config.h"
#include "proxy/net/loop.h"
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

/* Begins to watch. publish hands over one reference of a new topology whenever something in it
 * changed (the first soon after the start, SEEKING), always from a callback of the loop. config
 * outlives the watcher. */
struct watcher *watcher_start(struct loop *loop, const struct config *config,
                              void (*publish)(void *owner, struct topology *topology), void *owner);
/* service: index into config->services. Hints of another generation than the published one are
 * ignored. */
void watcher_hint(struct watcher *w, size_t service, uint64_t generation, enum hint hint);
/* Closes everything; nothing is published any more. Sets *w to NULL. */
void watcher_stop(struct watcher **w);

#endif
