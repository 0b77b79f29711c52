/* SHA-256, as Redis keeps passwords. */
#ifndef VEDETTE_NET_SHA256_H
#define VEDETTE_NET_SHA256_H

#include <stdbool.h>

#include "proxy/base/slice.h"

#define SHA256_BYTES 32u

/* False where this machine's OpenSSL is configured not to compute it. */
bool sha256(struct slice bytes, unsigned char out[SHA256_BYTES]) NODISCARD;
/* Takes as long wherever they differ. */
bool sha256_same(const unsigned char a[SHA256_BYTES], const unsigned char b[SHA256_BYTES]);

#endif
