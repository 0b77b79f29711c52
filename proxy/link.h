/* A link: one connection to a primary or a replica, shared by the sessions of one profile or
 * serving one alone. It greets, sends what its journal holds, frames the answers and hands each to
 * the session that asked (link_reply.c).
 *
 *   CONNECTING -> GREETING -> READY -> RETIRING -> CLOSED
 */
#ifndef VEDETTE_PROXY_LINK_H
#define VEDETTE_PROXY_LINK_H

#include "proxy/base/limits.h"
#include "proxy/base/list.h"
#include "proxy/journal.h"
#include "proxy/net/transport.h"
#include "proxy/profile.h"
#include "proxy/resp/scan.h"

struct linkset;
struct session;
struct worker_service;

/* Whom it serves. */
enum link_kind {
    LINK_EXCLUSIVE, /* one session */
    LINK_SHARED,    /* all of its set */
    LINK_WARM,      /* nobody: kept for the next session that needs one alone */
    LINK_CHECK,     /* nobody: it is to tell what a fresh link meets */
    LINK_CONTROL,   /* nobody: it unblocks those of its set (unblock.h) */
};

enum link_state {
    LINK_CONNECTING,
    LINK_GREETING,
    LINK_READY,
    LINK_RETIRING, /* its node is left: only the reply it has begun is still taken */
    LINK_CLOSED,   /* freed at the end of the turn */
};

/* Whether the command that an exclusive link is blocked in was ended by us. */
enum link_unblock {
    UNBLOCK_NONE,
    UNBLOCK_ASKED,  /* CLIENT UNBLOCK was said, and is not answered */
    UNBLOCK_PROVEN, /* it was: the answer that follows is no answer */
};

/* Why a link ended: the word in logs. */
enum link_end {
    LINK_END_SESSION,    /* its session has no more use for it */
    LINK_END_CONNECT,    /* the connection could not be made */
    LINK_END_GREETING,   /* the greeting failed or took too long */
    LINK_END_PEER,       /* the server closed or reset it */
    LINK_END_PROTOCOL,   /* the server sent what is not RESP, or an answer nobody asked for */
    LINK_END_GENERATION, /* another node is the primary now, or serves the reads */
    LINK_END_STALLED,    /* a replica is silent */
    LINK_END_IDLE,       /* it had nothing to do */
    LINK_END_REFUSED,    /* cut in a request that waits for another try */
};
const char *link_end_word(enum link_end end);

struct link {
    uint32_t magic;
    enum link_state state;
    struct list_node node;    /* on its service's list of links */
    struct list_node touched; /* on the worker's list of links to flush, or of the dead */
    struct worker_service *service;
    struct linkset *set;     /* of the profile it was greeted with, counted */
    struct list_node in_set; /* on its set's list of warm links */
    enum link_kind kind;
    struct session *session; /* an exclusive one's; never NULL before CLOSED. NULL for the others */
    uint32_t replica;        /* its set's: 0 for the primary */
    uint32_t counted;        /* requests that its replica's account has of it (nodes_count) */
    uint64_t generation;
    int64_t client_id; /* what CLIENT ID says of one that is not shared; 0: not known */
    enum link_unblock unblock;
    struct transport *transport;
    struct greeting greeting;
    enum greeting_step bare_from; /* greeting steps from here on were left out; GREET_STEPS: none */
    struct journal journal;
    struct buf in; /* an incomplete reply, or replies kept back */
    struct reply_scan scan;
    bool streaming; /* the reply being framed was begun to the client */
    bool raw;       /* bytes pass unframed in both directions */
    bool listens;   /* its session does: not all that comes answers a request */
    bool follows;   /* its session's transaction: the answer to EXEC is read */
    bool ending;    /* no request follows: the server is told once all is sent */
    bool frozen;    /* nothing more is sent: a refusal is being judged */
    bool stalled;   /* the oldest request waits for its first byte for too long */
    bool reading;
    bool proven;              /* it has answered a request */
    bool dirty;               /* a session has left in it what others must not meet */
    bool named;               /* CLIENT SETNAME was said on it */
    bool needs_auth;          /* the server wants a password that the greeting did not have */
    struct wheel_timer timer; /* greeting deadline, stall rule, or end of retirement */
    uint64_t used_ms;         /* when a session last sent something, or it was opened */
    uint64_t progress_ms;     /* when the last byte was read, or the oldest request was sent */
};

/* Opens a link to the set's node, which may be sent to; in a later turn the session (of an
 * exclusive one, else s is NULL) hears session_link_ready or session_link_lost, the set
 * linkset_ready or linkset_lost. until: see greeting_begin. */
struct link *link_open(struct linkset *set, enum link_kind kind, struct session *s,
                       enum greeting_step until);
/* Appends a request of our own; its answer is given to the asker as such, or dropped if that is
 * ASKER_NOBODY. */
void link_ask(struct link *l, const struct command *command, struct asker asker,
              struct slice request);
/* True if it is as it was behind its greeting, and idle. */
bool link_is_clean(const struct link *l);
/* Something of it was lost: whoever has requests on it hears of it; afterwards it is CLOSED or
 * RETIRING. */
void link_lost(struct link *l, enum link_end end);
/* Sends what may be sent; called once per turn for touched links. */
void link_flush(struct link *l);
/* Asks for a link_flush at the end of this turn. */
void link_touch(struct link *l);
/* True if a request appended now would be sent. */
bool link_sendable(const struct link *l);
/* False: requests wait until some of those on it are answered. */
static inline bool link_has_room(const struct link *l)
{
    return l->journal.queued - l->journal.kept < LINK_UNANSWERED_MAX;
}
/* Notes how much of what was given to the transport has been sent by now. */
void link_settle(struct link *l);
/* Nothing more is sent on it for now: what it has not sent waits with its sessions, and has their
 * deadlines. It may close sessions, but not the link. */
void link_take_unsent(struct link *l);
/* For how long nothing has come although the oldest request was sent whole; 0 while none was. */
uint64_t link_silent_ms(const struct link *l);
/* Back-pressure from the client, and the end of a hold: reading goes on (with what was kept back).
 */
void link_set_reading(struct link *l, bool on);
/* The client of a raw link has sent all it will: so does the link, and the server closes it. */
void link_end_requests(struct link *l);
/* Reads what the server sent, frames it and hands it on: transport_read's result. */
ssize_t link_read(struct link *l);
/* Frames and hands on replies kept back while answers were not to be trusted. */
void link_resume(struct link *l);
/* Of an answer part was given to the client, and there is no way to take it back. */
bool link_answer_begun(const struct link *l);
/* That answer may still come to its end: it is a read's, and the server has only ceased to be the
 * one to ask. */
bool link_may_retire(const struct link *l, enum link_end end);
/* Only that answer is still waited for, at most RETIRING_MAX_MS. The journal keeps its request
 * alone. */
void link_retire(struct link *l);
/* Ends it at once, without a word to the session; *where is NULL afterwards (it may be). The memory
 * lives until the end of the turn. */
void link_close(struct link **where, enum link_end end);
/* Frees a closed link; the worker's business at the end of a turn. */
void link_free(struct link *l);

#endif
