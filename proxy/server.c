#include "proxy/server.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "proxy/acceptor.h"
#include "proxy/admission.h"
#include "proxy/base/log.h"
#include "proxy/worker.h"

#define SERVER_MAGIC 0x5e4e0007u

struct server {
    uint32_t magic;
    const struct config *config;
    struct certificates *certificates;
    struct credentials *credentials;
    struct loop *loop;
    struct watcher *watcher;
    struct admission *admission;
    struct acceptor *acceptor;
    struct worker **workers;
    size_t worker_count, workers_ended;
    struct wheel_timer drain_delay;
    unsigned stop_signals;
    _Atomic int64_t held;   /* by the buffers of all workers */
    _Atomic bool relieving; /* a mail about that is on its way */
    struct redirects *redirects;
    _Atomic bool redirects_changed; /* the same */
};

struct hint_mail {
    struct mail mail;
    size_t service;
    uint64_t generation;
    enum hint hint;
};

struct replica_mail {
    struct mail mail;
    size_t service;
    enum replica_hint hint;
    uint32_t id;
};

struct report_mail {
    struct mail mail;
    size_t service;
    uint64_t generation;
    struct switch_report report;
};

static struct server *server_of(void *owner)
{
    struct server *s = owner;
    CHECK_MAGIC(s, SERVER_MAGIC);
    return s;
}

static void publish(void *owner, struct topology *topology)
{
    struct server *s = server_of(owner);
    for (size_t i = 0; i < s->worker_count; i++) {
        worker_take_topology(s->workers[i], topology_ref(topology));
    }
    topology_unref(&topology);
}

static void deliver_hint(struct mail *mail, void *owner)
{
    struct hint_mail *m = CONTAINER_OF(mail, struct hint_mail, mail);
    struct server *s = server_of(owner);
    if (s->watcher != NULL) {
        watcher_hint(s->watcher, m->service, m->generation, m->hint);
    }
    free(m);
}

void server_hint(struct server *s, size_t service, uint64_t generation, enum hint hint)
{
    struct hint_mail *m = xcalloc(1, sizeof *m);
    *m = (struct hint_mail){.mail = {.deliver = deliver_hint},
                            .service = service,
                            .generation = generation,
                            .hint = hint};
    loop_post(s->loop, &m->mail);
}

static void deliver_replica_hint(struct mail *mail, void *owner)
{
    struct replica_mail *m = CONTAINER_OF(mail, struct replica_mail, mail);
    const struct server *s = server_of(owner);
    if (s->watcher != NULL) {
        watcher_hint_replica(s->watcher, m->service, m->hint, m->id);
    }
    free(m);
}

void server_hint_replica(struct server *s, size_t service, enum replica_hint hint, uint32_t id)
{
    struct replica_mail *m = xcalloc(1, sizeof *m);
    *m = (struct replica_mail){
        .mail = {.deliver = deliver_replica_hint}, .service = service, .hint = hint, .id = id};
    loop_post(s->loop, &m->mail);
}

static void deliver_report(struct mail *mail, void *owner)
{
    struct report_mail *m = CONTAINER_OF(mail, struct report_mail, mail);
    const struct server *s = server_of(owner);
    log_notice("requests-released",
               "service=%s generation=%llu waited=%llu sent-again=%llu in-doubt=%llu "
               "sessions-closed=%llu longest-wait-ms=%llu",
               s->config->services[m->service].name, (unsigned long long)m->generation,
               (unsigned long long)m->report.waited, (unsigned long long)m->report.resent,
               (unsigned long long)m->report.in_doubt, (unsigned long long)m->report.closed,
               (unsigned long long)m->report.longest_ms);
    free(m);
}

void server_report(struct server *s, size_t service, uint64_t generation,
                   const struct switch_report *report)
{
    struct report_mail *m = xcalloc(1, sizeof *m);
    *m = (struct report_mail){.mail = {.deliver = deliver_report},
                              .service = service,
                              .generation = generation,
                              .report = *report};
    loop_post(s->loop, &m->mail);
}

static void deliver_scripts(struct mail *mail, void *owner)
{
    struct script_news *news = CONTAINER_OF(mail, struct script_news, mail);
    const struct server *s = server_of(owner);
    for (size_t i = 0; i < s->worker_count; i++) {
        worker_hear_scripts(s->workers[i], news);
    }
    script_news_free(&news);
}

void server_scripts(struct server *s, struct script_news *news)
{
    if (s->worker_count == 1) {
        script_news_free(&news); /* it knows */
        return;
    }
    news->mail.deliver = deliver_scripts;
    loop_post(s->loop, &news->mail);
}

static void deliver_redirects(struct mail *mail, void *owner)
{
    struct server *s = server_of(owner);
    free(mail);
    atomic_store(&s->redirects_changed, false);
    for (size_t i = 0; i < s->worker_count; i++) {
        worker_hear_redirects(s->workers[i]);
    }
}

void server_redirects_changed(struct server *s)
{
    if (!atomic_exchange(&s->redirects_changed, true)) {
        struct mail *mail = xcalloc(1, sizeof *mail);
        mail->deliver = deliver_redirects;
        loop_post(s->loop, mail);
    }
}

struct redirects *server_redirects(const struct server *s)
{
    return s->redirects;
}

/* The worker that holds the most gives up the largest of its sessions. */
static void deliver_held(struct mail *mail, void *owner)
{
    struct server *s = server_of(owner);
    free(mail);
    atomic_store(&s->relieving, false);
    struct worker *most = NULL;
    int64_t held = 0;
    for (size_t i = 0; i < s->worker_count; i++) {
        int64_t its = atomic_load_explicit(&s->workers[i]->held, memory_order_relaxed);
        if (its > held) {
            held = its;
            most = s->workers[i];
        }
    }
    if (most != NULL) {
        worker_relieve(most);
    }
}

bool server_holds_too_much(const struct server *s)
{
    return atomic_load_explicit(&s->held, memory_order_relaxed) >
           (int64_t)s->config->proxy.buffer_memory;
}

void server_held(struct server *s, int64_t grown)
{
    (void)atomic_fetch_add_explicit(&s->held, grown, memory_order_relaxed);
    if (grown > 0 && server_holds_too_much(s) && !atomic_exchange(&s->relieving, true)) {
        struct mail *mail = xcalloc(1, sizeof *mail);
        mail->deliver = deliver_held;
        loop_post(s->loop, mail);
    }
}

static void deliver_ended(struct mail *mail, void *owner)
{
    struct server *s = server_of(owner);
    free(mail);
    if (++s->workers_ended == s->worker_count) {
        loop_stop(s->loop);
    }
}

void server_worker_ended(struct server *s)
{
    struct mail *mail = xcalloc(1, sizeof *mail);
    mail->deliver = deliver_ended;
    loop_post(s->loop, mail);
}

static void drain(struct server *s, uint64_t timeout_ms)
{
    acceptor_close(&s->acceptor);
    for (size_t i = 0; i < s->worker_count; i++) {
        worker_drain(s->workers[i], timeout_ms);
    }
}

static void on_delay_over(struct wheel_timer *timer)
{
    struct server *s = CONTAINER_OF(timer, struct server, drain_delay);
    drain(s, s->config->proxy.drain_timeout_ms);
}

static void on_stop_signal(void *owner, int signum)
{
    struct server *s = server_of(owner);
    const char *name = signum == SIGTERM ? "SIGTERM" : "SIGINT";
    if (s->stop_signals++ == 0) {
        log_notice("drain", "signal=%s delay-ms=%llu timeout-ms=%llu", name,
                   (unsigned long long)s->config->proxy.drain_delay_ms,
                   (unsigned long long)s->config->proxy.drain_timeout_ms);
        loop_arm(s->loop, &s->drain_delay, s->config->proxy.drain_delay_ms, on_delay_over);
        return;
    }
    log_notice("stop-at-once", "signal=%s", name);
    loop_disarm(s->loop, &s->drain_delay);
    drain(s, 0);
}

static void on_reload_signal(void *owner, int signum)
{
    (void)signum;
    log_notice("reload", "signal=SIGHUP what=\"certificates, passwords and users\"");
    certificates_reload(server_of(owner)->certificates);
    credentials_reload(server_of(owner)->credentials);
}

static void on_users_changed(void *owner)
{
    struct server *s = server_of(owner);
    for (size_t i = 0; i < s->worker_count; i++) {
        worker_hear_users(s->workers[i]);
    }
}

static size_t worker_count(const struct config *config)
{
    if (config->proxy.workers != CONFIG_AUTO) {
        return config->proxy.workers;
    }
    cpu_set_t cpus;
    if (sched_getaffinity(0, sizeof cpus, &cpus) != 0) {
        return 1;
    }
    int n = CPU_COUNT(&cpus);
    return n > 0 ? (size_t)n : 1;
}

/* Listens, then becomes who it is to be, and only then starts other threads. False, and the reason
 * logged, when one of that fails. */
static bool start(struct server *s, const struct privileges *privileges)
{
    size_t count = worker_count(s->config);
    s->loop = loop_new(s, NULL);
    s->redirects = redirects_new();
    s->workers = xcalloc(count, sizeof(struct worker *));
    s->admission = admission_new(&s->config->proxy);
    s->acceptor = acceptor_open(s->loop, s->config, s->admission, s->workers, count);
    if (s->acceptor != NULL && privileges->wanted) {
        acceptor_give(s->acceptor, privileges->uid, privileges->gid);
    }
    if (s->acceptor == NULL || !privileges_drop(privileges, s->config)) {
        acceptor_close(&s->acceptor);
        return false;
    }
    certificates_warn_unreadable(s->certificates);
    credentials_warn_unreadable(s->credentials);
    for (; s->worker_count < count; s->worker_count++) {
        s->workers[s->worker_count] =
            worker_start(s, s->config, s->certificates, s->credentials, (unsigned)s->worker_count);
    }
    return true;
}

int server_run(const struct config *config, struct certificates *certificates,
               struct credentials *credentials, const struct privileges *privileges)
{
    struct server s = {.magic = SERVER_MAGIC,
                       .config = config,
                       .certificates = certificates,
                       .credentials = credentials};
    /* A client that is gone is an error of a write, not the end of the process. */
    CHECK(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    bool started = start(&s, privileges);
    if (started) {
        loop_watch_signal(s.loop, SIGTERM, on_stop_signal);
        loop_watch_signal(s.loop, SIGINT, on_stop_signal);
        loop_watch_signal(s.loop, SIGHUP, on_reload_signal);
        certificates_watch(certificates, s.loop);
        credentials_watch(credentials, s.loop, on_users_changed, &s);
        s.watcher = watcher_start(s.loop, config, certificates, publish, &s);
        log_notice("started", "version=%s workers=%zu services=%zu pid=%d", VEDETTE_VERSION,
                   s.worker_count, config->service_count, (int)getpid());
        loop_run(s.loop);
    }
    if (s.watcher != NULL) {
        watcher_stop(&s.watcher);
        certificates_unwatch(certificates);
        credentials_unwatch(credentials);
    }
    for (size_t i = 0; i < s.worker_count; i++) {
        worker_join(&s.workers[i]);
    }
    s.worker_count = 0; /* mail may still come out of the loop */
    free(s.workers);
    loop_free(&s.loop);
    redirects_free(&s.redirects);
    admission_free(&s.admission);
    if (started) {
        log_notice("stopped", "exit=%d", 0);
    }
    return started ? 0 : 1;
}
