/* What must hold between values that are good by themselves. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>

#include "config/config_parts.h"
#include "proxy/base/limits.h"

struct check {
    struct config *config;
    struct config_report *report;
};

static struct key_origin *key_of(struct section_origin *section, const char *name)
{
    const struct config_key *key = config_key_find(section->kind, slice_str(name));
    CHECK(key != NULL);
    return &section->keys[key - config_keys];
}

static struct key_origin *origin_of(const struct check *c, size_t section, const char *name)
{
    return key_of(&c->config->origins->v[section], name);
}

/* Where the key was set, else its section's head, else the section. */
static const char *where_in(struct section_origin *section, const char *name)
{
    const struct key_origin *origin = key_of(section, name);
    if (origin->count > 0) {
        return origin->where[0];
    }
    return section->where != NULL ? section->where : section->label;
}

static const char *where(const struct check *c, size_t section, const char *name)
{
    return where_in(&c->config->origins->v[section], name);
}

const char *config_where_of(const struct config *config, const void *section, const char *key,
                            size_t i)
{
    struct section_origin *o = config->origins->v;
    while (o->section != section) {
        o++;
        CHECK(o < config->origins->v + config->origins->count);
    }
    return i < key_of(o, key)->count ? key_of(o, key)->where[i] : where_in(o, key);
}

const char *config_where(const struct config *config, const void *section, const char *key)
{
    return config_where_of(config, section, key, 0);
}

static bool refused(const struct check *c, size_t section, const char *name)
{
    return origin_of(c, section, name)->bad;
}

static void check_credentials(const struct check *c, size_t section, const char *user,
                              const struct secret *password)
{
    if (user != NULL && password == NULL && !refused(c, section, "password") &&
        !refused(c, section, "password-file")) {
        config_report_add(c->report, CONFIG_ERROR,
                          "%s: 'user' without a password in [%s]; add password-file or password",
                          where(c, section, "user"), c->config->origins->v[section].label);
    }
}

static void check_user(const struct check *c)
{
    if (c->config->proxy.group != NULL && c->config->proxy.user == NULL &&
        !refused(c, DRAFT_PROXY, "user")) {
        config_report_add(c->report, CONFIG_ERROR,
                          "%s: 'group' without 'user' in [proxy]; add user, or leave it out",
                          where(c, DRAFT_PROXY, "group"));
    }
}

/* Each user of clients has one user at the server. */
static void check_identities(const struct check *c, size_t section, const struct config_service *s)
{
    const struct config_identities *list = &s->upstream_users;
    const struct key_origin *origin = origin_of(c, section, "upstream-user");
    if (list->count > CONFIG_IDENTITIES_MAX) {
        config_report_add(c->report, CONFIG_ERROR,
                          "%s: %zu entries of upstream-user are more than %d; let users share one",
                          where(c, section, "upstream-user"), list->count, CONFIG_IDENTITIES_MAX);
        return;
    }
    for (size_t i = 0; i < list->count && !origin->bad; i++) {
        for (size_t k = 0; k < i; k++) {
            if (strcmp(list->v[i].client, list->v[k].client) == 0) {
                config_report_add(c->report, CONFIG_ERROR,
                                  "%s: '%s' has an upstream-user already; the first is %s; keep "
                                  "one of them",
                                  origin->where[i], list->v[i].client, origin->where[k]);
                break;
            }
        }
    }
}

static void check_client_auth(const struct check *c, size_t section, const struct config_service *s)
{
    static const char *const idle[] = {"acl-file", "upstream-user"};
    bool users = s->client_auth == CLIENT_AUTH_USERS;
    check_identities(c, section, s);
    if (refused(c, section, "client-auth")) {
        return;
    }
    if (users && s->acl_file == NULL && !refused(c, section, "acl-file")) {
        config_report_add(c->report, CONFIG_ERROR,
                          "%s: client-auth = users in [service %s] needs to know them; add "
                          "acl-file = PATH",
                          where(c, section, "client-auth"), s->name);
    }
    for (size_t i = 0; i < ARRAY_LEN(idle) && !users; i++) {
        if (origin_of(c, section, idle[i])->count > 0) {
            config_report_add(c->report, CONFIG_WARNING,
                              "%s: '%s' does nothing without client-auth = users in [service %s]; "
                              "add that, or leave it out",
                              where(c, section, idle[i]), idle[i], s->name);
        }
    }
}

/* Index of a service's section and of a group's. */
static size_t service_section(const struct check *c, size_t service)
{
    return DRAFT_SENTINEL + c->config->group_count + service;
}

static size_t group_section(size_t group)
{
    return DRAFT_SENTINEL + group;
}

/* Finds the group that each service names. */
static void choose_groups(const struct check *c, struct draft *d)
{
    for (size_t i = 0; i < c->config->service_count; i++) {
        struct config_service *s = &c->config->services[i];
        if (s->sentinel == NULL) {
            d->unsure = d->unsure || refused(c, service_section(c, i), "sentinel");
            continue;
        }
        const struct draft_section *found =
            draft_named(d, SECTION_SENTINEL, slice_str(s->sentinel),
                        where(c, service_section(c, i), "sentinel"));
        s->group = found == NULL ? 0 : (size_t)(found - d->sections) - DRAFT_SENTINEL;
    }
}

/* The first service that chose the group; service_count: none has. */
static size_t user_of(const struct check *c, size_t group)
{
    size_t i = 0;
    while (i < c->config->service_count && c->config->services[i].group != group) {
        i++;
    }
    return i;
}

static void no_address(const struct check *c, size_t group, size_t user)
{
    if (group > 0) {
        config_report_add(
            c->report, CONFIG_ERROR,
            "%s: no address in [sentinel %s]; add address = HOST:PORT for each of its "
            "Sentinels",
            where(c, group_section(group), "address"), c->config->groups[group].name);
    } else if (user < c->config->service_count && c->config->group_count > 1) {
        config_report_add(c->report, CONFIG_ERROR,
                          "%s: [service %s] names no group of Sentinels, and the plain [sentinel] "
                          "has no address; add sentinel = NAME to the one or address = HOST:PORT "
                          "to the other",
                          where(c, service_section(c, user), "sentinel"),
                          c->config->services[user].name);
    } else if (user < c->config->service_count) {
        config_report_add(
            c->report, CONFIG_ERROR,
            "no Sentinel is configured; give one as --sentinel HOST:PORT, as "
            "VEDETTE_SENTINEL_ADDRESS, or as address = HOST:PORT in [sentinel] of a file");
    }
}

static void check_use(const struct check *c, const struct draft *d, size_t group)
{
    const struct config_sentinel *s = &c->config->groups[group];
    const struct section_origin *head = &c->config->origins->v[group_section(group)];
    size_t user = user_of(c, group);
    if (d->unsure || refused(c, group_section(group), "address")) {
        return; /* what seems missing may only be mistyped */
    }
    if (s->address.count == 0) {
        no_address(c, group, user);
    } else if (user == c->config->service_count) {
        config_report_add(c->report, CONFIG_WARNING, "%s: no service uses [%s]; %s",
                          head->where != NULL ? head->where
                                              : where(c, group_section(group), "address"),
                          head->label,
                          group == 0 ? "every service names another group: leave it out"
                                     : "leave it out, or name it in a service: sentinel = NAME");
    }
}

static void check_addresses(const struct check *c, size_t group)
{
    const struct config_sentinel *s = &c->config->groups[group];
    const struct key_origin *origin = origin_of(c, group_section(group), "address");
    if (s->address.count > SENTINELS_MAX) {
        config_report_add(c->report, CONFIG_ERROR,
                          "%s: %zu Sentinels are more than %u; list fewer, the "
                          "others are learnt from them",
                          where(c, group_section(group), "address"), s->address.count,
                          SENTINELS_MAX);
        return;
    }
    for (size_t i = 0; i < s->address.count && !origin->bad; i++) {
        for (size_t j = 0; j < i; j++) {
            char text[ADDR_TEXT_MAX];
            if (addr_eq(&s->address.v[i], &s->address.v[j])) {
                config_report_add(c->report, CONFIG_WARNING,
                                  "%s: the Sentinel %s is listed twice; leave one out",
                                  origin->where[i], addr_text(&s->address.v[i], text));
                break;
            }
        }
    }
}

/* Of two entries for one address only one could be meant. */
static void check_map(const struct check *c, size_t group)
{
    const struct config_mappings *map = &c->config->groups[group].address_map;
    const struct key_origin *origin = origin_of(c, group_section(group), "address-map");
    if (map->count > CONFIG_MAPPINGS_MAX) {
        config_report_add(c->report, CONFIG_ERROR,
                          "%s: %zu entries of address-map are more than %d; map hosts with all "
                          "their ports",
                          where(c, group_section(group), "address-map"), map->count,
                          CONFIG_MAPPINGS_MAX);
        return;
    }
    for (size_t i = 0; i < map->count && !origin->bad; i++) {
        for (size_t j = 0; j < i; j++) {
            char text[ADDR_TEXT_MAX];
            if (addr_eq(&map->v[i].announced, &map->v[j].announced)) {
                config_report_add(c->report, CONFIG_ERROR,
                                  "%s: %s is mapped twice; the first is %s; keep one of them",
                                  origin->where[i], addr_text(&map->v[i].announced, text),
                                  origin->where[j]);
                break;
            }
        }
    }
}

/* A host name or an address, and nothing else. */
static bool is_host(const char *text)
{
    struct addr addr = {0};
    struct sockaddr_any at;
    size_t n = strlen(text);
    memcpy(addr.host, text, n <= ADDR_HOST_MAX ? n : 0);
    return n <= ADDR_HOST_MAX && text[0] != '/' && text[0] != '.' &&
           (addr_numeric(&addr, &at) || strpbrk(text, ":/[]*\\") == NULL);
}

/* TLS to others, in one section. */
static void check_tls(const struct check *c, size_t section, const struct config_tls *tls)
{
    static const char *const idle[] = {"tls-ca-cert-file", "tls-ca-cert-dir",
                                       "tls-client-cert-file", "tls-client-key-file",
                                       "tls-server-name"};
    const char *label = c->config->origins->v[section].label;
    for (size_t i = 0; i < ARRAY_LEN(idle) && !tls->on && !refused(c, section, "tls"); i++) {
        if (origin_of(c, section, idle[i])->count > 0) {
            config_report_add(c->report, CONFIG_WARNING,
                              "%s: '%s' does nothing without tls = yes in [%s]; add that, or leave "
                              "it out",
                              where(c, section, idle[i]), idle[i], label);
        }
    }
    if (tls->key_file != NULL && tls->cert_file == NULL) {
        config_report_add(c->report, CONFIG_ERROR,
                          "%s: 'tls-client-key-file' without a certificate in [%s]; add "
                          "tls-client-cert-file",
                          where(c, section, "tls-client-key-file"), label);
    }
    if (tls->server_name != NULL && !is_host(tls->server_name)) {
        config_report_add(c->report, CONFIG_ERROR,
                          "%s: bad tls-server-name: '%s' is no host name and no address; write one "
                          "that the certificates are for, without a port",
                          where(c, section, "tls-server-name"), tls->server_name);
    }
    if (tls->on && tls->verify == CONFIG_VERIFY_NO) {
        config_report_add(c->report, CONFIG_WARNING,
                          "%s: tls-verify = no in [%s]: whoever answers there is believed, and is "
                          "told passwords; use tls-ca-cert-file, and tls-server-name where "
                          "addresses are not names",
                          where(c, section, "tls-verify"), label);
    }
}

static void check_tls_clients(const struct check *c, size_t section, const struct config_service *s)
{
    static const char *const idle[] = {"tls-cert-file", "tls-auth-clients", "tls-auth-ca-file"};
    const struct config_tls_clients *clients = &s->clients;
    const char *listens = clients->listen.count > 0 ? "tls-listen" : "read-tls-listen";
    bool any = config_listens_with_tls(s);
    if (any && clients->cert_file == NULL) {
        config_report_add(c->report, CONFIG_ERROR,
                          "%s: '%s' in [service %s] needs a certificate; add tls-cert-file and "
                          "tls-key-file",
                          where(c, section, listens), listens, s->name);
    }
    if (clients->key_file != NULL && clients->cert_file == NULL) {
        config_report_add(c->report, CONFIG_ERROR,
                          "%s: 'tls-key-file' without a certificate in [service %s]; add "
                          "tls-cert-file",
                          where(c, section, "tls-key-file"), s->name);
    }
    if (any && clients->auth != CONFIG_AUTH_NO && clients->ca_file == NULL) {
        config_report_add(c->report, CONFIG_ERROR,
                          "%s: 'tls-auth-clients' in [service %s] needs to know whom to trust; add "
                          "tls-auth-ca-file",
                          where(c, section, "tls-auth-clients"), s->name);
    }
    if (any && clients->auth == CONFIG_AUTH_NO && clients->ca_file != NULL &&
        !refused(c, section, "tls-auth-clients")) {
        config_report_add(c->report, CONFIG_WARNING,
                          "%s: 'tls-auth-ca-file' does nothing without tls-auth-clients in "
                          "[service %s]: no client is asked for a certificate; add "
                          "tls-auth-clients = yes, or leave it out",
                          where(c, section, "tls-auth-ca-file"), s->name);
    }
    for (size_t i = 0; i < ARRAY_LEN(idle) && !any && !refused(c, section, listens); i++) {
        bool no = strcmp(idle[i], "tls-auth-clients") == 0 && clients->auth == CONFIG_AUTH_NO;
        if (origin_of(c, section, idle[i])->count > 0 && !no) {
            config_report_add(c->report, CONFIG_WARNING,
                              "%s: '%s' does nothing without tls-listen or read-tls-listen in "
                              "[service %s]; add one, or leave it out",
                              where(c, section, idle[i]), idle[i], s->name);
        }
    }
}

static void check_group(const struct check *c, const struct draft *d, size_t group)
{
    const struct config_sentinel *s = &c->config->groups[group];
    size_t section = group_section(group);
    check_use(c, d, group);
    check_addresses(c, group);
    check_map(c, group);
    if (s->poll_interval_fast_ms > s->poll_interval_ms && !refused(c, section, "poll-interval") &&
        !refused(c, section, "poll-interval-fast")) {
        config_report_add(
            c->report, CONFIG_ERROR,
            "%s: poll-interval-fast = %llums is longer than poll-interval = %llums; it has "
            "to be shorter",
            where(c, section, "poll-interval-fast"), (unsigned long long)s->poll_interval_fast_ms,
            (unsigned long long)s->poll_interval_ms);
    }
    check_credentials(c, section, s->user, s->password);
    check_tls(c, section, &s->tls);
}

/* Whose word for a client's address is taken. */
static void check_proxied(const struct check *c, size_t section, const struct config_service *s)
{
    const struct config_access *a = &s->access;
    if (refused(c, section, "proxy-protocol") || refused(c, section, "proxy-protocol-from")) {
        return;
    }
    if (a->proxied == CONFIG_PROXIED_OPTIONAL && a->proxied_from.count == 0) {
        config_report_add(c->report, CONFIG_ERROR,
                          "%s: 'proxy-protocol = optional' in [service %s] needs to know who tells "
                          "addresses; add proxy-protocol-from, or write yes where all do",
                          where(c, section, "proxy-protocol"), s->name);
    } else if (a->proxied == CONFIG_PROXIED_NO && a->proxied_from.count > 0) {
        config_report_add(c->report, CONFIG_WARNING,
                          "%s: 'proxy-protocol-from' does nothing without proxy-protocol in "
                          "[service %s]; add that, or leave it out",
                          where(c, section, "proxy-protocol-from"), s->name);
    }
}

/* An address as a bound socket sees it; localhost is taken for the address it nearly always is. */
struct place {
    int family; /* AF_UNSPEC: a name */
    uint8_t bytes[16];
    bool any, loopback;
};

static struct place place_of(const struct addr *addr)
{
    struct addr numeric = *addr;
    struct sockaddr_any sa;
    struct place place = {.family = AF_UNSPEC};
    if (slice_eq_nocase(slice_str(addr->host), "localhost")) {
        (void)snprintf(numeric.host, sizeof numeric.host, "127.0.0.1");
    }
    if (!addr_numeric(&numeric, &sa)) {
        return place;
    }
    if (addr_is_unix(addr)) {
        place.loopback = true; /* and equal to none but itself, as a name is */
        return place;
    }
    place.family = sa.ss.ss_family;
    if (place.family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)&sa.ss;
        uint32_t host = ntohl(v4->sin_addr.s_addr);
        memcpy(place.bytes, &host, sizeof host);
        place.any = host == INADDR_ANY;
        place.loopback = host >> 24 == IN_LOOPBACKNET;
    } else {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)&sa.ss;
        memcpy(place.bytes, &v6->sin6_addr, sizeof place.bytes);
        place.any = IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr);
        place.loopback = IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
    }
    return place;
}

static bool overlap(const struct addr *a, const struct addr *b)
{
    struct place x = place_of(a), y = place_of(b);
    if (a->port != b->port) {
        return false;
    }
    if (x.family == AF_UNSPEC || y.family == AF_UNSPEC) {
        return addr_eq(a, b);
    }
    return x.family == y.family &&
           (x.any || y.any || memcmp(x.bytes, y.bytes, sizeof x.bytes) == 0);
}

/* The listeners of a service, which some keys list. */
struct ears {
    const char *key;
    const struct config_addrs *at;
    bool tls;
};
#define EARS_KINDS 4

static struct ears ears_of(const struct config_service *s, size_t kind)
{
    switch (kind) {
    case 0: return (struct ears){"listen", &s->listen, false};
    case 1: return (struct ears){"read-listen", &s->read_listen, false};
    case 2: return (struct ears){"tls-listen", &s->clients.listen, true};
    default: return (struct ears){"read-tls-listen", &s->clients.read_listen, true};
    }
}

/* The i-th listener of all services. */
struct ear {
    const struct config_service *service;
    const struct addr *at;
    const char *where;
    bool refused;
    bool authenticated; /* by a certificate, before anything can be said */
};

static struct ear ear_at(const struct check *c, size_t i)
{
    size_t list = 0; /* EARS_KINDS for each service */
    struct ears ears = ears_of(&c->config->services[0], 0);
    while (i >= ears.at->count) {
        i -= ears.at->count;
        list++;
        ears = ears_of(&c->config->services[list / EARS_KINDS], list % EARS_KINDS);
    }
    size_t section = service_section(c, list / EARS_KINDS);
    const struct key_origin *origin = origin_of(c, section, ears.key);
    return (struct ear){.service = &c->config->services[list / EARS_KINDS],
                        .at = &ears.at->v[i],
                        .where = i < origin->count ? origin->where[i] : where(c, section, ears.key),
                        .refused = origin->bad,
                        .authenticated =
                            ears.tls &&
                            c->config->services[list / EARS_KINDS].clients.auth == CONFIG_AUTH_YES};
}

static size_t ear_count(const struct check *c)
{
    size_t count = 0;
    for (size_t i = 0; i < c->config->service_count; i++) {
        for (size_t kind = 0; kind < EARS_KINDS; kind++) {
            count += ears_of(&c->config->services[i], kind).at->count;
        }
    }
    return count;
}

/* True if so, and reported. */
static bool too_many_ears(const struct check *c)
{
    bool any = false;
    for (size_t i = 0; i < c->config->service_count * EARS_KINDS; i++) {
        const struct config_service *s = &c->config->services[i / EARS_KINDS];
        struct ears ears = ears_of(s, i % EARS_KINDS);
        if (ears.at->count > CONFIG_LISTENERS_MAX) {
            any = true;
            config_report_add(c->report, CONFIG_ERROR,
                              "%s: %zu addresses of '%s' in [service %s] are more than %d; list "
                              "fewer",
                              where(c, service_section(c, i / EARS_KINDS), ears.key),
                              ears.at->count, ears.key, s->name, CONFIG_LISTENERS_MAX);
        }
    }
    return any;
}

static void check_listeners(const struct check *c)
{
    size_t count = too_many_ears(c) ? 0 : ear_count(c);
    for (size_t i = 0; i < count; i++) {
        struct ear a = ear_at(c, i);
        for (size_t j = 0; j < i; j++) {
            struct ear b = ear_at(c, j);
            char at[ADDR_TEXT_MAX], other[ADDR_TEXT_MAX];
            if (overlap(a.at, b.at) && !a.refused && !b.refused) {
                config_report_add(c->report, CONFIG_ERROR,
                                  "%s: [service %s] listens on %s and [service %s] on %s (%s); %s",
                                  a.where, a.service->name, addr_text(a.at, at), b.service->name,
                                  addr_text(b.at, other), b.where,
                                  addr_is_unix(a.at) ? "give one of them another path"
                                                     : "give one of them another port");
                break;
            }
        }
    }
}

static void check_protected_mode(const struct check *c)
{
    bool on = c->config->proxy.protected_mode && !refused(c, DRAFT_PROXY, "protected-mode");
    size_t count = ear_count(c);
    for (size_t i = 0; i < count && on; i++) {
        struct ear e = ear_at(c, i);
        char at[ADDR_TEXT_MAX];
        bool password = e.service->password != NULL;
        bool certificate = e.service->tls.on && e.service->tls.cert_file != NULL &&
                           e.service->client_auth == CLIENT_AUTH_NONE;
        if (!(password || certificate) || e.service->client_auth == CLIENT_AUTH_USERS ||
            e.authenticated || place_of(e.at).loopback) {
            continue;
        }
        config_report_add(
            c->report, CONFIG_ERROR,
            "%s: [service %s] listens on %s, beyond this machine, with a %s of its "
            "own: whoever connects there uses it without giving one; listen on 127.0.0.1, "
            "or let clients log in (client-auth = users), or set protected-mode = no in [proxy] "
            "if only trusted clients reach that address",
            e.where, e.service->name, addr_text(e.at, at), password ? "password" : "certificate");
    }
}

/* Whoever connects may say who he is. */
static void check_believed(const struct check *c)
{
    size_t count = ear_count(c);
    for (size_t i = 0; i < count; i++) {
        struct ear e = ear_at(c, i);
        const struct config_access *a = &e.service->access;
        char at[ADDR_TEXT_MAX];
        if (a->proxied == CONFIG_PROXIED_YES && a->proxied_from.count == 0 &&
            !place_of(e.at).loopback) {
            config_report_add(c->report, CONFIG_WARNING,
                              "%s: [service %s] listens on %s and believes every address that a "
                              "PROXY header tells; list the proxies in proxy-protocol-from",
                              e.where, e.service->name, addr_text(e.at, at));
        }
    }
}

/* Who listens with TLS and says nothing of plain connections wants none. */
static void drop_default_listeners(const struct check *c)
{
    for (size_t i = 0; i < c->config->service_count; i++) {
        struct config_service *s = &c->config->services[i];
        size_t section = service_section(c, i);
        if (config_listens_with_tls(s) && origin_of(c, section, "listen")->count == 0) {
            s->listen.count = 0;
        }
    }
}

/* A single request that may be kept has to fit into what all buffers may hold. */
static void check_buffers(const struct check *c)
{
    const struct config_key *all = config_key_find(SECTION_PROXY, slice_str("buffer-memory"));
    const struct config_key *one = config_key_find(SECTION_SERVICE, slice_str("retain-max"));
    for (size_t i = 0; i < c->config->service_count; i++) {
        const struct config_service *s = &c->config->services[i];
        if (s->retain_max <= c->config->proxy.buffer_memory ||
            refused(c, DRAFT_PROXY, "buffer-memory") ||
            refused(c, service_section(c, i), "retain-max")) {
            continue;
        }
        struct buf most = {0}, kept = {0};
        config_value_format(all, &c->config->proxy, &most);
        config_value_format(one, s, &kept);
        config_report_add(c->report, CONFIG_WARNING,
                          "%s: retain-max = %.*s of [service %s] is more than all requests may "
                          "take, buffer-memory = %.*s in [proxy]: who sends one as large is "
                          "closed; lower the one or raise the other",
                          where(c, service_section(c, i), "retain-max"), (int)buf_len(&kept),
                          buf_head(&kept), s->name, (int)buf_len(&most), buf_head(&most));
        buf_release(&most);
        buf_release(&kept);
    }
}

/* Descriptors that are not for clients: what FDS_RESERVED has no room for is each group of
 * Sentinels beyond the first, each listener of a service beyond its first, and replicas. */
static uint32_t reserved_fds(const struct check *c)
{
    uint32_t used = 0;
    for (size_t i = 0; i < c->config->group_count; i++) {
        used += user_of(c, i) < c->config->service_count ? 1 : 0;
    }
    uint32_t replicas = 0;
    for (size_t i = 0; i < c->config->service_count; i++) {
        replicas += config_reads_replicas(&c->config->services[i]) ? REPLICAS_MAX : 0;
    }
    size_t ears = ear_count(c), services = c->config->service_count;
    size_t more = ears > services ? ears - services : 0;
    return FDS_RESERVED + (uint32_t)more + replicas +
           (used > 1 ? (used - 1) * 2 * SENTINELS_MAX : 0);
}

static void check_descriptors(const struct check *c, uint64_t limit)
{
    uint32_t clients = c->config->proxy.max_clients, reserved = reserved_fds(c);
    uint64_t need = (uint64_t)clients * 2 + reserved;
    uint64_t most = limit > reserved ? (limit - reserved) / 2 : 0;
    bool written = origin_of(c, DRAFT_PROXY, "max-clients")->count > 0;
    if (limit == 0 || need <= limit || refused(c, DRAFT_PROXY, "max-clients")) {
        return;
    }
    char sum[128];
    (void)snprintf(sum, sizeof sum, "%u x 2 + %u = %llu file descriptors, and the limit is %llu",
                   clients, reserved, (unsigned long long)need, (unsigned long long)limit);
    if (most == 0) {
        config_report_add(
            c->report, CONFIG_ERROR,
            "%s: max-clients = %u needs %s, too low for a single client; raise it (ulimit "
            "-Hn, LimitNOFILE)",
            written ? where(c, DRAFT_PROXY, "max-clients") : "proxy", clients, sum);
    } else if (written) {
        config_report_add(
            c->report, CONFIG_ERROR,
            "%s: max-clients = %u needs %s; raise it (ulimit -Hn, LimitNOFILE) or set "
            "max-clients to %llu or less",
            where(c, DRAFT_PROXY, "max-clients"), clients, sum, (unsigned long long)most);
    } else {
        c->config->proxy.max_clients = (uint32_t)most;
        origin_of(c, DRAFT_PROXY, "max-clients")->note = "lowered to the limit of file descriptors";
        config_report_add(c->report, CONFIG_WARNING,
                          "max-clients lowered from %u to %llu: it needs %s; raise it (ulimit -Hn, "
                          "LimitNOFILE) or set max-clients",
                          clients, (unsigned long long)most, sum);
    }
}

void config_check(struct config *config, const struct config_input *in, struct draft *d)
{
    struct check c = {config, d->report};
    check_user(&c);
    choose_groups(&c, d);
    for (size_t i = 0; i < config->group_count; i++) {
        check_group(&c, d, i);
    }
    for (size_t i = 0; i < config->service_count; i++) {
        check_credentials(&c, service_section(&c, i), config->services[i].user,
                          config->services[i].password);
        check_client_auth(&c, service_section(&c, i), &config->services[i]);
        check_tls(&c, service_section(&c, i), &config->services[i].tls);
        check_tls_clients(&c, service_section(&c, i), &config->services[i]);
        check_proxied(&c, service_section(&c, i), &config->services[i]);
    }
    drop_default_listeners(&c);
    check_listeners(&c);
    check_protected_mode(&c);
    check_believed(&c);
    check_buffers(&c);
    check_descriptors(&c, in->fd_limit);
}
