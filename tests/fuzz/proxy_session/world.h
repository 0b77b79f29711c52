/* A small world around one worker: clients, nodes, and a net that does what the input says. All of
 * it runs in the worker's thread, one step after the other, so that an input is one story.
 *
 *      client ---- transport ----.            .---- transport ---- conn ---- node
 *      client ---- transport -----+- worker --+---- transport ---- conn ---'
 *
 * net.c     the loop and the transports in place of proxy/net
 * server.c  nodes and their connections, which see what was sent how often;
 *           server_order.c: that they do what they are asked, or refuse to
 * books.c   that what the worker counts is right
 * client.c  clients that know what they asked, and judge what they are told
 */
#ifndef VEDETTE_FUZZ_WORLD_H
#define VEDETTE_FUZZ_WORLD_H

#include "proxy/base/buf.h"
#include "proxy/link.h"
#include "proxy/net/loop.h"
#include "proxy/net/transport.h"
#include "proxy/resp/scan.h"
#include "proxy/worker.h"

#define CLIENTS      5u
#define NODES        3u
#define USERS        3u
#define REQUESTS_MAX 256u

struct conn;
struct client;

/* The far end of a transport: exactly one of them. */
struct peer {
    struct client *client;
    struct conn *conn;
};

struct transport {
    struct list_node node; /* among the open ones, or the dead */
    struct loop *loop;
    const struct transport_events *events;
    void *owner;
    struct peer peer;
    struct wheel_timer deadline;
    unsigned to; /* which node */
    bool connecting, reading, want_write, hung_up, broken;
    int outcome;    /* of connecting: 0 not known, 1 it is made, else an error */
    struct buf in;  /* on its way to the proxy */
    size_t arrived; /* of it: may be read */
    bool fin, rst;  /* behind `in` */
    bool all;       /* whatever is sent arrives at once */
    size_t room;    /* what the kernel still takes; SIZE_MAX: anything */
};

/* What a client asks. */
enum kind {
    KIND_GET,
    KIND_SET,
    KIND_EVAL,
    KIND_BLPOP,
    KIND_MULTI,
    KIND_EXEC,
    KIND_DISCARD,
    KIND_WATCH,
    KIND_UNWATCH,
    KIND_WAIT,
    KIND_UNKNOWN,
    KIND_PINNED,
    KIND_SELECT,
    KIND_AUTH,
    KIND_HELLO,
    KIND_SETNAME,
    KIND_GETNAME,
    KIND_RESET,
    KIND_QUIT,
    KINDS,
    KIND_SUBSCRIBE = KINDS, /* the others are asked for in another way */
    KIND_UNSUBSCRIBE
};

#define CHANNELS  4u /* c0, c1 ... */
#define NAMES_MAX 3u

struct request {
    enum kind kind;
    unsigned number;
    unsigned sent;   /* how often a server got it whole */
    unsigned open;   /* ... and may have executed it, as far as the proxy can know */
    bool executed;   /* by a server, outside of a transaction */
    bool answered;   /* to the client */
    bool blind;      /* its answer shows no data */
    bool queued;     /* ... in a transaction that goes on */
    bool distrusted; /* its reply began after its node may have ceased to be the primary */
    unsigned names[NAMES_MAX], name_count; /* of channels */
    unsigned expected, given;              /* answers to it; 0: not known yet */
    int value;                             /* what SELECT, AUTH, HELLO, SETNAME ask for */
    unsigned version;                      /* of the data that its node had as it executed it */
};

/* What one connection is, at a server or in the mind of a client. */
struct identity {
    int db, user, resp, name;
    bool multi;
};

struct client {
    struct transport *transport; /* NULL: there is none */
    struct session *session;     /* while there is a transport; not looked into */
    unsigned asked[REQUESTS_MAX], first,
        count; /* numbers of requests, those from first unanswered */
    unsigned block[REQUESTS_MAX], block_count;   /* what was answered in the open transaction */
    unsigned queued[REQUESTS_MAX], queued_count; /* ... with QUEUED */
    struct identity self;
    unsigned held;    /* channels that it is told of, a bit for each */
    unsigned heard;   /* the number of the last message */
    unsigned version; /* of the data, as far as it has been shown to it */
    bool reader;      /* it came by read-listen */
    bool wild;        /* it said what nobody answers for */
    bool gone;        /* it ended its side, or said QUIT */
    bool excused;     /* the proxy may close it */
    struct buf in;
    struct reply_scan scan;
    unsigned behind; /* values to come behind the array that began this reply */
    bool array;      /* ... of which there were some */
};

struct node {
    bool down, mute; /* refuses connections; leaves them unanswered */
    bool silent;     /* handles nothing by itself */
    bool replica, loading, busy, closed_to_default;
    bool no_auth, no_select, no_role, full;
};

/* A node as the topology lists it, to be read from. */
struct fit_node {
    uint32_t id; /* 0: it is not */
    uint64_t caught;
    unsigned version; /* of its data, at least */
};

#define ROUNDS_MAX 4096u

struct world {
    const uint8_t *input, *input_end;
    struct worker *worker;
    struct loop *loop;
    struct redirects *redirects;
    struct list transports, dead_transports, conns;
    struct client client[CLIENTS];
    struct node node[NODES];
    struct request request[REQUESTS_MAX];
    unsigned requests, messages;
    struct fit_node fit[NODES];
    uint32_t last_id;
    unsigned version, round_version[ROUNDS_MAX]; /* of the primary's data; when a round began */
    unsigned large_left, huge_left;              /* how many such things may still be said */
    bool evil;      /* servers have said what was not asked: nobody judges contents any more */
    bool backwards; /* the order of callbacks in a turn */
    bool too_much;  /* what server_holds_too_much says */
    bool released;  /* a hold has ended, and the primary stayed; the worker is about to hear it */
    bool stopping;  /* what is on its way then is given up as it is */
    bool own_identity; /* the proxy has a user and password of its own */
    bool readers;      /* the last clients are that */
    bool trace;
};

extern struct world world;

#define TRACE(...) (world.trace ? (void)fprintf(stderr, __VA_ARGS__) : (void)0)

/* The next byte of the input; 0 behind its end. */
unsigned take(void);
/* The worker's thread does this instead of waiting for the kernel. */
void world_run(void);

/* net.c */
void net_turn(void);
/* Turns until nothing is left over for another; a worker that never comes to rest is a fault. */
void net_settle(void);
void net_pass(uint64_t ms);
uint64_t net_now(void);
void net_accept(struct client *c, unsigned index);
void net_send(struct transport *t, const char *bytes, size_t n);
void net_arrive(struct transport *t, size_t n);
void net_free_dead(void);

/* server.c */
struct conn *conn_open(struct transport *t, unsigned node);
void conn_received(struct conn *c, struct slice bytes);
/* The proxy has read n more bytes. */
void conn_was_read(struct conn *c, size_t n);
void conn_proxy_shut(struct conn *c);
void conn_proxy_closed(struct conn *c);
/* How a server answers. */
enum mood {
    MOOD_RIGHT,
    MOOD_REFUSE,
    MOOD_ERROR,
    MOOD_UNBLOCK,
    MOOD_LARGE,
    MOOD_HUGE,
    MOOD_PUSH,
    MOODS
};
void conn_handle(struct conn *c, unsigned most, enum mood mood);
struct conn *conn_at(unsigned index);
/* What it has subscribed to. */
unsigned conn_channels(const struct conn *c);
bool conn_in_multi(const struct conn *c);
/* A message for all connections of that node which have subscribed to it. */
void node_publish(unsigned node, unsigned channel);
struct transport *conn_transport(struct conn *c);
void conn_end(struct conn *c, bool reset);
/* All that are not silent handle what they have. */
void servers_work(void);
void servers_heal(void);

/* books.c */
/* Ends the run if the books of the worker are wrong. */
void check_books(void);

/* client.c */
void client_begin(struct client *c, unsigned index);
void client_ask(struct client *c, enum kind kind, unsigned how);
/* SUBSCRIBE or UNSUBSCRIBE. */
void client_subscribe(struct client *c, unsigned how);
void client_received(struct client *c, struct slice bytes);
void client_proxy_closed(struct client *c);
/* Its transport is there no more, or must not be looked at. */
void client_forget(struct client *c);
/* The number in the tag among these bytes, below world.requests; -1: there is none. */
int tag_in(struct slice bytes);
/* It does nothing that would not be the same done twice. */
bool repeatable(enum kind kind);

#endif
