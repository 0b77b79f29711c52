#include "proxy/acceptor.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <string.h>
#include <unistd.h>

#include "proxy/base/log.h"
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
    const struct config *config;
    struct worker *const *workers;
    size_t worker_count;
    struct endpoint *endpoints; /* of all services */
    size_t endpoint_count;
};

/* The least loaded worker, and in *total what all of them have. */
static struct worker *choose(const struct acceptor *a, uint64_t *total)
{
    struct worker *best = NULL;
    uint32_t best_load = UINT32_MAX;
    *total = 0;
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

static void on_accepted(void *owner, int fd)
{
    const struct endpoint *e = owner;
    const struct config *config = e->acceptor->config;
    uint64_t total;
    struct worker *worker = choose(e->acceptor, &total);
    if (total < config->proxy.max_clients) {
        worker_take_client(worker, e->service, fd, e->reader, e->tls);
        return;
    }
    static const char words[] = "-ERR max number of clients reached\r\n";
    log_limited(LOG_WARNING, "client-refused", "service=%s reason=max-clients limit=%u",
                config->services[e->service].name, config->proxy.max_clients);
    if (!e->tls) { /* as good as it gets */
        (void)send(fd, words, sizeof words - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    }
    (void)close(fd);
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
                               struct worker *const *workers, size_t worker_count)
{
    struct acceptor *a = xcalloc(1, sizeof *a);
    a->config = config;
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
    free(a->endpoints);
    free(a);
}
