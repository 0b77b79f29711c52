/* A set of names: any bytes, each once, in no order. */
#ifndef VEDETTE_BASE_NAME_SET_H
#define VEDETTE_BASE_NAME_SET_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/slice.h"

struct name {
    struct name *next; /* in its bucket */
    uint32_t hash, len;
    char bytes[];
};

/* Zero-initialised is empty. */
struct name_set {
    struct name **buckets;
    uint32_t bucket_count, count;
    size_t bytes; /* of memory, all in all */
};

/* False: it was there already. */
bool name_set_add(struct name_set *set, struct slice name);
/* False: it was not there. */
bool name_set_remove(struct name_set *set, struct slice name);
bool name_set_has(const struct name_set *set, struct slice name);
/* The names one after another: the first of NULL, then what comes behind `name`; NULL at the end.
 * The set must not change meanwhile. */
const struct name *name_set_next(const struct name_set *set, const struct name *name);
void name_set_clear(struct name_set *set);

static inline struct slice name_slice(const struct name *name)
{
    return slice_of(name->bytes, name->len);
}

#endif
