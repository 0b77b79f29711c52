/* The judgement of who is primary of one service. Pure: it does no I/O and reads no clock; it is
 * told what is known and at what time, and says what to do. All its memory is struct judge.
 *
 * In one paragraph: a primary is the node that the highest epoch names, agreed by a majority of the
 * Sentinels that can be reached, and that says of itself that it is a master. A node's own word
 * proves nothing (a returned old primary claims to be master for seconds), a Sentinel's word alone
 * neither (the node may not have been promoted yet), and an older epoch never wins, unless it is
 * clear that an operator has begun to count anew. */
#ifndef VEDETTE_SENTINEL_JUDGE_H
#define VEDETTE_SENTINEL_JUDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/addr.h"
#include "proxy/base/limits.h"
#include "sentinel/reply.h"
#include "sentinel/topology.h"
#include "sentinel/watcher.h"

/* A Sentinel that has said nothing for so long says nothing. */
#define JUDGE_VIEW_MAX_AGE_MS 3000u
/* So long may the Sentinels disagree before the highest epoch decides alone. */
#define JUDGE_NO_MAJORITY_MS 2000u
/* So long must a majority name an older epoch before it is taken for an operator's reset. */
#define JUDGE_RESET_MS 10000u
/* A hold lasts at least so long, and ends when no failover was seen for so long. */
#define JUDGE_HOLD_MIN_MS   2000u
#define JUDGE_HOLD_QUIET_MS 1000u
/* A candidate's word counts for so long: more than one interval of the fast probes. */
#define JUDGE_ROLE_MAX_AGE_MS 250u
/* After an event that may announce a failover all is watched closely for so long. */
#define JUDGE_ALERT_MS 3000u
/* Events so close to each other are one alert: each costs a connection to the primary, and must not
 * cut short the waiting for it. */
#define JUDGE_ALERT_GAP_MS 1500u
/* A replica that an event named is probed for so long. */
#define JUDGE_HINTED_MS 15000u
#define JUDGE_WANTS_MAX 8
#define JUDGE_VIEWS_MAX SENTINELS_MAX

/* What one connection to a Sentinel has answered last. Only of connections that are up. */
struct judge_view {
    uint64_t asked_ms, answered_ms;
    int64_t epoch;
    struct sockaddr_any primary; /* len 0: no opinion */
    struct sockaddr_any flagged; /* the node that the flags below speak of */
    struct addr primary_name;
    bool s_down, o_down, failover;
    char id[SENTINEL_ID_MAX + 1];
};

/* What a node has answered last to ROLE. */
enum node_role {
    NODE_UNKNOWN,     /* not asked yet */
    NODE_MASTER,      /* says master */
    NODE_REPLICA,     /* says slave of `master` */
    NODE_REFUSED,     /* answers, but refuses to tell */
    NODE_UNREACHABLE, /* can't be connected to, or gave no sensible answer in time */
};

struct judge_node {
    struct sockaddr_any at;
    enum node_role role;
    struct sockaddr_any master; /* len 0: not known */
    struct addr master_name;
    uint64_t opened_ms; /* when the connection it came over was begun */
    uint64_t answered_ms;
};

struct judge_facts {
    uint64_t now_ms;
    const struct judge_view *views;
    size_t view_count;
    size_t pending; /* Sentinels of which it is not known yet whether they can be reached */
    size_t known;   /* Sentinels there are, as far as anybody knows */
    const struct judge_node *nodes;
    size_t node_count;
    const struct sockaddr_any *replicas; /* those that Sentinels list */
    size_t replica_count;
};

struct judge_rules {
    bool hold_on_failover, follow_role;
    uint32_t min_agree; /* 0: a majority of the reachable ones */
};

/* A claim that has been standing since some time. */
struct judge_claim {
    struct sockaddr_any at; /* len 0: none */
    int64_t epoch;
    uint64_t since_ms;
};

struct judge {
    struct judge_rules rules;
    enum service_state state;
    uint64_t since_ms; /* of state */
    uint64_t generation;
    struct sockaddr_any primary;
    struct addr primary_name;
    int64_t epoch;
    /* following: Sentinels name `named`, which is a replica of the primary */
    bool following;
    struct sockaddr_any named;
    struct addr named_name;
    /* What happened since the last decision. */
    bool told_failover, told_suspicion;
    enum hint hint;
    /* HOLDING */
    uint64_t hold_ms;     /* its (latest) beginning */
    uint64_t shown_ms;    /* when a Sentinel has last shown the failover */
    uint64_t aborted_ms;  /* when it was called off; 0: it was not */
    uint64_t hold_end_ms; /* since when only the primary's own word is waited for; 0: not yet */
    /* Standing claims. */
    struct judge_claim disputed; /* the highest epoch, without a majority */
    struct judge_claim older;    /* a majority of all, with an older epoch */
    struct sockaddr_any hinted;  /* a replica that an event named */
    uint64_t hinted_ms;
    uint64_t alert_ms; /* the last sign that something may happen */
    uint64_t left_ms;  /* when SERVING was left last */
};

/* A node to ask for its ROLE. */
struct judge_want {
    struct sockaddr_any at;
    bool fast;
    uint64_t fresh_from_ms; /* over a connection opened then or later */
};

enum judge_change {
    JUDGE_SAME,
    JUDGE_SWITCHED,  /* to another primary: a new generation */
    JUDGE_FOLLOWED,  /* the same, by ROLE and against what Sentinels say */
    JUDGE_EPOCH,     /* the same primary, another epoch */
    JUDGE_SUSPECTED, /* SERVING or HOLDING to SUSPECT */
    JUDGE_CLEARED,   /* SUSPECT to SERVING */
    JUDGE_HELD,      /* to HOLDING */
    JUDGE_RELEASED,  /* HOLDING to SERVING */
};

struct judge_advice {
    enum judge_change change;
    enum service_state from;
    const char *reason;
    uint64_t lasted_ms;      /* how long `from` lasted */
    uint64_t waited_ms;      /* how long requests have been waiting; 0: they were not */
    size_t votes, reachable; /* for the log */
    size_t want_count;
    struct judge_want want[JUDGE_WANTS_MAX];
    struct addr old_name; /* the primary before a switch; empty: none */
    bool unverified;      /* JUDGE_SWITCHED: ROLE was refused to us */
    bool ask;             /* ask all Sentinels now */
    bool fast;            /* poll and probe at the fast interval */
};

void judge_init(struct judge *j, const struct judge_rules *rules);
/* A worker's hint about the current primary. */
void judge_hint(struct judge *j, enum hint hint, uint64_t now_ms);
/* The leader of a failover of `primary` announced that it is on its way. */
void judge_failover_begins(struct judge *j, const struct sockaddr_any *primary, uint64_t now_ms);
/* It gave up. */
void judge_failover_aborted(struct judge *j, const struct sockaddr_any *primary, uint64_t now_ms);
/* A Sentinel named this replica as candidate or new primary: it is probed from now on. */
void judge_candidate(struct judge *j, const struct sockaddr_any *node, uint64_t now_ms);
/* Something may be about to happen. */
void judge_alert(struct judge *j, uint64_t now_ms);
/* Decides on the facts and remembers the decision. At most one change a call: call again after a
 * change. */
void judge_decide(struct judge *j, const struct judge_facts *facts, struct judge_advice *advice);

#endif
