/* CLIENT TRACKING ON REDIRECT across links: what one session tracks, the tracker, is told to the
 * client of another, the target, which may be of another worker; or of none, being a connection
 * made around us, or gone.
 *
 * The tracker's link names the target's by its number. When either has another link, the tracker's
 * is told anew, and then the target's client that it has to forget all: only behind that the
 * tracker's next request is sent. If the target is gone, or has no link within REDIRECT_WAIT_MS,
 * the tracker tracks on with a redirection that is broken, as it is in Redis: nobody is told, and
 * on RESP3 its own client hears so.
 *
 * Each side looks at the other's state (redirects.h) whenever its worker is told that one has
 * changed; what it finds decides, never what it was told before. */
#ifndef VEDETTE_PROXY_SESSION_REDIRECT_H
#define VEDETTE_PROXY_SESSION_REDIRECT_H

#include "proxy/redirects.h"
#include "proxy/session_input.h"
#include "proxy/worker.h"

enum redirection {
    REDIRECTION_NONE,    /* it does not redirect what it tracks, if it tracks anything */
    REDIRECTION_FRESH,   /* its link, or the next one, has not been told yet */
    REDIRECTION_STALE,   /* its link was told the number of another link than the target has now */
    REDIRECTION_SAYING,  /* its link is being told */
    REDIRECTION_TELLING, /* the client of the target has yet to be told */
    REDIRECTION_ON,
};

/* Whom a session means by a number. */
struct aim_of {
    struct target *target;  /* NULL: nobody here */
    uint64_t seen, refused; /* its versions: as last looked at; of which the server did not know */
};

struct redirect {
    struct session *session;
    struct list_node node; /* on its worker's list */

    /* As a target. */
    struct target *self; /* NULL: nobody knows its number */
    int64_t id;          /* of its link, as it may be redirected to; 0: not now */
    bool due;            /* its client is to be told, behind a reply that is begun */
    uint64_t asked_for;  /* as often as its client was told for; 0: all have heard of that */
    uint64_t moment;     /* of the worker, when it was told */

    /* As a tracker. */
    enum redirection state;
    struct aim_of aim;
    int64_t number;  /* by which its client has named it */
    int64_t said;    /* by which its link was told last; 0: that there is none */
    bool unsure;     /* ... which the server did not accept */
    uint32_t saying; /* requests by which the link is told, not answered */
    uint64_t ticket; /* what the target has to have been told */
    bool waited;     /* it has waited for long enough */
    struct wheel_timer wait;

    /* The CLIENT TRACKING that stands at the front of its input: asked in our words. */
    struct aim_of asked;
    int64_t asked_id;
    bool asking;
    struct buf answer;
};

/* CLIENT ID was answered. */
void redirect_number_told(struct session *s, const struct command *command, struct slice reply);
/* This CLIENT TRACKING redirects to a session that was told that number. */
bool redirect_names_target(struct session *s, const struct request *r);
/* ... and is said with the number that the session has now, and answered. False: not yet. */
bool redirect_take(struct session *s, const struct request *r);
void redirect_answered(struct session *s, struct slice reply);
/* A CLIENT TRACKING was accepted with this number in REDIRECT, or without one: 0. */
void redirect_accepted(struct session *s, int64_t number);

/* True if it is known whom the session's fresh link is to tell. */
bool redirect_is_settled(struct session *s);
/* By that number; 0: nobody. */
int64_t redirect_id(const struct session *s);
/* That was said in these many requests, and one of them was answered: false if it was not accepted,
 * and is said again. */
void redirect_says(struct session *s, uint32_t requests);
bool redirect_said(struct session *s, struct slice reply);
/* A push on the link of a tracker: true if its client is not to hear it as it is. */
bool redirect_turns(struct session *s, struct slice push);

/* Goes on as far as possible; after anything that could have changed. */
void redirect_settle(struct session *s);
/* From worker.h. */
void redirects_hear(struct worker *w);
void redirect_link_gone(struct session *s);
/* The session ends; its memory is freed. */
void redirect_end(struct session *s);
void redirect_free(struct session *s);

/* What it tracks is told to another. */
static inline bool redirect_is_tracker(const struct session *s)
{
    return s->redirect != NULL && s->redirect->state != REDIRECTION_NONE;
}
/* It has a number that others may use; they do. */
static inline bool redirect_is_numbered(const struct session *s)
{
    return s->redirect != NULL && s->redirect->self != NULL;
}
static inline bool redirect_is_target(const struct session *s)
{
    return redirect_is_numbered(s) && target_is_aimed_at(s->redirect->self);
}
/* ... and its link was one that they are told by. */
static inline bool redirect_is_heard(const struct session *s)
{
    return redirect_is_target(s) && s->redirect->id != 0;
}
/* An answer is awaited that is the client's. */
static inline bool redirect_is_asking(const struct session *s)
{
    return s->redirect != NULL && s->redirect->asking;
}
/* Its client may not read anything now. A transaction goes on where it is. */
static inline bool redirect_holds(const struct session *s)
{
    const struct redirect *x = s->redirect;
    if (x == NULL || s->link == NULL || s->link->bare_from != GREET_STEPS) {
        return false;
    }
    return x->state == REDIRECTION_FRESH || x->state == REDIRECTION_TELLING ||
           (x->state == REDIRECTION_STALE && !s->multi);
}

#endif
