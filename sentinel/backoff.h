/* How long to wait before a connection is tried again: doubling from RECONNECT_MIN_MS to
 * RECONNECT_MAX_MS, with jitter so that many do not come at once. */
#ifndef VEDETTE_SENTINEL_BACKOFF_H
#define VEDETTE_SENTINEL_BACKOFF_H

#include <stdint.h>

/* Zero-initialised: nothing has failed yet. */
struct backoff {
    uint64_t delay_ms;
    uint64_t worked_ms; /* when it began to work, 0: it has failed since */
    uint64_t random;
};

/* It failed: the next delay in milliseconds. */
uint64_t backoff_next(struct backoff *b);
/* It works: the next delay is a short one, if this lasts longer than the longest delay. What works
 * for a moment each time is not tried in a circle. */
void backoff_worked(struct backoff *b);

#endif
