#include "sentinel/reply_stream.h"

#include "proxy/base/limits.h"

void reply_stream_init(struct reply_stream *s)
{
    *s = (struct reply_stream){.bytes_max = SENTINEL_REPLY_MAX,
                               .elements_max = SENTINEL_REPLY_ELEMENTS_MAX};
    reply_scan_reset(&s->scan, s->elements_max);
}

enum stream_result reply_stream_frame(struct reply_stream *s, struct slice *frame, const char **why)
{
    size_t length = buf_len(&s->in), used = 0;
    if (s->scanned == length) {
        return STREAM_MORE;
    }
    if (s->scanned == 0) {
        reply_scan_reset(&s->scan, s->elements_max);
    }
    struct slice rest = slice_of(buf_head(&s->in) + s->scanned, length - s->scanned);
    enum scan_result result = reply_scan_feed(&s->scan, rest, &used);
    s->scanned += used;
    if (result == SCAN_ERROR) {
        *why = "the answer is not RESP, or has too many elements";
        return STREAM_BAD;
    }
    if (s->scanned > s->bytes_max) {
        *why = "the answer is too long";
        return STREAM_BAD;
    }
    if (result == SCAN_MORE) {
        return STREAM_MORE;
    }
    *frame = slice_of(buf_head(&s->in), s->scanned);
    buf_consume(&s->in, s->scanned);
    s->scanned = 0;
    return STREAM_REPLY;
}

enum stream_result reply_stream_next(struct reply_stream *s, struct reply **reply, const char **why)
{
    struct slice frame;
    enum stream_result result = reply_stream_frame(s, &frame, why);
    if (result != STREAM_REPLY) {
        return result;
    }
    *reply = reply_parse(frame);
    if (*reply == NULL) {
        *why = "the answer is not RESP2";
        return STREAM_BAD;
    }
    return STREAM_REPLY;
}

void reply_stream_release(struct reply_stream *s)
{
    buf_release(&s->in);
    reply_stream_init(s);
}
