#include "proxy/net/arrival.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/base/list.h"
#include "proxy/net/loop_uv.h"
#include "proxy/net/proxy_header.h"

#define ARRIVAL_MAGIC 0xa441000au
/* Most headers come whole in one such piece. */
#define PEEK 512u

struct arrival {
    uint32_t magic;
    struct loop *loop;
    int fd; /* -1: not ours any more */
    uv_poll_t poll;
    struct wheel_timer deadline;
    struct list_node node;
    struct proxy_header header;
    void (*over)(struct arrival *a, void *owner, int fd, const struct sockaddr_any *from,
                 const char *fault);
    void *owner;
};

static void on_closed(uv_handle_t *handle)
{
    struct arrival *a = handle->data;
    a->magic = 0;
    free(a);
}

/* libuv lets go of the descriptor at once. */
static int let_go(struct arrival *a)
{
    int fd = a->fd;
    a->fd = -1;
    list_remove(&a->node);
    loop_disarm(a->loop, &a->deadline);
    uv_close((uv_handle_t *)&a->poll, on_closed);
    return fd;
}

static void end(struct arrival *a, const char *fault)
{
    int fd = let_go(a);
    a->over(a, a->owner, fd, &a->header.from, fault);
}

static void on_deadline(struct wheel_timer *timer)
{
    struct arrival *a = CONTAINER_OF(timer, struct arrival, deadline);
    CHECK_MAGIC(a, ARRIVAL_MAGIC);
    end(a, a->header.length > 0 ? "it did not come to its end in time" : "none came in time");
}

/* What the socket holds is looked at, and only the header taken. The rest of a long one is told of
 * again. */
static void take(struct arrival *a)
{
    char bytes[PEEK];
    size_t used;
    ssize_t n = recv(a->fd, bytes, sizeof bytes, MSG_PEEK);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        end(a, "the connection ended before it");
        return;
    }
    enum proxy_header_result result =
        proxy_header_feed(&a->header, slice_of(bytes, (size_t)n), &used);
    if (recv(a->fd, bytes, used, 0) != (ssize_t)used) {
        end(a, "the connection broke in it");
    } else if (result != PROXY_HEADER_MORE) {
        end(a, a->header.fault);
    }
}

static void on_poll(uv_poll_t *handle, int status, int events)
{
    struct arrival *a = handle->data;
    CHECK_MAGIC(a, ARRIVAL_MAGIC);
    (void)status; /* an error is found by reading */
    (void)events;
    take(a);
}

struct arrival *arrival_begin(struct loop *loop, int fd, uint64_t timeout_ms,
                              void (*over)(struct arrival *a, void *owner, int fd,
                                           const struct sockaddr_any *from, const char *fault),
                              void *owner)
{
    struct arrival *a = xcalloc(1, sizeof *a);
    *a = (struct arrival){
        .magic = ARRIVAL_MAGIC, .loop = loop, .fd = fd, .over = over, .owner = owner};
    if (uv_poll_init(loop_uv(loop), &a->poll, fd) != 0) {
        (void)close(fd); /* epoll has no room for it */
        free(a);
        return NULL;
    }
    a->poll.data = a;
    CHECK(uv_poll_start(&a->poll, UV_READABLE, on_poll) == 0);
    loop_arm(loop, &a->deadline, timeout_ms, on_deadline);
    return a;
}

struct list_node *arrival_node(struct arrival *a)
{
    return &a->node;
}

struct arrival *arrival_of_node(struct list_node *node)
{
    return CONTAINER_OF(node, struct arrival, node);
}

void arrival_close(struct arrival **where)
{
    struct arrival *a = *where;
    if (a != NULL) {
        CHECK_MAGIC(a, ARRIVAL_MAGIC);
        *where = NULL;
        (void)close(let_go(a));
    }
}
