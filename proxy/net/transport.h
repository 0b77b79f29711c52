/* One connection: TCP, a unix socket, or TLS over one of them. Reading and writing are synchronous
 * and never block; what the kernel accepted is known to the byte.
 *
 * Lifetime: after transport_close(&t) the pointer is NULL and no callback reaches the owner again,
 * also when called from inside a callback; the owner may be freed on the next line. */
#ifndef VEDETTE_NET_TRANSPORT_H
#define VEDETTE_NET_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "proxy/base/addr.h"
#include "proxy/net/loop.h"

struct tls_ctx;
struct transport;

/* Callbacks of a connection's owner; none may be NULL except connected for accepted ones. They come
 * from the loop only, never from inside a call of this header. A callback may close the transport.
 */
struct transport_events {
    /* transport_connect has ended, TLS included: 0, or a negative errno (-ETIMEDOUT after the time
     * allowed, -EPROTO where TLS has failed). On an error only transport_error and transport_close
     * are left to do. */
    void (*connected)(void *owner, int err);
    /* There is something to read, or an end or error to be found by reading. Level-triggered. */
    void (*readable)(void *owner);
    /* After a transport_write that was short, or left transport_held above 0: there is room again,
     * and nothing is held. Once per such write. */
    void (*writable)(void *owner);
    /* While reading is off: the peer has shut down its side or the connection broke. Once. */
    void (*hangup)(void *owner);
};

/* Takes over fd, a connected socket (closed with the transport). Reading is on. NULL, fd closed,
 * when the kernel can't watch one more. */
struct transport *transport_accept(struct loop *loop, int fd, const struct transport_events *events,
                                   void *owner);
/* Begins to connect. `connected` follows in a later turn, also for errors known at once. Reading is
 * on from then. Sets TCP_NODELAY, keepalive and TCP_USER_TIMEOUT. */
struct transport *transport_connect(struct loop *loop, const struct sockaddr_any *to,
                                    uint64_t timeout_ms, const struct transport_events *events,
                                    void *owner);

/* Has TLS carry the connection from its first byte on; to be called right behind
 * transport_connect. peer: the name or address whose certificate is expected. ctx lives longer.
 * Without one, and to a unix socket, there is no TLS after all. */
#define TLS_NO_ANSWER "no TLS handshake in time; the other side hangs, or speaks no TLS"
void transport_secure(struct transport *t, struct tls_ctx *ctx, const struct addr *peer);
/* The same right behind transport_accept: where the other side has not agreed with us in
 * timeout_ms, reading gives an error. */
void transport_secure_accepted(struct transport *t, struct tls_ctx *ctx, uint64_t timeout_ms);
/* What an error of `connected` or transport_read means, in words; valid until the end of this turn.
 */
const char *transport_error(const struct transport *t, int err);

/* True while the connection stands and TLS is not agreed on, and if that is why it has failed. */
bool transport_shaking(const struct transport *t);

/* True for errors of `connected` that are this machine's own (out of descriptors, memory or ports):
 * they say nothing about the peer. */
bool transport_error_is_local(int err);

/* > 0: bytes read; 0: the peer has ended its side; -EAGAIN: nothing now; else a negative errno. */
ssize_t transport_read(struct transport *t, char *to, size_t n) NODISCARD;
/* >= 0: bytes the kernel accepted, counted also in what an error later makes of them; under TLS,
 * bytes that can't be taken back any more: see transport_held. Fewer than asked for: writable will
 * come. A negative errno: the connection is broken. Never -EAGAIN. */
ssize_t transport_write(struct transport *t, struct iovec *iov, size_t count) NODISCARD;
/* How many of the last bytes taken by transport_write the peer can't have: those of TLS records
 * that the kernel did not accept to their last byte. They go out by themselves. Without TLS none.
 */
size_t transport_held(const struct transport *t);
/* What is held never goes out, and nothing can be written any more; reading goes on.
 * transport_close does the same. */
void transport_give_up_writing(struct transport *t);
/* For a server that owes an answer: where it acknowledges what it gets and has no room for more, it
 * lives, and gets more time than TCP_USER_TIMEOUT gives. Short writes need no such call. */
void transport_look_for_room(struct transport *t);
/* The other side's address; false where it has none, as with most clients of unix sockets. */
bool transport_peer(const struct transport *t, struct addr *out);
/* Turns `readable` off and on; `hangup` is reported only while it is off. */
void transport_set_reading(struct transport *t, bool on);
/* Sends FIN behind what was written. */
void transport_shutdown(struct transport *t);
/* True when the connection is broken (reset, timed out) rather than ended by the peer's FIN. For
 * use in `hangup`. */
bool transport_broken(const struct transport *t);
/* Closes and sets *where to NULL; it may be. */
void transport_close(struct transport **where);

#endif
