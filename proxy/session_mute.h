/* CLIENT REPLY: whether the client hears the answers to its requests. It is the session's and not
 * the link's, which always answers; so it lives through a failover. As in Redis 7.0, OFF and SKIP
 * are not answered, SKIP is for the next request, an empty one included, and what is pushed is
 * heard all the same. */
#ifndef VEDETTE_PROXY_SESSION_MUTE_H
#define VEDETTE_PROXY_SESSION_MUTE_H

#include "proxy/session_input.h"

/* True for CLIENT REPLY ON, OFF or SKIP that the session keeps to itself. In a transaction it is
 * queued, and before AUTH refused: then the server hears of it. */
bool mute_is_ours(const struct session *s, const struct request *r);
/* True for one of these forms of which the server hears all the same, and answers less. */
bool mute_ends_framing(const struct session *s, const struct request *r);
/* True if it can't be known yet whether it is ours: subscriptions are unanswered. */
bool mute_is_unsure(const struct session *s, const struct request *r);
/* True if that one is not answered. */
bool mute_is_silent(const struct request *r);
/* Does it. */
void mute_set(struct session *s, const struct args *args);
/* Whether the answer to the next request, or to one that comes back, is kept from the client. Uses
 * up a SKIP. */
bool mute_next(struct session *s, enum voice voice);
/* request_take for a session, or a request, whose answers may be kept from the client. */
bool mute_take(struct session *s, const struct request *r);
/* session_become_raw, after which the server says what the client hears: it is told what that is,
 * before the request that is about to be appended. The session may have ended afterwards. */
void mute_become_raw(struct session *s, const char *why);
/* True if we may answer for the server, which would refuse it before AUTH. */
bool mute_is_known(const struct session *s);
/* Answers a request that was submitted with that mark. */
static inline enum voice voice_of(bool muted)
{
    return muted ? VOICE_MUTED : VOICE_GIVEN;
}

#endif
