/* What CLIENT TRACKING and CLIENT CACHING have made of a connection, so that the next one can be
 * told. Pure: bytes of requests in, bytes of requests out. */
#ifndef VEDETTE_PROXY_TRACKING_H
#define VEDETTE_PROXY_TRACKING_H

#include <stdbool.h>

#include "proxy/base/buf.h"

struct tracking {
    bool broadcast;
    struct buf said;    /* the requests that switched it on, to be said again in order */
    struct buf caching; /* CLIENT CACHING, about the command that comes next; or empty */
    /* The client may have stored something since it was last told to forget all. */
    bool cached;
    int64_t redirect; /* the number in REDIRECT of the last of these requests; 0: there was none */
};

enum tracking_change {
    TRACKING_ON,
    TRACKING_OFF,
    TRACKING_ONCE, /* on, but in a way that can't be said again */
};

/* The server has accepted this CLIENT TRACKING, a whole frame. Redis 7.0: without BCAST the last
 * one counts, with it the prefixes of all add up, and the last one says whom it is told to. It is
 * kept without REDIRECT, for the connection that it names has another number on another server.
 * More than TRACKING_SAID_MAX bytes can't be said again. */
enum tracking_change tracking_accepted(struct tracking *t, struct slice frame) NODISCARD;
/* ... this CLIENT CACHING. */
void tracking_caching(struct tracking *t, struct slice frame);
/* The number in REDIRECT of a CLIENT TRACKING; 0: it has none that a server would accept. */
int64_t tracking_redirect(struct slice frame);
/* Writes it with this number in REDIRECT instead, 0: with none. An array that was understood. */
void tracking_redirected(struct slice frame, int64_t number, struct buf *to);
/* Empties it. */
void tracking_clear(struct tracking *t);

#endif
