/* A connection that carries our own commands to a Sentinel or a node and brings whole, parsed,
 * bounded replies. Embed it in its owner. No timeouts but that of connecting: the owner knows what
 * it waits for. */
#ifndef VEDETTE_SENTINEL_WIRE_H
#define VEDETTE_SENTINEL_WIRE_H

#include <stdbool.h>

#include "proxy/base/buf.h"
#include "proxy/net/transport.h"
#include "sentinel/reply_stream.h"

struct wire_events {
    /* The connection stands; what was put in `out` before is being sent. */
    void (*opened)(void *owner);
    /* A reply, valid during the call. */
    void (*reply)(void *owner, const struct reply *reply);
    /* Instead of reply, if not NULL: its bytes, within the limits of an answer to COMMAND. */
    void (*frame)(void *owner, struct slice frame);
    /* The connection is lost and already closed; why is for the log, valid during the call. */
    void (*lost)(void *owner, const char *why);
};

struct wire {
    struct transport *transport; /* NULL: closed */
    bool open;                   /* opened was called */
    bool unreadable;             /* lost because of what the peer sent */
    bool untrusted;              /* lost because TLS has failed */
    bool local;                  /* lost because of this machine: see transport_error_is_local */
    bool has_secret;             /* a password went into out: it is wiped when all is sent */
    struct buf out;              /* commands to be sent: append, then wire_flush */
    struct reply_stream in;
    bool *gone; /* set when the wire is closed under a callback's feet */
    const struct wire_events *events;
    void *owner;
};

/* Begins to connect a zero-initialised or closed wire. */
void wire_open(struct wire *w, struct loop *loop, const struct sockaddr_any *to,
               uint64_t timeout_ms, const struct wire_events *events, void *owner);
/* Right behind wire_open: as transport_secure. */
void wire_secure(struct wire *w, struct tls_ctx *ctx, const struct addr *peer);
/* Sends what out holds, now or as soon as the connection stands. Never calls back. */
void wire_flush(struct wire *w);
/* No callback comes any more, and out is emptied; the owner may be freed. The wire may be closed
 * already. */
void wire_close(struct wire *w);

/* AUTH for these credentials; nothing when password is NULL. True if it was put in out. */
bool wire_put_auth(struct wire *w, const char *user, const char *password);

#endif
