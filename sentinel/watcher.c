#include "sentinel/watcher.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "sentinel/watcher_parts.h"

#define WATCHER_MAGIC 0x3a7c4e20u
/* The tick comes at least so often, whatever the poll interval. */
#define TICK_MAX_MS 1000u
/* How often configured names are compared with the Sentinels we have. */
#define REFRESH_MS 1000u

static struct watcher *watcher_of(void *owner)
{
    struct watcher *w = owner;
    CHECK_MAGIC(w, WATCHER_MAGIC);
    return w;
}

void watcher_publish(struct watcher *w)
{
    struct topology *t = topology_new(w->service_count);
    t->serial = ++w->serial;
    for (size_t i = 0; i < w->service_count; i++) {
        const struct service *s = &w->services[i];
        t->service[i] = (struct topology_service){.state = s->judge.state,
                                                  .generation = s->judge.generation,
                                                  .primary = s->judge.primary,
                                                  .primary_name = s->judge.primary_name,
                                                  .state_since_ms = s->judge.since_ms,
                                                  .hold_timeout_ms = s->hold_timeout_ms};
    }
    w->publish(w->owner, t);
}

static void decide_all(struct watcher *w)
{
    for (size_t i = 0; i < w->service_count; i++) {
        service_decide(&w->services[i]);
    }
}

static void refresh(struct watcher *w, uint64_t now_ms)
{
    if (w->names_changed || now_ms - w->refreshed_ms >= REFRESH_MS) {
        w->names_changed = false;
        w->refreshed_ms = now_ms;
        sentinel_set_refresh(w->sentinels);
    }
}

static void on_soon(struct wheel_timer *timer)
{
    struct watcher *w = CONTAINER_OF(timer, struct watcher, soon);
    CHECK_MAGIC(w, WATCHER_MAGIC);
    if (w->serial == 0) {
        watcher_publish(w);
    }
    refresh(w, clock_ms());
    decide_all(w);
}

static void decide_soon(struct watcher *w)
{
    loop_arm(w->loop, &w->soon, 0, on_soon);
}

static void on_tick(struct wheel_timer *timer);

void watcher_schedule(struct watcher *w)
{
    uint64_t delay = w->config->sentinel.poll_interval_ms;
    for (size_t i = 0; i < w->service_count; i++) {
        if (w->services[i].fast && w->config->sentinel.poll_interval_fast_ms < delay) {
            delay = w->config->sentinel.poll_interval_fast_ms;
        }
    }
    loop_arm(w->loop, &w->tick, delay < TICK_MAX_MS ? delay : TICK_MAX_MS, on_tick);
}

static void on_tick(struct wheel_timer *timer)
{
    struct watcher *w = CONTAINER_OF(timer, struct watcher, tick);
    CHECK_MAGIC(w, WATCHER_MAGIC);
    uint64_t now = clock_ms();
    watcher_schedule(w);
    refresh(w, now);
    for (size_t i = 0; i < w->service_count; i++) {
        service_tick(&w->services[i], now);
    }
    for (size_t i = 0; i < sentinel_set_count(w->sentinels); i++) {
        sentinel_flush(sentinel_set_at(w->sentinels, i));
    }
}

static void on_names(void *owner)
{
    struct watcher *w = watcher_of(owner);
    w->names_changed = true; /* one may stand for a Sentinel */
    decide_soon(w);
}

static void on_sentinel_changed(void *owner, struct sentinel *s)
{
    (void)s;
    decide_soon(watcher_of(owner));
}

static void on_answered(void *owner, struct sentinel *s, size_t service)
{
    (void)s;
    service_decide(&watcher_of(owner)->services[service]);
}

static void on_listed(void *owner, size_t service, enum sentinel_list list,
                      const struct sentinel_peer *peers, size_t count)
{
    struct watcher *w = watcher_of(owner);
    switch (list) {
    case SENTINEL_LIST_SENTINELS: sentinel_set_learn(w->sentinels, peers, count); return;
    case SENTINEL_LIST_REPLICAS:
        service_listed_replicas(&w->services[service], peers, count);
        return;
    }
}

static void on_event(void *owner, const struct event *event)
{
    struct watcher *w = watcher_of(owner);
    for (size_t i = 0; i < w->service_count; i++) {
        if (slice_eq(event->service, slice_str(w->services[i].config->name))) {
            service_event(&w->services[i], event);
        }
    }
}

static void on_subscribed(void *owner, struct sentinel *s)
{
    struct watcher *w = watcher_of(owner);
    for (size_t i = 0; i < w->service_count; i++) {
        sentinel_ask(s, i);
    }
    sentinel_flush(s);
}

struct watcher *watcher_start(struct loop *loop, const struct config *config,
                              void (*publish)(void *owner, struct topology *topology), void *owner)
{
    static const struct sentinel_events events = {
        .changed = on_sentinel_changed,
        .answered = on_answered,
        .listed = on_listed,
        .event = on_event,
        .subscribed = on_subscribed,
    };
    struct watcher *w = xcalloc(1, sizeof *w);
    w->magic = WATCHER_MAGIC;
    w->loop = loop;
    w->config = config;
    w->publish = publish;
    w->owner = owner;
    w->names = names_new(loop, on_names, w);
    w->group = (struct sentinel_group){loop, config, &events, w};
    w->sentinels = sentinel_set_new(&w->group, w->names);
    w->service_count = config->service_count;
    w->services = xcalloc(w->service_count, sizeof *w->services);
    for (size_t i = 0; i < w->service_count; i++) {
        service_init(&w->services[i], w, i);
    }
    loop_arm(loop, &w->tick, 0, on_tick);
    decide_soon(w);
    return w;
}

void watcher_hint(struct watcher *w, size_t service, uint64_t generation, enum hint hint)
{
    CHECK_MAGIC(w, WATCHER_MAGIC);
    CHECK(service < w->service_count && hint < HINT_KINDS);
    struct judge *judge = &w->services[service].judge;
    if (generation == judge->generation && generation > 0) {
        judge_hint(judge, hint, clock_ms());
        decide_soon(w);
    }
}

void watcher_stop(struct watcher **w)
{
    struct watcher *left = *w;
    CHECK_MAGIC(left, WATCHER_MAGIC);
    *w = NULL;
    loop_disarm(left->loop, &left->tick);
    loop_disarm(left->loop, &left->soon);
    sentinel_set_free(&left->sentinels);
    for (size_t i = 0; i < left->service_count; i++) {
        service_close(&left->services[i]);
    }
    names_free(&left->names);
    free(left->services);
    left->magic = 0;
    free(left);
}
