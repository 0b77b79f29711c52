#include "tests/bench/load_tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

struct ssl_st *load_tls_open(int fd)
{
    static SSL_CTX *ctx;
    if (ctx == NULL) {
        ctx = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    }
    SSL *tls = SSL_new(ctx);
    if (tls == NULL || SSL_set_fd(tls, fd) != 1 || SSL_connect(tls) != 1) {
        SSL_free(tls);
        return NULL;
    }
    return tls;
}

/* -1 and errno for what was no success; 0 at the end. */
static ssize_t outcome(SSL *tls, int result)
{
    switch (SSL_get_error(tls, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: errno = EAGAIN; return -1;
    case SSL_ERROR_ZERO_RETURN: return 0;
    default: errno = EPROTO; return -1;
    }
}

ssize_t load_tls_send(struct ssl_st *tls, const void *bytes, size_t n)
{
    size_t sent = 0;
    while (sent < n) {
        size_t some = 0;
        ERR_clear_error();
        int result = SSL_write_ex(tls, (const char *)bytes + sent, n - sent, &some);
        if (result != 1) {
            return sent > 0 ? (ssize_t)sent : outcome(tls, result);
        }
        sent += some;
    }
    return (ssize_t)sent;
}

/* As much as there is: what TLS has decrypted epoll does not tell of. */
ssize_t load_tls_recv(struct ssl_st *tls, void *to, size_t n)
{
    size_t got = 0;
    while (got < n) {
        size_t some = 0;
        ERR_clear_error();
        int result = SSL_read_ex(tls, (char *)to + got, n - got, &some);
        if (result != 1) {
            return got > 0 ? (ssize_t)got : outcome(tls, result);
        }
        got += some;
    }
    return (ssize_t)got;
}
