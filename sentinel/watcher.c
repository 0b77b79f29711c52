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
                                                  .hold_timeout_ms = s->hold_timeout_ms,
                                                  .commands = command_list_ref(s->commands),
                                                  .rounds = rounds_ref(s->rounds),
                                                  .listed = s->listed};
        if (s->reads != NULL) {
            t->service[i].replicas = replica_watch_snapshot(s->reads);
        }
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
        for (size_t i = 0; i < w->group_count; i++) {
            group_refresh(&w->groups[i]);
        }
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

void watcher_decide_soon(struct watcher *w)
{
    loop_arm(w->loop, &w->soon, 0, on_soon);
}

static void on_tick(struct wheel_timer *timer);

void watcher_schedule(struct watcher *w)
{
    uint64_t delay = TICK_MAX_MS;
    for (size_t i = 0; i < w->service_count; i++) {
        uint64_t interval = service_interval(&w->services[i]);
        delay = interval < delay ? interval : delay;
    }
    loop_arm(w->loop, &w->tick, delay, on_tick);
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
    for (size_t i = 0; i < w->group_count; i++) {
        group_flush(&w->groups[i]);
    }
}

static void on_names(void *owner)
{
    struct watcher *w = watcher_of(owner);
    w->names_changed = true; /* one may stand for a Sentinel */
    watcher_decide_soon(w);
}

/* Only those that a service has chosen: of the others nobody wants to know anything. */
static void start_groups(struct watcher *w)
{
    w->groups = xcalloc(w->config->group_count, sizeof *w->groups);
    for (size_t group = 0; group < w->config->group_count; group++) {
        bool chosen = false;
        for (size_t i = 0; i < w->service_count; i++) {
            chosen = chosen || w->config->services[i].group == group;
        }
        if (chosen) {
            group_init(&w->groups[w->group_count++], w, group);
        }
    }
}

struct watcher *watcher_start(struct loop *loop, const struct config *config,
                              const struct certificates *certificates,
                              void (*publish)(void *owner, struct topology *topology), void *owner)
{
    struct watcher *w = xcalloc(1, sizeof *w);
    w->magic = WATCHER_MAGIC;
    w->loop = loop;
    w->config = config;
    w->certificates = certificates;
    w->publish = publish;
    w->owner = owner;
    w->names = names_new(loop, on_names, w);
    w->service_count = config->service_count;
    w->services = xcalloc(w->service_count, sizeof *w->services);
    start_groups(w);
    loop_arm(loop, &w->tick, 0, on_tick);
    watcher_decide_soon(w);
    return w;
}

void watcher_hint(struct watcher *w, size_t service, uint64_t generation, enum hint hint)
{
    CHECK_MAGIC(w, WATCHER_MAGIC);
    CHECK(service < w->service_count && hint < HINT_KINDS);
    struct judge *judge = &w->services[service].judge;
    if (generation == judge->generation && generation > 0) {
        judge_hint(judge, hint, clock_ms());
        watcher_decide_soon(w);
    }
}

void watcher_hint_replica(struct watcher *w, size_t service, enum replica_hint hint, uint32_t id)
{
    CHECK_MAGIC(w, WATCHER_MAGIC);
    CHECK(service < w->service_count);
    service_replica_hint(&w->services[service], hint, id);
}

void watcher_stop(struct watcher **w)
{
    struct watcher *left = *w;
    CHECK_MAGIC(left, WATCHER_MAGIC);
    *w = NULL;
    loop_disarm(left->loop, &left->tick);
    loop_disarm(left->loop, &left->soon);
    for (size_t i = 0; i < left->group_count; i++) {
        group_close(&left->groups[i]);
    }
    for (size_t i = 0; i < left->service_count; i++) {
        service_close(&left->services[i]);
    }
    names_free(&left->names);
    free(left->groups);
    free(left->services);
    left->magic = 0;
    free(left);
}
