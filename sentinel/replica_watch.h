/* The rounds of one service whose replicas are wanted: asks its primary and its replicas again and
 * again, and tells when there is something new to publish. */
#ifndef VEDETTE_SENTINEL_REPLICA_WATCH_H
#define VEDETTE_SENTINEL_REPLICA_WATCH_H

#include "sentinel/names.h"
#include "sentinel/probe.h"
#include "sentinel/replicas.h"

/* How often a round begins, and how soon after another one when a session waits for it. */
#define ROUND_MS     50u
#define ROUND_GAP_MS 2u
/* How long the replicas' answers are waited for before a round is published without them. */
#define ROUND_PATIENCE_MS 10u
/* How often, and how many times more, replicas that are a moment behind are asked for one that
 * waits. */
#define LOOK_AGAIN_MS 1u
#define LOOKS_MAX     4u
/* A replica that is not fit is asked so often for its INFO. */
#define UNFIT_INFO_MS 200u

struct replica_watch;

/* changed: there is another snapshot; called from the loop and from replica_watch_failed. All that
 * is handed over outlives the watch. */
struct replica_watch *replica_watch_new(struct probe_group *group, struct names *names,
                                        struct rounds *rounds, void (*changed)(void *owner),
                                        void *owner);
/* Sets *w to NULL; it may be. */
void replica_watch_free(struct replica_watch **w);

/* Who is primary, and which replicas Sentinels list. True if there is another snapshot. */
bool replica_watch_follow(struct replica_watch *w, uint64_t generation,
                          const struct sockaddr_any *primary, const struct addr *primary_name,
                          const struct replica_listed *listed, size_t count);
/* A round is wanted at once. */
void replica_watch_hurry(struct replica_watch *w);
/* A worker's connection to the replica with this id failed. */
void replica_watch_failed(struct replica_watch *w, uint32_t id);

/* The last one, with a reference of its own. */
struct topology_replicas *replica_watch_snapshot(const struct replica_watch *w);

#endif
