#include "tests/bench/load_histogram.h"

/* Below HISTOGRAM_STEPS a bucket for each value; from there on HISTOGRAM_STEPS buckets for each
 * doubling. */
static uint32_t bucket_of(uint64_t ns)
{
    if (ns < HISTOGRAM_STEPS) {
        return (uint32_t)ns;
    }
    uint32_t doublings = (uint32_t)(63 - __builtin_clzll(ns)) - 7;
    return (doublings + 1) * HISTOGRAM_STEPS + (uint32_t)(ns >> doublings) - HISTOGRAM_STEPS;
}

/* The middle of a bucket. */
static double value_of(uint32_t bucket)
{
    if (bucket < HISTOGRAM_STEPS) {
        return bucket;
    }
    uint32_t doublings = bucket / HISTOGRAM_STEPS - 1;
    uint64_t low = (uint64_t)(bucket % HISTOGRAM_STEPS + HISTOGRAM_STEPS) << doublings;
    return (double)low + (double)(1ULL << doublings) / 2;
}

void histogram_add(struct histogram *h, uint64_t ns, uint64_t times)
{
    h->counts[bucket_of(ns)] += times;
    h->total += times;
}

double histogram_at(const struct histogram *h, double share)
{
    uint64_t seen = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->counts[i];
        if (h->counts[i] > 0 && (double)seen >= share * (double)h->total) {
            return value_of(i);
        }
    }
    return 0;
}
