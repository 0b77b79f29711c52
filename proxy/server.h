/* The process: main thread's loop, watcher, listeners, workers, signals. */
#ifndef VEDETTE_PROXY_SERVER_H
#define VEDETTE_PROXY_SERVER_H

#include "config/config.h"
#include "proxy/privileges.h"
#include "proxy/redirects.h"
#include "proxy/scripts.h"
#include "proxy/service.h"
#include "sentinel/certificates.h"
#include "sentinel/credentials.h"

struct server;

/* Serves until it is told to stop. Returns the exit code: 0 after a clean stop, 1 when it could not
 * start (the reason is logged). config is const until it returns. */
int server_run(const struct config *config, struct certificates *certificates,
               struct credentials *credentials, const struct privileges *privileges);

/* From workers, any thread. */
void server_hint(struct server *s, size_t service, uint64_t generation, enum hint hint);
/* As watcher_hint_replica. */
void server_hint_replica(struct server *s, size_t service, enum replica_hint hint, uint32_t id);
void server_report(struct server *s, size_t service, uint64_t generation,
                   const struct switch_report *report);
/* The buffers of a worker hold that much more, or less, than when it said so before. */
void server_held(struct server *s, int64_t grown);
/* Whether those of all workers hold more than buffer-memory. */
bool server_holds_too_much(const struct server *s);
/* What a worker tells of scripts, for all workers; takes it over. */
void server_scripts(struct server *s, struct script_news *news);
/* Sessions that others redirect to, in all workers; and: something was changed there that sessions
 * of any worker may wait for. */
struct redirects *server_redirects(const struct server *s);
void server_redirects_changed(struct server *s);
void server_worker_ended(struct server *s);

#endif
