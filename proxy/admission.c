#include "proxy/admission.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "proxy/base/list.h"

/* An address without a port. */
struct origin {
    struct list_node node; /* in its bucket */
    int family;
    unsigned char bytes[16];
    uint32_t clients;
};

struct guest {
    struct admission *admission;
    struct origin *origin; /* where it is counted; NULL: nowhere */
    bool told;
    uint16_t port; /* in network order, as the bytes */
    sa_family_t family;
    unsigned char bytes[16];
};

struct admission {
    pthread_mutex_t lock;
    uint32_t most; /* from one address; 0: nobody is counted */
    uint64_t seed; /* clients must not choose the lists that they are found in */
    struct list *buckets;
    size_t bucket_count; /* a power of two */
};

struct admission *admission_new(const struct config_proxy *config)
{
    struct admission *a = xcalloc(1, sizeof *a);
    CHECK(pthread_mutex_init(&a->lock, NULL) == 0);
    a->most = config->max_clients_per_address;
    if (a->most > 0) {
        for (a->bucket_count = 64; a->bucket_count < config->max_clients; a->bucket_count *= 2) {
        }
        a->buckets = xcalloc(a->bucket_count, sizeof *a->buckets);
        (void)getrandom(&a->seed, sizeof a->seed, GRND_NONBLOCK); /* else it is 0 */
    }
    return a;
}

void admission_free(struct admission **where)
{
    struct admission *a = *where;
    if (a == NULL) {
        return;
    }
    *where = NULL;
    for (size_t i = 0; i < a->bucket_count; i++) {
        CHECK(a->buckets[i].count == 0);
    }
    CHECK(pthread_mutex_destroy(&a->lock) == 0);
    free(a->buckets);
    free(a);
}

static bool in_any(const struct config_nets *nets, const struct sockaddr_any *at)
{
    for (size_t i = 0; i < nets->count; i++) {
        if (addr_net_has(&nets->v[i], at)) {
            return true;
        }
    }
    return false;
}

static bool is_unix(const struct sockaddr_any *at)
{
    return at->ss.ss_family == AF_UNIX;
}

bool admission_allows(const struct config_access *access, const struct sockaddr_any *from)
{
    return access->allow.count == 0 || is_unix(from) || in_any(&access->allow, from);
}

enum admission_way admission_way(const struct config_access *access,
                                 const struct sockaddr_any *peer)
{
    if (access->proxied == CONFIG_PROXIED_NO || is_unix(peer)) {
        return ADMISSION_PLAIN;
    }
    if (in_any(&access->proxied_from, peer) ||
        (access->proxied == CONFIG_PROXIED_YES && access->proxied_from.count == 0)) {
        return ADMISSION_HEADER;
    }
    return access->proxied == CONFIG_PROXIED_OPTIONAL ? ADMISSION_PLAIN : ADMISSION_REFUSED;
}

static const struct sockaddr_in *v4_of(const struct sockaddr_any *at)
{
    return (const struct sockaddr_in *)(const void *)&at->ss;
}

static const struct sockaddr_in6 *v6_of(const struct sockaddr_any *at)
{
    return (const struct sockaddr_in6 *)(const void *)&at->ss;
}

static void read_bytes(const struct sockaddr_any *at, unsigned char out[16])
{
    memset(out, 0, 16);
    if (at->ss.ss_family == AF_INET) {
        memcpy(out, &v4_of(at)->sin_addr, 4);
    } else if (at->ss.ss_family == AF_INET6) {
        memcpy(out, &v6_of(at)->sin6_addr, 16);
    }
}

static struct list *bucket_of(const struct admission *a, const struct origin *o)
{
    uint64_t halves[2], hash = a->seed;
    memcpy(halves, o->bytes, sizeof halves);
    for (size_t i = 0; i < ARRAY_LEN(halves); i++) {
        hash = (hash ^ halves[i]) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 32;
    }
    return &a->buckets[hash & (a->bucket_count - 1)];
}

/* NULL: nobody is there from that address. */
static struct origin *find(const struct list *bucket, const struct origin *like)
{
    for (struct list_node *n = bucket->first; n != NULL; n = n->next) {
        struct origin *o = CONTAINER_OF(n, struct origin, node);
        if (o->family == like->family && memcmp(o->bytes, like->bytes, sizeof o->bytes) == 0) {
            return o;
        }
    }
    return NULL;
}

/* NULL: as many as may be are there. */
static struct origin *count(struct admission *a, const struct sockaddr_any *from)
{
    struct origin like = {.family = from->ss.ss_family};
    read_bytes(from, like.bytes);
    struct list *bucket = bucket_of(a, &like);
    struct origin *o = find(bucket, &like);
    if (o == NULL) {
        o = xcalloc(1, sizeof *o);
        *o = like;
        list_append(bucket, &o->node);
    } else if (o->clients >= a->most) {
        return NULL;
    }
    o->clients++;
    return o;
}

bool admission_enter(struct admission *a, const struct sockaddr_any *from, bool told,
                     struct guest **guest)
{
    struct origin *origin = NULL;
    bool counted = a->most > 0 && !is_unix(from);
    *guest = NULL;
    if (counted) {
        CHECK(pthread_mutex_lock(&a->lock) == 0);
        origin = count(a, from);
        CHECK(pthread_mutex_unlock(&a->lock) == 0);
        if (origin == NULL) {
            return false;
        }
    }
    if (counted || told) {
        struct guest *g = *guest = xcalloc(1, sizeof *g);
        *g = (struct guest){.admission = a, .origin = origin, .told = told};
        g->family = from->ss.ss_family;
        g->port = g->family == AF_INET ? v4_of(from)->sin_port : v6_of(from)->sin6_port;
        read_bytes(from, g->bytes);
    }
    return true;
}

void admission_leave(struct guest **guest)
{
    struct guest *g = *guest;
    if (g == NULL) {
        return;
    }
    *guest = NULL;
    if (g->origin != NULL) {
        CHECK(pthread_mutex_lock(&g->admission->lock) == 0);
        if (--g->origin->clients == 0) {
            list_remove(&g->origin->node);
            free(g->origin);
        }
        CHECK(pthread_mutex_unlock(&g->admission->lock) == 0);
    }
    free(g);
}

bool guest_address(const struct guest *guest, struct addr *out)
{
    if (guest == NULL || !guest->told) {
        return false;
    }
    struct sockaddr_any at = {.len = sizeof at.ss};
    if (guest->family == AF_INET) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)&at.ss;
        *v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = guest->port};
        memcpy(&v4->sin_addr, guest->bytes, sizeof v4->sin_addr);
    } else {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)&at.ss;
        *v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = guest->port};
        memcpy(&v6->sin6_addr, guest->bytes, sizeof v6->sin6_addr);
    }
    return sockaddr_to_addr(&at, out);
}
