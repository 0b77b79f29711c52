/* What Sentinel publishes: which channels we listen to, and what a message means to us. No I/O. */
#ifndef VEDETTE_SENTINEL_EVENT_H
#define VEDETTE_SENTINEL_EVENT_H

#include <stdbool.h>
#include <stddef.h>

#include "proxy/base/addr.h"
#include "proxy/base/slice.h"

enum event_kind {
    EVENT_NONE,      /* nothing that concerns us, or not understood */
    EVENT_FAILOVER,  /* the leader is on its way to promote a replica: hold */
    EVENT_ABORTED,   /* the would-be leader gave up */
    EVENT_SWITCHED,  /* an address changed in the configuration of the Sentinel that says so */
    EVENT_SUSPICION, /* something may have happened to the primary: look at it, ask everybody */
    EVENT_ROLE,      /* a node tells another role than the Sentinel expected */
    EVENT_PEERS,     /* the lists of Sentinels or replicas have changed */
};

struct event {
    enum event_kind kind;
    struct slice service; /* the master name it speaks of */
    struct addr primary;  /* the primary it speaks of, the old one at a switch; empty: not told */
    struct addr node;     /* the replica it is about, or the new primary; empty: none */
};

/* The channels to subscribe to. */
size_t event_channel_count(void);
const char *event_channel(size_t i);
/* The one channel to fall back to where an ACL forbids the others. */
#define EVENT_FALLBACK_CHANNEL "+switch-master"

/* Reads a message. The slices of the result point into payload. */
struct event event_parse(struct slice channel, struct slice payload);

#endif
