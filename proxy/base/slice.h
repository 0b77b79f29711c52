/* A view of bytes that somebody else owns. Payload is binary: always pointer and length. */
#ifndef VEDETTE_BASE_SLICE_H
#define VEDETTE_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/check.h"

struct slice {
    const char *p; /* may be NULL when n is 0 */
    size_t n;
};

static inline struct slice slice_of(const char *p, size_t n)
{
    return (struct slice){p, n};
}

/* The bytes of a NUL-terminated string, without its NUL. s is not NULL. */
struct slice slice_str(const char *s);

bool slice_eq(struct slice a, struct slice b);
/* True if a equals the NUL-terminated string s, ASCII letters compared without case. */
bool slice_eq_nocase(struct slice a, const char *s);
bool slice_starts_with(struct slice a, const char *prefix);

/* Parses a as a canonical decimal integer (optional '-', no '+', no leading zeros, no spaces: what
 * Redis's string2ll accepts) within [min, max]. False and *out untouched otherwise. */
bool slice_to_i64(struct slice a, int64_t min, int64_t max, int64_t *out) NODISCARD;

#endif
