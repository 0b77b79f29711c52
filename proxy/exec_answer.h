/* The answer to an EXEC, read as it comes: how each command of the transaction was answered. It is
 * not always one array. Redis 7.0 (multi.c, execCommand) writes the number of the commands, and
 * SUBSCRIBE and its like an element for each name, so that others stand behind the array; and what
 * a subscriber or a monitoring client hears of the commands stands before their answers. Pure. */
#ifndef VEDETTE_PROXY_EXEC_ANSWER_H
#define VEDETTE_PROXY_EXEC_ANSWER_H

#include "proxy/resp/pubsub.h"
#include "proxy/resp/scan.h"
#include "proxy/transaction.h"

enum exec_state {
    EXEC_MORE, /* an element is still to come */
    EXEC_DONE,
    EXEC_UNSURE, /* an element may be a command's answer, or be pushed: nobody can tell */
    EXEC_BROKEN, /* no server answers like this */
};

struct exec_answer {
    struct pubsub_counts counts; /* subscriptions, as far as it was read */
    bool monitor;                /* the connection has said MONITOR */
    bool resp3;                  /* as far as it was read */
    struct buf types;            /* of the first element of each answer */
    bool muted;                  /* the client is to hear only what is pushed: this */
    struct buf heard;
    /* progress */
    enum exec_state state;
    bool begun;               /* the header was read */
    struct transaction_at at; /* behind the command whose answer is being read */
    bool subscribes, hello;   /* what that one is */
    struct pubsub_verb verb;
    uint32_t names, left;   /* confirmations it asks for, and that are still to come */
    struct reply_scan scan; /* of an element */
    struct buf text;        /* of the element, as far as it has to be looked at */
};

struct exec_answer *exec_answer_new(const struct pubsub_counts *counts, bool resp3, bool monitor);
/* NULL: nothing. */
void exec_answer_free(struct exec_answer *a);
/* The next bytes of the answer to t, which is whole. */
enum exec_state exec_answer_feed(struct exec_answer *a, const struct transaction *t,
                                 struct slice bytes);

#endif
