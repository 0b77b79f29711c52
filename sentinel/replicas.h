/* The judgement of which replicas of one service may serve reads, and of how far each has come.
 * Pure: it does no I/O and reads no clock; it is told what nodes have answered and at what time.
 *
 * Time goes in rounds. A round is counted, then the primary is asked for its replication offset,
 * and the replicas for those that they have applied: a replica whose offset is not below that of
 * round n shows all that the primary had done before round n was counted. Offsets are comparable
 * within one history only, so with another primary, or with a primary whose offset falls, all is
 * forgotten. */
#ifndef VEDETTE_SENTINEL_REPLICAS_H
#define VEDETTE_SENTINEL_REPLICAS_H

#include "config/config.h"
#include "proxy/base/limits.h"
#include "sentinel/history.h"
#include "sentinel/reply.h"
#include "sentinel/topology.h"

/* So many rounds in a row must a replica be found well in before it serves. */
#define REPLICA_GOOD_ROUNDS 3u
/* Replicas that are found within this after a new primary are taken for those that served before,
 * and given their full share. */
#define REPLICA_SETTLE_MS 3000u

/* A replica that Sentinels list. */
struct replica_listed {
    struct sockaddr_any at;
    struct addr name;
};

/* What a node has answered at one time. */
struct node_answer {
    uint64_t asked_ms;
    enum role role;
    struct addr master_name;    /* of a replica; empty: not told */
    struct sockaddr_any master; /* the same; len 0: not known */
    struct repl_state repl;
    bool informed;         /* it was asked for INFO too */
    struct node_info info; /* empty where that is refused */
};

enum replica_news { REPLICA_SAME, REPLICA_BECAME_FIT, REPLICA_BECAME_UNFIT };

/* One of them, in a slot that it keeps. */
struct replica_node {
    uint64_t serial; /* of the one in this slot; 0: free */
    struct replica_listed listed;
    /* What it has told since all was forgotten, or since it was lost. */
    bool heard, informed;
    struct node_answer said;
    struct node_info info;
    int64_t offset;      /* the highest that it told; -1: none yet */
    uint64_t caught;     /* the latest round that it has caught up with; 0: none yet */
    uint64_t caught_ms;  /* when that began */
    uint64_t down_ms;    /* when its link to the primary was first told to be down; 0: it is up */
    unsigned good;       /* rounds in a row in which nothing was wrong with it */
    uint64_t good_round; /* the last of them */
    const char *failure; /* why it does not answer; NULL: it does */
    /* What follows from that. */
    uint32_t id;            /* of its life as a fit one; 0: unfit */
    uint64_t fit_ms;        /* since when it is */
    bool slow;              /* its share grows from then on */
    bool served;            /* this primary has had it as a fit one before */
    bool near;              /* by address or zone */
    const char *broken;     /* why this life has to end; NULL: it has not */
    const char *lack;       /* what is wrong with it; NULL: nothing */
    uint64_t lag_ms;        /* when that was decided; UINT64_MAX: not known */
    enum replica_news told; /* what the log was told last */
};

struct replicas {
    const struct config_service *config;
    struct rounds *rounds;
    uint64_t generation; /* of the primary; 0: none yet */
    struct sockaddr_any primary;
    uint64_t since_ms;             /* what was asked before that is forgotten */
    bool informed;                 /* the primary has told its info since */
    char repl_id[REPL_ID_MAX + 1]; /* empty: not told */
    uint64_t alive_ms; /* when the primary was asked what it answered last, as a master */
    bool refused;      /* it refuses to tell its offset */
    struct history history;
    uint32_t last_id;
    uint64_t last_serial;
    struct replica_node node[REPLICAS_MAX];
};

/* config and rounds outlive it. */
void replicas_init(struct replicas *r, const struct config_service *config, struct rounds *rounds,
                   uint64_t now_ms);
/* Another primary, or none: generation 0. True if that is news. */
bool replicas_follow(struct replicas *r, uint64_t generation, const struct sockaddr_any *primary,
                     uint64_t now_ms);
/* All that Sentinels list, but for the primary. gone is told of those that were fit and are not
 * listed any more. True if they are others than before. */
bool replicas_list(struct replicas *r, const struct replica_listed *listed, size_t count,
                   void (*gone)(void *owner, const struct replica_node *n), void *owner);

/* Counts a new round, before the primary is asked. */
uint64_t replicas_round(struct replicas *r);
/* What the primary answered in that round. */
void replicas_primary_said(struct replicas *r, uint64_t round, const struct node_answer *said,
                           uint64_t now_ms);
/* What the replica in this slot answered. */
void replicas_said(struct replicas *r, size_t slot, const struct node_answer *said,
                   uint64_t now_ms);
/* It can't be asked, or has failed others; why has static life. */
void replicas_failed(struct replicas *r, size_t slot, const char *why);
/* The slot of the replica with this id; REPLICAS_MAX: it is gone. */
size_t replicas_slot_of(const struct replicas *r, uint32_t id);

/* Decides who is fit now. True if one has come or gone since the last time. */
bool replicas_judge(struct replicas *r, uint64_t now_ms);
/* What the log has not been told of the slot; once. */
enum replica_news replicas_news(struct replicas *r, size_t slot, uint64_t now_ms);
/* As replicas_judge has found them; one reference. */
struct topology_replicas *replicas_snapshot(const struct replicas *r, uint64_t now_ms);

#endif
