#include "sentinel/wire.h"

#include <errno.h>
#include <string.h>

#include "proxy/base/limits.h"
#include "proxy/resp/emit.h"

#define WIRE_READ ((size_t)16 * 1024)

static void lose(struct wire *w, const char *why)
{
    const struct wire_events *events = w->events;
    void *owner = w->owner;
    wire_close(w);
    events->lost(owner, why);
}

/* The peer sent what we can't or won't read. */
static void lose_unreadable(struct wire *w, const char *why)
{
    w->unreadable = true;
    lose(w, why);
}

static const char *error_words(ssize_t err)
{
    const char *words = strerrordesc_np((int)-err);
    return words == NULL ? "unknown error" : words;
}

static void on_connected(void *owner, int err)
{
    struct wire *w = owner;
    if (err != 0) {
        lose(w, error_words(err));
        return;
    }
    w->open = true;
    wire_flush(w);
    w->events->opened(w->owner);
}

/* Hands over one whole frame at the head of in. False when the wire must not be touched again. */
static bool take_frame(struct wire *w, size_t length)
{
    struct reply *reply = reply_parse(slice_of(buf_head(&w->in), length));
    if (reply == NULL) {
        lose_unreadable(w, "the answer is not RESP2");
        return false;
    }
    buf_consume(&w->in, length);
    w->scanned = 0;
    reply_scan_reset(&w->scan, SENTINEL_REPLY_ELEMENTS_MAX);
    bool gone = false;
    w->gone = &gone;
    w->events->reply(w->owner, reply);
    reply_free(&reply);
    if (gone) {
        return false;
    }
    w->gone = NULL;
    return true;
}

static void take_frames(struct wire *w)
{
    while (w->scanned < buf_len(&w->in)) {
        struct slice rest = slice_of(buf_head(&w->in) + w->scanned, buf_len(&w->in) - w->scanned);
        size_t used = 0;
        enum scan_result result = reply_scan_feed(&w->scan, rest, &used);
        w->scanned += used;
        if (result == SCAN_ERROR) {
            lose_unreadable(w, "the answer is not RESP, or has too many elements");
            return;
        }
        if (w->scanned > SENTINEL_REPLY_MAX) {
            lose_unreadable(w, "the answer is too long");
            return;
        }
        if (result == SCAN_DONE && !take_frame(w, w->scanned)) {
            return;
        }
    }
}

static void on_readable(void *owner)
{
    struct wire *w = owner;
    char *to = buf_reserve(&w->in, WIRE_READ);
    ssize_t n = transport_read(w->transport, to, WIRE_READ);
    if (n == -EAGAIN) {
        return;
    }
    if (n <= 0) {
        lose(w, n == 0 ? "the peer closed the connection" : error_words(n));
        return;
    }
    buf_commit(&w->in, (size_t)n);
    take_frames(w);
}

static void on_writable(void *owner)
{
    wire_flush(owner);
}

static void on_hangup(void *owner)
{
    (void)owner; /* reading is always on */
}

void wire_open(struct wire *w, struct loop *loop, const struct sockaddr_any *to,
               uint64_t timeout_ms, const struct wire_events *events, void *owner)
{
    static const struct transport_events transport_events = {on_connected, on_readable, on_writable,
                                                             on_hangup};
    CHECK(w->transport == NULL);
    w->events = events;
    w->owner = owner;
    w->unreadable = false;
    reply_scan_reset(&w->scan, SENTINEL_REPLY_ELEMENTS_MAX);
    w->transport = transport_connect(loop, to, timeout_ms, &transport_events, w);
}

void wire_flush(struct wire *w)
{
    if (!w->open || buf_len(&w->out) == 0) {
        return;
    }
    /* sendmsg does not write through it. */
    struct iovec iov = {.iov_len = buf_len(&w->out)};
    const char *head = buf_head(&w->out);
    memcpy(&iov.iov_base, &head, sizeof head);
    ssize_t sent = transport_write(w->transport, &iov, 1);
    if (sent > 0) {
        buf_consume(&w->out, (size_t)sent);
    } else if (sent < 0) {
        buf_release(&w->out); /* the read that follows tells the owner */
    }
}

void wire_close(struct wire *w)
{
    if (w->gone != NULL) {
        *w->gone = true;
        w->gone = NULL;
    }
    transport_close(&w->transport);
    w->open = false;
    w->scanned = 0;
    buf_wipe(&w->out); /* it may hold an AUTH */
    buf_release(&w->in);
}

bool wire_put_auth(struct wire *w, const char *user, const char *password)
{
    if (password == NULL) {
        return false;
    }
    if (user == NULL) {
        emit_words(&w->out, "AUTH", password, NULL);
    } else {
        emit_words(&w->out, "AUTH", user, password, NULL);
    }
    return true;
}
