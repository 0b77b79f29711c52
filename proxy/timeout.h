/* How long a blocking command may wait, as its arguments say, and the same command with less time:
 * BLPOP BRPOP BLMOVE BRPOPLPUSH BLMPOP BZPOPMIN BZPOPMAX BZMPOP, XREAD and XREADGROUP with BLOCK,
 * WAIT and WAITAOF, as Redis 7.0 reads them (timeout.c, getTimeoutFromObjectOrReply). Pure. */
#ifndef VEDETTE_PROXY_TIMEOUT_H
#define VEDETTE_PROXY_TIMEOUT_H

#include "proxy/base/buf.h"
#include "proxy/command.h"

/* The time in this whole request, in milliseconds; 0: for ever. False where there is none, or none
 * that we understand: the server's to judge. */
bool timeout_of(const struct command *command, struct slice frame, uint64_t *ms) NODISCARD;

/* Appends the request with that time instead, at least a millisecond, for 0 means for ever. False,
 * and nothing, where timeout_of is false. */
bool timeout_put(const struct command *command, struct slice frame, uint64_t ms,
                 struct buf *out) NODISCARD;

#endif
