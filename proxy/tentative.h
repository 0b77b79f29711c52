/* A refusal that proves the request did not run (READONLY, LOADING, MASTERDOWN, NOREPLICAS) is not
 * given to the client at once: if everything in flight behind it was refused too or only reads, all
 * of it goes back to the session and waits for a primary that takes it. Until that is known the
 * session sends nothing more, and the replies are kept. */
#ifndef VEDETTE_PROXY_TENTATIVE_H
#define VEDETTE_PROXY_TENTATIVE_H

#include "proxy/base/buf.h"
#include "proxy/base/list.h"
#include "proxy/journal.h"

struct session;

struct tentative {
    bool safe;         /* all answered so far were refused, or are reads */
    bool ask_role;     /* a script may forge such words: ROLE on this link decides */
    uint32_t answered; /* replies kept, for as many of the oldest requests */
    struct buf replies;
    struct buf lengths; /* uint32_t each */
};

/* True if this reply to this request was taken: it is kept for later, or decided on together with
 * what came before. */
bool tentative_take(struct session *s, struct slice reply);
/* What was kept is given as it is: a request behind it did something, or there is too much. */
void tentative_give_up(struct session *s);
/* The link is gone: as many of the journal's oldest requests as have a kept reply that must be
 * given as it is; 0 when all of them may be sent again. */
uint32_t tentative_settled(const struct session *s);
/* The kept reply to the i-th request. */
struct slice tentative_reply(const struct tentative *t, uint32_t i);
/* Forgets all of it; *t becomes NULL, and may be. */
void tentative_clear(struct tentative **t);

#endif
