/* All known Sentinels of a group: every address of every configured name, for ever, and those that
 * other Sentinels tell of, as long as they live or are told of; SENTINELS_MAX in all. */
#ifndef VEDETTE_SENTINEL_SENTINEL_SET_H
#define VEDETTE_SENTINEL_SENTINEL_SET_H

#include "sentinel/names.h"
#include "sentinel/sentinel_conn.h"

/* A learnt Sentinel that is neither up nor told of is forgotten after so long. */
#define SENTINEL_FORGET_MS 60000u

struct sentinel_set;

/* group and names outlive it. Empty until the first sentinel_set_refresh. */
struct sentinel_set *sentinel_set_new(const struct sentinel_group *group, struct names *names);
/* Sets *set to NULL. */
void sentinel_set_free(struct sentinel_set **set);

/* Brings the set in line with what the configured names resolve to and drops what is of no use any
 * more. Not from a callback of a Sentinel. */
void sentinel_set_refresh(struct sentinel_set *set);
/* Takes in what a Sentinel tells of others. */
void sentinel_set_learn(struct sentinel_set *set, const struct sentinel_peer *peers, size_t count);

size_t sentinel_set_count(const struct sentinel_set *set);
/* The i-th; its order holds until the next refresh or learn. */
struct sentinel *sentinel_set_at(const struct sentinel_set *set, size_t i);
/* How many it is not known of yet whether they can be reached; names still being looked up count.
 */
size_t sentinel_set_pending(const struct sentinel_set *set);
/* How many there are by our own knowledge: different ids, and configured ones never reached. */
size_t sentinel_set_known(const struct sentinel_set *set);

#endif
