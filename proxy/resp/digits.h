/* Private to proxy/resp: the common header line, read at once. */
#ifndef VEDETTE_RESP_DIGITS_H
#define VEDETTE_RESP_DIGITS_H

#include <stddef.h>
#include <stdint.h>

#define DIGITS_AT_ONCE 8 /* longer numbers take the slow road */

/* Reads `<canonical decimal>CR LF` that lies whole in [p, end). Returns the byte behind it, or NULL
 * for anything else: a part of a line, a sign, a leading zero, a long number, an odd line end. The
 * caller then goes byte by byte, which knows what is wrong and where a line was cut. */
static inline const char *digits_line(const char *p, const char *end, uint32_t *out)
{
    const char *first = p;
    const char *stop = end - p > DIGITS_AT_ONCE ? p + DIGITS_AT_ONCE : end;
    uint32_t value = 0;
    for (; p < stop; p++) {
        uint32_t digit = (uint32_t)(unsigned char)*p - '0';
        if (digit > 9) {
            break;
        }
        value = value * 10 + digit;
    }
    if (end - p < 2 || p[0] != '\r' || p[1] != '\n' || p == first ||
        (*first == '0' && p - first > 1)) {
        return NULL;
    }
    *out = value;
    return p + 2;
}

#endif
