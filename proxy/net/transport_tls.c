/* The part of a transport that TLS takes: the handshake before its owner hears of anything, and
 * what is encrypted and not sent, or decrypted and not read. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "proxy/base/limits.h"
#include "proxy/net/tls.h"
#include "proxy/net/transport_parts.h"

/* Read from the socket beyond what was asked for: what records have besides their plain bytes. */
#define OVERHEAD 512u
/* The first byte of all that TLS says at first. */
#define HANDSHAKE_RECORD 0x16

struct secure {
    struct transport *transport;
    struct tls *tls;
    struct sockaddr_any from; /* of a client: one whose handshake has failed may be gone by then */
    struct leftover leftover; /* there is something to be read that the socket will not tell of */
    int err;                  /* the handshake has failed */
    bool heard;               /* something has come */
    bool plain;               /* ... of a client, and it was no TLS */
    bool wants_room;          /* the owner waits to write more, or for all to be sent */
    bool ended;               /* nothing more will be written */
    bool mute;                /* ... nor anything else sent */
    bool fin;                 /* ... and FIN is owed once the rest is sent */
};

static void on_leftover(struct leftover *leftover)
{
    struct transport *t = CONTAINER_OF(leftover, struct secure, leftover)->transport;
    CHECK_MAGIC(t, TRANSPORT_MAGIC);
    if (t->reading && tls_pending(t->secure->tls)) {
        t->events->readable(t->owner);
    }
}

void secure_go_on(struct transport *t)
{
    if (!t->shaking && !t->connecting && tls_pending(t->secure->tls)) {
        loop_leave(t->loop, &t->secure->leftover);
    }
}

static void secure(struct transport *t, struct tls_ctx *ctx, const struct addr *peer)
{
    CHECK(!t->closed && t->secure == NULL && t->opened == (peer != NULL));
    struct secure *s = t->secure = xcalloc(1, sizeof *s);
    s->transport = t;
    s->leftover.run = on_leftover;
    s->tls = tls_new(ctx, loop_tls_room(t->loop), peer);
}

void transport_secure(struct transport *t, struct tls_ctx *ctx, const struct addr *peer)
{
    if (ctx != NULL && !addr_is_unix(peer)) {
        secure(t, ctx, peer);
    }
}

void transport_secure_accepted(struct transport *t, struct tls_ctx *ctx, uint64_t timeout_ms)
{
    if (ctx != NULL) {
        secure(t, ctx, NULL);
        struct sockaddr_any *from = &t->secure->from;
        from->len = sizeof from->ss;
        (void)getpeername(t->fd, (struct sockaddr *)&from->ss, &from->len);
        t->shaking = true;
        t->connect_err = -ETIMEDOUT;
        loop_arm(t->loop, &t->deadline, timeout_ms, transport_on_deadline);
    }
}

const struct sockaddr_any *secure_from(const struct transport *t)
{
    return &t->secure->from;
}

const char *transport_error(const struct transport *t, int err)
{
    const char *words = t->secure != NULL ? tls_trouble(t->secure->tls) : NULL;
    if (words != NULL) {
        return words;
    }
    if (t->secure != NULL && err == -ETIMEDOUT && t->secure->err == err) {
        return TLS_NO_ANSWER;
    }
    words = strerrordesc_np(-err);
    return words == NULL ? "unknown error" : words;
}

/* Sends what there is: 0, also where the kernel does not take all; or a negative errno. */
static int send_out(struct transport *t)
{
    struct tls *tls = t->secure->tls;
    if (t->secure->mute) {
        tls_forget_out(tls);
    }
    for (struct slice out = tls_out(tls); out.n > 0; out = tls_out(tls)) {
        ssize_t sent = send(t->fd, out.p, out.n, MSG_NOSIGNAL);
        if (sent >= 0) {
            tls_sent(tls, (size_t)sent);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return 0;
        } else if (errno != EINTR) {
            t->broken = true;
            return -errno;
        }
    }
    return 0;
}

/* As far as there is nobody to tell: a broken connection is found by reading. Leaves the room to
 * others. */
static void settle(struct transport *t)
{
    struct secure *s = t->secure;
    bool rest = send_out(t) == 0 && tls_out(s->tls).n > 0;
    if (s->fin && !rest) {
        s->fin = false;
        (void)shutdown(t->fd, SHUT_WR);
    }
    tls_settle(s->tls);
    if (rest && !t->want_write) {
        t->want_write = true;
        transport_watch(t);
    }
}

/* Reads from the socket to where TLS looks for it: > 0, 0 at the end, or a negative errno. */
static ssize_t receive(struct transport *t, size_t n)
{
    struct tls *tls = t->secure->tls;
    char *room = tls_room_in(loop_tls_room(t->loop));
    ssize_t got;
    do {
        got = recv(t->fd, room, n < TLS_ROOM_IN ? n : TLS_ROOM_IN, 0);
    } while (got < 0 && errno == EINTR);
    if (got > 0) {
        tls_put(tls, slice_of(room, (size_t)got));
    } else if (got == 0) {
        tls_put_end(tls);
    }
    return got < 0 ? -errno : got;
}

void secure_shake_failed(struct transport *t, int err)
{
    t->secure->err = err;
    if (t->opened) {
        transport_report(t, err);
        return;
    }
    t->shaking = false;
    t->broken = true;
    loop_disarm(t->loop, &t->deadline);
    transport_watch(t);
    if (t->reading) {
        t->events->readable(t->owner);
    } else {
        t->hung_up = true;
        t->events->hangup(t->owner);
    }
}

/* Whoever speaks RESP to a port for TLS reads why that does not work. */
static void greet_plain_client(struct transport *t)
{
    static const char words[] = "-ERR This port takes TLS connections only\r\n";
    (void)send(t->fd, words, sizeof words - 1, MSG_NOSIGNAL); /* as good as it gets */
}

/* Something of the handshake, or its end, has come; as tls_handshake. */
static int shake_on(struct transport *t, ssize_t came)
{
    struct secure *s = t->secure;
    struct tls *tls = s->tls;
    if (came > 0 && !s->heard) {
        s->heard = true;
        s->plain = !t->opened && tls_room_in(loop_tls_room(t->loop))[0] != HANDSHAKE_RECORD;
    }
    int err = tls_handshake(tls);
    if (s->plain && err == -EPROTO) {
        greet_plain_client(t);
        tls_forget_out(tls); /* an alert would be no RESP */
    }
    return err;
}

void secure_shake(struct transport *t)
{
    struct secure *s = t->secure;
    int err = tls_handshake(s->tls);
    if (err == -EAGAIN) {  /* if there is more to read, it is told of again */
        (void)send_out(t); /* where it fails, what the peer said before it went tells more */
        ssize_t got = receive(t, TLS_ROOM_IN);
        err = got < 0 ? (int)got : shake_on(t, got);
    }
    t->want_write = false;
    settle(t);
    if (err == -EAGAIN) {
        transport_watch(t);
        return;
    }
    if (err != 0) {
        secure_shake_failed(t, err);
        return;
    }
    if (t->opened) {
        transport_report(t, 0);
        if (!t->closed) {
            secure_go_on(t);
        }
        return;
    }
    t->shaking = false;
    loop_disarm(t->loop, &t->deadline);
    secure_go_on(t);
    transport_watch(t);
    if (!t->want_write && secure_tells_owner(t)) {
        t->events->writable(t->owner);
    }
}

bool secure_flush(struct transport *t)
{
    t->want_write = false;
    settle(t);
    transport_watch(t);
    return !t->want_write;
}

bool secure_tells_owner(struct transport *t)
{
    bool tells = t->secure->wants_room;
    t->secure->wants_room = false;
    t->want_write = tells;
    return tells;
}

ssize_t secure_read(struct transport *t, char *to, size_t n)
{
    struct secure *s = t->secure;
    if (s->err != 0) {
        return s->err;
    }
    if (t->shaking || t->connecting) {
        return -EAGAIN;
    }
    ssize_t got = tls_read(s->tls, to, n);
    if (got == -EAGAIN) {
        ssize_t came = receive(t, n + OVERHEAD);
        got = came < 0 ? came : tls_read(s->tls, to, n);
    }
    settle(t);
    secure_go_on(t);
    if (s->wants_room && !t->want_write) { /* for want of what may have come now */
        t->want_write = true;
        transport_watch(t);
    }
    if (got > 0 && t->patient) {
        transport_look_for_room(t);
    }
    return got;
}

ssize_t secure_write(struct transport *t, const struct iovec *iov, size_t count, size_t total)
{
    struct secure *s = t->secure;
    size_t taken = 0;
    if (s->ended || s->err != 0) {
        return -EPIPE;
    }
    int err = t->shaking ? 0 : send_out(t);
    while (err == 0 && !t->shaking && taken < total && tls_out(s->tls).n == 0) {
        ssize_t n = tls_write(s->tls, iov, count, taken);
        if (n < 0) {
            err = (int)n;
        } else {
            taken += (size_t)n;
            err = send_out(t);
        }
        if (n == 0) {
            break;
        }
    }
    tls_settle(s->tls);
    if (err != 0) {
        t->broken = true;
        secure_go_on(t); /* reading tells of it, though the socket may be well */
        if (taken == 0) {
            return err;
        }
    } /* else the next call tells, if it is not found by reading before */
    if (err != 0 || taken < total || tls_out(s->tls).n > 0) {
        s->wants_room = true;
        bool starves = tls_starved(s->tls) && tls_out(s->tls).n == 0; /* room is no help */
        if (!t->shaking && !starves) {
            t->want_write = true;
            transport_watch(t);
            transport_watch_room(t);
        }
    }
    return (ssize_t)taken;
}

size_t transport_held(const struct transport *t)
{
    return t->secure != NULL ? tls_held(t->secure->tls) : 0;
}

void secure_shutdown(struct transport *t)
{
    struct secure *s = t->secure;
    if (s->ended) {
        return;
    }
    s->ended = s->fin = true;
    if (!t->shaking && !t->broken) {
        tls_end(s->tls);
    }
    settle(t);
}

void secure_close(struct transport *t)
{
    struct secure *s = t->secure;
    list_remove(&s->leftover.node);
    /* What is held stays behind: its owner counts on it. */
    if (!t->connecting && !t->shaking && !t->broken && !s->ended && tls_out(s->tls).n == 0) {
        tls_end(s->tls);
        (void)send_out(t); /* as good as it gets */
    }
    tls_settle(s->tls);
}

void transport_give_up_writing(struct transport *t)
{
    CHECK(!t->closed);
    if (t->secure != NULL) {
        t->secure->ended = t->secure->mute = true;
        tls_forget_out(t->secure->tls);
        t->secure->wants_room = t->want_write = false;
        transport_watch(t);
    }
}

void secure_free(struct transport *t)
{
    if (t->secure != NULL) {
        list_remove(&t->secure->leftover.node);
        tls_free(&t->secure->tls);
        free(t->secure);
        t->secure = NULL;
    }
}
