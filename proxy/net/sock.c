#include "proxy/net/sock.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

/* Tuning is best effort: a connection without an option still works. */
static void set(int fd, int level, int option, int value)
{
    (void)setsockopt(fd, level, option, &value, sizeof value);
}

static void tune(int fd, int idle_s, int interval_s, int count)
{
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle_s);
    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, interval_s);
    set(fd, IPPROTO_TCP, TCP_KEEPCNT, count);
}

void sock_tune_upstream(int fd)
{
    tune(fd, UPSTREAM_KEEPALIVE_S, UPSTREAM_KEEPALIVE_S, UPSTREAM_KEEPALIVE_COUNT);
    set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, UPSTREAM_USER_TIMEOUT_MS);
}

void sock_tune_client(int fd)
{
    tune(fd, CLIENT_KEEPALIVE_S, CLIENT_KEEPALIVE_S / CLIENT_KEEPALIVE_COUNT,
         CLIENT_KEEPALIVE_COUNT);
}
