/* Refcounted byte blocks and chains of views into them: how payload travels from one socket to the
 * other with at most one copy. A pool and all its blocks belong to one thread. */
#ifndef VEDETTE_BASE_BLOCK_H
#define VEDETTE_BASE_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "proxy/base/slice.h"

/* A chain that holds little uses a small block, so that ten thousand waiting requests are cheap. */
enum block_class {
    BLOCK_1K,
    BLOCK_16K,
    BLOCK_64K,
    BLOCK_256K, /* what servers send is read into these */
    BLOCK_CLASSES,
};

/* Requests from here on are referenced where they were read instead of being copied: a quarter of a
 * 64 KiB block, so that bytes that wait never pin more than four times their own size. */
#define BLOCK_REF_MIN ((size_t)16 * 1024)

struct block {
    struct block *next_free;
    struct block_pool *pool;
    uint32_t refs, cap, used;
    enum block_class cls;
    char data[];
};

struct block_pool {
    struct block *free[BLOCK_CLASSES];
    size_t cached[BLOCK_CLASSES];
};

struct block *block_new(struct block_pool *pool, enum block_class cls);
static inline struct block *block_ref(struct block *b)
{
    b->refs++;
    return b;
}
void block_unref(struct block *b);
/* Frees what is cached. All blocks must have been given back. */
void block_pool_clear(struct block_pool *pool);

struct span {
    struct block *block;
    uint32_t at, len;
};

#define CHAIN_INLINE 2u /* a power of two */

/* A byte queue made of spans. Zero-initialised is empty. Not to be copied or moved: it may point
 * into itself. */
struct chain {
    struct span *spans; /* ring; NULL: the inline ones */
    uint32_t cap, first, count;
    size_t len; /* bytes in all spans */
    struct span small[CHAIN_INLINE];
};

/* Appends a copy of bytes. */
void chain_copy(struct chain *c, struct block_pool *pool, struct slice bytes);
/* Appends a view of bytes that lie inside block->data, with a reference of its own. */
void chain_share(struct chain *c, struct block *block, struct slice bytes);
/* chain_share where it is the cheaper one, else chain_copy. block may be NULL: bytes lie elsewhere.
 */
void chain_append(struct chain *c, struct block_pool *pool, struct block *block,
                  struct slice bytes);
/* As chain_append for bytes that most likely leave within this turn: also a view of a few bytes, as
 * long as the chain has room for it. Call chain_settle on what stays. */
void chain_lend(struct chain *c, struct block_pool *pool, struct block *block, struct slice bytes);
/* Copies views of less than a quarter of their block: they would pin all of it while they wait. */
void chain_settle(struct chain *c, struct block_pool *pool);
/* Drops the first n bytes, n <= c->len. */
void chain_consume(struct chain *c, size_t n);
/* Takes the bytes [from, to) out of the middle. */
void chain_cut(struct chain *c, size_t from, size_t to);
/* Describes up to max pieces of the bytes [from, to) of the chain; returns how many. */
size_t chain_iov(const struct chain *c, size_t from, size_t to, struct iovec *iov, size_t max);
/* Copies the bytes [from, from + n) to `to`. */
void chain_peek(const struct chain *c, size_t from, size_t n, char *to);
/* Drops everything, and the memory of the ring. */
void chain_clear(struct chain *c);

#endif
