/* Socket options, in one place. */
#ifndef VEDETTE_NET_SOCK_H
#define VEDETTE_NET_SOCK_H

#include <stdbool.h>

/* A dead server must be noticed in seconds: keepalive finds a silent peer, TCP_USER_TIMEOUT one
 * that no longer acknowledges; each does nothing in the other's case (Linux tcp(7)). */
#define UPSTREAM_KEEPALIVE_S     1
#define UPSTREAM_KEEPALIVE_COUNT 3
#define UPSTREAM_USER_TIMEOUT_MS 3000
/* Linux also counts the time in which a server acknowledges but has no room: one that is busy with
 * a long command gets more of it. */
#define UPSTREAM_FULL_TIMEOUT_MS 60000
/* What Redis does for its clients (tcp-keepalive 300). No TCP_USER_TIMEOUT: Linux would also apply
 * it to a client that lives and does not read. */
#define CLIENT_KEEPALIVE_S     300
#define CLIENT_KEEPALIVE_COUNT 3

/* For connections we opened. Options a socket does not know (unix) are left out. */
void sock_tune_upstream(int fd);
/* Whether the peer has acknowledged all that it had room for, and bytes wait for more room. */
bool sock_peer_is_full(int fd);
/* Which of the two limits above holds for a connection we opened. */
void sock_give_time(int fd, bool more);
/* For connections we accepted. */
void sock_tune_client(int fd);

#endif
