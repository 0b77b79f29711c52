#include "sentinel/backoff.h"

#include <stdbool.h>

#include "proxy/base/clock.h"
#include "proxy/base/limits.h"

/* xorshift64: no secret depends on it. */
static uint64_t next_random(struct backoff *b)
{
    if (b->random == 0) {
        b->random = (clock_us() ^ (uint64_t)(uintptr_t)b) | 1;
    }
    b->random ^= b->random << 13;
    b->random ^= b->random >> 7;
    b->random ^= b->random << 17;
    return b->random;
}

uint64_t backoff_next(struct backoff *b)
{
    bool lasted = b->worked_ms != 0 && clock_ms() - b->worked_ms > RECONNECT_MAX_MS;
    b->worked_ms = 0;
    b->delay_ms = b->delay_ms == 0 || lasted ? RECONNECT_MIN_MS : b->delay_ms * 2;
    if (b->delay_ms > RECONNECT_MAX_MS) {
        b->delay_ms = RECONNECT_MAX_MS;
    }
    return b->delay_ms / 2 + next_random(b) % (b->delay_ms / 2 + 1);
}

void backoff_worked(struct backoff *b)
{
    b->worked_ms = clock_ms();
}
