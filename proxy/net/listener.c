#include "proxy/net/listener.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/base/limits.h"
#include "proxy/base/log.h"
#include "proxy/net/loop_uv.h"
#include "proxy/net/unix_path.h"

#define LISTENER_MAGIC 0x115e0003u
#define BACKLOG        1024

struct listener {
    uint32_t magic;
    struct loop *loop;
    int fd;
    uv_poll_t poll;
    struct wheel_timer pause;
    bool closed;
    struct unix_path file; /* of a unix socket */
    void (*accepted)(void *owner, int fd);
    void *owner;
};

static void on_poll(uv_poll_t *handle, int status, int events);

static void resume(struct listener *l)
{
    CHECK(uv_poll_start(&l->poll, UV_READABLE, on_poll) == 0);
}

static void on_pause_over(struct wheel_timer *timer)
{
    struct listener *l = CONTAINER_OF(timer, struct listener, pause);
    CHECK_MAGIC(l, LISTENER_MAGIC);
    resume(l);
}

/* Out of descriptors or memory: the waiting client stays in the backlog, and polling on would only
 * spin. */
static void take_a_pause(struct listener *l, int err)
{
    log_limited(LOG_ERROR, "accept-failed", "error=%s retry-ms=%u",
                log_quote(slice_str(uv_strerror(err))), ACCEPT_PAUSE_MS);
    CHECK(uv_poll_stop(&l->poll) == 0);
    loop_arm(l->loop, &l->pause, ACCEPT_PAUSE_MS, on_pause_over);
}

static void on_poll(uv_poll_t *handle, int status, int events)
{
    (void)events;
    struct listener *l = handle->data;
    CHECK_MAGIC(l, LISTENER_MAGIC);
    if (status < 0) {
        take_a_pause(l, status);
        return;
    }
    for (unsigned i = 0; i < ACCEPTS_PER_TURN && !l->closed; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            l->accepted(l->owner, fd);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            take_a_pause(l, -errno);
            return;
        } /* else: that one connection is gone already */
    }
}

static int open_socket(const struct sockaddr_any *at)
{
    int fd = socket(at->ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    int on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        (at->ss.ss_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) != 0) ||
        bind(fd, (const struct sockaddr *)&at->ss, at->len) != 0 || listen(fd, BACKLOG) != 0) {
        int err = -errno;
        (void)close(fd);
        return err;
    }
    return fd;
}

static struct listener *watch(struct loop *loop, int fd, void (*accepted)(void *owner, int fd),
                              void *owner)
{
    struct listener *l = xcalloc(1, sizeof *l);
    l->magic = LISTENER_MAGIC;
    l->loop = loop;
    l->fd = fd;
    l->accepted = accepted;
    l->owner = owner;
    CHECK(uv_poll_init(loop_uv(loop), &l->poll, fd) == 0);
    l->poll.data = l;
    resume(l);
    return l;
}

struct listener *listener_open(struct loop *loop, const struct sockaddr_any *at,
                               void (*accepted)(void *owner, int fd), void *owner, int *err)
{
    int fd = open_socket(at);
    *err = fd < 0 ? fd : 0;
    return fd < 0 ? NULL : watch(loop, fd, accepted, owner);
}

struct listener *listener_open_unix(struct loop *loop, const struct sockaddr_any *at, uint32_t mode,
                                    void (*accepted)(void *owner, int fd), void *owner,
                                    const char **problem)
{
    struct unix_path file;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    *problem = fd < 0 ? uv_strerror(-errno) : unix_path_listen(fd, at, mode, BACKLOG, &file);
    if (*problem != NULL) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return NULL;
    }
    struct listener *l = watch(loop, fd, accepted, owner);
    l->file = file;
    return l;
}

const char *listener_give(const struct listener *l, uid_t uid, gid_t gid)
{
    return l->file.path[0] == '\0' ? NULL : unix_path_give(&l->file, uid, gid);
}

uint16_t listener_port(const struct listener *l)
{
    struct sockaddr_any at = {.len = sizeof at.ss};
    struct addr addr;
    CHECK(getsockname(l->fd, (struct sockaddr *)&at.ss, &at.len) == 0);
    return sockaddr_to_addr(&at, &addr) ? addr.port : 0;
}

static void on_closed(uv_handle_t *handle)
{
    struct listener *l = handle->data;
    l->magic = 0;
    free(l);
}

void listener_close(struct listener **where)
{
    struct listener *l = *where;
    if (l == NULL) {
        return;
    }
    CHECK_MAGIC(l, LISTENER_MAGIC);
    *where = NULL;
    l->closed = true;
    loop_disarm(l->loop, &l->pause);
    unix_path_remove(&l->file); /* while nobody else can be listening there */
    uv_close((uv_handle_t *)&l->poll, on_closed);
    (void)close(l->fd);
}
