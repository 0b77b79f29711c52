/* What a session listens to: its subscriptions, or all that the server executes (MONITOR). What the
 * server sends of it answers no request; a request of the SUBSCRIBE family is answered once for
 * each name. Private to the files of the session and the link. */
#ifndef VEDETTE_PROXY_SESSION_SUBSCRIBE_H
#define VEDETTE_PROXY_SESSION_SUBSCRIBE_H

#include "proxy/base/name_set.h"
#include "proxy/resp/pubsub.h"
#include "proxy/session_input.h"

enum monitoring { MONITOR_NO, MONITOR_ASKED, MONITOR_ON };

struct subscriptions {
    struct name_set held[PUBSUB_KINDS]; /* as the client was told; for the next link */
    struct pubsub_counts on_link;       /* as the server counts them on this link */
    uint32_t left; /* confirmations that the oldest request still waits for; 0: none has come */
    enum monitoring monitor;
    uint32_t saying;  /* requests by which a fresh link is told, that it has not answered */
    uint64_t lost_ms; /* since when nothing is heard; 0: all is */
    /* The link was not read for the client's sake, and the server has not yet shown that it has
     * kept it all the same: by an answer to what was asked then. */
    bool behind, asked;
    uint32_t asking; /* how many such answers are to come */
};

/* The request that the session's link took last is one of the SUBSCRIBE family, or MONITOR, with so
 * many arguments, its name included. */
void listening_asked(struct session *s, uint32_t args);
/* What passes on the link from this request on can't be told apart any more. */
bool listening_ends_framing(const struct session *s, const struct command *command);
/* In a transaction that has run, this request of the SUBSCRIBE family was answered; and all of the
 * transaction leave the link with so many subscriptions. */
void listening_ran(struct session *s, const struct command *command, struct slice frame,
                   const struct args *args);
void listening_counted(struct session *s, const struct pubsub_counts *counts);
/* The type of a reply that begins like this as the session is to take it: '>' if it answers no
 * request; a confirmation that is pushed does, and is '*'. 0: too little of it is there. */
char listening_type(const struct session *s, struct slice begun);
/* A confirmation, whole, for the request r at the head of the session's link. */
void listening_confirmed(struct session *s, const struct record *r, struct block *block,
                         struct slice reply);
/* MONITOR was answered. */
void listening_monitor_answered(struct session *s, char type);
/* True while the server may send something at any time, and nothing for long. */
bool listening_now(const struct session *s);
/* True if it may say little else, as a subscriber of RESP2. */
bool listening_only(const struct session *s);
/* True if the client knows of a subscription. */
bool listening_holds(const struct session *s);
/* Bytes that it takes to hold all the names. */
size_t listening_held(const struct session *s);
/* Nothing is outstanding: forgets it all if there is nothing to listen to any more. */
void listening_settle(struct session *s);
/* The session's link is gone. */
void listening_link_gone(struct session *s);
/* Of the request r, the oldest of the link lost, these many names were confirmed to the client. */
uint32_t listening_given(const struct session *s, const struct record *r);
void listening_forget(struct session *s);
/* The link is not read for the client's sake, until it is resumed. Meanwhile the server may close
 * it for what it would have to keep, which is found out much later. */
void listening_paused(struct session *s);
void listening_resumed(struct session *s);
void listening_caught_up(struct session *s);
/* True if there may be messages that the link which is being lost did not get for that reason: a
 * gap that the client would not hear of. */
bool listening_lags(const struct session *s);
/* A fresh link subscribes to what the last one had, and has answered the MONITOR of that. */
void listening_say(struct session *s);
void listening_said(struct session *s, struct slice reply);
/* There will be no other link: the profile is refused. */
void listening_refused(struct session *s);

#endif
