#include "proxy/acceptor.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <string.h>
#include <unistd.h>

#include "proxy/admission.h"
#include "proxy/base/list.h"
#include "proxy/base/log.h"
#include "proxy/net/arrival.h"
#include "proxy/net/listener.h"
#include "proxy/net/resolve.h"
#include "proxy/worker.h"

struct endpoint {
    struct acceptor *acceptor;
    size_t service;
    const struct addr *at;
    bool reader; /* one of read-listen or read-tls-listen */
    bool tls;
    struct listener *listener;
};

struct acceptor {
    struct loop *loop;
    const struct config *config;
    struct admission *admission;
    struct list arrivals; /* whose PROXY header is awaited */
    struct worker *const *workers;
    size_t worker_count;
    struct endpoint *endpoints; /* of all services */
    size_t endpoint_count;
};

/* The least loaded worker, and in *total what all of them have with what has just come. */
static struct worker *choose(const struct acceptor *a, uint64_t *total)
{
    struct worker *best = NULL;
    uint32_t best_load = UINT32_MAX;
    *total = a->arrivals.count;
    for (size_t i = 0; i < a->worker_count; i++) {
        uint32_t load = atomic_load_explicit(&a->workers[i]->load, memory_order_relaxed);
        *total += load;
        if (load < best_load) {
            best_load = load;
            best = a->workers[i];
        }
    }
    return best;
}

static const struct config_service *service_of(const struct endpoint *e)
{
    return &e->acceptor->config->services[e->service];
}

/* Who is at the other end of the socket; nobody where it is gone already. */
static struct sockaddr_any peer_of(int fd)
{
    struct sockaddr_any at = {.len = sizeof at.ss};
    if (getpeername(fd, (struct sockaddr *)&at.ss, &at.len) != 0) {
        at = (struct sockaddr_any){0};
    }
    return at;
}

static const char *text_of(const struct sockaddr_any *at, char text[ADDR_TEXT_MAX])
{
    struct addr addr;
    return sockaddr_to_addr(at, &addr) ? addr_text(&addr, text) : "?";
}

/* One too many, in Redis's words. */
static void refuse_full(const struct endpoint *e, int fd, const char *reason, uint32_t limit,
                        const struct sockaddr_any *from)
{
    static const char words[] = "-ERR max number of clients reached\r\n";
    char text[ADDR_TEXT_MAX];
    log_limited(LOG_WARNING, "client-refused", "service=%s client=%s reason=%s limit=%u",
                service_of(e)->name, text_of(from, text), reason, limit);
    if (!e->tls) { /* as good as it gets */
        (void)send(fd, words, sizeof words - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    (void)close(fd);
}

static void refuse_stranger(const struct endpoint *e, int fd, const char *reason,
                            const struct sockaddr_any *from)
{
    char text[ADDR_TEXT_MAX];
    log_limited(LOG_WARNING, "client-refused", "service=%s client=%s reason=%s",
                service_of(e)->name, text_of(from, text), reason);
    (void)close(fd);
}

/* told: by a PROXY header. */
static void admit(const struct endpoint *e, int fd, const struct sockaddr_any *from, bool told)
{
    const struct config_proxy *config = &e->acceptor->config->proxy;
    struct guest *guest;
    uint64_t total;
    if (!admission_allows(&service_of(e)->access, from)) {
        refuse_stranger(e, fd, "allow", from);
        return;
    }
    struct worker *worker = choose(e->acceptor, &total);
    if (total >= config->max_clients) {
        refuse_full(e, fd, "max-clients", config->max_clients, from);
    } else if (!admission_enter(e->acceptor->admission, from, told, &guest)) {
        refuse_full(e, fd, "max-clients-per-address", config->max_clients_per_address, from);
    } else {
        worker_take_client(worker, &(struct newcomer){.service = e->service,
                                                      .fd = fd,
                                                      .reader = e->reader,
                                                      .tls = e->tls,
                                                      .guest = guest});
    }
}

static void on_header(struct arrival *a, void *owner, int fd, const struct sockaddr_any *from,
                      const char *fault)
{
    const struct endpoint *e = owner;
    struct sockaddr_any peer = peer_of(fd);
    char text[ADDR_TEXT_MAX];
    (void)a;
    if (fault == NULL) {
        admit(e, fd, from->len > 0 ? from : &peer, from->len > 0);
        return;
    }
    log_limited(LOG_NOTICE, "proxy-header-bad", "service=%s peer=%s error=%s", service_of(e)->name,
                text_of(&peer, text), log_quote(slice_str(fault)));
    (void)close(fd);
}

static void await_header(struct endpoint *e, int fd, const struct sockaddr_any *peer)
{
    struct acceptor *acceptor = e->acceptor;
    const struct config_proxy *config = &acceptor->config->proxy;
    uint64_t total;
    (void)choose(acceptor, &total);
    if (total >= config->max_clients) {
        refuse_full(e, fd, "max-clients", config->max_clients, peer);
        return;
    }
    struct arrival *a =
        arrival_begin(acceptor->loop, fd, config->handshake_timeout_ms, on_header, e);
    if (a != NULL) {
        list_append(&acceptor->arrivals, arrival_node(a));
    }
}

static void on_accepted(void *owner, int fd)
{
    struct endpoint *e = owner;
    struct sockaddr_any peer = peer_of(fd);
    switch (admission_way(&service_of(e)->access, &peer)) {
    case ADMISSION_PLAIN: admit(e, fd, &peer, false); return;
    case ADMISSION_HEADER: await_header(e, fd, &peer); return;
    case ADMISSION_REFUSED: refuse_stranger(e, fd, "proxy-protocol-from", &peer); return;
    }
    UNREACHABLE("way in");
}

static const char *listen_at(struct loop *loop, struct endpoint *e, uint32_t unix_mode)
{
    struct sockaddr_any at;
    int err = 0;
    const char *problem = resolve_now(e->at, &at);
    if (problem == NULL && addr_is_unix(e->at)) {
        e->listener = listener_open_unix(loop, &at, unix_mode, on_accepted, e, &problem);
    } else if (problem == NULL) {
        e->listener = listener_open(loop, &at, on_accepted, e, &err);
        problem = e->listener == NULL ? strerrordesc_np(-err) : NULL;
    }
    return problem;
}

static bool open_endpoint(struct loop *loop, struct endpoint *e)
{
    const struct config_service *service = &e->acceptor->config->services[e->service];
    char text[ADDR_TEXT_MAX];
    const char *problem = listen_at(loop, e, service->unix_mode);
    if (problem != NULL) {
        log_error("listen-failed", "service=%s address=%s error=%s", service->name,
                  addr_text(e->at, text), log_quote(slice_str(problem)));
        return false;
    }
    log_notice("listening", "service=%s address=%s%s%s", service->name, addr_text(e->at, text),
               e->reader ? " for=reads" : "", e->tls ? " tls=yes" : "");
    return true;
}

static void list_endpoints(struct acceptor *a, size_t service, const struct config_addrs *listen,
                           bool reader, bool tls)
{
    size_t count = a->endpoint_count + listen->count;
    a->endpoints = xrealloc(a->endpoints, (count > 0 ? count : 1) * sizeof *a->endpoints);
    for (size_t i = 0; i < listen->count; i++) {
        a->endpoints[a->endpoint_count++] = (struct endpoint){
            .acceptor = a, .service = service, .tls = tls, .at = &listen->v[i], .reader = reader};
    }
}

struct acceptor *acceptor_open(struct loop *loop, const struct config *config,
                               struct admission *admission, struct worker *const *workers,
                               size_t worker_count)
{
    struct acceptor *a = xcalloc(1, sizeof *a);
    a->loop = loop;
    a->config = config;
    a->admission = admission;
    a->workers = workers;
    a->worker_count = worker_count;
    for (size_t i = 0; i < config->service_count; i++) {
        list_endpoints(a, i, &config->services[i].listen, false, false);
        list_endpoints(a, i, &config->services[i].read_listen, true, false);
        list_endpoints(a, i, &config->services[i].clients.listen, false, true);
        list_endpoints(a, i, &config->services[i].clients.read_listen, true, true);
    }
    for (size_t i = 0; i < a->endpoint_count; i++) {
        if (!open_endpoint(loop, &a->endpoints[i])) {
            acceptor_close(&a);
            return NULL;
        }
    }
    return a;
}

void acceptor_give(struct acceptor *a, uid_t uid, gid_t gid)
{
    char text[ADDR_TEXT_MAX];
    for (size_t i = 0; i < a->endpoint_count; i++) {
        const struct endpoint *e = &a->endpoints[i];
        const char *problem = listener_give(e->listener, uid, gid);
        if (problem != NULL) {
            log_warning("socket-not-given", "address=%s uid=%u gid=%u error=%s",
                        addr_text(e->at, text), (unsigned)uid, (unsigned)gid,
                        log_quote(slice_str(problem)));
        }
    }
}

void acceptor_close(struct acceptor **where)
{
    struct acceptor *a = *where;
    if (a == NULL) {
        return;
    }
    *where = NULL;
    for (size_t i = 0; i < a->endpoint_count; i++) {
        listener_close(&a->endpoints[i].listener);
    }
    while (a->arrivals.count > 0) {
        struct arrival *arrival = arrival_of_node(a->arrivals.first);
        arrival_close(&arrival);
    }
    free(a->endpoints);
    free(a);
}
