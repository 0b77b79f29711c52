#include "proxy/net/sock.h"

#include <linux/tcp.h> /* the libc's tcp_info is older than what is asked of it */
#include <netinet/in.h>
#include <stddef.h>
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

void sock_give_time(int fd, bool more)
{
    set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT,
        more ? UPSTREAM_FULL_TIMEOUT_MS : UPSTREAM_USER_TIMEOUT_MS);
}

void sock_tune_upstream(int fd)
{
    tune(fd, UPSTREAM_KEEPALIVE_S, UPSTREAM_KEEPALIVE_S, UPSTREAM_KEEPALIVE_COUNT);
    sock_give_time(fd, false);
}

bool sock_peer_is_full(int fd)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof info;
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
           len >= offsetof(struct tcp_info, tcpi_notsent_bytes) + sizeof info.tcpi_notsent_bytes &&
           info.tcpi_unacked == 0 && info.tcpi_notsent_bytes > 0;
}

void sock_tune_client(int fd)
{
    tune(fd, CLIENT_KEEPALIVE_S, CLIENT_KEEPALIVE_S / CLIENT_KEEPALIVE_COUNT,
         CLIENT_KEEPALIVE_COUNT);
}
