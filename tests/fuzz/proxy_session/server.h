/* Nodes, from within: connections, and what a node does with a request on one of them. */
#ifndef VEDETTE_FUZZ_SERVER_H
#define VEDETTE_FUZZ_SERVER_H

#include "tests/fuzz/proxy_session/world.h"

#define WORDS_MAX 8

enum verb {
    VERB_OTHER,
    VERB_WRITE,
    VERB_BLPOP,
    VERB_SUBSCRIBE,
    VERB_UNSUBSCRIBE,
    VERB_MULTI,
    VERB_EXEC,
    VERB_DISCARD,
    VERB_WATCH,
    VERB_UNWATCH,
    VERB_AUTH,
    VERB_HELLO,
    VERB_SELECT,
    VERB_CLIENT,
    VERB_ROLE,
    VERB_PING,
    VERB_UNKNOWN,
};

struct order {
    enum verb verb;
    int tag;   /* -1: none of ours */
    int count; /* of words */
    char word[WORDS_MAX][12];
};

/* A reply on its way to the proxy. */
struct mark {
    uint64_t begin, end;
    int tag;
    bool refusal;
    unsigned tags, tag_count; /* of what an EXEC has not executed, in its connection's `spared` */
};

struct conn {
    struct list_node node;
    struct transport *transport;
    unsigned at;
    struct buf in;
    bool spoilt; /* no request any more what comes */
    struct order orders[REQUESTS_MAX];
    unsigned order_count, order_done;
    struct mark marks[REQUESTS_MAX * 2];
    unsigned mark_count, mark_done;
    uint64_t out, read, quiet_since;
    /* what it is, once all is executed that has come; and as far as it is executed */
    bool multi_in, multi, dirty, watching;
    unsigned channels; /* a bit for each */
    int queue_in[REQUESTS_MAX];
    struct order queue[REQUESTS_MAX];
    unsigned queued_in, queued;
    int spared[REQUESTS_MAX]; /* of transactions that were aborted; the newest overwrite others */
    unsigned spared_from, spared_count;
    struct identity self;
    bool default_closed; /* whoever has not said AUTH has nothing to say */
    bool authenticated;
};

static inline struct conn *conn_of(struct list_node *n)
{
    return CONTAINER_OF(n, struct conn, node);
}

/* It answers the request with that tag, or says something else: -1. refusal: nothing was done. */
void conn_say(struct conn *c, int tag, bool refusal, struct buf *words);
/* What may have been executed was not. */
void not_executed(int tag);
/* server_order.c: the next request on it is done, or refused, and answered. */
void order_do(struct conn *c, const struct order *o, enum mood mood);

#endif
