/* What the buffers of a thread hold, counted where they are made: blocks in use, bufs, and the
 * rings of chains. No lock: each thread has its own count, and each buffer one thread. */
#ifndef VEDETTE_BASE_HELD_H
#define VEDETTE_BASE_HELD_H

#include <stddef.h>
#include <stdint.h>

extern _Thread_local int64_t held_by_thread;

static inline void held_more(size_t bytes)
{
    held_by_thread += (int64_t)bytes;
}

static inline void held_less(size_t bytes)
{
    held_by_thread -= (int64_t)bytes;
}

#endif
