/* A listening socket. */
#ifndef VEDETTE_NET_LISTENER_H
#define VEDETTE_NET_LISTENER_H

#include "proxy/base/addr.h"
#include "proxy/net/loop.h"

struct listener;

/* Listens on `at`. accepted gets each new connection's descriptor (non-blocking, close-on-exec,
 * TCP_NODELAY) and owns it. At most ACCEPTS_PER_TURN a turn; when descriptors have run out it
 * pauses for ACCEPT_PAUSE_MS. NULL and *err (a negative errno) when the address can't be had. */
struct listener *listener_open(struct loop *loop, const struct sockaddr_any *at,
                               void (*accepted)(void *owner, int fd), void *owner, int *err);
/* The same on the unix socket whose path `at` has, with these permissions; *problem tells in words
 * what is wrong. The file is removed by listener_close. See unix_path.h for one that is there. */
struct listener *listener_open_unix(struct loop *loop, const struct sockaddr_any *at, uint32_t mode,
                                    void (*accepted)(void *owner, int fd), void *owner,
                                    const char **problem);
/* Makes the file of a unix socket that user's and group's. NULL on success, and where there is no
 * file; else what is wrong in words. */
const char *listener_give(const struct listener *l, uid_t uid, gid_t gid);
/* The port listened on; 0 for a unix socket. */
uint16_t listener_port(const struct listener *l);
void listener_close(struct listener **where);

#endif
