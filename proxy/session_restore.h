/* State that a session carries from one link of its own to the next. A feature that has such a
 * state has a line in each of the first three functions of session_restore.c, and an enum ask. */
#ifndef VEDETTE_PROXY_SESSION_RESTORE_H
#define VEDETTE_PROXY_SESSION_RESTORE_H

#include "proxy/session.h"

/* True if it has to have a link, whether or not its client asks for something. */
bool session_lives_on_link(const struct session *s);
/* Its fresh link is told what the last one knew. No request of the client is sent before all of
 * that was answered. */
void session_restore(struct session *s);
/* An answer to that; afterwards the link may be gone. */
void session_restored(struct session *s, enum ask ask, struct slice reply);
/* True if a link of its own knows what is this session's only: no other may have that link. */
bool session_marks_link(const struct session *s);

/* Appends such a request: one that may be sent any number of times. */
void session_say(struct session *s, enum ask ask, struct slice request);
/* The same of one that is answered, and judged, as this command is. */
void session_say_as(struct session *s, enum ask ask, const struct command *command,
                    struct slice request);
/* The link did not take it: another one is tried. refused: once the primary takes requests. */
void session_leave_link(struct session *s, bool refused);

/* CLIENT NO-EVICT and NO-TOUCH: session_eviction.c. */

/* This request, one of them, was answered with +OK or +QUEUED. */
void eviction_noted(struct session *s, const struct command *command, struct slice frame);
void eviction_say(struct session *s);
void eviction_said(struct session *s, struct slice reply);

/* Transactions: session_transaction.c. */

/* MULTI was answered with +OK. */
void transaction_begun(struct session *s);
/* The session is out of MULTI, and watches nothing. */
void transaction_over(struct session *s);
/* A request in it was answered, and it goes on. */
void transaction_queued(struct session *s, const struct journal *j, const struct record *r,
                        struct slice answer);
/* The same of a request that is kept elsewhere. */
void transaction_queued_frame(struct session *s, const struct command *command, struct slice frame,
                              struct slice answer);
/* More bytes of an array, which is EXEC's answer or comes before it. True: what belongs to that
 * answer goes on behind them. They may end the session, or make its link raw. */
bool transaction_ran_more(struct session *s, struct slice bytes);
/* EXEC or DISCARD was answered with this, or with something too large to be had whole, that begins
 * like this: the session becomes what the server has made of it. */
void transaction_ran(struct session *s, struct slice reply);
/* The link that the session's WATCH or MULTI was on is gone. */
void transaction_lost(struct session *s);
/* It can't be carried out any more: it is answered here to its end. */
void transaction_abort(struct session *s);
/* Something in it was refused here: the server is given something to refuse too, so that EXEC is.
 */
void transaction_spoil(struct session *s);
/* True if it can go on at another link, or be ended as its words want it. */
bool transaction_can_move(const struct session *s);
/* Whether what it makes of the profile is not known, its EXEC having been lost. */
bool transaction_blurs_profile(const struct session *s);
void transaction_say(struct session *s);
void transaction_said(struct session *s, struct slice reply);

#endif
