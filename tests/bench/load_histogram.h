#ifndef VEDETTE_TESTS_BENCH_LOAD_HISTOGRAM_H
#define VEDETTE_TESTS_BENCH_LOAD_HISTOGRAM_H

#include <stdint.h>

/* Durations in nanoseconds, in buckets that are at most 0.8% wide. */
enum { HISTOGRAM_STEPS = 128, HISTOGRAM_BUCKETS = HISTOGRAM_STEPS * 58 };

struct histogram {
    uint64_t total;
    uint64_t counts[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *h, uint64_t ns, uint64_t times);

/* The duration that `share` (0..1) of all are not longer than; 0 where there is none. */
double histogram_at(const struct histogram *h, double share);

#endif
