/* Between transport.c and transport_tls.c. */
#ifndef VEDETTE_NET_TRANSPORT_PARTS_H
#define VEDETTE_NET_TRANSPORT_PARTS_H

#include "proxy/net/loop_uv.h"
#include "proxy/net/transport.h"

#define TRANSPORT_MAGIC 0x7a490002u

struct secure;

struct transport {
    uint32_t magic;
    int fd; /* -1: the socket could not be made, `connected` will say so */
    struct loop *loop;
    uv_poll_t poll;
    struct wheel_timer deadline; /* of connecting; or what reports an error known at once; then, of
                                    looking at a server that takes nothing more */
    struct retry *retry;         /* the next try to connect; NULL: it is under way */
    struct secure *secure;       /* what TLS needs; NULL: there is none */
    int connect_err;
    bool connecting, reading, want_write, hung_up, broken, closed;
    bool shaking; /* TLS is being agreed on */
    bool opened;  /* by us, not accepted */
    bool patient; /* the server is alive and full, and has got more time */
    int watched;  /* UV_* events asked of libuv */
    const struct transport_events *events;
    void *owner;
};

/* Of transport.c: asks libuv for what is wanted now; tells how connecting has ended. */
void transport_watch(struct transport *t);
void transport_report(struct transport *t, int err);
/* The end of time for connecting, and for agreeing on TLS. */
void transport_on_deadline(struct wheel_timer *timer);
/* Looks, from now on, whether a server that takes nothing more is alive. */
void transport_watch_room(struct transport *t);

/* Of transport_tls.c, for those with TLS. */
/* Where a client has come from; zeroes of what we have opened. */
const struct sockaddr_any *secure_from(const struct transport *t);
/* Goes on with the handshake; a callback may have closed t afterwards. */
void secure_shake(struct transport *t);
void secure_shake_failed(struct transport *t, int err);
/* The socket takes more. True if nothing is left to be sent: the owner may be told, if it wants. */
bool secure_flush(struct transport *t);
bool secure_tells_owner(struct transport *t);
ssize_t secure_read(struct transport *t, char *to, size_t n);
ssize_t secure_write(struct transport *t, const struct iovec *iov, size_t count, size_t total);
void secure_shutdown(struct transport *t);
/* Has the owner called for what was decrypted and not read. */
void secure_go_on(struct transport *t);
/* Says goodbye as far as the kernel takes it at once; before the socket is closed. */
void secure_close(struct transport *t);
void secure_free(struct transport *t);

#endif
