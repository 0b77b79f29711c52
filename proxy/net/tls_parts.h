/* Between tls_ctx.c and tls.c. */
#ifndef VEDETTE_NET_TLS_PARTS_H
#define VEDETTE_NET_TLS_PARTS_H

#include <openssl/ssl.h>

#include "proxy/base/addr.h"
#include "proxy/net/tls_ctx.h"

#define TLS_WORDS_MAX 384

/* What one connection tells of why it failed to verify its peer. */
struct tls_refusal {
    int error; /* X509_V_...; X509_V_OK: nothing */
    char text[TLS_WORDS_MAX];
};

const struct tls_settings *tls_ctx_settings(const struct tls_ctx *ctx);
/* A fresh connection with what is loaded now. `refusal` gets what is wrong with the peer's
 * certificate, and lives as long. NULL: no memory. */
SSL *tls_ctx_open(struct tls_ctx *ctx, struct tls_refusal *refusal);
/* Goes on with what was agreed with that peer before, if there is something, and remembers for the
 * next time what this connection agrees on. */
void tls_ctx_resume(struct tls_ctx *ctx, SSL *ssl, const struct addr *peer);
/* In words: why the certificate `cert` is refused with that X509_V_... error. */
void tls_say_refusal(X509 *cert, int error, char text[TLS_WORDS_MAX]);
/* The oldest error that OpenSSL has noted in this thread, in words. */
const char *tls_error_words(void);

#endif
