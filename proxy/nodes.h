/* What a worker knows of a service's replicas: those that may serve reads, by the adopted topology
 * and by its own links to them, and the sessions that wait for one. */
#ifndef VEDETTE_PROXY_NODES_H
#define VEDETTE_PROXY_NODES_H

#include "proxy/base/list.h"
#include "proxy/base/wheel.h"
#include "proxy/choice.h"
#include "sentinel/topology.h"

struct link;
struct session;
struct worker_service;

struct node_use {
    uint32_t id; /* as in the topology */
    uint32_t outstanding;
    uint32_t homes; /* sessions that read from it */
    bool failed;    /* a link to it did: nothing is sent there until it is back with another id */
};

struct nodes {
    struct node_use *v; /* those of the adopted topology, in its order */
    uint32_t count;
    uint32_t mask;           /* commands that may go there */
    struct node_use primary; /* where reads are spread over all */
    uint32_t turn;
    bool refuse;          /* one of them has refused some session's profile */
    bool lost;            /* links lead to one that is gone, or has failed */
    struct list catching; /* sessions that wait for one to catch up, for a moment only */
    struct list wanting;  /* ... as long as it takes, or for one to be there */
    struct wheel_timer catching_timer, wanting_timer;
    uint64_t caught;        /* by all of them together: another sum, another state */
    uint64_t none_since_ms; /* there has been none that could be used; 0: there is one */
    uint64_t retry_at_ms;   /* no link is opened before */
    uint64_t wanted_ms, round_wanted_ms; /* when the main thread was told so last */
};

void nodes_start(struct worker_service *ws);
void nodes_stop(struct worker_service *ws);
/* A topology was adopted. stirred: the service's state is another one. */
void nodes_adopt(struct worker_service *ws, bool stirred);
/* Lets go of links to replicas that are gone; once per turn, outside of callbacks. */
void nodes_settle(struct worker_service *ws);

/* Where that one is reached; NULL: it may not be used. */
const struct topology_replica *nodes_find(const struct worker_service *ws, uint32_t id);
/* A link to it failed, stalled, or was refused. */
void nodes_failed(struct worker_service *ws, uint32_t id, const char *why);
/* An attempt failed that says nothing of it. */
void nodes_try_later(struct worker_service *ws);
bool nodes_may_open(const struct worker_service *ws, uint32_t id);
/* Accounts for what is on the link, after it has changed. */
void nodes_count(struct link *l);

/* What nodes_choose may choose from. */
enum node_range {
    NODES_REPLICAS, /* those that are not known to refuse the session's profile */
    NODES_ALL,      /* the primary too */
    NODES_REFUSING, /* replicas, those that refuse it as well */
};

struct node_choice {
    enum choice choice;
    uint32_t id; /* with CHOICE_NODE: 0 for the primary */
    bool soon;   /* see struct chosen */
};

/* The node to read from, for a demand. */
struct node_choice nodes_choose(struct session *s, const struct choice_demand *demand,
                                enum node_range range);
/* A session reads from that one (0: the primary) from now on, or (on: false) no more. */
void nodes_home(struct worker_service *ws, uint32_t id, bool on);
/* True while it is too early to say that there are none. */
bool nodes_may_come(const struct worker_service *ws);
/* Why there are none, for a client. */
const char *nodes_lack(const struct worker_service *ws);
/* s waits for one that has caught up, be it for a moment. */
void nodes_wait(struct worker_service *ws, struct session *s, bool moment);
/* Some session asks for them, though the configuration may not. */
void nodes_wanted(struct worker_service *ws);

#endif
