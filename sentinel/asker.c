#include "sentinel/asker.h"

#include <stdlib.h>

#include "proxy/base/clock.h"
#include "proxy/resp/emit.h"
#include "sentinel/address_map.h"
#include "sentinel/backoff.h"
#include "sentinel/wire.h"

#define ASKER_MAGIC 0xa53e4001u

struct asker {
    uint32_t magic;
    struct probe_group *group;
    struct sockaddr_any at;
    struct addr name;
    const struct asker_events *events;
    void *owner;
    struct wire wire;
    struct wheel_timer timer; /* the end of patience with an answer */
    struct backoff backoff;
    uint64_t open_from_ms; /* not connected to before that */
    bool role_pending, info_pending;
    bool overdue;
    bool refused;     /* INFO, the last time */
    bool inform;      /* INFO is due, whenever it was told last */
    uint64_t info_ms; /* when that was asked for */
    struct node_answer said;
    char tls_trouble[NODE_TROUBLE_MAX];
};

static struct asker *asker_of(void *owner)
{
    struct asker *a = owner;
    CHECK_MAGIC(a, ASKER_MAGIC);
    return a;
}

bool asker_asking(const struct asker *a)
{
    return a->role_pending || a->info_pending;
}

static void hang_up(struct asker *a)
{
    wire_close(&a->wire);
    loop_disarm(a->group->loop, &a->timer);
    a->role_pending = a->info_pending = a->overdue = false;
}

static void give_up(struct asker *a, const char *why)
{
    hang_up(a);
    a->open_from_ms = clock_ms() + backoff_next(&a->backoff);
    a->events->failed(a->owner, a, why);
}

static void on_timer(struct wheel_timer *timer)
{
    struct asker *a = CONTAINER_OF(timer, struct asker, timer);
    const struct config_service *service = a->group->service;
    CHECK_MAGIC(a, ASKER_MAGIC);
    bool over = a->overdue || service->connect_timeout_ms <= service->stall_timeout_ms;
    if (over && transport_shaking(a->wire.transport)) {
        probe_tell_tls(a->group, &a->name, TLS_NO_ANSWER, a->tls_trouble);
    }
    if (over) {
        give_up(a, "no answer");
        return;
    }
    a->overdue = true;
    loop_arm(a->group->loop, &a->timer, service->connect_timeout_ms - service->stall_timeout_ms,
             on_timer);
    a->events->failed(a->owner, a, "no answer");
}

static void on_opened(void *owner)
{
    (void)owner; /* the question is already on its way */
}

static void take_role(struct asker *a, const struct reply *reply)
{
    a->role_pending = false;
    a->said.role = reply_read_role(reply, &a->said.master_name);
    address_map_apply(a->group->map, &a->said.master_name);
    reply_read_repl(reply, &a->said.repl);
}

/* Once for each time that it begins. */
static void note_refusal(struct asker *a, const struct reply *reply, bool refused)
{
    char at[ADDR_TEXT_MAX];
    struct addr addr = {0};
    if (refused && !a->refused) {
        (void)sockaddr_to_addr(&a->at, &addr); /* one that was connected to has a form */
        log_warning("info-refused", "service=%s node=%s error=%s effect=\"%s\"",
                    log_quote(slice_str(a->group->service->name)),
                    log_quote(slice_str(addr_text(&addr, at))), log_quote(reply_text(reply)),
                    "whether it is loading, its priority, zone and history are not known");
    }
    a->refused = refused;
}

static void take_info(struct asker *a, const struct reply *reply)
{
    a->info_pending = false;
    a->said.informed = true;
    note_refusal(a, reply, !reply_read_info(reply, &a->said.info));
}

static void on_reply(void *owner, const struct reply *reply)
{
    struct asker *a = asker_of(owner);
    if (wire_awaits_auth(&a->wire)) {
        probe_note_auth(a->group, &a->wire, reply);
        return;
    }
    if (a->role_pending) {
        take_role(a, reply);
    } else if (a->info_pending) {
        take_info(a, reply);
    } else {
        give_up(a, "answers what was not asked");
        return;
    }
    if (a->said.role == ROLE_STRANGE) {
        give_up(a, "no answer to ROLE");
    } else if (!asker_asking(a)) {
        a->overdue = false;
        loop_disarm(a->group->loop, &a->timer);
        backoff_worked(&a->backoff);
        a->tls_trouble[0] = '\0';
        a->events->answered(a->owner, a, &a->said);
    }
}

static void on_lost(void *owner, const char *why)
{
    struct asker *a = asker_of(owner);
    if (a->wire.untrusted) {
        probe_tell_tls(a->group, &a->name, why, a->tls_trouble);
    }
    give_up(a, "no connection");
}

static void put_questions(struct asker *a, uint64_t now_ms)
{
    a->said = (struct node_answer){.asked_ms = now_ms};
    a->role_pending = true;
    emit_words(&a->wire.out, "ROLE", NULL);
    if (a->inform || now_ms - a->info_ms >= ASKER_INFO_MS) {
        a->inform = false;
        a->info_ms = now_ms;
        a->info_pending = true;
        emit_words(&a->wire.out, "INFO", NULL);
    }
}

bool asker_ask(struct asker *a)
{
    static const struct wire_events events = {
        .opened = on_opened, .reply = on_reply, .lost = on_lost};
    const struct config_service *service = a->group->service;
    uint64_t now = clock_ms();
    if (asker_asking(a) || (a->wire.transport == NULL && now < a->open_from_ms)) {
        return false;
    }
    if (wire_auth_outdated(&a->wire)) {
        hang_up(a);
    }
    if (a->wire.transport == NULL) {
        wire_open(&a->wire, a->group->loop, &a->at, service->connect_timeout_ms, &events, a);
        wire_secure(&a->wire, a->group->tls, &a->name);
        (void)wire_put_auth(&a->wire, service->user, service->password);
        a->inform = true;
    }
    put_questions(a, now);
    wire_flush(&a->wire);
    uint64_t patience = service->stall_timeout_ms;
    loop_arm(a->group->loop, &a->timer,
             patience < service->connect_timeout_ms ? patience : service->connect_timeout_ms,
             on_timer);
    return true;
}

bool asker_awaits(const struct asker *a)
{
    return asker_asking(a) && !a->overdue;
}

void asker_renew(struct asker *a)
{
    hang_up(a);
}

void asker_inform(struct asker *a)
{
    a->inform = true;
}

struct asker *asker_new(struct probe_group *group, const struct sockaddr_any *at,
                        const struct addr *name, const struct asker_events *events, void *owner)
{
    struct asker *a = xcalloc(1, sizeof *a);
    a->magic = ASKER_MAGIC;
    a->group = group;
    a->at = *at;
    a->name = *name;
    a->events = events;
    a->owner = owner;
    return a;
}

void asker_free(struct asker **a)
{
    struct asker *left = *a;
    if (left == NULL) {
        return;
    }
    CHECK_MAGIC(left, ASKER_MAGIC);
    *a = NULL;
    hang_up(left);
    left->magic = 0;
    free(left);
}
