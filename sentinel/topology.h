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

struct topology_service {
    enum service_state state;
    uint64_t generation;           /* 0: never a primary; rises with every switch */
    struct sockaddr_any primary;   /* meaningful from generation 1 on */
    struct addr primary_name;      /* as announced and mapped, for logs */
    uint64_t state_since_ms;       /* monotonic */
    uint64_t hold_timeout_ms;      /* from config, or computed from Sentinel's down-after */
    struct command_list *commands; /* what the primary says of them, counted; NULL: not known */
};

struct topology {
    _Atomic uint32_t refs;
    uint64_t serial; /* rises with every publication */
    size_t service_count;
    struct topology_service service[]; /* in the order of config->services */
};

/* A snapshot with one reference and zeroed services. */
struct topology *topology_new(size_t service_count);
/* Any thread. */
struct topology *topology_ref(struct topology *t);
/* Drops a reference and sets *t to NULL; *t may be NULL. */
void topology_unref(struct topology **t);

#endif
