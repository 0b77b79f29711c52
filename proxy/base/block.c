#include "proxy/base/block.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/held.h"

/* Payload bytes per class: the header is part of the round size. */
static const uint32_t class_size[BLOCK_CLASSES] = {1024 - sizeof(struct block),
                                                   16384 - sizeof(struct block), 65536, 262144};
/* Cached per pool, so that a warm worker does not allocate: 1, 4, 8 and 2 MiB. */
static const size_t class_cached_max[BLOCK_CLASSES] = {1024, 256, 128, 8};

struct block *block_new(struct block_pool *pool, enum block_class cls)
{
    struct block *b = pool->free[cls];
    if (b != NULL) {
        pool->free[cls] = b->next_free;
        pool->cached[cls]--;
    } else {
        b = malloc(sizeof *b + class_size[cls]); /* not zeroed: it is written before it is read */
        CHECK(b != NULL);
        b->pool = pool;
        b->cls = cls;
        b->cap = class_size[cls];
    }
    held_more(b->cap);
    b->refs = 1;
    b->used = 0;
    b->next_free = NULL;
    return b;
}

void block_unref(struct block *b)
{
    CHECK(b->refs > 0);
    if (--b->refs > 0) {
        return;
    }
    held_less(b->cap);
    struct block_pool *pool = b->pool;
    if (pool->cached[b->cls] >= class_cached_max[b->cls]) {
        free(b);
        return;
    }
    b->next_free = pool->free[b->cls];
    pool->free[b->cls] = b;
    pool->cached[b->cls]++;
}

void block_pool_clear(struct block_pool *pool)
{
    for (size_t cls = 0; cls < BLOCK_CLASSES; cls++) {
        while (pool->free[cls] != NULL) {
            struct block *b = pool->free[cls];
            pool->free[cls] = b->next_free;
            free(b);
        }
        pool->cached[cls] = 0;
    }
}

/* Ring sizes are powers of two. */
static uint32_t slot(const struct chain *c, uint32_t i)
{
    return (c->first + i) & ((c->spans != NULL ? c->cap : CHAIN_INLINE) - 1);
}

static const struct span *span_in(const struct chain *c, uint32_t i)
{
    return &(c->spans != NULL ? c->spans : c->small)[slot(c, i)];
}

static struct span *span_at(struct chain *c, uint32_t i)
{
    return &(c->spans != NULL ? c->spans : c->small)[slot(c, i)];
}

/* Places on the heap. */
static size_t ring_size(const struct chain *c)
{
    return c->spans != NULL ? c->cap : 0;
}

static void grow(struct chain *c)
{
    uint32_t cap = c->spans != NULL ? c->cap * 2 : CHAIN_INLINE * 4;
    struct span *spans = xcalloc(cap, sizeof *spans);
    held_more((cap - ring_size(c)) * sizeof *spans);
    for (uint32_t i = 0; i < c->count; i++) {
        spans[i] = *span_at(c, i);
    }
    free(c->spans);
    c->spans = spans;
    c->cap = cap;
    c->first = 0;
}

static struct span *push(struct chain *c)
{
    if (c->count == (c->spans != NULL ? c->cap : CHAIN_INLINE)) {
        grow(c);
    }
    return span_at(c, c->count++);
}

static struct span *tail(struct chain *c)
{
    return c->count > 0 ? span_at(c, c->count - 1) : NULL;
}

static enum block_class class_for(const struct chain *c, size_t n)
{
    if (n <= class_size[BLOCK_1K] && c->len == 0) {
        return BLOCK_1K;
    }
    return n <= class_size[BLOCK_16K] && c->len < class_size[BLOCK_16K] ? BLOCK_16K : BLOCK_64K;
}

void chain_copy(struct chain *c, struct block_pool *pool, struct slice bytes)
{
    while (bytes.n > 0) {
        struct span *last = tail(c);
        /* Only a block that nobody else looks at may be written to, and only at its end. */
        bool room = last != NULL && last->block->refs == 1 &&
                    last->at + last->len == last->block->used &&
                    last->block->used < last->block->cap;
        if (!room) {
            struct block *b = block_new(pool, class_for(c, bytes.n));
            last = push(c);
            *last = (struct span){.block = b};
        }
        struct block *b = last->block;
        size_t n = b->cap - b->used < bytes.n ? b->cap - b->used : bytes.n;
        memcpy(b->data + b->used, bytes.p, n);
        b->used += (uint32_t)n;
        last->len += (uint32_t)n;
        c->len += n;
        bytes = slice_of(bytes.p + n, bytes.n - n);
    }
}

/* The bytes lie right behind those of the span. */
static bool follows(const struct span *s, const struct block *block, struct slice bytes)
{
    return s->block == block && bytes.p == block->data + s->at + s->len;
}

void chain_share(struct chain *c, struct block *block, struct slice bytes)
{
    CHECK(bytes.p >= block->data && bytes.n <= block->cap &&
          bytes.p + bytes.n <= block->data + block->cap);
    uint32_t at = (uint32_t)(bytes.p - block->data);
    struct span *last = tail(c);
    if (last != NULL && follows(last, block, bytes)) {
        last->len += (uint32_t)bytes.n;
    } else if (bytes.n > 0) {
        *push(c) = (struct span){block_ref(block), at, (uint32_t)bytes.n};
    }
    c->len += bytes.n;
}

void chain_append(struct chain *c, struct block_pool *pool, struct block *block, struct slice bytes)
{
    if (block != NULL && bytes.n >= BLOCK_REF_MIN) {
        chain_share(c, block, bytes);
    } else {
        chain_copy(c, pool, bytes);
    }
}

void chain_lend(struct chain *c, struct block_pool *pool, struct block *block, struct slice bytes)
{
    if (block != NULL &&
        (c->count < CHAIN_INLINE || bytes.n >= BLOCK_REF_MIN || follows(tail(c), block, bytes))) {
        chain_share(c, block, bytes);
    } else {
        chain_copy(c, pool, bytes);
    }
}

static bool pins_too_much(const struct span *s)
{
    return s->block->cls == BLOCK_256K && s->len < s->block->cap / 4;
}

void chain_settle(struct chain *c, struct block_pool *pool)
{
    uint32_t settled = c->count;
    bool any = false;
    while (settled > 0 && span_at(c, settled - 1)->block->cls == BLOCK_256K) {
        any = any || pins_too_much(span_at(c, settled - 1));
        settled--;
    }
    if (!any) {
        return;
    }
    struct chain lent = {0};
    for (uint32_t i = settled; i < c->count; i++) {
        const struct span *s = span_at(c, i);
        *push(&lent) = *s;
        lent.len += s->len;
    }
    c->count = settled;
    c->len -= lent.len;
    for (uint32_t i = 0; i < lent.count; i++) {
        const struct span *s = span_at(&lent, i);
        struct slice bytes = slice_of(s->block->data + s->at, s->len);
        if (pins_too_much(s)) {
            chain_copy(c, pool, bytes);
        } else {
            chain_share(c, s->block, bytes);
        }
    }
    chain_clear(&lent);
}

void chain_consume(struct chain *c, size_t n)
{
    CHECK(n <= c->len);
    c->len -= n;
    while (n > 0) {
        struct span *head = span_at(c, 0);
        if (n < head->len) {
            head->at += (uint32_t)n;
            head->len -= (uint32_t)n;
            return;
        }
        n -= head->len;
        block_unref(head->block);
        *head = (struct span){0};
        c->first = slot(c, 1);
        c->count--;
    }
}

void chain_cut(struct chain *c, size_t from, size_t to)
{
    CHECK(from <= to && to <= c->len);
    struct chain rest = {0};
    size_t at = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        const struct span *s = span_at(c, i);
        size_t before = from > at ? from - at : 0, behind = to > at ? to - at : 0;
        before = before < s->len ? before : s->len;
        behind = behind < s->len ? behind : s->len;
        const char *bytes = s->block->data + s->at;
        chain_share(&rest, s->block, slice_of(bytes, before));
        chain_share(&rest, s->block, slice_of(bytes + behind, s->len - behind));
        at += s->len;
    }
    chain_clear(c);
    for (uint32_t i = 0; i < rest.count; i++) {
        const struct span *s = span_at(&rest, i);
        chain_share(c, s->block, slice_of(s->block->data + s->at, s->len));
    }
    chain_clear(&rest);
}

size_t chain_iov(const struct chain *c, size_t from, size_t to, struct iovec *iov, size_t max)
{
    CHECK(from <= to && to <= c->len);
    size_t used = 0;
    for (uint32_t i = 0; i < c->count && used < max && from < to; i++) {
        const struct span *s = span_in(c, i);
        if (from >= s->len) {
            from -= s->len;
            to -= s->len;
            continue;
        }
        size_t n = (to < s->len ? to : s->len) - from;
        iov[used++] = (struct iovec){s->block->data + s->at + from, n};
        to -= to < s->len ? to : s->len;
        from = 0;
    }
    return used;
}

void chain_peek(const struct chain *c, size_t from, size_t n, char *to)
{
    CHECK(from + n <= c->len);
    for (uint32_t i = 0; i < c->count && n > 0; i++) {
        const struct span *s = span_in(c, i);
        if (from >= s->len) {
            from -= s->len;
            continue;
        }
        size_t part = s->len - from < n ? s->len - from : n;
        memcpy(to, s->block->data + s->at + from, part);
        to += part;
        n -= part;
        from = 0;
    }
}

void chain_clear(struct chain *c)
{
    chain_consume(c, c->len);
    held_less(ring_size(c) * sizeof *c->spans);
    free(c->spans);
    *c = (struct chain){0};
}
