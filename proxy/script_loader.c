#include "proxy/script_loader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/limits.h"
#include "proxy/base/log.h"
#include "proxy/profile.h"
#include "proxy/resp/emit.h"
#include "proxy/worker.h"

#define LOADER_MAGIC 0x5c4199bau
#define CHUNK        65536u /* of the scripts is made ready at once */

struct script_loader {
    uint32_t magic;
    struct worker_service *service;
    struct profile who[SCRIPTS_LOAD_USERS_MAX]; /* the proxy's own first */
    size_t who_count, who_now;
    struct transport *transport;
    struct greeting greeting;
    bool greeted, asked; /* asked: SCRIPT EXISTS was answered */
    bool found;          /* ... and told what is missing */
    struct script **v;   /* what is to be loaded */
    size_t count, sent, answered;
    struct buf out, in;
    struct reply_scan scan;
    uint64_t began_ms;
    uint64_t generation; /* of the primary that is asked */
    struct wheel_timer timer;
};

static const struct transport_events loader_events;

static struct script_loader *loader_of(void *owner)
{
    struct script_loader *l = owner;
    CHECK_MAGIC(l, LOADER_MAGIC);
    return l;
}

/* words: why not all was loaded; none where it was. */
static void finish(struct script_loader *l, struct slice words)
{
    struct worker_service *ws = l->service;
    uint64_t ms = loop_now_ms(ws->worker->loop) - l->began_ms;
    if (ws->worker->index > 0) {
        /* One worker tells for all. */
    } else if (words.n == 0) {
        log_info("scripts-loaded", "service=%s scripts=%zu ms=%llu",
                 log_quote(slice_str(ws->config->name)), l->count, (unsigned long long)ms);
    } else {
        log_warning("scripts-not-loaded",
                    "service=%s loaded=%zu of=%zu error=%s effect=\"EVALSHA in a transaction may "
                    "be answered NOSCRIPT\"",
                    log_quote(slice_str(ws->config->name)), l->answered, l->count,
                    log_quote(words));
    }
    service_scripts_loaded(ws);
}

static void on_time_over(struct wheel_timer *timer)
{
    finish(loader_of(CONTAINER_OF(timer, struct script_loader, timer)),
           slice_str("it takes too long"));
}

static void leave(struct script_loader *l)
{
    transport_close(&l->transport);
    greeting_clear(&l->greeting);
    buf_release(&l->out);
    buf_release(&l->in);
    l->greeted = false;
    l->sent = l->answered;
}

static void enter(struct script_loader *l)
{
    struct worker_service *ws = l->service;
    reply_scan_reset(&l->scan, REPLY_ELEMENTS_MAX);
    greeting_begin(&l->greeting, &l->who[l->who_now], slice_str(""), ws->config, GREET_STEPS);
    l->generation = ws->now->generation;
    l->transport = transport_connect(ws->worker->loop, &ws->now->primary,
                                     ws->config->connect_timeout_ms, &loader_events, l);
    transport_secure(l->transport, ws->tls_nodes, &ws->now->primary_name);
}

/* This user may not: perhaps the next one may. */
static void refused(struct script_loader *l, struct slice words)
{
    if (l->who_now + 1 < l->who_count) {
        l->who_now++;
        leave(l);
        enter(l);
        return;
    }
    finish(l, words);
}

static void ask(struct script_loader *l)
{
    size_t argc = l->count + 2;
    struct slice *argv = xcalloc(argc, sizeof *argv);
    argv[0] = slice_str("SCRIPT");
    argv[1] = slice_str("EXISTS");
    for (size_t i = 0; i < l->count; i++) {
        argv[i + 2] = slice_of(l->v[i]->sha, SHA1_HEX);
    }
    emit_command(&l->out, argv, argc);
    free(argv);
}

/* `*N` and then `:1` or `:0` for each. Where the server does not tell, all are loaded. */
static void take_what_exists(struct script_loader *l, struct slice reply)
{
    CHECK(reply.p != NULL);
    const char *at = memchr(reply.p, '\n', reply.n);
    l->asked = true;
    if (reply.p[0] != '*' || at == NULL || (size_t)(reply.p + reply.n - at - 1) != l->count * 4) {
        return;
    }
    size_t missing = 0;
    l->found = true;
    for (size_t i = 0; i < l->count; i++) {
        if (at[1 + i * 4 + 1] == '1') {
            script_unref(&l->v[i]);
        } else {
            script_note_absent(l->v[i], l->generation, clock_us());
            l->v[missing++] = l->v[i];
        }
    }
    l->count = missing;
}

/* False when it has come to an end. */
static bool send_out(struct script_loader *l)
{
    while (l->asked && l->sent < l->count && buf_len(&l->out) < CHUNK) {
        emit_command(
            &l->out,
            (struct slice[]){slice_str("SCRIPT"), slice_str("LOAD"), script_body(l->v[l->sent++])},
            3);
    }
    struct buf *out = l->greeted ? &l->out : &l->greeting.out;
    struct iovec iov = {out->data + out->begin, buf_len(out)};
    ssize_t n = iov.iov_len > 0 ? transport_write(l->transport, &iov, 1) : 0;
    if (n < 0) {
        finish(l, slice_str("the connection was lost"));
        return false;
    }
    buf_consume(out, (size_t)n);
    return true;
}

static void on_retry(struct wheel_timer *timer)
{
    struct script_loader *l = loader_of(CONTAINER_OF(timer, struct script_loader, timer));
    loop_arm(l->service->worker->loop, timer, SCRIPTS_LOAD_MAX_MS, on_time_over);
    enter(l);
}

/* It says master and loads its data: until it has, it takes neither scripts nor requests. */
static void wait_until_loaded(struct script_loader *l)
{
    leave(l);
    loop_arm(l->service->worker->loop, &l->timer, SCRIPTS_RETRY_MS, on_retry);
}

/* False when it has come to an end, or begun anew. */
static bool take_reply(struct script_loader *l, struct slice reply)
{
    if (l->scan.type == '>') {
        return true;
    }
    if (slice_starts_with(reply, "-LOADING ")) {
        wait_until_loaded(l);
        return false;
    }
    if (!l->asked) {
        take_what_exists(l, reply);
    } else if (slice_starts_with(reply, "-NOPERM ") || slice_starts_with(reply, "-NOAUTH ")) {
        refused(l, slice_of(reply.p + 1, reply.n - 3));
        return false;
    } else {
        if (l->found) {
            script_note_absent(l->v[l->answered], l->generation, clock_us());
        }
        l->answered++;
    }
    if (l->answered < l->count) {
        return true;
    }
    finish(l, slice_of(NULL, 0));
    return false;
}

static bool take_replies(struct script_loader *l)
{
    while (buf_len(&l->in) > l->scan.length) {
        struct slice in = buf_slice(&l->in);
        size_t seen = (size_t)l->scan.length, used;
        enum scan_result result =
            reply_scan_feed(&l->scan, slice_of(in.p + seen, in.n - seen), &used);
        if (result == SCAN_MORE && l->scan.length < SCRIPTS_ANSWER_MAX) {
            return true;
        }
        if (result != SCAN_DONE || (l->asked && l->answered >= l->sent)) {
            finish(l, slice_str("an answer that is not one"));
            return false;
        }
        size_t length = (size_t)l->scan.length;
        if (!take_reply(l, slice_of(in.p, length))) {
            return false;
        }
        buf_consume(&l->in, length);
        reply_scan_reset(&l->scan, REPLY_ELEMENTS_MAX);
    }
    return true;
}

static void greet(struct script_loader *l, struct slice bytes)
{
    switch (greeting_feed(&l->greeting, bytes)) {
    case GREETING_MORE: return;
    case GREETING_DONE:
        if (l->greeting.needs_auth) {
            refused(l, slice_str("NOAUTH Authentication required."));
            return;
        }
        l->greeted = true;
        if (!l->asked) {
            ask(l);
        }
        (void)send_out(l);
        return;
    case GREETING_REFUSED: refused(l, buf_slice(&l->greeting.words)); return;
    case GREETING_OTHER_ROLE: finish(l, slice_str("it is not a primary")); return;
    case GREETING_BROKEN: finish(l, slice_str("an answer that is not one")); return;
    }
}

static void on_connected(void *owner, int err)
{
    struct script_loader *l = loader_of(owner);
    if (err != 0) {
        finish(l, slice_str(transport_error(l->transport, err)));
        return;
    }
    (void)send_out(l);
}

static void on_readable(void *owner)
{
    struct script_loader *l = loader_of(owner);
    char chunk[16384];
    ssize_t n = transport_read(l->transport, chunk, sizeof chunk);
    if (n == -EAGAIN) {
        return;
    }
    if (n <= 0) {
        finish(l, slice_str("the connection was lost"));
    } else if (!l->greeted) {
        greet(l, slice_of(chunk, (size_t)n));
    } else {
        buf_append(&l->in, slice_of(chunk, (size_t)n));
        if (take_replies(l)) {
            (void)send_out(l);
        }
    }
}

static void on_writable(void *owner)
{
    (void)send_out(loader_of(owner));
}

static void on_hangup(void *owner)
{
    (void)loader_of(owner); /* found by reading */
}

static const struct transport_events loader_events = {on_connected, on_readable, on_writable,
                                                      on_hangup};

static void add_user(struct script_loader *l, const struct profile *who)
{
    for (size_t i = 0; i < l->who_count; i++) {
        if (profile_same(&l->who[i], who)) {
            return;
        }
    }
    profile_copy(&l->who[l->who_count++], who);
}

/* Users whose passwords living clients have proved. To load runs nothing. */
static void add_users(struct script_loader *l)
{
    profile_init(&l->who[l->who_count++]);
    const struct list *sessions = &l->service->worker->sessions;
    for (struct list_node *n = sessions->first; n != NULL && l->who_count < SCRIPTS_LOAD_USERS_MAX;
         n = n->next) {
        const struct session *s = CONTAINER_OF(n, struct session, node);
        const struct profile *its = &s->set->profile;
        if (s->service == l->service && (its->authenticated || its->identity > 0)) {
            struct profile who = {.authenticated = its->authenticated,
                                  .identity = its->identity,
                                  .user = its->user,
                                  .password = its->password,
                                  .resp = 2};
            add_user(l, &who);
        }
    }
}

static void add_scripts(struct script_loader *l, const struct list *entries)
{
    for (struct list_node *n = entries->first; n != NULL; n = n->next) {
        l->v[l->count++] = script_ref(CONTAINER_OF(n, struct script_entry, node)->script);
    }
}

struct script_loader *script_loader_start(struct worker_service *ws, const struct script_cache *c)
{
    struct script_loader *l = xcalloc(1, sizeof *l);
    l->magic = LOADER_MAGIC;
    l->service = ws;
    l->v = xcalloc(script_cache_count(c), sizeof(struct script *));
    add_scripts(l, &c->loaded);
    add_scripts(l, &c->seen);
    add_users(l);
    l->began_ms = loop_now_ms(ws->worker->loop);
    loop_arm(ws->worker->loop, &l->timer, SCRIPTS_LOAD_MAX_MS, on_time_over);
    enter(l);
    return l;
}

void script_loader_stop(struct script_loader **where)
{
    struct script_loader *l = *where;
    *where = NULL;
    if (l == NULL) {
        return;
    }
    CHECK_MAGIC(l, LOADER_MAGIC);
    loop_disarm(l->service->worker->loop, &l->timer);
    leave(l);
    for (size_t i = 0; i < l->who_count; i++) {
        profile_clear(&l->who[i]);
    }
    for (size_t i = 0; i < l->count; i++) {
        script_unref(&l->v[i]);
    }
    free(l->v);
    l->magic = 0;
    free(l);
}
