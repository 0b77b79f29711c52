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
/* The port listened on. */
uint16_t listener_port(const struct listener *l);
void listener_close(struct listener **where);

#endif
