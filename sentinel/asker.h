/* Asks a node for its ROLE whenever it is told to, and for INFO now and then, over a connection
 * that is kept. */
#ifndef VEDETTE_SENTINEL_ASKER_H
#define VEDETTE_SENTINEL_ASKER_H

#include "sentinel/probe.h"
#include "sentinel/replicas.h"

/* How often INFO is asked for. */
#define ASKER_INFO_MS 1000u

struct asker;

/* May not free the asker. */
struct asker_events {
    /* All that was asked is answered. said->master is left to the owner. */
    void (*answered)(void *owner, struct asker *a, struct node_answer *said);
    /* There is no connection, or an answer is overdue by stall-timeout; it may still come. why has
     * static life. */
    void (*failed)(void *owner, struct asker *a, const char *why);
};

/* group: what it shares with the probes of its service; its events are not used. name: as it is
 * called. */
struct asker *asker_new(struct probe_group *group, const struct sockaddr_any *at,
                        const struct addr *name, const struct asker_events *events, void *owner);
/* Sets *a to NULL; it may be. */
void asker_free(struct asker **a);
/* Asks, unless an answer is still awaited or it is too soon to connect again. True if it did. */
bool asker_ask(struct asker *a);
/* True while an answer is awaited, be it overdue. */
bool asker_asking(const struct asker *a);
/* True while one is awaited and not overdue. */
bool asker_awaits(const struct asker *a);
/* What is asked next goes over a fresh connection. */
void asker_renew(struct asker *a);
/* INFO is asked for with the next ROLE. */
void asker_inform(struct asker *a);

#endif
