/* What a server sends to a connection that has subscribed: messages, and confirmations of what it
 * subscribed to. In RESP2 both are arrays, in RESP3 pushes. Source: Redis 7.0.15 pubsub.c
 * (addReplyPubsubMessage, addReplyPubsubSubscribed and their like). */
#ifndef VEDETTE_RESP_PUBSUB_H
#define VEDETTE_RESP_PUBSUB_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/slice.h"

enum pubsub_kind { PUBSUB_CHANNEL, PUBSUB_PATTERN, PUBSUB_SHARD, PUBSUB_KINDS };

/* SUBSCRIBE, PSUBSCRIBE, SSUBSCRIBE (on), and their opposites. */
struct pubsub_verb {
    enum pubsub_kind kind;
    bool on;
};

/* The verb of that name, in lower case. False: it is none. */
bool pubsub_verb(struct slice name, struct pubsub_verb *out);

enum pubsub_what {
    PUBSUB_UNSURE,    /* too little of it is there */
    PUBSUB_MESSAGE,   /* message, pmessage, smessage */
    PUBSUB_CONFIRMED, /* *verb is done */
    PUBSUB_OTHER,
};

/* What a reply that begins like this is; of a whole one that is certain. */
enum pubsub_what pubsub_look(struct slice begun, struct pubsub_verb *verb);

/* The same of a status, for a connection that has said MONITOR: whether it is one of the lines that
 * tell what the server executes (replication.c, replicationFeedMonitors), PUBSUB_MESSAGE. Only a
 * script can answer with a status that looks like them. */
enum pubsub_what monitor_look(struct slice begun);

struct confirmation {
    struct pubsub_verb verb;
    bool named; /* else there was nothing to unsubscribe from */
    struct slice name;
    uint32_t count; /* subscriptions of the connection now: shards, or channels and patterns */
};

/* Reads a whole reply that pubsub_look finds to be a confirmation. False: it is none. */
bool pubsub_confirmation(struct slice reply, struct confirmation *out) NODISCARD;

/* A connection's subscriptions, as the server counts them. Zero-initialised: none. */
struct pubsub_counts {
    uint32_t of[PUBSUB_KINDS];
};

/* Counts a confirmation. False: no server could have given it next. */
bool pubsub_count(struct pubsub_counts *c, const struct confirmation *what) NODISCARD;
static inline uint64_t pubsub_total(const struct pubsub_counts *c)
{
    return (uint64_t)c->of[PUBSUB_CHANNEL] + c->of[PUBSUB_PATTERN] + c->of[PUBSUB_SHARD];
}
/* How many confirmations a request with that many names gets, if it is the next to be answered. */
uint32_t pubsub_expected(const struct pubsub_counts *c, struct pubsub_verb verb, uint32_t names);

#endif
