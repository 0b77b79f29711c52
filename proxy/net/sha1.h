/* SHA1, by which Redis names scripts. */
#ifndef VEDETTE_NET_SHA1_H
#define VEDETTE_NET_SHA1_H

#include <stdbool.h>

#include "proxy/base/slice.h"

#define SHA1_HEX 40u

/* The SHA1 of bytes in lower-case hex, without a NUL. False where this machine's OpenSSL is
 * configured not to compute it. */
bool sha1_hex(struct slice bytes, char out[SHA1_HEX]) NODISCARD;

#endif
