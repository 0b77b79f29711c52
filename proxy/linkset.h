/* A worker's links of one profile to one node: those that its sessions share, and idle ones kept
 * warm for sessions that need one alone for a while. */
#ifndef VEDETTE_PROXY_LINKSET_H
#define VEDETTE_PROXY_LINKSET_H

#include "proxy/base/limits.h"
#include "proxy/base/list.h"
#include "proxy/link.h"
#include "proxy/profile.h"

struct session;
struct worker_service;

struct linkset {
    struct worker_service *service;
    struct list_node in_service; /* among its sets; on none when a newer era has begun */
    uint32_t users;              /* sessions and links of this set */
    struct profile profile;      /* constant, as is where they lead */
    bool kept;        /* by its service: it must be known that its node refuses the profile */
    uint32_t replica; /* 0: they lead to the primary; else to the replica with that id */
    struct link *shared[LINKS_PER_PROFILE_MAX]; /* on their way or ready; NULL: not opened */
    struct list warm;
    struct list waiting;        /* sessions, until a shared link takes more */
    enum greeting_step refused; /* part of the profile the primary refused; GREET_STEPS: none */
    struct buf refused_words;   /* the error that requests get for it */
    /* Sessions without credentials: whether the server asks for some is found out by a fresh link
     * now and then, for one that was opened before says nothing of it. */
    bool needs_auth;
    uint64_t checked_ms;  /* 0: never */
    struct link *check;   /* the link that is to tell */
    struct link *control; /* the one that unblocks the blocked; NULL: there is none */
    /* Our own password for it was refused: no link is opened before, while others go on. */
    uint64_t retry_at_ms, retry_delay_ms;
    struct wheel_timer retry_timer;
};

/* The set of that profile, to that node, made where there is none; counts a user. */
struct linkset *linkset_get(struct worker_service *ws, const struct profile *profile,
                            uint32_t replica);
/* The set, not counted; NULL where there is none. */
struct linkset *linkset_find(struct worker_service *ws, const struct profile *profile,
                             uint32_t replica);
struct linkset *linkset_use(struct linkset *set);
/* One user less; *where becomes NULL (it may be). Without users the set is freed. */
void linkset_drop(struct linkset **where);

/* Requests may be sent to its node; a link may be opened there now. */
bool linkset_serving(const struct linkset *set);
bool linkset_may_open(const struct linkset *set);
/* The primary has refused our own password for it: it is tried again after a while. */
void linkset_rest(struct linkset *set);
/* True while it is only for that that no link may be opened. */
bool linkset_rests(const struct linkset *set);
/* Its node does not take the profile. */
static inline bool linkset_refused(const struct linkset *set)
{
    return set->refused != GREET_STEPS || set->needs_auth;
}
/* Keeps a set to a replica so that others do not ask again for a while. */
void linkset_keep_refused(struct linkset *set);
/* Lets go of those kept: all, or those whose replica is gone. */
void linkset_forget_refused(struct worker_service *ws, bool all);
/* The shared link that the session with this number uses; NULL: it is to be opened. */
struct link *linkset_link(const struct linkset *set, uint32_t number);
void linkset_open(struct linkset *set, uint32_t number);
/* True if a request appended to this shared link now is sent soon. */
bool linkset_takes(const struct link *l);
/* A session waits until the set's links take more. */
void linkset_wait(struct linkset *set, struct session *s);
/* They may go on. */
void linkset_release(struct linkset *set);
/* An idle link of this profile for s alone; NULL: there is none. */
struct link *linkset_lease(struct linkset *set, struct session *s);
/* s needs its link no longer, and the link is as it was: it becomes a shared one where one lacks,
 * or is kept warm, or is closed. s->link becomes NULL. */
void linkset_give_back(struct session *s);
/* A shared link, a warm one or one that checks is ready, or was lost. Those whose requests were on
 * it judge what it left. */
void linkset_ready(struct link *l);
void linkset_lost(struct link *l, enum link_end end);
/* link_take_unsent for a shared link; from: the first request that was not sent. */
void linkset_take_unsent(struct link *l, uint32_t from);
/* The link is being closed. */
void linkset_forget(struct link *l);
/* Takes what a session has on a shared link away from it, as if the link had been lost; what can't
 * be kept from being sent counts as sent. */
void linkset_reclaim(struct session *s);
/* True if it is known, by a recent link, whether sessions without credentials are to be served; if
 * not, a link is opened to tell, unless none may be opened now. */
bool linkset_check(struct linkset *set);
/* Another node is the primary: what the last one refused says nothing. */
void linkset_renew(struct linkset *set);

#endif
