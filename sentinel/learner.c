#include "sentinel/learner.h"

#include <stdlib.h>

#include "proxy/base/limits.h"
#include "proxy/base/log.h"
#include "proxy/resp/emit.h"
#include "sentinel/wire.h"

#define LEARNER_MAGIC 0x1ea40001u
/* Doubling: what fails for good, as by an ACL, costs the node next to nothing. */
#define RETRY_MIN_MS 1000u
#define RETRY_MAX_MS 600000u

struct learner {
    uint32_t magic;
    struct loop *loop;
    const struct config_service *service;
    struct tls_ctx *tls;
    void (*told)(void *owner, struct command_list *list);
    void *owner;
    struct sockaddr_any at;
    struct addr name;
    struct wire wire;
    struct wheel_timer timer; /* the end of waiting while the wire is open, else the next try */
    bool failed;              /* this node has, and that was told */
    uint64_t retry_ms;
};

static void on_timer(struct wheel_timer *timer);

static void fail(struct learner *l, struct slice why)
{
    char text[ADDR_TEXT_MAX];
    loop_arm(l->loop, &l->timer, l->retry_ms, on_timer);
    l->retry_ms = l->retry_ms * 2 < RETRY_MAX_MS ? l->retry_ms * 2 : RETRY_MAX_MS;
    if (!l->failed) {
        l->failed = true;
        log_notice("commands-unread",
                   "service=%s node=%s error=%s effect=\"a client that uses a command of a module "
                   "keeps a connection of its own\"",
                   log_quote(slice_str(l->service->name)),
                   log_quote(slice_str(addr_text(&l->name, text))), log_quote(why));
        l->told(l->owner, NULL);
    }
    wire_close(&l->wire); /* last: why may lie in it */
}

static void on_opened(void *owner)
{
    (void)owner; /* the question is already on its way */
}

/* Without the sign and the line end. */
static struct slice error_words(struct slice frame)
{
    return slice_of(frame.p + 1, frame.n - 3);
}

static void on_frame(void *owner, struct slice frame)
{
    struct learner *l = owner;
    CHECK_MAGIC(l, LEARNER_MAGIC);
    if (wire_awaits_auth(&l->wire)) {
        /* A refusal is told by the probe, and by what COMMAND gets. */
        (void)wire_take_auth(&l->wire, frame.p[0] != '-');
        return;
    }
    if (frame.p[0] == '-') {
        fail(l, error_words(frame));
        return;
    }
    struct command_list *list = command_list_read(frame);
    if (list == NULL) {
        fail(l, slice_str("this is no answer to COMMAND"));
        return;
    }
    wire_close(&l->wire);
    loop_disarm(l->loop, &l->timer);
    l->told(l->owner, list);
}

static void on_lost(void *owner, const char *why)
{
    struct learner *l = owner;
    CHECK_MAGIC(l, LEARNER_MAGIC);
    fail(l, slice_str(why));
}

static void ask(struct learner *l)
{
    static const struct wire_events events = {
        .opened = on_opened, .frame = on_frame, .lost = on_lost};
    wire_open(&l->wire, l->loop, &l->at, l->service->connect_timeout_ms, &events, l);
    wire_secure(&l->wire, l->tls, &l->name);
    (void)wire_put_auth(&l->wire, l->service->user, l->service->password);
    emit_words(&l->wire.out, "COMMAND", NULL);
    wire_flush(&l->wire);
    loop_arm(l->loop, &l->timer, COMMANDS_TIMEOUT_MS, on_timer);
}

static void on_timer(struct wheel_timer *timer)
{
    struct learner *l = CONTAINER_OF(timer, struct learner, timer);
    CHECK_MAGIC(l, LEARNER_MAGIC);
    if (l->wire.transport != NULL) {
        fail(l, slice_str("no whole answer to COMMAND in time"));
    } else {
        ask(l);
    }
}

struct learner *learner_new(struct loop *loop, const struct config_service *service,
                            struct tls_ctx *tls,
                            void (*told)(void *owner, struct command_list *list), void *owner)
{
    struct learner *l = xcalloc(1, sizeof *l);
    l->magic = LEARNER_MAGIC;
    l->loop = loop;
    l->service = service;
    l->tls = tls;
    l->told = told;
    l->owner = owner;
    return l;
}

void learner_ask(struct learner *l, const struct sockaddr_any *at, const struct addr *name)
{
    CHECK_MAGIC(l, LEARNER_MAGIC);
    wire_close(&l->wire);
    l->at = *at;
    l->name = *name;
    l->failed = false;
    l->retry_ms = RETRY_MIN_MS;
    loop_arm(l->loop, &l->timer, 0, on_timer); /* not inside the caller's call */
}

void learner_free(struct learner **l)
{
    struct learner *left = *l;
    if (left == NULL) {
        return;
    }
    CHECK_MAGIC(left, LEARNER_MAGIC);
    *l = NULL;
    wire_close(&left->wire);
    loop_disarm(left->loop, &left->timer);
    left->magic = 0;
    free(left);
}
