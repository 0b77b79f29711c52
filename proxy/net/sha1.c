#include "proxy/net/sha1.h"

#include <openssl/evp.h>

bool sha1_hex(struct slice bytes, char out[SHA1_HEX])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (EVP_Digest(bytes.p, bytes.n, sum, &n, EVP_sha1(), NULL) != 1 || n * 2 != SHA1_HEX) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        out[i * 2] = digits[sum[i] >> 4];
        out[i * 2 + 1] = digits[sum[i] & 15];
    }
    return true;
}
