/* Fake Sentinels and nodes on the loop of the test: real sockets, answers set by hand. */
#ifndef VEDETTE_TESTS_FAKE_H
#define VEDETTE_TESTS_FAKE_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/base/buf.h"
#include "proxy/net/listener.h"
#include "proxy/net/transport.h"
#include "proxy/resp/args.h"
#include "proxy/resp/emit.h"
#include "proxy/resp/scan.h"

enum fake_mood {
    FAKE_WELL,
    FAKE_SILENT,  /* takes connections and requests, says nothing */
    FAKE_NULL,    /* a Sentinel that does not know the service */
    FAKE_ERROR,   /* -ERR to every question about it */
    FAKE_GARBAGE, /* answers like a web server */
    FAKE_HALF,    /* half of each answer */
    FAKE_WIDE,    /* promises two thousand million elements */
};

struct fake {
    struct loop *loop;
    struct listener *listener;
    struct list conns;
    enum fake_mood mood;
    const char *host; /* NULL: 127.0.0.1 */
    /* A Sentinel, if it has an id. */
    const char *id;
    const char *password;
    const char *flags;
    const char *forbidden; /* a channel that an ACL forbids; NULL: none */
    const char *peer_id;
    int epoch;
    uint16_t primary, flagged; /* ports; flagged 0: as primary */
    uint16_t peer;             /* another Sentinel that it tells of, by its port; 0: none */
    uint16_t replica;          /* a replica that it lists; 0: none */
    /* A node otherwise. */
    const char *role;                /* "master" or "slave"; NULL: refuses to tell */
    const char *commands;            /* its answer to COMMAND; NULL: refuses it */
    const char *info;                /* what a node has to INFO; NULL: refuses it */
    int offset;                      /* of its replication */
    bool cut_off;                    /* its link to the primary is down */
    void (*on_role)(struct fake *f); /* before ROLE is answered; NULL: nothing is done */
    /* What was seen. */
    unsigned accepted, asked, roles, subscribed, commanded, informed;
    uint16_t role_master; /* whom a slave follows */
    bool no_myid;
    struct addr addr;
};

struct fake_conn {
    struct list_node node;
    struct fake *fake;
    struct transport *t;
    struct buf in, out;
    struct request_scan scan;
    size_t scanned;
    bool authenticated, subscribed;
};

static inline void fake_drop_conn(struct fake_conn *c)
{
    list_remove(&c->node);
    transport_close(&c->t);
    buf_release(&c->in);
    buf_release(&c->out);
    free(c);
}

static inline void fake_send(struct fake_conn *c)
{
    if (c->fake->mood == FAKE_SILENT) {
        buf_release(&c->out);
        return;
    }
    size_t n = buf_len(&c->out) / (c->fake->mood == FAKE_HALF ? 2 : 1);
    struct iovec iov = {.iov_base = c->out.data + c->out.begin, .iov_len = n};
    if (n > 0) {
        ssize_t sent = transport_write(c->t, &iov, 1);
        assert_true(sent < 0 || (size_t)sent == n); /* small enough to be taken whole */
    }
    buf_release(&c->out);
}

static inline void fake_bulk(struct buf *out, const char *text)
{
    buf_printf(out, "$%zu\r\n%s\r\n", strlen(text), text);
}

static inline void fake_number(struct buf *out, int number)
{
    char text[16];
    (void)snprintf(text, sizeof text, "%d", number);
    fake_bulk(out, text);
}

static inline void fake_field(struct buf *out, const char *name, const char *value)
{
    fake_bulk(out, name);
    fake_bulk(out, value);
}

static inline void fake_place(struct buf *out, uint16_t port)
{
    fake_field(out, "ip", "127.0.0.1");
    fake_bulk(out, "port");
    fake_number(out, port);
}

static inline void fake_master(const struct fake *f, struct buf *out)
{
    buf_append_str(out, "*12\r\n");
    fake_place(out, f->flagged != 0 ? f->flagged : f->primary);
    fake_field(out, "flags", f->flags != NULL ? f->flags : "master");
    fake_bulk(out, "config-epoch");
    fake_number(out, f->epoch);
    fake_field(out, "num-other-sentinels", "2");
    fake_field(out, "down-after-milliseconds", "20000");
}

static inline void fake_list(const struct fake *f, struct buf *out, bool replicas)
{
    uint16_t port = replicas ? f->replica : f->peer;
    if (port == 0) {
        buf_append_str(out, "*0\r\n");
        return;
    }
    buf_append_str(out, "*1\r\n*8\r\n");
    fake_place(out, port);
    fake_field(out, "flags", replicas ? "slave" : "sentinel");
    fake_field(out, "runid", replicas ? "r" : f->peer_id);
}

static inline void fake_sentinel(struct fake_conn *c, const struct args *a)
{
    struct fake *f = c->fake;
    if (slice_eq_nocase(a->v[1], "MYID")) {
        if (f->no_myid) {
            emit_error(&c->out, "ERR unknown subcommand");
        } else {
            fake_bulk(&c->out, f->id);
        }
        return;
    }
    f->asked += slice_eq_nocase(a->v[1], "MASTER") ? 1 : 0;
    if (f->mood == FAKE_ERROR) {
        emit_error(&c->out, "ERR No such master with that name");
    } else if (f->mood == FAKE_NULL) {
        buf_append_str(&c->out, "*-1\r\n");
    } else if (f->mood == FAKE_WIDE) {
        buf_append_str(&c->out, "*2000000000\r\n");
    } else if (slice_eq_nocase(a->v[1], "MASTER")) {
        fake_master(f, &c->out);
    } else if (slice_eq_nocase(a->v[1], "GET-MASTER-ADDR-BY-NAME")) {
        buf_append_str(&c->out, "*2\r\n");
        fake_bulk(&c->out, "127.0.0.1");
        fake_number(&c->out, f->primary);
    } else {
        fake_list(f, &c->out, slice_eq_nocase(a->v[1], "REPLICAS"));
    }
}

/* argv of SUBSCRIBE is longer than struct args keeps: the frame is searched. */
static inline void fake_subscribe(struct fake_conn *c, const struct args *a, struct slice frame)
{
    const char *no = c->fake->forbidden;
    if (no != NULL && memmem(frame.p, frame.n, no, strlen(no)) != NULL) {
        emit_error(&c->out, "NOPERM this user has no permissions to access one of the channels");
        return;
    }
    for (uint32_t i = 1; i < a->count; i++) {
        buf_printf(&c->out, "*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:%u\r\n", i);
    }
    c->subscribed = true;
    c->fake->subscribed++;
}

static inline void fake_role(struct fake *f, struct buf *out)
{
    f->roles++;
    if (f->on_role != NULL) {
        f->on_role(f);
    }
    if (f->role == NULL) {
        emit_error(out, "NOPERM this user has no permissions to run the 'role' command");
    } else if (strcmp(f->role, "slave") == 0) {
        buf_printf(out, "*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:%u\r\n$9\r\n%s\r\n:%d\r\n",
                   f->role_master, f->cut_off ? "handshake" : "connected",
                   f->cut_off ? -1 : f->offset);
    } else {
        buf_printf(out, "*3\r\n$6\r\nmaster\r\n:%d\r\n*0\r\n", f->offset);
    }
}

static inline void fake_commands(struct fake *f, struct buf *out)
{
    f->commanded++;
    if (f->commands == NULL) {
        emit_error(out, "NOPERM this user has no permissions to run the 'command' command");
    } else {
        buf_append_str(out, f->commands);
    }
}

static inline void fake_answer(struct fake_conn *c, const struct args *a, struct slice frame)
{
    struct fake *f = c->fake;
    if (f->mood == FAKE_GARBAGE) {
        buf_append_str(&c->out, "HTTP/1.1 400 Bad Request\r\n\r\n");
    } else if (slice_eq_nocase(a->v[0], "AUTH")) {
        bool right = f->password != NULL && slice_eq(a->v[1], slice_str(f->password));
        c->authenticated = c->authenticated || right;
        buf_append_str(&c->out, right ? "+OK\r\n" : "-WRONGPASS invalid\r\n");
    } else if (f->password != NULL && !c->authenticated) {
        emit_error(&c->out, "NOAUTH Authentication required.");
    } else if (slice_eq_nocase(a->v[0], "ROLE")) {
        fake_role(f, &c->out);
    } else if (slice_eq_nocase(a->v[0], "COMMAND")) {
        fake_commands(f, &c->out);
    } else if (slice_eq_nocase(a->v[0], "PING")) {
        buf_append_str(&c->out, c->subscribed ? "*2\r\n$4\r\npong\r\n$0\r\n\r\n" : "+PONG\r\n");
    } else if (slice_eq_nocase(a->v[0], "SUBSCRIBE")) {
        fake_subscribe(c, a, frame);
    } else if (slice_eq_nocase(a->v[0], "INFO") && f->id == NULL) {
        f->informed++;
        if (f->info == NULL) {
            emit_error(&c->out, "NOPERM this user has no permissions to run the 'info' command");
        } else {
            fake_bulk(&c->out, f->info);
        }
    } else if (slice_eq_nocase(a->v[0], "INFO")) {
        struct buf text = {0};
        buf_printf(&text, "# Server\r\nrun_id:%s\r\n%c", f->id, '\0');
        fake_bulk(&c->out, buf_head(&text));
        buf_release(&text);
    } else {
        fake_sentinel(c, a);
    }
}

static inline void fake_readable(void *owner)
{
    struct fake_conn *c = owner;
    char bytes[4096];
    ssize_t n = transport_read(c->t, bytes, sizeof bytes);
    if (n == 0 || (n < 0 && n != -EAGAIN)) {
        fake_drop_conn(c);
        return;
    }
    buf_append(&c->in, slice_of(bytes, n > 0 ? (size_t)n : 0));
    while (c->scanned < buf_len(&c->in)) {
        size_t used;
        struct slice rest = slice_of(buf_head(&c->in) + c->scanned, buf_len(&c->in) - c->scanned);
        enum scan_result result = request_scan_feed(&c->scan, rest, &used);
        assert_int_not_equal(result, SCAN_ERROR);
        c->scanned += used;
        if (result == SCAN_DONE) {
            struct args args;
            struct slice frame = slice_of(buf_head(&c->in), c->scanned);
            assert_int_equal(args_parse(frame, &args), ARGS_OK);
            fake_answer(c, &args, frame);
            args_free(&args);
            buf_consume(&c->in, c->scanned);
            c->scanned = 0;
            request_scan_reset(&c->scan);
        }
    }
    fake_send(c);
}

static inline void fake_connected(void *owner, int err)
{
    (void)owner;
    (void)err;
}

static inline void fake_nothing(void *owner)
{
    (void)owner;
}

static inline void fake_accepted(void *owner, int fd)
{
    static const struct transport_events events = {fake_connected, fake_readable, fake_nothing,
                                                   fake_nothing};
    struct fake *f = owner;
    struct fake_conn *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->fake = f;
    c->t = transport_accept(f->loop, fd, &events, c);
    assert_non_null(c->t);
    list_append(&f->conns, &c->node);
    f->accepted++;
}

/* Listens; on the port it had before if it had one. */
static inline void fake_open(struct fake *f, struct loop *loop)
{
    struct addr addr = {.port = f->addr.port};
    struct sockaddr_any at;
    (void)snprintf(addr.host, sizeof addr.host, "%s", f->host != NULL ? f->host : "127.0.0.1");
    int err = 0;
    assert_true(addr_numeric(&addr, &at));
    f->loop = loop;
    f->listener = listener_open(loop, &at, fake_accepted, f, &err);
    assert_int_equal(err, 0);
    f->addr = addr;
    f->addr.port = listener_port(f->listener);
}

static inline void fake_drop_conns(struct fake *f)
{
    for (struct list_node *at = f->conns.first, *next; at != NULL; at = next) {
        next = at->next;
        fake_drop_conn(CONTAINER_OF(at, struct fake_conn, node));
    }
}

static inline void fake_close(struct fake *f)
{
    fake_drop_conns(f);
    if (f->listener != NULL) {
        listener_close(&f->listener);
    }
}

/* A message to all subscribers of a Sentinel. */
static inline void fake_publish(struct fake *f, const char *channel, const char *payload)
{
    for (struct list_node *at = f->conns.first; at != NULL; at = at->next) {
        struct fake_conn *c = CONTAINER_OF(at, struct fake_conn, node);
        if (c->subscribed) {
            buf_append_str(&c->out, "*3\r\n");
            fake_bulk(&c->out, "message");
            fake_bulk(&c->out, channel);
            fake_bulk(&c->out, payload);
            fake_send(c);
        }
    }
}

#endif
