/* A session's blocking command (BLPOP, XREAD BLOCK, WAIT ...): its time runs from when it was first
 * taken, wherever it waits. Sent again it has the time that is left; when that is over while it
 * waits for a primary, it is answered as at its time-out. Nothing is sent behind one, so there is
 * one at most. In a transaction such commands do not block, and nothing here is about them. */
#ifndef VEDETTE_PROXY_SESSION_BLOCKING_H
#define VEDETTE_PROXY_SESSION_BLOCKING_H

#include "proxy/session_input.h"

/* The oldest unanswered request, if that is a blocking command. */
struct blocking {
    struct session *session;
    bool running;    /* there is one */
    bool again;      /* it has waited for a primary, or was on a link before */
    uint64_t due_ms; /* the end of its time; UINT64_MAX: none, or none that we understand */
    struct wheel_timer timer;
};

/* request_take for a command that may block. */
bool blocking_take(struct session *s, const struct request *r);
/* True if the session's unanswered requests end with one that may block: what follows waits. */
bool blocking_ahead(const struct session *s);
/* It came back from its link and is parked. */
void blocking_back(struct session *s);
/* It is answered. Does nothing if there is none. */
void blocking_done(struct session *s);
/* The session ends. */
void blocking_free(struct session *s);
/* True for a command that has done nothing when the server ends its blocking: not one of a module,
 * which may have done something before it blocked. */
bool blocking_takes_all_or_nothing(const struct command *command);
/* Says in the log what becomes of it, for it may have taken an element; the answer to it, or NULL
 * where it blocks again. */
const char *blocking_in_doubt(const struct session *s, const struct command *command, bool kept);
/* A command is queued by a MULTI, answered or not. */
bool session_queues(const struct session *s);

#endif
