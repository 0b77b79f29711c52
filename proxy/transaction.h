/* What a client has said in its transaction and how it was answered, from MULTI on: nothing of it
 * runs before EXEC, so that all of it can be said again on another link, to the same answers. */
#ifndef VEDETTE_PROXY_TRANSACTION_H
#define VEDETTE_PROXY_TRANSACTION_H

#include <stdbool.h>

#include "proxy/base/buf.h"

struct exec_answer;

struct transaction {
    struct buf frames, answers; /* of MULTI and all that was answered since; answers are lines */
    size_t compared;            /* answers that have come again, in bytes */
    bool whole;                 /* all of it is here; false: it was too large */
    bool follows;               /* what is queued changes the session at EXEC */
    bool blurs;                 /* ... its user, its database or how it is spoken to */
    bool subscribes;            /* ... what it listens to: more may answer EXEC than an array */
    struct exec_answer *exec;   /* EXEC's answer, as far as it is read; NULL: not at all */
};

/* Where transaction_next stands; begins as zero. */
struct transaction_at {
    size_t frame, answer;
};

/* With a MULTI that was answered. */
struct transaction *transaction_new(void);
/* Wipes it; *where becomes NULL, and may be. */
void transaction_free(struct transaction **where);
/* A frame of n bytes was answered: returns where to write it. NULL: there is no more room, nothing
 * is kept any more. */
char *transaction_keep(struct transaction *t, size_t n, struct slice answer);
/* It can't be said again: nothing is kept any more. */
void transaction_forget(struct transaction *t);
/* Bytes it holds. */
size_t transaction_held(const struct transaction *t);
/* The next frame and how it was answered; false: there is none. */
bool transaction_next(const struct transaction *t, struct transaction_at *at, struct slice *frame,
                      struct slice *answer);
/* It is said again, from the beginning; then with each answer: true if it is the one there was. */
void transaction_again(struct transaction *t);
bool transaction_same(struct transaction *t, struct slice answer);

#endif
