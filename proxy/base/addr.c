#include "proxy/base/addr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>

static _Thread_local char problem[128];

static const char *parse_port(struct slice text, uint16_t *out)
{
    int64_t port;
    if (!slice_to_i64(text, 1, 65535, &port)) {
        (void)snprintf(problem, sizeof problem, "port '%.*s' is not a number in 1..65535",
                       (int)(text.n > 32 ? 32 : text.n), text.p == NULL ? "" : text.p);
        return problem;
    }
    *out = (uint16_t)port;
    return NULL;
}

/* Splits text in host and port; port.p is NULL where there is none. */
static const char *split(struct slice text, struct slice *host, struct slice *port)
{
    *port = (struct slice){0};
    if (text.n > 0 && text.p[0] == '[') {
        const char *close = memchr(text.p, ']', text.n);
        if (close == NULL) {
            return "'[' without ']'";
        }
        *host = slice_of(text.p + 1, (size_t)(close - text.p) - 1);
        size_t rest = text.n - host->n - 2;
        if (rest > 0) {
            if (close[1] != ':') {
                return "expected ':' after ']'";
            }
            *port = slice_of(close + 2, rest - 1);
        }
        return NULL;
    }
    const char *colon = text.n > 0 ? memrchr(text.p, ':', text.n) : NULL;
    if (colon == NULL) {
        *host = text;
        return NULL;
    }
    *host = slice_of(text.p, (size_t)(colon - text.p));
    if (memchr(host->p, ':', host->n) != NULL) {
        return "an IPv6 address is written in brackets: [address]:port";
    }
    *port = slice_of(colon + 1, text.n - host->n - 1);
    return NULL;
}

static const char *check_host(struct slice host)
{
    if (host.n == 0) {
        return "the host is missing: write host:port";
    }
    if (host.n > ADDR_HOST_MAX) {
        return "the host name is longer than 255 characters";
    }
    for (size_t i = 0; i < host.n; i++) {
        unsigned char c = (unsigned char)host.p[i];
        if (c <= ' ' || c == 0x7f || c == '/' || c == '[' || c == ']') {
            return "the host has a character that no host name has";
        }
    }
    return NULL;
}

#define UNIX_PREFIX "unix:"

_Static_assert(ADDR_PATH_MAX == sizeof((struct sockaddr_un *)0)->sun_path - 1, "room for a NUL");
_Static_assert(ADDR_PATH_MAX <= ADDR_HOST_MAX, "a path stands for a host");

static const char *parse_path(struct slice path, struct addr *out)
{
    if (path.n < 2 || path.p[0] != '/') {
        return "the path of a unix socket begins with '/': write unix:/path";
    }
    if (path.n > ADDR_PATH_MAX) {
        return "the path of a unix socket is longer than 107 bytes; write a shorter one";
    }
    for (size_t i = 0; i < path.n; i++) {
        if ((unsigned char)path.p[i] <= ' ' || path.p[i] == 0x7f) {
            return "the path has a space or a control character; write another one";
        }
    }
    memset(out, 0, sizeof *out);
    memcpy(out->host, path.p, path.n);
    return NULL;
}

static const char *parse(struct slice text, uint16_t default_port, bool loose, struct addr *out)
{
    struct slice host, port;
    uint16_t number = default_port;
    size_t prefix = strlen(UNIX_PREFIX);
    if (slice_starts_with(text, UNIX_PREFIX)) {
        return parse_path(slice_of(text.p + prefix, text.n - prefix), out);
    }
    const char *err = split(text, &host, &port);
    if (err != NULL) {
        return err;
    }
    if (port.p == NULL && default_port == 0 && !loose) {
        return "the port is missing: write host:port";
    }
    if ((port.p != NULL && (err = parse_port(port, &number)) != NULL) ||
        (err = check_host(host)) != NULL) {
        return err;
    }
    memset(out, 0, sizeof *out);
    memcpy(out->host, host.p, host.n);
    out->port = number;
    return NULL;
}

const char *addr_parse(struct slice text, uint16_t default_port, struct addr *out)
{
    return parse(text, default_port, false, out);
}

const char *addr_parse_loose(struct slice text, struct addr *out)
{
    return parse(text, 0, true, out);
}

void addr_normalize(struct addr *a)
{
    struct sockaddr_any at;
    struct addr numeric;
    if (addr_numeric(a, &at) && sockaddr_to_addr(&at, &numeric)) {
        *a = numeric;
    }
}

bool addr_eq(const struct addr *a, const struct addr *b)
{
    bool same = addr_is_unix(a) ? strcmp(a->host, b->host) == 0 : strcasecmp(a->host, b->host) == 0;
    return same && a->port == b->port;
}

const char *addr_text(const struct addr *a, char *out)
{
    bool v6 = strchr(a->host, ':') != NULL;
    if (addr_is_unix(a)) {
        (void)snprintf(out, ADDR_TEXT_MAX, UNIX_PREFIX "%s", a->host);
        return out;
    }
    int n = snprintf(out, ADDR_TEXT_MAX, v6 ? "[%s]" : "%s", a->host);
    if (a->port != 0) {
        (void)snprintf(out + n, ADDR_TEXT_MAX - (size_t)n, ":%u", (unsigned)a->port);
    }
    return out;
}

bool addr_numeric(const struct addr *a, struct sockaddr_any *out)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(a->port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(a->port)};
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    size_t n = strlen(a->host);
    memset(out, 0, sizeof *out);
    if (addr_is_unix(a) && n <= ADDR_PATH_MAX) {
        memcpy(path.sun_path, a->host, n);
        memcpy(&out->ss, &path, sizeof path);
        out->len = sizeof path;
        return true;
    }
    if (inet_pton(AF_INET, a->host, &v4.sin_addr) == 1) {
        memcpy(&out->ss, &v4, sizeof v4);
        out->len = sizeof v4;
        return true;
    }
    if (inet_pton(AF_INET6, a->host, &v6.sin6_addr) == 1) {
        memcpy(&out->ss, &v6, sizeof v6);
        out->len = sizeof v6;
        return true;
    }
    return false;
}

bool sockaddr_eq(const struct sockaddr_any *a, const struct sockaddr_any *b)
{
    struct addr x, y;
    return sockaddr_to_addr(a, &x) && sockaddr_to_addr(b, &y) &&
           a->ss.ss_family == b->ss.ss_family && addr_eq(&x, &y);
}

bool sockaddr_to_addr(const struct sockaddr_any *sa, struct addr *out)
{
    memset(out, 0, sizeof *out);
    const void *from;
    if (sa->len > 0 && sa->ss.ss_family == AF_UNIX) {
        const struct sockaddr_un *un = (const struct sockaddr_un *)(const void *)&sa->ss;
        memcpy(out->host, un->sun_path, ADDR_PATH_MAX);
        return addr_is_unix(out); /* else it has no name, or an abstract one */
    }
    if (sa->len > 0 && sa->ss.ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)&sa->ss;
        from = &v4->sin_addr;
        out->port = ntohs(v4->sin_port);
    } else if (sa->len > 0 && sa->ss.ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)&sa->ss;
        from = &v6->sin6_addr;
        out->port = ntohs(v6->sin6_port);
    } else {
        return false;
    }
    return inet_ntop(sa->ss.ss_family, from, out->host, sizeof out->host) != NULL;
}

static unsigned width(const struct addr_net *net)
{
    return net->family == AF_INET ? 32 : 128;
}

/* The first bit behind the prefix that is set; width when there is none. */
static unsigned stray_bit(const struct addr_net *net)
{
    unsigned bit = net->bits;
    while (bit < width(net) && (net->bytes[bit / 8] >> (7 - bit % 8) & 1) == 0) {
        bit++;
    }
    return bit;
}

static void clear_behind(struct addr_net *net)
{
    for (unsigned bit = net->bits; bit < width(net); bit++) {
        net->bytes[bit / 8] &= (unsigned char)~(1u << (7 - bit % 8));
    }
}

/* Clients are never told by such an address: neither sockets nor PROXY headers give any. */
static bool is_mapped(const struct addr_net *net, struct addr_net *v4)
{
    static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};
    if (net->family != AF_INET6 || net->bits < 96 || memcmp(net->bytes, prefix, 12) != 0) {
        return false;
    }
    *v4 = (struct addr_net){.family = AF_INET, .bits = net->bits - 96};
    memcpy(v4->bytes, net->bytes + 12, 4);
    return true;
}

const char *addr_net_parse(struct slice text, struct addr_net *out)
{
    const char *slash = text.n > 0 ? memchr(text.p, '/', text.n) : NULL;
    size_t n = slash == NULL ? text.n : (size_t)(slash - text.p);
    char host[INET6_ADDRSTRLEN] = {0};
    struct addr_net net = {.family = AF_INET}, v4;
    int64_t bits;
    if (n >= sizeof host || (n > 0 && memchr(text.p, '\0', n) != NULL)) {
        return "it is no network: write a.b.c.d/n";
    }
    memcpy(host, n > 0 ? text.p : "", n);
    if (inet_pton(AF_INET, host, net.bytes) != 1) {
        net.family = AF_INET6;
        if (inet_pton(AF_INET6, host, net.bytes) != 1) {
            return "it is no network: write a.b.c.d/n";
        }
    }
    net.bits = width(&net);
    if (slash != NULL) {
        if (!slice_to_i64(slice_of(slash + 1, text.n - n - 1), 0, width(&net), &bits)) {
            (void)snprintf(problem, sizeof problem, "the bits behind '/' are a number in 0..%u",
                           width(&net));
            return problem;
        }
        net.bits = (unsigned)bits;
    }
    if (stray_bit(&net) < width(&net)) {
        char again[ADDR_NET_TEXT_MAX];
        clear_behind(&net);
        (void)snprintf(problem, sizeof problem,
                       "the address has bits beyond the first %u: write %s", net.bits,
                       addr_net_text(&net, again));
        return problem;
    }
    if (is_mapped(&net, &v4)) {
        char again[ADDR_NET_TEXT_MAX];
        (void)snprintf(problem, sizeof problem, "it is one of IPv4 in IPv6: write %s",
                       addr_net_text(&v4, again));
        return problem;
    }
    *out = net;
    return NULL;
}

const char *addr_net_text(const struct addr_net *net, char out[ADDR_NET_TEXT_MAX])
{
    char host[INET6_ADDRSTRLEN];
    const char *text = inet_ntop(net->family, net->bytes, host, sizeof host);
    bool alone = net->bits == width(net);
    (void)snprintf(out, ADDR_NET_TEXT_MAX, alone ? "%s" : "%s/%u", text == NULL ? "" : text,
                   net->bits);
    return out;
}

bool addr_net_has(const struct addr_net *net, const struct sockaddr_any *at)
{
    struct addr_net alone = {.family = at->ss.ss_family, .bits = net->bits};
    if (at->len == 0 || alone.family != net->family) {
        return false;
    }
    if (net->family == AF_INET) {
        memcpy(alone.bytes, &((const struct sockaddr_in *)(const void *)&at->ss)->sin_addr, 4);
    } else {
        memcpy(alone.bytes, &((const struct sockaddr_in6 *)(const void *)&at->ss)->sin6_addr, 16);
    }
    clear_behind(&alone);
    return memcmp(alone.bytes, net->bytes, sizeof alone.bytes) == 0;
}
