#ifndef VEDETTE_TESTS_BENCH_LOAD_WORK_H
#define VEDETTE_TESTS_BENCH_LOAD_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is asked and what must be answered. Every reply is known to the byte in advance: the value
 * of a key is its number, in eight digits, and padding. So a reply that belongs to another request
 * is noticed, not only one of the wrong type. */

enum work_mix { MIX_GET, MIX_SET, MIX_90, MIX_MANY, MIX_TX, MIX_SELECT, MIX_PUBLISH, MIX_COUNT };

enum {
    WORK_MANY = 10,     /* keys of an MSET or MGET */
    WORK_UNIT_MAX = 4,  /* replies of one unit: a transaction */
    WORK_VALUE_MIN = 8, /* a value has room for its key's number */
};

/* A reply: `head`, then `bulks` values of keys from `key` on. */
struct reply {
    const char *head;
    uint32_t head_size;
    uint32_t key;
    uint32_t bulks;
};

struct work {
    enum work_mix mix;
    uint32_t keys;
    size_t size;   /* of a value */
    uint64_t seed; /* of the next choice */
    char *padding; /* the end of each value, and \r\n */
    char (*digits)[WORK_VALUE_MIN];
    char bulk_head[32]; /* $SIZE\r\n */
    uint32_t bulk_head_size;
    struct reply published;
    struct reply subscribed;
    struct reply message;
};

/* false: no mix of that name. */
bool work_mix_named(const char *name, enum work_mix *mix);
void work_init(struct work *w, enum work_mix mix, uint32_t keys, size_t size, uint32_t readers);
void work_free(struct work *w);

/* Bytes that work_unit writes at most. */
size_t work_unit_size(const struct work *w);

/* Writes the next request, or the few that go together, to `out`, and what must be answered to
 * `replies`; *count of them. Returns the bytes written. */
size_t work_unit(struct work *w, char *out, struct reply *replies, uint32_t *count);

/* The request that makes a reader of the published messages. */
extern const char work_subscribe[];

enum match { MATCH_WHOLE, MATCH_PART, MATCH_WRONG };

/* Compares what has arrived, from *at on in the reply, and moves *at; *used bytes are of this
 * reply.
 */
enum match work_match(const struct work *w, const struct reply *reply, size_t *at, const char *data,
                      size_t size, size_t *used);

#endif
