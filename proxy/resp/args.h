/* The first arguments of a whole request frame. */
#ifndef VEDETTE_RESP_ARGS_H
#define VEDETTE_RESP_ARGS_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/buf.h"
#include "proxy/base/slice.h"

#define ARGS_KEPT 8 /* HELLO 3 AUTH user password SETNAME name is 7 */

struct args {
    uint32_t count; /* of the whole request */
    uint32_t kept;  /* how many of v are set: min(count, ARGS_KEPT) */
    struct slice v[ARGS_KEPT];
    char *storage;       /* owned: the unescaped words of an inline request; NULL otherwise */
    size_t storage_size; /* wiped by args_free: a word may be a password */
};

enum args_result {
    ARGS_OK,
    ARGS_EMPTY,      /* no request: an inline line without a word, `*0`, `*-1` */
    ARGS_UNBALANCED, /* an inline line with unbalanced quotes */
};

/* Arguments of a frame that request_scan_feed found whole (its bytes contiguous). The
 * slices point into the frame or into storage, and live as long as both. Inline lines are split as
 * Redis's sdssplitargs does (Redis 7.0.15 sds.c): "..." with \n \r \t \b \a \xHH escapes, '...'
 * with \'. Call args_free afterwards, whatever the result. */
enum args_result args_parse(struct slice frame, struct args *out) NODISCARD;
void args_free(struct args *a);

/* The argument whose header begins at `at` in a frame that request_scan_feed has seen so much of,
 * if all of it is there. */
bool args_begun(struct slice begun, size_t at, struct slice *arg) NODISCARD;

/* Writes the request anew without its arguments [1, 1 + skip), of which there are that many. */
void args_without(struct slice frame, uint32_t skip, struct buf *out);

/* All arguments of a whole frame that begins with '*', one after another. */
struct args_walk {
    const char *p, *end;
    uint32_t left; /* how many are still to come */
};
/* False for an inline frame. */
bool args_walk_begin(struct args_walk *w, struct slice frame) NODISCARD;
/* False when there are no more. */
bool args_walk_next(struct args_walk *w, struct slice *arg) NODISCARD;

/* True for an inline frame that every server splits alike: printable words, one space between
 * them, no quotes or backslashes, CR LF at the end. */
bool args_inline_plain(struct slice frame);

#endif
