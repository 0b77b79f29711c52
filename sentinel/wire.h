/* A connection that carries our own commands to a Sentinel or a node and brings whole, parsed,
 * bounded replies. Embed it in its owner. No timeouts but that of connecting: the owner knows what
 * it waits for. */
#ifndef VEDETTE_SENTINEL_WIRE_H
#define VEDETTE_SENTINEL_WIRE_H

#include <stdbool.h>

#include "proxy/base/buf.h"
#include "proxy/net/transport.h"
#include "sentinel/reply_stream.h"

struct secret;

/* What an answer to AUTH has told. */
enum wire_auth {
    WIRE_AUTH_MORE,    /* nothing yet, or nothing new */
    WIRE_AUTH_LET_IN,  /* one of the passwords is good */
    WIRE_AUTH_REFUSED, /* none is */
};

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
    struct secret *secret; /* whose passwords were said; NULL: none */
    uint32_t secret_version;
    size_t auths; /* answers to them that are still to come */
    bool let_in;
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

/* An AUTH for each of the passwords; nothing when secret is NULL. Returns how many were put in out.
 */
size_t wire_put_auth(struct wire *w, const char *user, struct secret *secret);
/* The answer that comes now is one to such an AUTH. */
static inline bool wire_awaits_auth(const struct wire *w)
{
    return w->auths > 0;
}
enum wire_auth wire_take_auth(struct wire *w, bool accepted);
/* It was not let in, and there are other passwords now. */
bool wire_auth_outdated(const struct wire *w);

#endif
