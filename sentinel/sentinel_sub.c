#include "sentinel/sentinel_sub.h"

#include <string.h>

#include "proxy/base/log.h"
#include "proxy/resp/emit.h"
#include "sentinel/address_map.h"

/* There is no other traffic that would show a dead connection. */
#define SUB_PING_MS 1000u
/* A Sentinel that lets us subscribe to nothing is asked again so often: its ACL may change. */
#define SUB_RETRY_MS 30000u

static void connect_now(struct wheel_timer *timer);

static void arm(struct sentinel_sub *sub, uint64_t delay_ms, void (*fire)(struct wheel_timer *))
{
    loop_arm(sub->group->loop, &sub->timer, delay_ms, fire);
}

static void lose(struct sentinel_sub *sub, const char *why)
{
    if (sub->subscribed) {
        log_info("subscription-lost", "sentinel=%s reason=%s", sub->name,
                 log_quote(slice_str(why)));
    }
    wire_close(&sub->wire);
    sub->subscribed = false;
    sub->resting = sentinel_state(sub->sentinel) != SENTINEL_UP;
    if (!sub->resting) {
        arm(sub, backoff_next(&sub->backoff), connect_now);
    }
}

static void on_silent(struct wheel_timer *timer)
{
    lose(CONTAINER_OF(timer, struct sentinel_sub, timer), "no answer to SUBSCRIBE");
}

static void on_ping(struct wheel_timer *timer)
{
    struct sentinel_sub *sub = CONTAINER_OF(timer, struct sentinel_sub, timer);
    if (sub->pinged) {
        lose(sub, "no answer to PING");
        return;
    }
    sub->pinged = true;
    emit_words(&sub->wire.out, "PING", NULL);
    wire_flush(&sub->wire);
    arm(sub, SUB_PING_MS, on_ping);
}

static void subscribe(struct sentinel_sub *sub)
{
    struct buf *out = &sub->wire.out;
    sub->confirmed = 0;
    if (sub->level == SUB_SWITCH_ONLY) {
        sub->expected = 1;
        emit_words(out, "SUBSCRIBE", EVENT_FALLBACK_CHANNEL, NULL);
    } else {
        struct slice argv[64] = {slice_str("SUBSCRIBE")};
        sub->expected = event_channel_count();
        CHECK(sub->expected < ARRAY_LEN(argv));
        for (size_t i = 0; i < sub->expected; i++) {
            argv[i + 1] = slice_str(event_channel(i));
        }
        emit_command(out, argv, sub->expected + 1);
    }
    wire_flush(&sub->wire);
}

static void tell_level(struct sentinel_sub *sub)
{
    if (sub->level == sub->told_level) {
        return;
    }
    sub->told_level = sub->level;
    const char *error = log_quote(slice_str(sub->refusal));
    switch (sub->level) {
    case SUB_ALL: log_notice("subscription-complete", "sentinel=%s", sub->name); return;
    case SUB_SWITCH_ONLY:
        log_warning(
            "subscription-limited",
            "sentinel=%s error=%s effect=\"only " EVENT_FALLBACK_CHANNEL
            " is heard: a planned failover may be noticed as late as the next poll sees it, "
            "and writes acknowledged meanwhile are lost\"",
            sub->name, error);
        return;
    case SUB_NOTHING:
        log_warning(
            "subscription-refused",
            "sentinel=%s error=%s effect=\"polling only: any failover may be noticed as late "
            "as the next poll sees it, and writes acknowledged meanwhile are lost\"",
            sub->name, error);
        return;
    }
}

/* One forbidden channel fails the whole command: try with less. */
static void refused(struct sentinel_sub *sub, const struct reply *reply)
{
    struct slice error = reply_text(reply);
    size_t n = error.n < sizeof sub->refusal ? error.n : sizeof sub->refusal - 1;
    memcpy(sub->refusal, error.p, n);
    sub->refusal[n] = '\0';
    if (reply_is_error(reply, "NOAUTH") || slice_starts_with(error, "ERR Protocol error")) {
        lose(sub, "not authenticated");
    } else if (sub->level == SUB_ALL) {
        sub->level = SUB_SWITCH_ONLY;
        subscribe(sub);
    } else {
        sub->level = SUB_NOTHING;
        tell_level(sub);
        wire_close(&sub->wire);
        arm(sub, SUB_RETRY_MS, connect_now);
    }
}

static void confirmed(struct sentinel_sub *sub)
{
    if (sub->subscribed || ++sub->confirmed < sub->expected) {
        return;
    }
    sub->subscribed = true;
    sub->pinged = false;
    backoff_worked(&sub->backoff);
    arm(sub, SUB_PING_MS, on_ping);
    tell_level(sub);
    sub->group->events->subscribed(sub->group->owner, sub->sentinel);
}

static void on_opened(void *owner)
{
    struct sentinel_sub *sub = owner;
    arm(sub, SUB_PING_MS, on_silent);
}

static void on_reply(void *owner, const struct reply *reply)
{
    struct sentinel_sub *sub = owner;
    if (wire_awaits_auth(&sub->wire)) {
        /* What it refuses shows in the answer to SUBSCRIBE. */
        (void)wire_take_auth(&sub->wire, reply_type(reply) != REPLY_ERROR);
        return;
    }
    if (reply_type(reply) == REPLY_ERROR) {
        if (!sub->subscribed) {
            refused(sub, reply);
        } else if (sub->pinged) {
            sub->pinged = false; /* to be forbidden PING is an answer too */
        } else {
            lose(sub, "an unexpected error");
        }
        return;
    }
    struct push push = reply_read_push(reply);
    switch (push.kind) {
    case PUSH_PONG: sub->pinged = false; return;
    case PUSH_SUBSCRIBED: confirmed(sub); return;
    case PUSH_MESSAGE: {
        struct event event = event_parse(push.channel, push.payload);
        if (event.kind != EVENT_NONE) {
            address_map_apply(&sub->group->config->address_map, &event.primary);
            address_map_apply(&sub->group->config->address_map, &event.node);
            sub->group->events->event(sub->group->owner, &event);
        }
        return;
    }
    case PUSH_OTHER: lose(sub, "not an answer to SUBSCRIBE"); return;
    }
}

static void on_lost(void *owner, const char *why)
{
    lose(owner, why);
}

static void connect_now(struct wheel_timer *timer)
{
    static const struct wire_events events = {
        .opened = on_opened, .reply = on_reply, .lost = on_lost};
    struct sentinel_sub *sub = CONTAINER_OF(timer, struct sentinel_sub, timer);
    const struct config_sentinel *config = sub->group->config;
    sub->level = SUB_ALL;
    wire_open(&sub->wire, sub->group->loop, sub->at, config->connect_timeout_ms, &events, sub);
    wire_secure(&sub->wire, sub->group->tls, sub->peer);
    (void)wire_put_auth(&sub->wire, config->user, config->password);
    subscribe(sub);
}

void sentinel_sub_init(struct sentinel_sub *sub, struct sentinel *s,
                       const struct sentinel_group *group, const struct sockaddr_any *at,
                       const struct addr *peer, const char *name)
{
    sub->sentinel = s;
    sub->group = group;
    sub->at = at;
    sub->peer = peer;
    sub->name = name;
    sub->resting = true;
}

void sentinel_sub_resume(struct sentinel_sub *sub)
{
    if (sub->resting) {
        sub->resting = false;
        connect_now(&sub->timer);
    }
}

void sentinel_sub_stop(struct sentinel_sub *sub)
{
    wire_close(&sub->wire);
    loop_disarm(sub->group->loop, &sub->timer);
}
