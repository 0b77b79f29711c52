/* What the watcher knows, as an immutable, refcounted snapshot. Main thread writes, workers read.
 */
#ifndef VEDETTE_SENTINEL_TOPOLOGY_H
#define VEDETTE_SENTINEL_TOPOLOGY_H

#include <stddef.h>
#include <stdint.h>

#include "proxy/base/addr.h"
#include "sentinel/command_list.h"

enum service_state {
    SERVICE_SEEKING, /* no primary was ever published */
    SERVICE_SERVING, /* requests flow to the primary */
    SERVICE_SUSPECT, /* the primary may be gone: new requests wait */
    SERVICE_HOLDING, /* a failover is under way: nothing more is sent to the primary */
};

/* The rounds of probes of one service's nodes, which are counted on and on. In each the primary
 * tells its replication offset and each replica the one that it has applied: so whoever has seen
 * the state of the primary before round n began sees at least that on a replica that has caught up
 * with round n. Any thread reads it; the main thread counts. */
struct rounds {
    _Atomic uint32_t refs;
    _Atomic uint64_t begun; /* counted before the primary is asked */
};

/* One replica that may serve reads now, as our own probes say. */
struct topology_replica {
    uint32_t id; /* of its life as that: never 0, never given twice in one process; another one when
                    it was unfit in between, or when the primary has changed */
    struct sockaddr_any at;
    struct addr name; /* as announced and mapped, for logs */
    uint64_t caught;  /* the latest round that it has caught up with */
    bool near;        /* preferred, by address or zone, over those that are not */
    uint32_t share;   /* 1..100: of what others of its kind are given, while it starts slowly */
};

struct topology_replicas {
    _Atomic uint32_t refs;
    const char *lack; /* why there is none, in words for a client; never NULL while count is 0 */
    uint32_t count;
    struct topology_replica replica[];
};

struct topology_service {
    enum service_state state;
    uint64_t generation;           /* 0: never a primary; rises with every switch */
    struct sockaddr_any primary;   /* meaningful from generation 1 on */
    struct addr primary_name;      /* as announced and mapped, for logs */
    uint64_t state_since_ms;       /* monotonic */
    uint64_t hold_timeout_ms;      /* from config, or computed from Sentinel's down-after */
    struct command_list *commands; /* what the primary says of them, counted; NULL: not known */
    struct rounds *rounds;         /* counted; never NULL once published */
    struct topology_replicas *replicas; /* counted; NULL: replicas are not asked for */
    uint32_t listed;                    /* replicas that the Sentinels list, fit or not */
};

struct topology {
    _Atomic uint32_t refs;
    uint64_t serial; /* rises with every publication */
    size_t service_count;
    struct topology_service service[]; /* in the order of config->services */
};

/* Nothing has begun; one reference. */
struct rounds *rounds_new(void);
struct rounds *rounds_ref(struct rounds *r);
/* Sets *r to NULL; it may be. */
void rounds_unref(struct rounds **r);
/* What a replica must have caught up with to show all that has happened before this call. */
uint64_t rounds_next(const struct rounds *r);

/* Room for so many, count 0, one reference. */
struct topology_replicas *topology_replicas_new(uint32_t room);
struct topology_replicas *topology_replicas_ref(struct topology_replicas *r);
void topology_replicas_unref(struct topology_replicas **r);

/* A snapshot with one reference and zeroed services. */
struct topology *topology_new(size_t service_count);
/* Any thread. */
struct topology *topology_ref(struct topology *t);
/* Drops a reference and sets *t to NULL; *t may be NULL. */
void topology_unref(struct topology **t);

#endif
