/* A watcher on the loop of the test, with fake Sentinels and nodes. */
#ifndef VEDETTE_TESTS_WATCHER_STAGE_H
#define VEDETTE_TESTS_WATCHER_STAGE_H

#include "tests/unit/sentinel/fake.h"
#include "tests/unit/sentinel/until.h"

#include "proxy/base/clock.h"
#include "sentinel/replica_watch.h"
#include "sentinel/watcher.h"

#define SENTINELS 3
#define NODES     2
#define PATIENCE  5000u

struct stage {
    struct loop *loop;
    struct fake sentinel[SENTINELS];
    struct fake node[NODES];
    struct addr address[SENTINELS];
    struct config_service service;
    struct config_sentinel group;
    struct config config;
    struct watcher *watcher;
    struct topology *topology; /* the last one published */
    unsigned published;
    struct until until;
};

static inline void on_publish(void *owner, struct topology *t)
{
    struct stage *s = owner;
    assert_true(s->topology == NULL || t->serial > s->topology->serial);
    topology_unref(&s->topology);
    s->topology = t;
    s->published++;
    until_look(&s->until);
}

static inline bool never(struct stage *s)
{
    (void)s;
    return false;
}

static inline bool run_until(struct stage *s, bool (*met)(struct stage *s), uint64_t ms)
{
    return until_run(&s->until, s->loop, s, met, ms);
}

static inline const struct topology_service *service(const struct stage *s)
{
    return &s->topology->service[0];
}

static inline void assert_primary(const struct stage *s, const struct fake *node,
                                  uint64_t generation)
{
    assert_int_equal(service(s)->primary_name.port, node->addr.port);
    assert_int_equal(service(s)->generation, generation);
}

static inline bool is(const struct stage *s, enum service_state state)
{
    return s->topology != NULL && service(s)->state == state;
}

static inline bool serving(struct stage *s)
{
    return is(s, SERVICE_SERVING);
}

static inline bool suspect(struct stage *s)
{
    return is(s, SERVICE_SUSPECT);
}

static inline bool holding(struct stage *s)
{
    return is(s, SERVICE_HOLDING);
}

static inline bool second_generation(struct stage *s)
{
    return serving(s) && service(s)->generation == 2;
}

static inline bool all_subscribed(struct stage *s)
{
    bool all = serving(s);
    for (size_t i = 0; i < SENTINELS; i++) {
        all = all && s->sentinel[i].subscribed > 0;
    }
    return all;
}

/* Three Sentinels that name node 0, a master; node 1 follows it. */
static inline void stage_set(struct stage *s)
{
    static const char *const ids[SENTINELS] = {"id-one", "id-two", "id-three"};
    memset(s, 0, sizeof *s);
    s->loop = loop_new(NULL, NULL);
    for (size_t i = 0; i < NODES; i++) {
        fake_open(&s->node[i], s->loop);
    }
    s->node[0].role = "master";
    s->node[1].role = "slave";
    s->node[1].role_master = s->node[0].addr.port;
    for (size_t i = 0; i < SENTINELS; i++) {
        s->sentinel[i].id = ids[i];
        s->sentinel[i].primary = s->node[0].addr.port;
        s->sentinel[i].epoch = 5;
        fake_open(&s->sentinel[i], s->loop);
        s->address[i] = s->sentinel[i].addr;
    }
    static char name[] = "mymaster";
    s->service = (struct config_service){
        .name = name, .hold_on_failover = true, .follow_role = true, .connect_timeout_ms = 300};
    s->config.services = &s->service;
    s->config.service_count = 1;
    s->group = (struct config_sentinel){.address = {s->address, SENTINELS},
                                        .connect_timeout_ms = 200,
                                        .learn = true,
                                        .poll_interval_ms = 1000,
                                        .poll_interval_fast_ms = 50};
    s->config.groups = &s->group;
    s->config.group_count = 1;
}

static inline void stage_start(struct stage *s)
{
    s->watcher = watcher_start(s->loop, &s->config, NULL, on_publish, s);
}

static inline void stage_clear(struct stage *s)
{
    if (s->watcher != NULL) {
        watcher_stop(&s->watcher);
    }
    assert_null(s->watcher);
    for (size_t i = 0; i < SENTINELS; i++) {
        fake_close(&s->sentinel[i]);
    }
    for (size_t i = 0; i < NODES; i++) {
        fake_close(&s->node[i]);
    }
    loop_free(&s->loop);
    topology_unref(&s->topology);
}

static inline void stage_serving(struct stage *s)
{
    stage_set(s);
    stage_start(s);
    assert_true(run_until(s, all_subscribed, PATIENCE));
}

/* What a Sentinel that has learnt of the failover says. */
static inline void tell_switch(struct stage *s, size_t sentinel)
{
    char text[64];
    struct fake *f = &s->sentinel[sentinel];
    f->primary = s->node[1].addr.port;
    f->epoch = 6;
    (void)snprintf(text, sizeof text, "mymaster 127.0.0.1 %u 127.0.0.1 %u", s->node[0].addr.port,
                   s->node[1].addr.port);
    fake_publish(f, "+switch-master", text);
}

static inline void tell_primary(struct stage *s, size_t sentinel, const char *channel)
{
    char text[64];
    (void)snprintf(text, sizeof text, "master mymaster 127.0.0.1 %u", s->node[0].addr.port);
    fake_publish(&s->sentinel[sentinel], channel, text);
}

#endif
