/* Asks a node for its ROLE, again and again, over a connection that is kept. */
#ifndef VEDETTE_SENTINEL_PROBE_H
#define VEDETTE_SENTINEL_PROBE_H

#include "config/config.h"
#include "proxy/net/loop.h"
#include "sentinel/judge.h"
#include "sentinel/wire.h"

struct probe;
struct tls_ctx;

/* What the probes of one service share. */
struct probe_group {
    struct loop *loop;
    const struct config_service *service; /* credentials, time-out, name for the log */
    struct tls_ctx *tls;                  /* NULL: without TLS */
    const struct config_mappings *map;    /* for the address of its primary that a replica tells */
    char auth_trouble[128];               /* the last refusal of AUTH: told once */
    /* A node has answered, or failed to. It may free any probe, this one too. */
    void (*told)(void *owner, struct probe *p);
    void *owner;
};

/* Nothing is asked before probe_want. name: as it is called. */
struct probe *probe_new(struct probe_group *group, const struct sockaddr_any *at,
                        const struct addr *name);
/* Sets *p to NULL. */
void probe_free(struct probe **p);
/* Asks every interval_ms from now on, over a connection opened at fresh_from_ms or later: at once
 * if there is none such. */
void probe_want(struct probe *p, uint64_t interval_ms, uint64_t fresh_from_ms);

const struct sockaddr_any *probe_at(const struct probe *p);
/* The last answer; role NODE_UNKNOWN before the first. A connection that ends while it is idle is
 * no answer: a new one is opened at once. *master_name is that of a NODE_REPLICA; empty: none. */
enum node_role probe_answer(const struct probe *p, struct addr *master_name, uint64_t *opened_ms,
                            uint64_t *answered_ms);

/* Tells the log why TLS to that node has failed, unless it is what failed it the last time. */
#define NODE_TROUBLE_MAX 128
void probe_tell_tls(const struct probe_group *group, const struct addr *name, const char *why,
                    char last[NODE_TROUBLE_MAX]);
/* Takes an answer to AUTH; tells the log when none of the passwords is good, once. */
void probe_note_auth(struct probe_group *group, struct wire *wire, const struct reply *reply);

#endif
