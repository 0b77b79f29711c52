/* The header by which a proxy tells whom it speaks for: PROXY protocol, versions 1 and 2
 * (haproxy.org, proxy-protocol.txt). Pure: resumable at every byte, in a state of fixed size. What
 * it says of TLS and more (TLVs) is passed over. */
#ifndef VEDETTE_NET_PROXY_HEADER_H
#define VEDETTE_NET_PROXY_HEADER_H

#include "proxy/base/addr.h"
#include "proxy/base/slice.h"

#define PROXY_V1_MAX   107u /* of its line, with CR LF */
#define PROXY_V2_FIXED 16u  /* signature, version and command, family, length */
#define PROXY_V2_KEPT  52u  /* these and the addresses of IPv6, the longest that are looked at */

enum proxy_header_result {
    PROXY_HEADER_MORE, /* all bytes were used, it goes on */
    PROXY_HEADER_DONE, /* it ends behind *used bytes */
    PROXY_HEADER_BAD,  /* see fault; it is of no more use */
};

/* Zero-initialised is ready for the first byte. */
struct proxy_header {
    /* When done: whom the connection is from. len 0: the header tells of nobody, and who connected
     * is meant (LOCAL, UNKNOWN, a unix socket, or a kind that is no TCP). */
    struct sockaddr_any from;
    const char *fault; /* in words, when it is bad */
    /* progress */
    size_t length; /* bytes seen */
    size_t whole;  /* of version 2: bytes in all, once known */
    unsigned char kept[PROXY_V1_MAX];
};

/* Looks at the next bytes of the stream, which are at least one. */
enum proxy_header_result proxy_header_feed(struct proxy_header *h, struct slice bytes,
                                           size_t *used) NODISCARD;

#endif
