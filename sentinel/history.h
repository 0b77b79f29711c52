/* The rounds of probes of one primary, and the offset that it told in each: which of them has one
 * caught up with who has applied so much? Bounded: the older a round is, the fewer of its
 * neighbours are kept, so that what is forgotten makes a replica look a little further behind than
 * it is, never less. No I/O. */
#ifndef VEDETTE_SENTINEL_HISTORY_H
#define VEDETTE_SENTINEL_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/check.h"

/* Enough for all rounds of the last second, and for a twentieth of its age as the gap beside any of
 * the last hours. */
#define ROUNDS_KEPT 512u

struct round {
    uint64_t number;
    uint64_t begun_ms;
    int64_t offset;
};

/* Zero-initialised: none. */
struct history {
    struct round v[ROUNDS_KEPT]; /* both number and offset rise */
    size_t count;
};

/* Adds one that began after all others. False, and nothing is added, when its offset lies before
 * the last one's: the primary has begun another history. */
bool history_add(struct history *h, const struct round *r) NODISCARD;
/* The latest round whose offset is at most this one; NULL: none that is known. */
const struct round *history_caught(const struct history *h, int64_t offset);

#endif
