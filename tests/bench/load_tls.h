/* TLS of the load, over a socket of its own: send and recv, with errno as there. */
#ifndef VEDETTE_BENCH_LOAD_TLS_H
#define VEDETTE_BENCH_LOAD_TLS_H

#include <stddef.h>
#include <sys/types.h>

struct ssl_st;

/* Agrees with the server, whoever it is, over a connected socket that blocks. NULL: it failed. */
struct ssl_st *load_tls_open(int fd);
ssize_t load_tls_send(struct ssl_st *tls, const void *bytes, size_t n);
ssize_t load_tls_recv(struct ssl_st *tls, void *to, size_t n);

#endif
