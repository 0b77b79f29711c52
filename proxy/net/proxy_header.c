#include "proxy/net/proxy_header.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "proxy/base/limits.h"

static const char fault_other[] = "the connection begins with something else";
static const char line_start[] = "PROXY ";
static const unsigned char signature[12] = {'\r', '\n', '\r', '\n', 0,   '\r',
                                            '\n', 'Q',  'U',  'I',  'T', '\n'};

/* Version 2: the bytes behind the signature. */
#define AT_COMMAND   12
#define AT_FAMILY    13
#define AT_LENGTH    14
#define COMMAND_V2   0x2
#define LOCAL        0x0
#define PROXY        0x1
#define FAMILY_LAST  3 /* unspecified, IPv4, IPv6, unix */
#define KIND_LAST    2 /* unspecified, stream, datagram */
#define TCP_OVER_V4  0x11
#define TCP_OVER_V6  0x21
#define ADDRESSES_V4 12u
#define ADDRESSES_V6 36u
#define PATHS        216u

static enum proxy_header_result bad(struct proxy_header *h, const char *fault)
{
    h->fault = fault;
    return PROXY_HEADER_BAD;
}

#define MAPPED_AT 12 /* where the IPv4 address stands in an IPv6 one that is made of it */

/* bytes: the address in network order. */
static void set_from(struct proxy_header *h, int family, const unsigned char *bytes, uint16_t port)
{
    struct in6_addr whole = {0};
    memcpy(&whole, bytes, family == AF_INET ? 0 : sizeof whole);
    if (family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&whole)) {
        family = AF_INET; /* the same client, by the name that it has elsewhere */
        bytes += MAPPED_AT;
    }
    h->from.ss.ss_family = (sa_family_t)family;
    if (family == AF_INET) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)&h->from.ss;
        memcpy(&v4->sin_addr, bytes, sizeof v4->sin_addr);
        v4->sin_port = htons(port);
        h->from.len = sizeof *v4;
    } else {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)&h->from.ss;
        memcpy(&v6->sin6_addr, bytes, sizeof v6->sin6_addr);
        v6->sin6_port = htons(port);
        h->from.len = sizeof *v6;
    }
}

static uint16_t number_at(const unsigned char *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

/* The next word of *rest, up to a single space or the end. */
static struct slice next_word(struct slice *rest)
{
    const char *space = rest->n > 0 ? memchr(rest->p, ' ', rest->n) : NULL;
    size_t n = space != NULL ? (size_t)(space - rest->p) : rest->n;
    struct slice word = slice_of(rest->p, n);
    size_t used = n + (space != NULL ? 1 : 0);
    *rest = slice_of(rest->p + used, rest->n - used);
    return word;
}

static bool read_address(struct slice word, int family, unsigned char out[16])
{
    char text[INET6_ADDRSTRLEN] = {0};
    if (word.n >= sizeof text || memchr(word.p, '\0', word.n) != NULL) {
        return false;
    }
    memcpy(text, word.p, word.n);
    return inet_pton(family, text, out) == 1;
}

static bool read_port(struct slice word, uint16_t *out)
{
    int64_t port = 0;
    bool good = slice_to_i64(word, 0, UINT16_MAX, &port);
    *out = (uint16_t)port;
    return good;
}

/* The line without its CR LF: PROXY TCP4 192.0.2.1 192.0.2.2 40000 6379 */
static enum proxy_header_result read_line(struct proxy_header *h, struct slice line)
{
    struct slice rest = slice_of(line.p + sizeof line_start - 1, line.n - (sizeof line_start - 1));
    struct slice kind = next_word(&rest);
    unsigned char from[16], to[16];
    uint16_t from_port, to_port;
    if (slice_eq(kind, slice_str("UNKNOWN"))) {
        return PROXY_HEADER_DONE; /* whatever follows */
    }
    bool v4 = slice_eq(kind, slice_str("TCP4"));
    if (!v4 && !slice_eq(kind, slice_str("TCP6"))) {
        return bad(h, "neither TCP4, TCP6 nor UNKNOWN stands behind PROXY");
    }
    int family = v4 ? AF_INET : AF_INET6;
    bool whole =
        read_address(next_word(&rest), family, from) && read_address(next_word(&rest), family, to);
    if (!whole) {
        return bad(h, "an address in its line is none");
    }
    whole = read_port(next_word(&rest), &from_port);
    bool more = rest.n > 0;
    if (!whole || !more || !read_port(rest, &to_port)) {
        return bad(h, "a port in its line is none");
    }
    set_from(h, family, from, from_port);
    return PROXY_HEADER_DONE;
}

/* Every byte of a line is kept. */
static enum proxy_header_result feed_line(struct proxy_header *h, struct slice bytes, size_t *used)
{
    while (*used < bytes.n) {
        char c = bytes.p[(*used)++];
        if (h->length == PROXY_V1_MAX) {
            return bad(h, "its line is too long");
        }
        size_t at = h->length++;
        h->kept[at] = (unsigned char)c;
        if (at < sizeof line_start - 1) {
            if (c != line_start[at]) {
                return bad(h, fault_other);
            }
        } else if (c == '\n') {
            bool cr = h->kept[h->length - 2] == '\r';
            return cr ? read_line(h, slice_of((const char *)h->kept, h->length - 2))
                      : bad(h, "its line has no CR at its end");
        }
    }
    return PROXY_HEADER_MORE;
}

/* What is wrong with the fixed part; NULL: nothing. */
static const char *fixed_fault(const struct proxy_header *h)
{
    unsigned command = h->kept[AT_COMMAND], family = h->kept[AT_FAMILY] >> 4;
    size_t length = number_at(h->kept + AT_LENGTH);
    if (command >> 4 != COMMAND_V2) {
        return "its version is not 2";
    }
    if ((command & 0xf) > PROXY) {
        return "its command is neither LOCAL nor PROXY";
    }
    if (family > FAMILY_LAST || (h->kept[AT_FAMILY] & 0xf) > KIND_LAST) {
        return "its family is not known";
    }
    if (PROXY_V2_FIXED + length > PROXY_HEADER_MAX) {
        return "it is too long";
    }
    static const size_t least[FAMILY_LAST + 1] = {0, ADDRESSES_V4, ADDRESSES_V6, PATHS};
    return (command & 0xf) == PROXY && length < least[family] ? "it is too short for its addresses"
                                                              : NULL;
}

static void read_addresses(struct proxy_header *h)
{
    const unsigned char *at = h->kept + PROXY_V2_FIXED;
    if ((h->kept[AT_COMMAND] & 0xf) == LOCAL) {
        return;
    }
    if (h->kept[AT_FAMILY] == TCP_OVER_V4) {
        set_from(h, AF_INET, at, number_at(at + 8));
    } else if (h->kept[AT_FAMILY] == TCP_OVER_V6) {
        set_from(h, AF_INET6, at, number_at(at + 32));
    }
}

/* Beyond what is looked at, bytes are only counted. */
static enum proxy_header_result feed_binary(struct proxy_header *h, struct slice bytes,
                                            size_t *used)
{
    while (*used < bytes.n) {
        if (h->length >= PROXY_V2_KEPT) {
            size_t left = h->whole - h->length, here = bytes.n - *used;
            left = left < here ? left : here;
            h->length += left;
            *used += left;
        } else {
            h->kept[h->length++] = (unsigned char)bytes.p[(*used)++];
        }
        if (h->length <= sizeof signature && h->kept[h->length - 1] != signature[h->length - 1]) {
            return bad(h, fault_other);
        }
        if (h->length == PROXY_V2_FIXED) {
            h->fault = fixed_fault(h);
            h->whole = PROXY_V2_FIXED + number_at(h->kept + AT_LENGTH);
        }
        if (h->fault != NULL) {
            return PROXY_HEADER_BAD;
        }
        if (h->length >= PROXY_V2_FIXED && h->length == h->whole) {
            read_addresses(h);
            return PROXY_HEADER_DONE;
        }
    }
    return PROXY_HEADER_MORE;
}

enum proxy_header_result proxy_header_feed(struct proxy_header *h, struct slice bytes, size_t *used)
{
    CHECK(bytes.n > 0 && h->fault == NULL);
    *used = 0;
    bool line = (h->length > 0 ? h->kept[0] : (unsigned char)bytes.p[0]) == line_start[0];
    return line ? feed_line(h, bytes, used) : feed_binary(h, bytes, used);
}
