/* Whole, bounded replies out of a stream of bytes, wherever it is cut. A header promises nothing to
 * us: only a frame that is there whole, within the limits of proxy/base/limits.h, is parsed. */
#ifndef VEDETTE_SENTINEL_REPLY_STREAM_H
#define VEDETTE_SENTINEL_REPLY_STREAM_H

#include "proxy/base/buf.h"
#include "proxy/resp/scan.h"
#include "sentinel/reply.h"

struct reply_stream {
    struct buf in; /* append what was read */
    struct reply_scan scan;
    size_t scanned;                 /* bytes of in that scan has seen */
    size_t bytes_max, elements_max; /* of one reply; set by init, may be changed before the first */
};

enum stream_result {
    STREAM_MORE,  /* the next reply is not there whole */
    STREAM_REPLY, /* *reply is the next one; release it with reply_free */
    STREAM_BAD,   /* *why says what is wrong; the stream is of no more use */
};

/* An empty stream. A zero-initialised one needs this first. */
void reply_stream_init(struct reply_stream *s);
/* Takes the next reply off the stream as the bytes it is: valid until more are appended. */
enum stream_result reply_stream_frame(struct reply_stream *s, struct slice *frame,
                                      const char **why) NODISCARD;
/* Takes the next reply off the stream. */
enum stream_result reply_stream_next(struct reply_stream *s, struct reply **reply,
                                     const char **why) NODISCARD;
/* Drops all bytes and gives the memory back. */
void reply_stream_release(struct reply_stream *s);

#endif
