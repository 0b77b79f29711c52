/* A refusal that proves the request did not run (READONLY, LOADING, MASTERDOWN, NOREPLICAS;
 * NOSCRIPT where the script is known) is not given to the client at once: if everything in flight
 * behind it was refused too or only reads, all of it goes back to the session and waits for a
 * primary that takes it. Until that is known the session sends nothing more, and requests and
 * replies are kept. In a transaction nothing runs but by an EXEC that succeeds: one of which a part
 * is refused goes back whole. */
#ifndef VEDETTE_PROXY_TENTATIVE_H
#define VEDETTE_PROXY_TENTATIVE_H

#include "proxy/base/buf.h"
#include "proxy/base/list.h"
#include "proxy/journal.h"

struct session;
struct healing;

/* A request whose reply is kept. */
struct kept {
    struct list_node node;
    const struct command *command;
    bool mute; /* the client is not to hear it */
    struct buf frame, reply;
};

struct tentative {
    bool safe;               /* all answered so far were refused, or are reads */
    bool ask_role;           /* a script may forge such words: ROLE on this link decides */
    bool multi;              /* in a transaction, as of the last reply kept */
    bool spoilt;             /* ... in which something was refused: its EXEC runs nothing */
    bool overtaken;          /* by a push */
    bool elsewhere;          /* by a replica: another node is asked at once */
    struct healing *healing; /* scripts that the server has lost: see session_input.h; or NULL */
    struct list kept;        /* oldest first */
    size_t reply_bytes;
};

/* The server did not run what it answers with this, and might later. */
bool is_refusal(struct slice reply);
/* True if this reply to r, the oldest request of the session's link, is not to be given yet. */
bool tentative_keeps(struct session *s, const struct record *r, struct slice reply);
/* Keeps it with its request; r leaves the journal then. */
void tentative_keep(struct session *s, const struct record *r, struct slice reply);
/* Gives what is kept, or takes everything back to the session, if that can be known now. */
void tentative_decide(struct session *s);
/* What was kept is given as it is: a request behind it did something, or there is too much. Does
 * nothing if nothing is kept. */
void tentative_give_up(struct session *s);
/* The link is gone and left these requests: true if the replies kept must be given as they are;
 * false if their requests may be sent again. */
bool tentative_settled(const struct session *s, const struct journal *left);
/* The replies kept are given: the session is in MULTI, or not, as they say. */
void tentative_follow(struct session *s);
/* Moves what is kept to the end of the list of parked items: as answers, or as requests. *where
 * becomes NULL, and may be. */
void tentative_park(struct tentative **where, bool settled, struct list *items);
/* Forgets all of it; *where becomes NULL, and may be. */
void tentative_clear(struct tentative **where);

#endif
