/* Socket options, in one place. */
#ifndef VEDETTE_NET_SOCK_H
#define VEDETTE_NET_SOCK_H

/* A dead server must be noticed in seconds: keepalive finds a silent peer, TCP_USER_TIMEOUT one
 * that no longer acknowledges; each does nothing in the other's case (Linux tcp(7)). */
#define UPSTREAM_KEEPALIVE_S     1
#define UPSTREAM_KEEPALIVE_COUNT 3
#define UPSTREAM_USER_TIMEOUT_MS 3000
/* What Redis does for its clients (tcp-keepalive 300). No TCP_USER_TIMEOUT: Linux would also apply
 * it to a client that lives and does not read. */
#define CLIENT_KEEPALIVE_S     300
#define CLIENT_KEEPALIVE_COUNT 3

/* For connections we opened. Options a socket does not know (unix) are left out. */
void sock_tune_upstream(int fd);
/* For connections we accepted. */
void sock_tune_client(int fd);

#endif
