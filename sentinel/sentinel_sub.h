/* The subscription to one Sentinel's messages. Embedded in struct sentinel. */
#ifndef VEDETTE_SENTINEL_SENTINEL_SUB_H
#define VEDETTE_SENTINEL_SENTINEL_SUB_H

#include "sentinel/backoff.h"
#include "sentinel/sentinel_conn.h"
#include "sentinel/wire.h"

/* How much a Sentinel's ACL lets us hear. */
enum sub_level { SUB_ALL, SUB_SWITCH_ONLY, SUB_NOTHING };

struct sentinel_sub {
    struct sentinel *sentinel;
    const struct sentinel_group *group;
    const struct sockaddr_any *at;
    const struct addr *peer; /* as it is called */
    const char *name;        /* for the log */
    struct wire wire;
    struct wheel_timer timer; /* the next try, the end of waiting, or the next PING */
    struct backoff backoff;
    enum sub_level level;
    enum sub_level told_level; /* what the log was told last */
    char refusal[160];         /* what it said to more than that level; may be cut */
    size_t confirmed, expected;
    bool subscribed, pinged;
    bool resting; /* not tried until sentinel_sub_resume */
};

/* Resting; group, at, peer and name outlive it. */
void sentinel_sub_init(struct sentinel_sub *sub, struct sentinel *s,
                       const struct sentinel_group *group, const struct sockaddr_any *at,
                       const struct addr *peer, const char *name);
/* The Sentinel is up: subscribes if it rests. It goes on as long as the Sentinel is up, and rests
 * when it fails while the Sentinel is not. */
void sentinel_sub_resume(struct sentinel_sub *sub);
void sentinel_sub_stop(struct sentinel_sub *sub);

#endif
