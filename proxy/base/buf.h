/* A contiguous, growing byte buffer: bytes are appended at the end and consumed at the front. */
#ifndef VEDETTE_BASE_BUF_H
#define VEDETTE_BASE_BUF_H

#include <stddef.h>

#include "proxy/base/slice.h"

/* Holds up to 1 GiB. Zero-initialised is empty and owns nothing. */
struct buf {
    char *data;
    uint32_t begin, end,
        cap; /* live bytes are data[begin, end); idle sessions own several of these */
};

static inline size_t buf_len(const struct buf *b)
{
    return (size_t)b->end - b->begin;
}

static inline const char *buf_head(const struct buf *b)
{
    return b->data == NULL ? NULL : b->data + b->begin;
}

static inline struct slice buf_slice(const struct buf *b)
{
    return slice_of(buf_head(b), buf_len(b));
}

/* Room for at least n more bytes; returns where to write them. Follow with buf_commit. Pointers
 * from before are invalid. */
char *buf_reserve(struct buf *b, size_t n);
/* n bytes, at most what was reserved, were written at the place buf_reserve gave. */
void buf_commit(struct buf *b, size_t n);
void buf_append(struct buf *b, struct slice bytes);
void buf_append_str(struct buf *b, const char *s);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Drops the first n bytes, n <= buf_len. An emptied buffer keeps its memory: see buf_release. */
void buf_consume(struct buf *b, size_t n);
/* Drops everything and gives the memory back. */
void buf_release(struct buf *b);
/* As buf_release, and the memory is overwritten first. */
void buf_wipe(struct buf *b);

#endif
