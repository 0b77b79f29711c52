/* Framing of RESP2, RESP3 and inline commands where the bytes lie: resumable at every byte, no
 * allocation, each byte looked at once, bulk bodies passed over by count. Sources: the RESP
 * specification (redis.io/docs/reference/protocol-spec) and Redis 7.0.15 networking.c
 * (processInlineBuffer, processMultibulkBuffer), whose tolerances and words are kept. */
#ifndef VEDETTE_RESP_SCAN_H
#define VEDETTE_RESP_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/slice.h"

enum scan_result {
    SCAN_MORE,  /* all bytes were used, the frame goes on */
    SCAN_DONE,  /* the frame ends after *used bytes */
    SCAN_ERROR, /* not RESP: see request_scan_error; the scanner is of no more use */
};

#define SCAN_ERROR_MAX 96 /* bytes of an error text with its NUL */

/* A request as clients send it. Treat the fields under "progress" as private. */
struct request_scan {
    uint64_t length;  /* bytes of this frame seen so far */
    uint64_t name_at; /* the name's place, from the first byte of the frame */
    uint32_t name_len;
    uint32_t argc;  /* arguments promised by the header; 0 for inline and empty ones */
    bool is_inline; /* does not begin with '*' */
    bool empty;     /* when done: no request at all (`*0`, `*-1`, a blank line); no reply follows */
    bool name_known; /* the first argument was seen whole; always false for inline */
    /* A line or a bulk body did not end in CR LF where it has to: Redis passes such bytes unread,
     * so the frame is valid, but another server may think otherwise. False for inline. */
    bool odd;
    /* Set by the owner and kept by reset: Redis's limits for clients that have yet to AUTH (10
     * arguments, 16 KiB each). */
    bool unauthenticated;
    bool first; /* set by the owner: the first frame of its connection, which may be no RESP but TLS
                 */
    /* progress */
    uint8_t state, error;
    char error_char;
    bool negative, bad_number;
    uint8_t digits;
    uint32_t args_left, line;
    uint64_t number, skip;
};

/* Ready for the first byte of a frame. Zero-initialised is the same. */
void request_scan_reset(struct request_scan *s);
/* Looks at the next bytes of the stream. *used says how many belong to this frame: all of them on
 * SCAN_MORE. After SCAN_DONE reset before the next frame. An inline frame ends with its LF.
 * Limits: INLINE_MAX, HEADER_LINE_MAX, REQUEST_ARGS_MAX, BULK_MAX of proxy/base/limits.h. As Redis
 * does, the byte behind the CR of a header and the two behind a bulk body are not verified (see
 * odd), and a header or inline line with a NUL never ends: it runs into its limit. */
enum scan_result request_scan_feed(struct request_scan *s, struct slice bytes,
                                   size_t *used) NODISCARD;
/* After SCAN_ERROR: Redis's own words, for example "Protocol error: invalid bulk length", without
 * the leading "-ERR " and without CR LF. out has SCAN_ERROR_MAX bytes; returns out. */
const char *request_scan_error(const struct request_scan *s, char *out);

/* One whole request in the common form (a canonical count, lengths and CR LFs) that lies in [p,
 * end): the place behind it, and its name. NULL: for anything else, request_scan_feed knows what.
 * It takes nothing that request_scan_feed does not, for a client that is authenticated. */
const char *request_whole(const char *p, const char *end, struct slice *name) NODISCARD;

/* A reply as servers send it: every RESP2 and RESP3 type, pushes, attributes (which belong to the
 * reply they precede). */
struct reply_scan {
    uint64_t length; /* bytes of this reply seen so far */
    char type;       /* first byte of the reply behind any attributes; 0 while unknown */
    /* progress */
    uint8_t state;
    char line_type;
    bool negative;
    uint8_t digits;
    uint64_t number, skip;
    uint64_t elements_left; /* values still to come in this reply, however nested */
    uint64_t elements_max;
    uint64_t elements_seen;
};

/* Ready for the first byte of a reply. elements_max bounds the values in one reply, all levels
 * together and itself included (a header that promises more is an error); at least 1. */
void reply_scan_reset(struct reply_scan *s, uint64_t elements_max);
/* As request_scan_feed. SCAN_ERROR: the peer does not speak RESP (streamed types `$?` `*?` too,
 * which no Redis or Valkey sends). Texts and bulk bodies have no limit of their own: they are only
 * passed over, and the caller sees their length grow. */
enum scan_result reply_scan_feed(struct reply_scan *s, struct slice bytes, size_t *used) NODISCARD;
/* After SCAN_DONE: one more value belongs to the reply than its header said. */
void reply_scan_extend(struct reply_scan *s);
/* One whole reply that is no error, push, attribute or aggregate and lies in [p, end): the place
 * behind it. NULL: for anything else, reply_scan_feed knows what. */
const char *reply_whole(const char *p, const char *end) NODISCARD;

#endif
