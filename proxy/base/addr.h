/* Addresses: the text of a config file or a Sentinel answer, and the socket address. */
#ifndef VEDETTE_BASE_ADDR_H
#define VEDETTE_BASE_ADDR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "proxy/base/slice.h"

#define ADDR_HOST_MAX 255 /* RFC 1035: a name has at most 253 characters */
#define ADDR_PATH_MAX 107 /* of a unix socket: what sockaddr_un holds beside its NUL */
#define ADDR_TEXT_MAX (ADDR_HOST_MAX + 10)

/* host:port as written; host is a name or an address, without brackets. Or a unix socket: its path,
 * beginning with '/', stands for the host, and port is 0. An empty host: none. */
struct addr {
    char host[ADDR_HOST_MAX + 1];
    uint16_t port;
};

/* A resolved address. len 0: none. */
struct sockaddr_any {
    struct sockaddr_storage ss;
    socklen_t len;
};

/* Parses "unix:/path", "host:port", "[v6]:port" or, when default_port is not 0, "host" and "[v6]"
 * alone. NULL on success, else what is wrong in words ("port 70000 is not in 1..65535"), valid
 * until the next call in this thread. *out is untouched on error. */
const char *addr_parse(struct slice text, uint16_t default_port, struct addr *out) NODISCARD;
/* As addr_parse, where the port may be left out: *out then has port 0. */
const char *addr_parse_loose(struct slice text, struct addr *out) NODISCARD;
static inline bool addr_is_set(const struct addr *a)
{
    return a->host[0] != '\0';
}
static inline bool addr_is_unix(const struct addr *a)
{
    return a->host[0] == '/';
}
bool addr_eq(const struct addr *a, const struct addr *b);
/* Puts a numeric host into the one form that it is told by: [0:0::1] becomes ::1. */
void addr_normalize(struct addr *a);
/* "unix:/path", or "host:port", a v6 host in brackets, without a port where there is none. out has
 * ADDR_TEXT_MAX bytes; returns out. */
const char *addr_text(const struct addr *a, char *out);

/* A numeric host or a unix socket into a socket address; false when the host is a name. */
bool addr_numeric(const struct addr *a, struct sockaddr_any *out) NODISCARD;
/* Same family, address and port; or the same path. */
bool sockaddr_eq(const struct sockaddr_any *a, const struct sockaddr_any *b);
/* The numeric form, or the path, into out. False for other families and unnamed unix sockets. */
bool sockaddr_to_addr(const struct sockaddr_any *sa, struct addr *out);

/* A network: all addresses whose first `bits` are these. */
struct addr_net {
    int family; /* AF_INET or AF_INET6 */
    unsigned char bytes[16];
    unsigned bits;
};
#define ADDR_NET_TEXT_MAX 64

/* Parses "10.1.0.0/16", "fd00::/8", or an address alone. NULL on success, else what is wrong, as
 * addr_parse. */
const char *addr_net_parse(struct slice text, struct addr_net *out) NODISCARD;
/* As it would be parsed again; an address alone without its bits. Returns out. */
const char *addr_net_text(const struct addr_net *net, char out[ADDR_NET_TEXT_MAX]);
bool addr_net_has(const struct addr_net *net, const struct sockaddr_any *at);

#endif
