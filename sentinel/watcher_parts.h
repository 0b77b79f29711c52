/* The parts of the watcher: its life and its clock (watcher.c), a group of Sentinels
 * (watcher_group.c), one service (watcher_service.c), and what the log is told (watcher_log.c). */
#ifndef VEDETTE_SENTINEL_WATCHER_PARTS_H
#define VEDETTE_SENTINEL_WATCHER_PARTS_H

#include "sentinel/judge.h"
#include "sentinel/learner.h"
#include "sentinel/names.h"
#include "sentinel/probe.h"
#include "sentinel/replica_watch.h"
#include "sentinel/sentinel_set.h"
#include "sentinel/watcher.h"

/* Probes of one service: what the judge wants, and a few that it wanted a moment ago. */
#define PROBES_MAX (JUDGE_WANTS_MAX + 2)
/* For how long replicas are remembered after a Sentinel listed them. */
#define REPLICA_FORGET_MS     60000u
#define LISTS_INTERVAL_MS     15000u
#define LISTS_INTERVAL_MIN_MS 500u

/* What the log was told last of how the Sentinels know a service. */
enum acquaintance { NOT_TOLD, KNOWN, STRANGER, NOBODY };

struct replica {
    struct addr name;
    uint64_t listed_ms;
};

/* The Sentinels that know the same services. */
struct watch_group {
    uint32_t magic;
    struct watcher *watcher;
    struct sentinel_group group;
    struct sentinel_set *sentinels;
    struct service *service[CONFIG_SERVICES_MAX]; /* those that chose it */
    const char *name[CONFIG_SERVICES_MAX];
    size_t service_count;
};

struct service {
    struct watcher *watcher;
    struct watch_group *group;
    size_t index; /* in its group */
    const struct config_service *config;
    struct judge judge;
    struct probe_group probes;
    struct probe *probe[PROBES_MAX];
    size_t probe_count;
    struct replica replica[REPLICAS_MAX];
    size_t replica_count;
    bool fast;
    uint64_t asked_ms, listed_ms; /* when all were asked last: for views, for lists */
    bool lists_wanted;
    uint64_t hold_timeout_ms;
    struct learner *learner;
    uint64_t learning;             /* generation whose primary it was told to ask */
    struct command_list *commands; /* NULL: not known. The last primary's until the new one tells */
    struct rounds *rounds;         /* of probes: counted on through all generations */
    struct replica_watch *reads;   /* NULL while nobody wants to read from replicas */
    uint64_t reads_until_ms;       /* so long a session's wish for that counts */
    uint32_t listed;               /* replicas that can be told from the primary */
    enum acquaintance acquaintance;
    struct log_limit log_limit;
};

struct watcher {
    uint32_t magic;
    struct loop *loop;
    const struct config *config;
    const struct certificates *certificates;
    void (*publish)(void *owner, struct topology *topology);
    void *owner;
    struct names *names;
    struct watch_group *groups; /* those that a service has chosen */
    size_t group_count;
    struct wheel_timer tick;
    struct wheel_timer soon; /* decides outside of a caller's call */
    uint64_t serial;
    uint64_t refreshed_ms;
    bool names_changed;
    struct service *services;
    size_t service_count;
};

/* Publishes what all services are now. */
void watcher_publish(struct watcher *w);
/* Sets the next tick by how closely the services are watched. */
void watcher_schedule(struct watcher *w);
/* Decides on all services in the next turn. */
void watcher_decide_soon(struct watcher *w);

/* Takes in the services that chose it; nothing is connected before the first group_refresh. */
void group_init(struct watch_group *g, struct watcher *w, size_t config_group);
void group_close(struct watch_group *g);
/* Brings its Sentinels in line with what their names resolve to. */
void group_refresh(struct watch_group *g);
/* Sends what was asked. */
void group_flush(struct watch_group *g);

/* index: that in its group. */
void service_init(struct service *s, struct watch_group *g, size_t index,
                  const struct config_service *config);
void service_close(struct service *s);
/* Decides on what is known now, publishes what changed, and looks where the judge wants to. */
void service_decide(struct service *s);
/* How often its Sentinels are asked at present, in milliseconds. */
uint64_t service_interval(const struct service *s);
/* Asks all Sentinels about the service now. */
void service_ask(struct service *s);
/* What is due by now: questions to Sentinels, and a decision. */
void service_tick(struct service *s, uint64_t now_ms);
void service_event(struct service *s, const struct event *event);
/* See enum replica_hint. */
void service_replica_hint(struct service *s, enum replica_hint hint, uint32_t id);
void service_listed_replicas(struct service *s, const struct sentinel_peer *peers, size_t count);

void service_log_change(struct service *s, const struct judge_advice *advice);
void service_log_event(const struct service *s, const struct event *event);
/* Tells once whether Sentinels can be reached and know the service. */
void service_log_acquaintance(struct service *s);

#endif
