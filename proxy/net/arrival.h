/* A connection whose PROXY header is awaited before anything else is done with it: not a byte
 * behind the header is taken from the socket, be it RESP or TLS. */
#ifndef VEDETTE_NET_ARRIVAL_H
#define VEDETTE_NET_ARRIVAL_H

#include "proxy/base/addr.h"
#include "proxy/net/loop.h"

struct arrival;

/* Waits for the header of fd, a connection that was accepted, for timeout_ms at most. `over` is
 * called once, from the loop, and owns fd then: from tells whom the connection is from, as
 * proxy_header.h says; fault is NULL, or what was wrong in words. NULL, fd closed, when the kernel
 * can't watch one more. */
struct arrival *arrival_begin(struct loop *loop, int fd, uint64_t timeout_ms,
                              void (*over)(struct arrival *a, void *owner, int fd,
                                           const struct sockaddr_any *from, const char *fault),
                              void *owner);
/* For an owner that keeps them in a list: the next one and back. */
struct list_node *arrival_node(struct arrival *a);
struct arrival *arrival_of_node(struct list_node *node);
/* Gives it up: `over` is not called, and fd is closed. */
void arrival_close(struct arrival **where);

#endif
