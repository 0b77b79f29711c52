#include "proxy/net/sha256.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>

bool sha256(struct slice bytes, unsigned char out[SHA256_BYTES])
{
    unsigned n = 0;
    return EVP_Digest(bytes.p, bytes.n, out, &n, EVP_sha256(), NULL) == 1 && n == SHA256_BYTES;
}

bool sha256_same(const unsigned char a[SHA256_BYTES], const unsigned char b[SHA256_BYTES])
{
    return CRYPTO_memcmp(a, b, SHA256_BYTES) == 0;
}
