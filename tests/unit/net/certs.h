/* Certificates for a test, made by tests/support/certs.sh in a directory that goes with it. */
#ifndef VEDETTE_NET_CERTS_H
#define VEDETTE_NET_CERTS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "proxy/net/tls_ctx.h"

static char certs_dir[64];

static int certs_make(void **state)
{
    (void)state;
    char command[160];
    (void)snprintf(certs_dir, sizeof certs_dir, "/tmp/vedette-certs-XXXXXX");
    assert_non_null(mkdtemp(certs_dir));
    (void)snprintf(command, sizeof command, "sh tests/support/certs.sh %s", certs_dir);
    return system(command);
}

static int certs_remove(void **state)
{
    (void)state;
    char command[160];
    (void)snprintf(command, sizeof command, "rm -rf %s", certs_dir);
    return system(command);
}

/* The path of a file among them; one of eight in turn. */
static inline const char *cert(const char *name)
{
    static char path[8][128];
    static unsigned turn;
    char *out = path[turn++ % 8];
    (void)snprintf(out, sizeof path[0], "%s/%s", certs_dir, name);
    return out;
}

static inline char *cert_copy(const char *name)
{
    char *copy = strdup(cert(name));
    assert_non_null(copy);
    return copy;
}

/* cp */
static inline void cert_put(const char *from, const char *to)
{
    char command[320];
    (void)snprintf(command, sizeof command, "cp %s %s", cert(from), cert(to));
    assert_int_equal(system(command), 0);
}

#endif
