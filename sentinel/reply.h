/* What Sentinels and nodes answer, as typed values. Everything here may come from a hostile or a
 * broken peer: fields are found by name, never by place, and whatever does not make sense is "not
 * there". No I/O. */
#ifndef VEDETTE_SENTINEL_REPLY_H
#define VEDETTE_SENTINEL_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/addr.h"
#include "proxy/base/slice.h"

/* A Sentinel's id is 40 hex digits; room for what others may use. */
#define SENTINEL_ID_MAX 64
/* Durations beyond a day are taken for nonsense. */
#define REPLY_DURATION_MAX_MS ((int64_t)24 * 60 * 60 * 1000)

struct reply; /* one parsed reply */

enum reply_type {
    REPLY_STRING, /* a bulk string or a status */
    REPLY_NIL,
    REPLY_ERROR,
    REPLY_ARRAY,
    REPLY_NUMBER,
};

/* Parses one whole frame that reply_scan found within the limits. NULL when it is not a reply we
 * can read (RESP3 types, nesting past 7 levels). Release with reply_free. */
struct reply *reply_parse(struct slice frame) NODISCARD;
/* Sets *r to NULL; *r may be NULL. */
void reply_free(struct reply **r);

enum reply_type reply_type(const struct reply *r);
/* The bytes of a string or an error; empty for all other types. Valid as long as the reply. */
struct slice reply_text(const struct reply *r);
/* True for an error whose code word is `word`. */
bool reply_is_error(const struct reply *r, const char *word);

/* An address as a Sentinel gives it. False unless the host is a plausible name or address
 * (printable, at most 255 bytes, not empty, `?`, 0.0.0.0 or ::, not a path) and the port is
 * in 1..65535. */
bool reply_make_addr(struct slice host, struct slice port, struct addr *out) NODISCARD;
/* A Sentinel's id; false when it is not 1..SENTINEL_ID_MAX printable characters. */
bool reply_read_id(const struct reply *r, char out[SENTINEL_ID_MAX + 1]) NODISCARD;
/* The run_id of INFO server, as an id. */
bool reply_read_info_id(const struct reply *r, char out[SENTINEL_ID_MAX + 1]) NODISCARD;
/* GET-MASTER-ADDR-BY-NAME. False: no opinion. */
bool reply_read_address(const struct reply *r, struct addr *out) NODISCARD;

/* SENTINEL MASTER. Its own address is the failed primary's as long as the failover lasts: it says
 * whom the flags speak of, not who is primary. */
struct sentinel_master {
    struct addr addr;
    int64_t config_epoch;
    uint64_t down_after_ms; /* 0: not told */
    uint32_t other_sentinels;
    bool s_down, o_down, failover_in_progress;
};
/* False without address, flags and config-epoch. */
bool reply_read_master(const struct reply *r, struct sentinel_master *out) NODISCARD;

/* An entry of SENTINEL SENTINELS (id set) or SENTINEL REPLICAS (id empty). */
struct sentinel_peer {
    struct addr addr;
    char id[SENTINEL_ID_MAX + 1];
    bool down; /* s_down, o_down or disconnected from that Sentinel's view */
};
/* Reads up to max entries, leaving out those without a usable address; returns how many. *valid is
 * false when the reply is not a list at all. */
size_t reply_read_peers(const struct reply *r, struct sentinel_peer *out, size_t max, bool *valid);

enum role {
    ROLE_MASTER,
    ROLE_REPLICA, /* of `master` */
    ROLE_REFUSED, /* an error: the node lives but does not tell */
    ROLE_STRANGE, /* not an answer to ROLE, or no data node */
};
/* ROLE. *master is set for ROLE_REPLICA; empty when it is not usable. */
enum role reply_read_role(const struct reply *r, struct addr *master);

/* What ROLE tells of replication besides. */
enum repl_link {
    REPL_DOWN,    /* not connected to its primary, or nothing is told of it */
    REPL_SYNCING, /* its data is about to be replaced */
    REPL_UP,
};
struct repl_state {
    enum repl_link link; /* of a replica */
    int64_t offset;      /* that a primary has come to, that a replica has applied; -1: not told */
};
void reply_read_repl(const struct reply *r, struct repl_state *out);

/* What INFO tells of a node's fitness. */
#define REPL_ID_MAX 40
#define ZONE_MAX    180 /* a longer one can't be configured */
struct node_info {
    bool loading;                  /* its data set, or another one behind it */
    bool syncing;                  /* with its primary */
    bool priority_zero;            /* never to be promoted */
    char repl_id[REPL_ID_MAX + 1]; /* of the history that its offsets belong to; empty: not told */
    char zone[ZONE_MAX + 1];       /* empty: none */
};
/* False when it is no answer to INFO. */
bool reply_read_info(const struct reply *r, struct node_info *out) NODISCARD;

enum push_kind { PUSH_MESSAGE, PUSH_SUBSCRIBED, PUSH_PONG, PUSH_OTHER };
struct push {
    enum push_kind kind;
    struct slice channel, payload; /* valid as long as the reply */
};
/* What comes on a RESP2 connection with subscriptions, and the pong of one without. */
struct push reply_read_push(const struct reply *r);

#endif
