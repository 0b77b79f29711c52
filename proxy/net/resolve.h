/* Names to addresses, without blocking the loop. */
#ifndef VEDETTE_NET_RESOLVE_H
#define VEDETTE_NET_RESOLVE_H

#include "proxy/base/addr.h"
#include "proxy/net/loop.h"

#define RESOLVE_MAX 8 /* addresses of one name that are looked at */

struct resolve;

/* Looks the name up in libuv's thread pool; numeric addresses too. done comes once in a later turn:
 * err 0 with 1..RESOLVE_MAX addresses, valid during the call, or an err for resolve_error. */
struct resolve *resolve_start(struct loop *loop, const struct addr *name,
                              void (*done)(void *owner, int err, const struct sockaddr_any *found,
                                           size_t count),
                              void *owner);
/* Looks the name up and waits for it; for the start of the process only. NULL on success, else what
 * is wrong in words. */
const char *resolve_now(const struct addr *name, struct sockaddr_any *out);
/* Words for an err of `done`. Never NULL. */
const char *resolve_error(int err);
/* done will not come; sets *where to NULL; it may be. Never inside or after done: the pointer is
 * dead by then, so `done` begins by forgetting it. */
void resolve_cancel(struct resolve **where);

#endif
