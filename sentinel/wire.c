#include "sentinel/wire.h"

#include <errno.h>
#include <string.h>

#include "config/secret.h"
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

static void on_connected(void *owner, int err)
{
    struct wire *w = owner;
    if (err != 0) {
        w->local = transport_error_is_local(err);
        w->untrusted = transport_shaking(w->transport);
        lose(w, transport_error(w->transport, err));
        return;
    }
    w->open = true;
    wire_flush(w);
    w->events->opened(w->owner);
}

/* The next reply in the form that the owner wants it in. */
static enum stream_result next_reply(struct wire *w, struct reply **reply, struct slice *frame,
                                     const char **why)
{
    return w->events->frame != NULL ? reply_stream_frame(&w->in, frame, why)
                                    : reply_stream_next(&w->in, reply, why);
}

/* Hands over all whole replies; the wire may be gone afterwards. */
static void hand_over(struct wire *w)
{
    bool gone = false;
    while (!gone) {
        struct reply *reply = NULL;
        struct slice frame = {0};
        const char *why = NULL;
        switch (next_reply(w, &reply, &frame, &why)) {
        case STREAM_MORE: return;
        case STREAM_BAD:
            w->unreadable = true;
            lose(w, why);
            return;
        case STREAM_REPLY:
            w->gone = &gone;
            if (reply != NULL) {
                w->events->reply(w->owner, reply);
            } else {
                w->events->frame(w->owner, frame);
            }
            reply_free(&reply);
            break;
        }
        if (!gone) {
            w->gone = NULL;
        }
    }
}

static void on_readable(void *owner)
{
    struct wire *w = owner;
    char *to = buf_reserve(&w->in.in, WIRE_READ);
    ssize_t n = transport_read(w->transport, to, WIRE_READ);
    if (n == -EAGAIN) {
        return;
    }
    if (n <= 0) {
        w->untrusted = n == -EPROTO;
        /* Which of the two a closing peer sends is chance. */
        lose(w, n == 0 || n == -ECONNRESET ? "the peer closed the connection"
                                           : transport_error(w->transport, (int)n));
        return;
    }
    buf_commit(&w->in.in, (size_t)n);
    hand_over(w);
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
    w->unreadable = w->local = w->untrusted = false;
    reply_stream_init(&w->in);
    if (events->frame != NULL) {
        w->in.bytes_max = COMMANDS_REPLY_MAX;
        w->in.elements_max = COMMANDS_ELEMENTS_MAX;
    }
    w->transport = transport_connect(loop, to, timeout_ms, &transport_events, w);
}

void wire_secure(struct wire *w, struct tls_ctx *ctx, const struct addr *peer)
{
    transport_secure(w->transport, ctx, peer);
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
    }
    /* After an error the read that follows tells the owner. */
    if (sent < 0 || (w->has_secret && buf_len(&w->out) == 0)) {
        buf_wipe(&w->out);
        w->has_secret = false;
    }
}

void wire_close(struct wire *w)
{
    if (w->gone != NULL) {
        *w->gone = true;
        w->gone = NULL;
    }
    transport_close(&w->transport);
    w->open = w->let_in = false;
    w->secret = NULL;
    w->auths = 0;
    buf_wipe(&w->out); /* it may hold an AUTH */
    reply_stream_release(&w->in);
}

size_t wire_put_auth(struct wire *w, const char *user, struct secret *secret)
{
    struct passwords passwords;
    if (secret == NULL) {
        return 0;
    }
    w->has_secret = true;
    w->secret = secret;
    w->secret_version = secret_version(secret); /* before: at worst it is asked once too often */
    secret_passwords(secret, &passwords);
    w->auths = passwords.count;
    for (size_t i = 0; i < w->auths; i++) {
        if (user == NULL) {
            emit_words(&w->out, "AUTH", passwords.v[i], NULL);
        } else {
            emit_words(&w->out, "AUTH", user, passwords.v[i], NULL);
        }
    }
    passwords_wipe(&passwords);
    return w->auths;
}

enum wire_auth wire_take_auth(struct wire *w, bool accepted)
{
    CHECK(w->auths > 0);
    bool before = w->let_in;
    w->auths--;
    w->let_in = before || accepted;
    if (w->let_in) {
        return before ? WIRE_AUTH_MORE : WIRE_AUTH_LET_IN;
    }
    return w->auths > 0 ? WIRE_AUTH_MORE : WIRE_AUTH_REFUSED;
}

bool wire_auth_outdated(const struct wire *w)
{
    return w->secret != NULL && w->auths == 0 && !w->let_in &&
           secret_version(w->secret) != w->secret_version;
}
