/* What TLS needs of each side that the configuration gives it to: loaded at the start, and again
 * when files change. Main thread, but for the three that look something up. */
#ifndef VEDETTE_SENTINEL_CERTIFICATES_H
#define VEDETTE_SENTINEL_CERTIFICATES_H

#include "config/config.h"
#include "proxy/net/loop.h"

struct certificates;
struct tls_ctx;

/* Loads all files. What can't be used, and what expires soon, is added to the report; NULL after an
 * error. config outlives it. */
struct certificates *certificates_load(const struct config *config, struct config_report *report);
/* Sets *where to NULL; it may be. Behind the last connection. */
void certificates_free(struct certificates **where);

/* Each NULL where there is no TLS, as with c NULL. service and group are indexes into the
 * configuration. */
struct tls_ctx *certificates_of_clients(const struct certificates *c, size_t service);
struct tls_ctx *certificates_of_nodes(const struct certificates *c, size_t service);
struct tls_ctx *certificates_of_sentinels(const struct certificates *c, size_t group);

/* Tells in the log which files the process, as it is now, could not load again. */
void certificates_warn_unreadable(const struct certificates *c);
/* From now on files are looked at, and loaded again once they have changed; new connections use
 * what was loaded last. Told in the log. */
void certificates_watch(struct certificates *c, struct loop *loop);
/* Loads all files now, changed or not. */
void certificates_reload(struct certificates *c);
/* Before the loop is freed. */
void certificates_unwatch(struct certificates *c);

#endif
