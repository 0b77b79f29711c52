/* One group of Sentinels: what they tell goes to the services that chose it, and to no other. */
#include "sentinel/address_map.h"
#include "sentinel/watcher_parts.h"

#define GROUP_MAGIC 0x64a0be11u

static struct watch_group *group_of(void *owner)
{
    struct watch_group *g = owner;
    CHECK_MAGIC(g, GROUP_MAGIC);
    return g;
}

static void on_changed(void *owner, struct sentinel *s)
{
    const struct watch_group *g = group_of(owner);
    if (sentinel_state(s) == SENTINEL_DOWN) {
        names_failed(g->watcher->names, sentinel_at(s)); /* it may have moved */
    }
    watcher_decide_soon(g->watcher);
}

static void on_answered(void *owner, struct sentinel *s, size_t service)
{
    (void)s;
    service_decide(group_of(owner)->service[service]);
}

static void on_listed(void *owner, size_t service, enum sentinel_list list,
                      const struct sentinel_peer *peers, size_t count)
{
    struct watch_group *g = group_of(owner);
    switch (list) {
    case SENTINEL_LIST_SENTINELS:
        if (g->group.config->learn) {
            sentinel_set_learn(g->sentinels, peers, count);
        }
        return;
    case SENTINEL_LIST_REPLICAS: service_listed_replicas(g->service[service], peers, count); return;
    }
}

static void on_event(void *owner, const struct event *event)
{
    struct watch_group *g = group_of(owner);
    for (size_t i = 0; i < g->service_count; i++) {
        if (slice_eq(event->service, slice_str(g->name[i]))) {
            service_event(g->service[i], event);
        }
    }
}

static void on_subscribed(void *owner, struct sentinel *s)
{
    const struct watch_group *g = group_of(owner);
    for (size_t i = 0; i < g->service_count; i++) {
        sentinel_ask(s, i);
    }
    sentinel_flush(s);
}

void group_init(struct watch_group *g, struct watcher *w, size_t config_group)
{
    static const struct sentinel_events events = {
        .changed = on_changed,
        .answered = on_answered,
        .listed = on_listed,
        .event = on_event,
        .subscribed = on_subscribed,
    };
    g->magic = GROUP_MAGIC;
    g->watcher = w;
    for (size_t i = 0; i < w->service_count; i++) {
        const struct config_service *config = &w->config->services[i];
        if (config->group == config_group) {
            g->name[g->service_count] = config->master != NULL ? config->master : config->name;
            g->service[g->service_count++] = &w->services[i];
        }
    }
    g->group =
        (struct sentinel_group){.loop = w->loop,
                                .config = &w->config->groups[config_group],
                                .tls = certificates_of_sentinels(w->certificates, config_group),
                                .services = g->name,
                                .service_count = g->service_count,
                                .events = &events,
                                .owner = g};
    address_map_log(&g->group.config->address_map, g->group.config->name);
    g->sentinels = sentinel_set_new(&g->group, w->names);
    for (size_t i = 0; i < g->service_count; i++) {
        size_t at = (size_t)(g->service[i] - w->services);
        service_init(g->service[i], g, i, &w->config->services[at]);
    }
}

void group_close(struct watch_group *g)
{
    sentinel_set_free(&g->sentinels);
    g->magic = 0;
}

void group_refresh(struct watch_group *g)
{
    sentinel_set_refresh(g->sentinels);
}

void group_flush(struct watch_group *g)
{
    for (size_t i = 0; i < sentinel_set_count(g->sentinels); i++) {
        sentinel_flush(sentinel_set_at(g->sentinels, i));
    }
}
