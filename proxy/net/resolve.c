#include "proxy/net/resolve.h"

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/net/loop_uv.h"

/* Owns itself: libuv may refuse to cancel a look-up that has begun, so it outlives its owner's
 * interest and only forgets the owner. */
struct resolve {
    uv_getaddrinfo_t request;
    void (*done)(void *owner, int err, const struct sockaddr_any *found, size_t count);
    void *owner;
    struct wheel_timer failed_at_once;
    struct loop *loop;
    int err;
};

static size_t collect(const struct addrinfo *info, struct sockaddr_any *found)
{
    size_t count = 0;
    for (; info != NULL && count < RESOLVE_MAX; info = info->ai_next) {
        if (info->ai_addrlen <= sizeof found->ss &&
            (info->ai_family == AF_INET || info->ai_family == AF_INET6)) {
            memset(&found[count], 0, sizeof found[count]);
            memcpy(&found[count].ss, info->ai_addr, info->ai_addrlen);
            found[count++].len = info->ai_addrlen;
        }
    }
    return count;
}

static void finish(struct resolve *r, int err, const struct addrinfo *info)
{
    struct sockaddr_any found[RESOLVE_MAX];
    size_t count = err == 0 ? collect(info, found) : 0;
    if (r->done != NULL) {
        r->done(r->owner, count > 0 ? 0 : (err != 0 ? err : UV_EAI_NODATA), found, count);
    }
    free(r);
}

static void on_found(uv_getaddrinfo_t *request, int status, struct addrinfo *info)
{
    finish(CONTAINER_OF(request, struct resolve, request), status, info);
    uv_freeaddrinfo(info);
}

static void on_failed(struct wheel_timer *timer)
{
    struct resolve *r = CONTAINER_OF(timer, struct resolve, failed_at_once);
    finish(r, r->err, NULL);
}

struct resolve *resolve_start(struct loop *loop, const struct addr *name,
                              void (*done)(void *owner, int err, const struct sockaddr_any *found,
                                           size_t count),
                              void *owner)
{
    struct resolve *r = xcalloc(1, sizeof *r);
    r->done = done;
    r->owner = owner;
    r->loop = loop;
    char port[8];
    (void)snprintf(port, sizeof port, "%u", (unsigned)name->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    r->err = uv_getaddrinfo(loop_uv(loop), &r->request, on_found, name->host, port, &hints);
    if (r->err != 0) {
        loop_arm(loop, &r->failed_at_once, 0, on_failed);
    }
    return r;
}

const char *resolve_now(const struct addr *name, struct sockaddr_any *out)
{
    char port[8];
    if (addr_is_unix(name)) {
        return addr_numeric(name, out) ? NULL : "not a path";
    }
    (void)snprintf(port, sizeof port, "%u", (unsigned)name->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | AI_PASSIVE};
    struct addrinfo *info = NULL;
    int err = getaddrinfo(name->host, port, &hints, &info);
    if (err != 0) {
        return gai_strerror(err);
    }
    struct sockaddr_any found[RESOLVE_MAX];
    size_t count = collect(info, found);
    freeaddrinfo(info);
    if (count == 0) {
        return "the name has no IPv4 or IPv6 address";
    }
    *out = found[0];
    return NULL;
}

const char *resolve_error(int err)
{
    return uv_strerror(err);
}

void resolve_cancel(struct resolve **where)
{
    struct resolve *r = *where;
    if (r == NULL) {
        return;
    }
    *where = NULL;
    r->done = NULL;
    if (r->err != 0) {
        loop_disarm(r->loop, &r->failed_at_once);
        free(r);
    } else {
        (void)uv_cancel((uv_req_t *)&r->request); /* refused once running: on_found frees it */
    }
}
