/* Host names of Sentinels and nodes, and what they resolve to: looked up in the background, again
 * and again while they are used. The last good answer serves until there is a better one. */
#ifndef VEDETTE_SENTINEL_NAMES_H
#define VEDETTE_SENTINEL_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "proxy/base/addr.h"
#include "proxy/net/loop.h"
#include "proxy/net/resolve.h"

#define NAMES_MAX        256u /* more are not looked up: a hostile list must not cost memory */
#define NAMES_REFRESH_MS 15000u
#define NAMES_RETRY_MS   1000u
#define NAMES_FORGET_MS  60000u /* without being asked for */

struct names;

/* changed is called from the loop whenever a name has new addresses. */
struct names *names_new(struct loop *loop, void (*changed)(void *owner), void *owner);
/* Sets *n to NULL. */
void names_free(struct names **n);

/* All known addresses of a name, in out (RESOLVE_MAX): 0 when there are none yet. A numeric one is
 * its own. The first call begins the look-up. */
size_t names_all(struct names *n, const struct addr *name, struct sockaddr_any *out);
/* One address, the same as long as it is among the answers and works. */
bool names_one(struct names *n, const struct addr *name, struct sockaddr_any *out) NODISCARD;
/* What is at that address: a name in use that leads there, else the address itself. */
struct addr names_called(const struct names *n, const struct sockaddr_any *at);
/* True while the first look-up of the name goes on. */
bool names_pending(struct names *n, const struct addr *name);
/* A connection to an address worked, or failed. Failing makes names_one try another one if none has
 * worked yet, and has names that led there looked up again. */
void names_worked(struct names *n, const struct sockaddr_any *at);
void names_failed(struct names *n, const struct sockaddr_any *at);

#endif
