#include "proxy/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/held.h"

#define BUF_MIN 256u
#define BUF_MAX ((size_t)1 << 30)

char *buf_reserve(struct buf *b, size_t n)
{
    size_t len = buf_len(b);
    CHECK(n <= BUF_MAX && len <= BUF_MAX);
    if (b->data != NULL && b->cap - b->end >= n) {
        return b->data + b->end;
    }
    if (b->data != NULL && b->begin > 0 && b->cap - len >= n && b->begin >= len) {
        memmove(b->data, b->data + b->begin, len);
    } else {
        size_t cap = b->cap > BUF_MIN ? b->cap : BUF_MIN;
        while (cap - len < n) {
            cap *= 2;
        }
        char *grown = xcalloc(1, cap);
        held_more(cap - b->cap);
        if (b->data != NULL) {
            memcpy(grown, b->data + b->begin, len);
            secure_wipe(b->data, b->cap); /* it may be one that is to be wiped in the end */
        }
        free(b->data);
        b->data = grown;
        b->cap = (uint32_t)cap;
    }
    b->begin = 0;
    b->end = (uint32_t)len;
    return b->data + b->end;
}

void buf_commit(struct buf *b, size_t n)
{
    CHECK(n <= (size_t)b->cap - b->end);
    b->end += (uint32_t)n;
}

void buf_append(struct buf *b, struct slice bytes)
{
    if (bytes.n > 0) {
        memcpy(buf_reserve(b, bytes.n), bytes.p, bytes.n);
        buf_commit(b, bytes.n);
    }
}

void buf_append_str(struct buf *b, const char *s)
{
    buf_append(b, slice_str(s));
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    CHECK(n >= 0);
    char *at = buf_reserve(b, (size_t)n + 1);
    va_start(args, fmt);
    (void)vsnprintf(at, (size_t)n + 1, fmt, args);
    va_end(args);
    buf_commit(b, (size_t)n);
}

void buf_consume(struct buf *b, size_t n)
{
    CHECK(n <= buf_len(b));
    b->begin += (uint32_t)n;
    if (b->begin == b->end) {
        b->begin = b->end = 0;
    }
}

void buf_release(struct buf *b)
{
    held_less(b->cap);
    free(b->data);
    *b = (struct buf){0};
}

void buf_wipe(struct buf *b)
{
    if (b->data != NULL) {
        secure_wipe(b->data, b->cap);
    }
    buf_release(b);
}
