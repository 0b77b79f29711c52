/* TLS of one connection, without any I/O of its own: cipher bytes that came are put in, plain bytes
 * read; plain bytes are written, and cipher bytes taken out and sent by the caller, who tells how
 * many the kernel has accepted. Then it is known to the byte which plain bytes the peer can have:
 * those of records whose last byte was accepted.
 *
 *   plain    taken   ------+--------+-----+        tls_held: from here on nothing can have arrived
 *   records          [ rec | record | rec ]
 *   cipher   accepted ---------^     made ^
 */
#ifndef VEDETTE_NET_TLS_H
#define VEDETTE_NET_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "proxy/base/addr.h"
#include "proxy/base/slice.h"
#include "proxy/net/tls_ctx.h"

struct tls;

/* Scratch space that the connections of one thread share. */
struct tls_room;
struct tls_room *tls_room_new(void);
/* Sets *where to NULL; it may be. */
void tls_room_free(struct tls_room **where);
/* Where cipher bytes may be read to before tls_put, TLS_ROOM_IN of them. */
#define TLS_ROOM_IN ((size_t)64 * 1024)
char *tls_room_in(struct tls_room *room);

/* A connection that ctx is for. peer: whom it is opened to; NULL for an accepted one. Both the room
 * and ctx live longer. */
struct tls *tls_new(struct tls_ctx *ctx, struct tls_room *room, const struct addr *peer);
/* Sets *where to NULL; it may be. */
void tls_free(struct tls **where);

/* Cipher bytes that came, behind those before; valid until tls_settle. */
void tls_put(struct tls *t, struct slice cipher);
/* No more will come. */
void tls_put_end(struct tls *t);
/* Goes on with the handshake: 0 once it is done, -EAGAIN when cipher bytes have to come or to go
 * first, -EPROTO when it has failed. */
int tls_handshake(struct tls *t);
/* > 0: plain bytes; 0: the peer has ended its side; -EAGAIN: cipher bytes are missing; -EPROTO. */
ssize_t tls_read(struct tls *t, char *to, size_t n) NODISCARD;
/* True if tls_read has something to give, were it the end or an error, without more bytes. */
bool tls_pending(const struct tls *t);
/* Takes plain bytes from offset `from` on, at most TLS_BATCH_RECORDS records of them, and none
 * while cipher bytes wait to be sent: >= 0, or -EPROTO. */
ssize_t tls_write(struct tls *t, const struct iovec *iov, size_t count, size_t from) NODISCARD;
/* True if the last tls_write took less because the peer has to end first what it has begun to say:
 * cipher bytes have to come. */
bool tls_starved(const struct tls *t);
/* Tells the peer that nothing more will be written. */
void tls_end(struct tls *t);

/* Cipher bytes to be sent, and how many of them were accepted. */
struct slice tls_out(const struct tls *t);
void tls_sent(struct tls *t, size_t n);
/* None of them is sent any more: nothing can be written from then on. */
void tls_forget_out(struct tls *t);
/* Plain bytes taken whose record was not accepted to its end. */
size_t tls_held(const struct tls *t);
/* To be called before anybody else uses the room: keeps what is left of input and output. */
void tls_settle(struct tls *t);

/* Why it failed, in words; NULL: it did not. */
const char *tls_trouble(const struct tls *t);
/* Whether a session was resumed, the version ("TLSv1.3"), for the log and tests. */
bool tls_resumed(const struct tls *t);
const char *tls_version_name(const struct tls *t);

#endif
