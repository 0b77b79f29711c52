/* Has the primary load scripts, over a connection of its own: as the proxy's user, or where that
 * may not, as one of the clients that are there. Only bodies it does not have are sent. */
#ifndef VEDETTE_PROXY_SCRIPT_LOADER_H
#define VEDETTE_PROXY_SCRIPT_LOADER_H

#include "proxy/script_cache.h"

struct script_loader;
struct worker_service;

/* Begins with what the cache has now. service_scripts_loaded is called in a later turn, unless it
 * is stopped before: when all is done, nothing more can be, or after SCRIPTS_LOAD_MAX_MS; while the
 * server answers -LOADING, which it answers to requests just as well, that time does not run. */
struct script_loader *script_loader_start(struct worker_service *ws, const struct script_cache *c);
/* Sets *where to NULL; it may be. */
void script_loader_stop(struct script_loader **where);

#endif
