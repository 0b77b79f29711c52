/* CLIENT TRACKING across links. What the server keeps of a client's cache is gone with the link: so
 * the client is told to forget all of it, and the next link is told to track again, before anything
 * else is asked there. */
#ifndef VEDETTE_PROXY_SESSION_TRACKING_H
#define VEDETTE_PROXY_SESSION_TRACKING_H

#include "proxy/session.h"

/* This request of the session, CLIENT TRACKING or CACHING, was answered with +OK or +QUEUED. */
void tracking_noted(struct session *s, const struct command *command, struct slice frame);
/* A request was answered: what CLIENT CACHING said was about that one. */
void tracking_answered(struct session *s, const struct command *command);
/* Its link is lost and leaves these items: the client, if it is told what becomes of that, is to
 * forget what it has stored, behind the last answer that came from there. */
void tracking_lost(struct session *s, struct list *items);
/* The client forgets what it has stored. Between replies only. */
void tracking_flush(struct session *s);
/* What CLIENT CACHING said of the next command went with one that was refused. */
bool tracking_used_up(const struct session *s);
/* See session_restore.h. */
void tracking_say(struct session *s);
/* The same on a link that was told before; nothing is outstanding there. */
void tracking_say_anew(struct session *s);
/* Behind what would use it up, or be in its way, on the new link. */
void tracking_say_caching(struct session *s);
void tracking_said(struct session *s, struct slice reply);
/* It tracks no more; nothing is said. */
void tracking_end(struct session *s);

#endif
