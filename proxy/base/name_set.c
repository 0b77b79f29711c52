#include "proxy/base/name_set.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/held.h"

#define BUCKETS_MIN 8u

/* FNV-1a. */
static uint32_t hash_of(struct slice name)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < name.n; i++) {
        hash = (hash ^ (unsigned char)name.p[i]) * 16777619u;
    }
    return hash;
}

static void take(struct name_set *set, size_t bytes)
{
    set->bytes += bytes;
    held_more(bytes);
}

static void give(struct name_set *set, size_t bytes)
{
    set->bytes -= bytes;
    held_less(bytes);
}

static void put(struct name_set *set, struct name *name)
{
    struct name **bucket = &set->buckets[name->hash & (set->bucket_count - 1)];
    name->next = *bucket;
    *bucket = name;
}

static void grow(struct name_set *set)
{
    struct name_set old = *set;
    set->bucket_count = old.bucket_count > 0 ? old.bucket_count * 2 : BUCKETS_MIN;
    set->buckets = xcalloc(set->bucket_count, sizeof(struct name *));
    for (uint32_t i = 0; i < old.bucket_count; i++) {
        for (struct name *n = old.buckets[i], *next; n != NULL; n = next) {
            next = n->next;
            put(set, n);
        }
    }
    free(old.buckets);
    take(set, (set->bucket_count - old.bucket_count) * sizeof(struct name *));
}

/* Where the pointer to that name is, or would be; NULL: there is no bucket yet. */
static struct name **find(const struct name_set *set, struct slice name, uint32_t hash)
{
    if (set->bucket_count == 0) {
        return NULL;
    }
    struct name **at = &set->buckets[hash & (set->bucket_count - 1)];
    while (*at != NULL && ((*at)->hash != hash || !slice_eq(name_slice(*at), name))) {
        at = &(*at)->next;
    }
    return at;
}

bool name_set_add(struct name_set *set, struct slice name)
{
    CHECK(name.n <= UINT32_MAX);
    uint32_t hash = hash_of(name);
    struct name **at = find(set, name, hash);
    if (at != NULL && *at != NULL) {
        return false;
    }
    if (set->count == set->bucket_count) {
        grow(set);
    }
    struct name *added = xcalloc(1, sizeof *added + name.n);
    added->hash = hash;
    added->len = (uint32_t)name.n;
    if (name.n > 0) {
        memcpy(added->bytes, name.p, name.n);
    }
    put(set, added);
    set->count++;
    take(set, sizeof *added + name.n);
    return true;
}

bool name_set_has(const struct name_set *set, struct slice name)
{
    struct name **at = find(set, name, hash_of(name));
    return at != NULL && *at != NULL;
}

bool name_set_remove(struct name_set *set, struct slice name)
{
    struct name **at = find(set, name, hash_of(name));
    if (at == NULL || *at == NULL) {
        return false;
    }
    struct name *removed = *at;
    *at = removed->next;
    set->count--;
    give(set, sizeof *removed + removed->len);
    free(removed);
    return true;
}

const struct name *name_set_next(const struct name_set *set, const struct name *name)
{
    if (name != NULL && name->next != NULL) {
        return name->next;
    }
    uint32_t i = name != NULL ? (name->hash & (set->bucket_count - 1)) + 1 : 0;
    while (i < set->bucket_count && set->buckets[i] == NULL) {
        i++;
    }
    return i < set->bucket_count ? set->buckets[i] : NULL;
}

void name_set_clear(struct name_set *set)
{
    for (uint32_t i = 0; i < set->bucket_count; i++) {
        for (struct name *n = set->buckets[i], *next; n != NULL; n = next) {
            next = n->next;
            free(n);
        }
    }
    free(set->buckets);
    held_less(set->bytes);
    *set = (struct name_set){0};
}
