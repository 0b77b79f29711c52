/* The configuration as plain data. Made by config_load, const from then on; durations are in
 * milliseconds, sizes in bytes. */
#ifndef VEDETTE_CONFIG_CONFIG_H
#define VEDETTE_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/addr.h"
#include "proxy/base/log.h"

#define CONFIG_AUTO 0 /* value of numbers whose key says "auto" */

struct config_addrs {
    struct addr *v;
    size_t count;
};

/* [proxy] */
struct config_proxy {
    uint32_t workers; /* CONFIG_AUTO: one per CPU the process may run on */
    enum log_level log_level;
    uint32_t max_clients;
    uint64_t drain_delay_ms, drain_timeout_ms;
    bool protected_mode;
};

/* [sentinel]: how to reach the Sentinels, which know all services. */
struct config_sentinel {
    struct config_addrs address;
    char *user;     /* NULL: none */
    char *password; /* NULL: none; read from password-file where that is given */
    uint64_t connect_timeout_ms;
    uint64_t poll_interval_ms, poll_interval_fast_ms;
    uint32_t min_agree; /* CONFIG_AUTO: the majority of the reachable Sentinels */
};

/* [service NAME] */
struct config_service {
    char *name; /* the Sentinel master name */
    struct addr listen;
    char *user, *password;    /* of our own connections to Redis; NULL: none */
    uint64_t hold_timeout_ms; /* CONFIG_AUTO: max(30 s, 2 x down-after + 10 s) */
    bool hold_on_failover;    /* no: go on with the primary while Sentinel moves it */
    bool follow_role;
    uint64_t hold_grace_ms, stall_timeout_ms, connect_timeout_ms;
    uint64_t retain_max;
};

struct config {
    struct config_proxy proxy;
    struct config_sentinel sentinel;
    struct config_service *services;
    size_t service_count;
};

/* Frees what config_load made, secrets overwritten first. Sets the pointer to NULL; it may be. */
void config_free(struct config **config);

#endif
