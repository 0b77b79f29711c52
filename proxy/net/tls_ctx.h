/* What TLS needs besides the connection itself: certificates, keys, whom we trust, the rules of the
 * protocol. Read from files; read again, it serves new connections, and those that stand keep what
 * they began with. Any thread. */
#ifndef VEDETTE_NET_TLS_CTX_H
#define VEDETTE_NET_TLS_CTX_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/buf.h"

struct tls_ctx;

enum tls_side {
    TLS_ACCEPTS,  /* of connections that others open to us */
    TLS_CONNECTS, /* of those that we open */
};

/* Whether, and how well, the other side has to prove who it is. */
enum tls_verify {
    TLS_VERIFY_FULL, /* a certificate that we trust, for the name or address that is connected to */
    TLS_VERIFY_CA,   /* one that we trust, whoever it is for */
    TLS_VERIFY_NONE, /* none */
};

/* Of clients. */
enum tls_auth {
    TLS_AUTH_NO,       /* they are not asked for a certificate */
    TLS_AUTH_OPTIONAL, /* if they have one it has to be good */
    TLS_AUTH_YES,
};

enum tls_version { TLS_1_2, TLS_1_3 };

/* Strings are NULL where nothing was set, and outlive the context. */
struct tls_settings {
    enum tls_side side;
    const char *cert_file, *key_file;
    const char *ca_file, *ca_dir; /* neither: those of the system, to whom we connect */
    const char *ciphers, *ciphersuites, *groups;
    const char *server_name; /* whose certificate is expected; not set: as it is connected to */
    enum tls_version min_version;
    enum tls_verify verify; /* TLS_CONNECTS */
    enum tls_auth auth;     /* TLS_ACCEPTS */
};

/* Which setting a problem is with. */
enum tls_setting {
    TLS_SET_CERT,
    TLS_SET_KEY,
    TLS_SET_CA_FILE,
    TLS_SET_CA_DIR,
    TLS_SET_CIPHERS,
    TLS_SET_CIPHERSUITES,
    TLS_SET_GROUPS,
};

struct tls_problem {
    enum tls_setting with;
    char text[512]; /* names the file and what is wrong with it */
};

/* Loads all that the settings name. NULL, and the first problem, when something can't be used. */
struct tls_ctx *tls_ctx_new(const struct tls_settings *settings, struct tls_problem *problem);
/* Sets *where to NULL; it may be. No connection may still use it. */
void tls_ctx_free(struct tls_ctx **where);
/* Loads it all again; on a problem nothing changes. */
bool tls_ctx_reload(struct tls_ctx *ctx, struct tls_problem *problem) NODISCARD;
/* The files that can't be read any more, as a change of users leaves them. Returns how many. */
#define TLS_FILES 4
size_t tls_ctx_unreadable(const struct tls_ctx *ctx, struct tls_problem problems[TLS_FILES]);
/* True if a file is not as it was when it was last loaded, and was the same a call before: whoever
 * changes several has the time between two calls for it. */
bool tls_ctx_changed(struct tls_ctx *ctx);
/* For each certificate of its files that expires within so many days, or has, a line in words
 * without an end. Returns how many; at most max. */
struct tls_expiry {
    enum tls_setting with;
    int64_t days; /* negative: it has */
    char text[384];
};
size_t tls_ctx_expiring(const struct tls_ctx *ctx, unsigned days, struct tls_expiry *out,
                        size_t max);

#endif
