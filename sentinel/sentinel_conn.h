/* One Sentinel at one address: a connection for our questions and one for its messages, each opened
 * again whenever it is lost. */
#ifndef VEDETTE_SENTINEL_SENTINEL_CONN_H
#define VEDETTE_SENTINEL_SENTINEL_CONN_H

#include "config/config.h"
#include "proxy/net/loop.h"
#include "sentinel/event.h"
#include "sentinel/reply.h"

struct sentinel;
struct tls_ctx;

/* What it says of one service. Services are numbered as in its group. */
struct sentinel_view {
    uint64_t asked_ms, answered_ms; /* 0: no answer over this connection yet */
    bool opinion;                   /* primary and master are set */
    bool stranger;                  /* it does not know the service */
    struct addr primary;            /* of GET-MASTER-ADDR-BY-NAME */
    struct sentinel_master master;
};

enum sentinel_list { SENTINEL_LIST_SENTINELS, SENTINEL_LIST_REPLICAS };

/* Called from the loop. They may ask, and may free Sentinels that are not up. */
struct sentinel_events {
    /* It has told its id, or was lost. */
    void (*changed)(void *owner, struct sentinel *s);
    /* It answered on a service. */
    void (*answered)(void *owner, struct sentinel *s, size_t service);
    void (*listed)(void *owner, size_t service, enum sentinel_list list,
                   const struct sentinel_peer *peers, size_t count);
    void (*event)(void *owner, const struct event *event);
    /* Its messages come from now on: what came before may have been missed. */
    void (*subscribed)(void *owner, struct sentinel *s);
};

/* What all Sentinels of one group share. */
struct sentinel_group {
    struct loop *loop;
    const struct config_sentinel *config;
    struct tls_ctx *tls;         /* NULL: without TLS */
    const char *const *services; /* the names of those that it is asked about */
    size_t service_count;
    const struct sentinel_events *events;
    void *owner;
};

enum sentinel_state {
    SENTINEL_TRYING, /* it was not reached yet, and not tried in vain */
    SENTINEL_UP,     /* it has told its id and answers */
    SENTINEL_DOWN,
};

/* Begins to connect. name is how the address is called in the log. */
struct sentinel *sentinel_new(const struct sentinel_group *group, const struct sockaddr_any *at,
                              const struct addr *name);
/* Sets *s to NULL. */
void sentinel_free(struct sentinel **s);

/* Asks who the primary of the service is, behind what was asked already; sent by sentinel_flush.
 * Does nothing while it is not connected: it is asked about everything when it is. */
void sentinel_ask(struct sentinel *s, size_t service);
/* Asks for its lists of Sentinels and replicas. */
void sentinel_ask_lists(struct sentinel *s, size_t service);
void sentinel_flush(struct sentinel *s);

enum sentinel_state sentinel_state(const struct sentinel *s);
/* The id it told last, also while it is down; empty when it never did. */
const char *sentinel_id(const struct sentinel *s);
const struct sockaddr_any *sentinel_at(const struct sentinel *s);
const struct sentinel_view *sentinel_view(const struct sentinel *s, size_t service);

#endif
