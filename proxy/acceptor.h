/* Accepts clients on the main thread and hands each to the worker with the least of them. */
#ifndef VEDETTE_PROXY_ACCEPTOR_H
#define VEDETTE_PROXY_ACCEPTOR_H

#include <stdbool.h>
#include <sys/types.h>

#include "config/config.h"
#include "proxy/net/loop.h"

struct acceptor;
struct admission;
struct worker;

/* Opens the listeners of all services. NULL when one can't be had (logged). workers and admission
 * outlive it. */
struct acceptor *acceptor_open(struct loop *loop, const struct config *config,
                               struct admission *admission, struct worker *const *workers,
                               size_t worker_count);
/* Gives the files of unix sockets to that user and group. */
void acceptor_give(struct acceptor *a, uid_t uid, gid_t gid);
/* Stops accepting. Sets *where to NULL; it may be. */
void acceptor_close(struct acceptor **where);

#endif
