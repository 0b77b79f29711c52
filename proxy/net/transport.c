#include "proxy/net/transport.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/net/sock.h"
#include "proxy/net/transport_parts.h"

/* A unix socket with a full backlog refuses at once, where TCP would try again by itself. */
#define UNIX_RETRY_MS 10u
/* How often a server that takes nothing more is looked at: well within UPSTREAM_USER_TIMEOUT_MS. */
#define FULL_CHECK_MS 500u

struct retry {
    struct transport *transport;
    struct wheel_timer timer;
    struct sockaddr_any to;
};

static void on_poll(uv_poll_t *handle, int status, int events);

void transport_watch(struct transport *t)
{
    int wanted = 0;
    if (t->connecting || t->want_write) {
        wanted |= UV_WRITABLE;
    }
    if ((t->reading || t->shaking) && !t->connecting) {
        wanted |= UV_READABLE;
    } else if (!t->hung_up && !t->connecting) {
        wanted |= UV_DISCONNECT; /* level-triggered: not again after its first report */
    }
    if (wanted == t->watched) {
        return;
    }
    t->watched = wanted;
    if (wanted == 0) {
        CHECK(uv_poll_stop(&t->poll) == 0);
    } else {
        CHECK(uv_poll_start(&t->poll, wanted, on_poll) == 0);
    }
}

static void forget_retry(struct transport *t)
{
    if (t->retry != NULL) {
        loop_disarm(t->loop, &t->retry->timer);
        free(t->retry);
        t->retry = NULL;
    }
}

void transport_report(struct transport *t, int err)
{
    t->connecting = false;
    t->shaking = t->shaking && err != 0;
    loop_disarm(t->loop, &t->deadline);
    forget_retry(t);
    if (err == 0) {
        t->reading = true;
    }
    if (t->fd >= 0) {
        transport_watch(t);
    }
    t->events->connected(t->owner, err);
}

void transport_on_deadline(struct wheel_timer *timer)
{
    struct transport *t = CONTAINER_OF(timer, struct transport, deadline);
    CHECK_MAGIC(t, TRANSPORT_MAGIC);
    if (t->connecting) {
        transport_report(t, t->connect_err);
        return;
    }
    if (t->shaking) {
        secure_shake_failed(t, -ETIMEDOUT);
        return;
    }
    transport_look_for_room(t);
    if (t->want_write) {
        loop_arm(t->loop, &t->deadline, FULL_CHECK_MS, transport_on_deadline);
    }
}

static int socket_error(const struct transport *t)
{
    int err = 0;
    socklen_t len = sizeof err;
    return getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0 ? -err : -errno;
}

static void on_poll(uv_poll_t *handle, int status, int events)
{
    struct transport *t = handle->data;
    CHECK_MAGIC(t, TRANSPORT_MAGIC);
    if (t->closed) {
        return;
    }
    if (status < 0) {
        /* libuv has stopped watching; reading and writing tell what happened, and there may be much
         * to read before the error. */
        t->broken = true;
        t->watched = 0;
        events = UV_READABLE | UV_WRITABLE | UV_DISCONNECT;
    }
    if (t->connecting) {
        int err = socket_error(t);
        if (err != 0 || t->secure == NULL) {
            transport_report(t, err);
            return;
        }
        t->connecting = false;
        t->shaking = true;
    }
    if (t->shaking) {
        /* Whoever has to wait for another turn is called again in it. */
        if (t->opened || status < 0 || loop_may_shake(t->loop)) {
            secure_shake(t);
        }
        return;
    }
    if (t->secure != NULL && t->want_write && (events & UV_WRITABLE) != 0 &&
        (!secure_flush(t) || !secure_tells_owner(t))) {
        events &= ~UV_WRITABLE;
    }
    if (t->reading && (events & UV_READABLE) != 0) {
        transport_watch(t);
        t->events->readable(t->owner);
    } else if (!t->reading && (t->watched & UV_READABLE) != 0) {
        transport_watch(t);
    } else if (!t->reading && !t->hung_up && (events & UV_DISCONNECT) != 0) {
        t->hung_up = true;
        transport_watch(t);
        t->events->hangup(t->owner);
    }
    if (!t->closed && t->want_write && (events & UV_WRITABLE) != 0) {
        t->want_write = false;
        transport_watch(t);
        t->events->writable(t->owner);
    }
}

static struct transport *transport_new(struct loop *loop, int fd,
                                       const struct transport_events *events, void *owner)
{
    struct transport *t = xcalloc(1, sizeof *t);
    t->magic = TRANSPORT_MAGIC;
    t->loop = loop;
    t->fd = fd;
    t->events = events;
    t->owner = owner;
    if (fd >= 0 && uv_poll_init(loop_uv(loop), &t->poll, fd) != 0) {
        (void)close(fd); /* epoll has no room for it */
        t->fd = -1;
    }
    t->poll.data = t;
    return t;
}

struct transport *transport_accept(struct loop *loop, int fd, const struct transport_events *events,
                                   void *owner)
{
    sock_tune_client(fd);
    struct transport *t = transport_new(loop, fd, events, owner);
    if (t->fd < 0) {
        transport_close(&t);
        return NULL;
    }
    t->reading = true;
    transport_watch(t);
    return t;
}

static int begin(int fd, const struct sockaddr_any *to)
{
    bool begun = connect(fd, (const struct sockaddr *)&to->ss, to->len) == 0;
    return begun || errno == EINPROGRESS ? 0 : -errno;
}

static void on_again(struct wheel_timer *timer)
{
    struct transport *t = CONTAINER_OF(timer, struct retry, timer)->transport;
    CHECK_MAGIC(t, TRANSPORT_MAGIC);
    int err = begin(t->fd, &t->retry->to);
    if (err == -EAGAIN) {
        loop_arm(t->loop, &t->retry->timer, UNIX_RETRY_MS, on_again);
        return;
    }
    if (err != 0) {
        transport_report(t, err);
        return;
    }
    transport_watch(t);
}

static void try_again_later(struct transport *t, const struct sockaddr_any *to)
{
    t->retry = xcalloc(1, sizeof *t->retry);
    t->retry->transport = t;
    t->retry->to = *to;
    loop_arm(t->loop, &t->retry->timer, UNIX_RETRY_MS, on_again);
}

struct transport *transport_connect(struct loop *loop, const struct sockaddr_any *to,
                                    uint64_t timeout_ms, const struct transport_events *events,
                                    void *owner)
{
    int fd = socket(to->ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int err = fd < 0 ? -errno : 0;
    if (fd >= 0) {
        sock_tune_upstream(fd);
        err = begin(fd, to);
    }
    struct transport *t = transport_new(loop, fd, events, owner);
    if (t->fd < 0 && (err == 0 || err == -EAGAIN)) {
        err = -ENOMEM;
    }
    bool full = err == -EAGAIN && to->ss.ss_family == AF_UNIX;
    err = full ? 0 : err;
    t->connect_err = err != 0 ? err : -ETIMEDOUT;
    t->connecting = t->opened = true;
    loop_arm(loop, &t->deadline, err != 0 ? 0 : timeout_ms, transport_on_deadline);
    if (full) {
        try_again_later(t, to);
    } else if (err == 0) {
        transport_watch(t);
    }
    return t;
}

bool transport_shaking(const struct transport *t)
{
    return t->shaking;
}

bool transport_error_is_local(int err)
{
    return err == -EMFILE || err == -ENFILE || err == -ENOMEM || err == -ENOBUFS ||
           err == -EADDRNOTAVAIL;
}

ssize_t transport_read(struct transport *t, char *to, size_t n)
{
    CHECK(!t->closed && n > 0);
    if (t->secure != NULL) {
        return secure_read(t, to, n);
    }
    ssize_t got;
    do {
        got = recv(t->fd, to, n, 0);
    } while (got < 0 && errno == EINTR);
    int err = errno;
    if (got > 0 && t->patient) {
        transport_look_for_room(t);
    }
    return got < 0 ? -err : got;
}

ssize_t transport_write(struct transport *t, struct iovec *iov, size_t count)
{
    CHECK(!t->closed && !t->connecting && count > 0);
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        total += iov[i].iov_len;
    }
    if (t->secure != NULL) {
        return secure_write(t, iov, count, total);
    }
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = count};
    ssize_t sent;
    do { /* one piece is the common case, and costs the kernel less without a header to copy */
        sent = count == 1 ? send(t->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL)
                          : sendmsg(t->fd, &msg, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno != EAGAIN) {
        t->broken = true;
        return -errno;
    }
    sent = sent < 0 ? 0 : sent;
    if ((size_t)sent < total) {
        t->want_write = true;
        transport_watch(t);
        transport_watch_room(t);
    }
    return sent;
}

void transport_watch_room(struct transport *t)
{
    if (t->opened && !list_on(&t->deadline.node)) {
        loop_arm(t->loop, &t->deadline, FULL_CHECK_MS, transport_on_deadline);
    }
}

void transport_look_for_room(struct transport *t)
{
    CHECK(!t->closed && t->opened);
    bool full = sock_peer_is_full(t->fd);
    if (full != t->patient) {
        t->patient = full;
        sock_give_time(t->fd, full);
    }
}

bool transport_peer(const struct transport *t, struct addr *out)
{
    struct sockaddr_any at = {.len = sizeof at.ss};
    if (getpeername(t->fd, (struct sockaddr *)&at.ss, &at.len) == 0) {
        return sockaddr_to_addr(&at, out);
    }
    return t->secure != NULL && sockaddr_to_addr(secure_from(t), out);
}

void transport_set_reading(struct transport *t, bool on)
{
    CHECK(!t->closed);
    if (t->reading != on) {
        t->reading = on;
        if (on || (t->watched & UV_READABLE) == 0) {
            transport_watch(t);
        }
        if (on && t->secure != NULL) {
            secure_go_on(t);
        }
        /* Else the kernel is told when something has come that is not to be read: mostly it is
         * wanted again before that, and nothing has to be told at all. */
    }
}

void transport_shutdown(struct transport *t)
{
    CHECK(!t->closed);
    if (t->secure != NULL) {
        secure_shutdown(t);
        return;
    }
    (void)shutdown(t->fd, SHUT_WR); /* a broken connection is found by the next read */
}

bool transport_broken(const struct transport *t)
{
    return t->broken || socket_error(t) != 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct transport *t = handle->data;
    t->magic = 0;
    secure_free(t);
    free(t);
}

void transport_close(struct transport **where)
{
    struct transport *t = *where;
    if (t == NULL) {
        return;
    }
    CHECK_MAGIC(t, TRANSPORT_MAGIC);
    CHECK(!t->closed);
    *where = NULL;
    t->closed = true;
    t->owner = NULL;
    loop_disarm(t->loop, &t->deadline);
    forget_retry(t);
    if (t->fd < 0) {
        t->magic = 0;
        secure_free(t);
        free(t);
        return;
    }
    if (t->secure != NULL) {
        secure_close(t);
    }
    uv_close((uv_handle_t *)&t->poll, on_closed);
    (void)close(t->fd); /* libuv has let go of the descriptor; its number may be used again */
    t->fd = -1;
}
