#include "sentinel/probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/resp/emit.h"
#include "sentinel/address_map.h"

#define PROBE_MAGIC 0x9b0be001u
/* A node that closes each connection after its answer is not asked more often than this. */
#define PROBE_REOPEN_MS RECONNECT_MIN_MS
/* After a failure of this machine's own, such as no descriptor. */
#define PROBE_LOCAL_RETRY_MS 100u
/* Connections in a row that end in the face of their first question: one may be a crash's. */
#define PROBE_SNUBS 3u

struct probe {
    uint32_t magic;
    struct probe_group *group;
    struct sockaddr_any at;
    struct addr name;
    struct wire wire;
    struct wheel_timer timer; /* the end of waiting while asking, else the next question */
    uint64_t interval_ms;
    bool asking, kept; /* kept: this connection has answered before */
    bool opened;
    unsigned snubs;    /* connections in a row that were opened and ended without an answer */
    uint64_t begun_ms; /* of the connection */
    uint64_t asked_ms;
    /* The last answer. */
    enum node_role role;
    struct addr master_name;
    uint64_t opened_ms, answered_ms;
    char tls_trouble[NODE_TROUBLE_MAX];
};

static void ask(struct probe *p);

static void on_timer(struct wheel_timer *timer);

static void arm(struct probe *p, uint64_t delay_ms)
{
    loop_arm(p->group->loop, &p->timer, delay_ms, on_timer);
}

/* Notes an answer and tells it. The probe may be gone afterwards. */
static void answer(struct probe *p, enum node_role role, const struct addr *master)
{
    uint64_t now = clock_ms();
    uint64_t since = now - p->asked_ms;
    p->asking = false;
    p->role = role;
    p->master_name = *master;
    p->opened_ms = p->begun_ms;
    p->answered_ms = now;
    arm(p, since < p->interval_ms ? p->interval_ms - since : 0);
    p->group->told(p->group->owner, p);
}

static void fail(struct probe *p)
{
    wire_close(&p->wire);
    answer(p, NODE_UNREACHABLE, &(struct addr){0});
}

void probe_tell_tls(const struct probe_group *group, const struct addr *name, const char *why,
                    char last[NODE_TROUBLE_MAX])
{
    char text[ADDR_TEXT_MAX], news[NODE_TROUBLE_MAX] = "";
    (void)snprintf(news, sizeof news, "%s", why);
    if (strcmp(news, last) != 0) {
        memcpy(last, news, sizeof news);
        log_error("node-tls-failed", "service=%s node=%s error=%s",
                  log_quote(slice_str(group->service->name)),
                  log_quote(slice_str(addr_text(name, text))), log_quote(slice_str(why)));
    }
}

static void log_tls_failure(struct probe *p, const char *why)
{
    probe_tell_tls(p->group, &p->name, why, p->tls_trouble);
}

static void on_timer(struct wheel_timer *timer)
{
    struct probe *p = CONTAINER_OF(timer, struct probe, timer);
    CHECK_MAGIC(p, PROBE_MAGIC);
    if (p->asking) {
        if (p->wire.transport != NULL && transport_shaking(p->wire.transport)) {
            log_tls_failure(p, TLS_NO_ANSWER);
        }
        fail(p);
    } else {
        ask(p);
    }
}

static void on_opened(void *owner)
{
    struct probe *p = owner;
    p->opened = true; /* the question is already on its way */
}

/* As a node does that speaks TLS only, and is not asked for it. */
static void note_snub(struct probe *p)
{
    p->snubs += p->opened && !p->kept && p->group->tls == NULL ? 1 : 0;
    if (p->snubs == PROBE_SNUBS) {
        log_tls_failure(p,
                        "it ends connections before it answers; if it speaks TLS, set tls = yes");
    }
}

void probe_note_auth(struct probe_group *group, struct wire *wire, const struct reply *reply)
{
    char *known = group->auth_trouble;
    struct slice text = reply_text(reply);
    enum wire_auth auth = wire_take_auth(wire, reply_type(reply) != REPLY_ERROR);
    if (auth == WIRE_AUTH_LET_IN) {
        known[0] = '\0';
    }
    if (auth != WIRE_AUTH_REFUSED || wire_auth_outdated(wire)) {
        return;
    }
    size_t n = text.n < sizeof group->auth_trouble ? text.n : sizeof group->auth_trouble - 1;
    if (!slice_eq(slice_str(known), slice_of(text.p, n)) && memchr(text.p, '\0', n) == NULL) {
        memcpy(known, text.p, n);
        known[n] = '\0';
        log_error("node-auth-failed", "service=%s error=%s",
                  log_quote(slice_str(group->service->name)), log_quote(text));
    }
}

static void on_reply(void *owner, const struct reply *reply)
{
    struct probe *p = owner;
    CHECK_MAGIC(p, PROBE_MAGIC);
    if (wire_awaits_auth(&p->wire)) {
        probe_note_auth(p->group, &p->wire, reply);
        return;
    }
    if (!p->asking) {
        wire_close(&p->wire); /* nothing was asked; the timer opens a new one */
        return;
    }
    struct addr master;
    p->kept = true;
    p->snubs = 0;
    p->tls_trouble[0] = '\0';
    enum role role = reply_read_role(reply, &master);
    address_map_apply(p->group->map, &master);
    switch (role) {
    case ROLE_MASTER: answer(p, NODE_MASTER, &master); return;
    case ROLE_REPLICA: answer(p, NODE_REPLICA, &master); return;
    case ROLE_REFUSED: answer(p, NODE_REFUSED, &master); return;
    case ROLE_STRANGE: fail(p); return;
    }
}

static void on_lost(void *owner, const char *why)
{
    struct probe *p = owner;
    CHECK_MAGIC(p, PROBE_MAGIC);
    if (p->wire.local) {
        /* It could not be asked: that proves nothing about the node. */
        log_limited(LOG_ERROR, "probe-failed", "service=%s error=%s",
                    log_quote(slice_str(p->group->service->name)), log_quote(slice_str(why)));
        p->asking = false;
        arm(p, PROBE_LOCAL_RETRY_MS);
        return;
    }
    if (p->wire.untrusted) {
        log_tls_failure(p, why);
    }
    note_snub(p);
    if (p->asking && !p->kept) {
        fail(p);
        return;
    }
    /* A connection that was fine has ended: that proves nothing before a new one was tried. */
    p->asking = false;
    uint64_t age = clock_ms() - p->begun_ms;
    arm(p, age < PROBE_REOPEN_MS ? PROBE_REOPEN_MS - age : 0);
}

static void ask(struct probe *p)
{
    static const struct wire_events events = {
        .opened = on_opened, .reply = on_reply, .lost = on_lost};
    const struct config_service *service = p->group->service;
    p->asked_ms = clock_ms();
    p->asking = true;
    if (wire_auth_outdated(&p->wire)) {
        wire_close(&p->wire);
    }
    if (p->wire.transport == NULL) {
        p->begun_ms = p->asked_ms;
        p->kept = p->opened = false;
        wire_open(&p->wire, p->group->loop, &p->at, service->connect_timeout_ms, &events, p);
        wire_secure(&p->wire, p->group->tls, &p->name);
        (void)wire_put_auth(&p->wire, service->user, service->password);
    }
    emit_words(&p->wire.out, "ROLE", NULL);
    wire_flush(&p->wire);
    arm(p, service->connect_timeout_ms);
}

struct probe *probe_new(struct probe_group *group, const struct sockaddr_any *at,
                        const struct addr *name)
{
    struct probe *p = xcalloc(1, sizeof *p);
    p->magic = PROBE_MAGIC;
    p->group = group;
    p->at = *at;
    p->name = *name;
    return p;
}

void probe_free(struct probe **p)
{
    struct probe *probe = *p;
    CHECK_MAGIC(probe, PROBE_MAGIC);
    *p = NULL;
    wire_close(&probe->wire);
    loop_disarm(probe->group->loop, &probe->timer);
    probe->magic = 0;
    free(probe);
}

void probe_want(struct probe *p, uint64_t interval_ms, uint64_t fresh_from_ms)
{
    bool sooner = p->interval_ms == 0 || interval_ms < p->interval_ms;
    p->interval_ms = interval_ms;
    if (p->begun_ms < fresh_from_ms || p->begun_ms == 0) {
        wire_close(&p->wire);
        ask(p);
    } else if (sooner && !p->asking) {
        uint64_t since = clock_ms() - p->asked_ms;
        arm(p, since < interval_ms ? interval_ms - since : 0);
    }
}

const struct sockaddr_any *probe_at(const struct probe *p)
{
    return &p->at;
}

enum node_role probe_answer(const struct probe *p, struct addr *master_name, uint64_t *opened_ms,
                            uint64_t *answered_ms)
{
    *master_name = p->master_name;
    *opened_ms = p->opened_ms;
    *answered_ms = p->answered_ms;
    return p->role;
}
