/* The loop and the transports in place of proxy/net: same headers, no kernel. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/proxy_session/world.h"

#define FD_FIRST  1000000 /* no descriptor: closing it does nothing */
#define TURNS_MAX 3000u

struct loop {
    void *owner;
    void (*flush)(void *owner);
    struct wheel wheel;
    uint64_t now;
    bool again, stopped;
    struct mail *first, **last;
};

struct loop *loop_new(void *owner, void (*flush)(void *owner))
{
    struct loop *loop = xcalloc(1, sizeof *loop);
    loop->owner = owner;
    loop->flush = flush;
    loop->now = 1000;
    loop->last = &loop->first;
    wheel_init(&loop->wheel, loop->now);
    world.loop = loop;
    return loop;
}

void loop_run(struct loop *loop)
{
    world.worker = loop->owner;
    world_run();
    CHECK(loop->stopped);
}

void loop_stop(struct loop *loop)
{
    loop->stopped = true;
}

void loop_free(struct loop **where)
{
    CHECK((*where)->wheel.armed == 0 && (*where)->first == NULL);
    net_free_dead();
    CHECK(world.transports.count == 0);
    free(*where);
    *where = NULL;
}

void loop_post(struct loop *loop, struct mail *mail)
{
    mail->next = NULL;
    *loop->last = mail;
    loop->last = &mail->next;
}

uint64_t loop_now_ms(struct loop *loop)
{
    return loop->now;
}

void loop_arm(struct loop *loop, struct wheel_timer *timer, uint64_t delay_ms,
              void (*fire)(struct wheel_timer *))
{
    wheel_arm(&loop->wheel, timer, loop->now + delay_ms, fire);
}

void loop_disarm(struct loop *loop, struct wheel_timer *timer)
{
    wheel_cancel(&loop->wheel, timer);
}

void loop_again(struct loop *loop)
{
    loop->again = true;
}

static void report_connected(struct transport *t, int err)
{
    t->connecting = false;
    loop_disarm(t->loop, &t->deadline);
    if (err == 0) {
        t->reading = true;
        t->peer.conn = conn_open(t, t->to);
    }
    t->events->connected(t->owner, err);
}

static void on_deadline(struct wheel_timer *timer)
{
    report_connected(CONTAINER_OF(timer, struct transport, deadline), -ETIMEDOUT);
}

static struct transport *transport_new(struct loop *loop, const struct transport_events *events,
                                       void *owner)
{
    struct transport *t = xcalloc(1, sizeof *t);
    t->loop = loop;
    t->events = events;
    t->owner = owner;
    t->all = true;
    t->room = SIZE_MAX;
    list_append(&world.transports, &t->node);
    return t;
}

struct transport *transport_accept(struct loop *loop, int fd, const struct transport_events *events,
                                   void *owner)
{
    struct transport *t = transport_new(loop, events, owner);
    struct client *c = &world.client[fd - FD_FIRST];
    t->reading = true;
    t->peer.client = c;
    c->transport = t;
    c->session = owner;
    return t;
}

struct transport *transport_connect(struct loop *loop, const struct sockaddr_any *to,
                                    uint64_t timeout_ms, const struct transport_events *events,
                                    void *owner)
{
    struct transport *t = transport_new(loop, events, owner);
    t->to = (unsigned char)((const char *)&to->ss)[sizeof(sa_family_t)];
    CHECK(t->to < NODES);
    t->connecting = true;
    loop_arm(loop, &t->deadline, timeout_ms, on_deadline);
    return t;
}

void transport_secure(struct transport *t, struct tls_ctx *ctx, const struct addr *peer)
{
    CHECK(t->owner != NULL && ctx == NULL);
    (void)peer;
}

void transport_secure_accepted(struct transport *t, struct tls_ctx *ctx, uint64_t timeout_ms)
{
    CHECK(t->owner != NULL && ctx == NULL);
    (void)timeout_ms;
}

size_t transport_held(const struct transport *t)
{
    CHECK(t->owner != NULL);
    return 0;
}

void transport_give_up_writing(struct transport *t)
{
    CHECK(t->owner != NULL);
}

const char *transport_error(const struct transport *t, int err)
{
    CHECK(t->owner != NULL && err < 0);
    return "an error";
}

bool transport_peer(const struct transport *t, struct addr *out)
{
    (void)out;
    CHECK(t->owner != NULL);
    return false;
}

bool transport_error_is_local(int err)
{
    return err == -EMFILE;
}

/* More than this can't be read now. */
static size_t readable(const struct transport *t)
{
    size_t there = buf_len(&t->in);
    return t->all || t->arrived > there ? there : t->arrived;
}

/* The end has come, if there is one. */
static bool ended(const struct transport *t)
{
    return (t->fin || t->rst) && buf_len(&t->in) == 0;
}

ssize_t transport_read(struct transport *t, char *to, size_t n)
{
    CHECK(t->owner != NULL && !t->connecting && n > 0);
    size_t there = readable(t);
    if (there == 0) {
        return ended(t) ? (t->rst ? -ECONNRESET : 0) : -EAGAIN;
    }
    n = n < there ? n : there;
    memcpy(to, buf_head(&t->in), n);
    buf_consume(&t->in, n);
    t->arrived -= n < t->arrived ? n : t->arrived;
    if (t->peer.conn != NULL) {
        conn_was_read(t->peer.conn, n);
    }
    return (ssize_t)n;
}

ssize_t transport_write(struct transport *t, struct iovec *iov, size_t count)
{
    CHECK(t->owner != NULL && !t->connecting && count > 0);
    if (t->rst || (t->fin && t->peer.conn != NULL && t->broken)) {
        t->broken = true;
        return -EPIPE;
    }
    size_t sent = 0;
    for (size_t i = 0; i < count; i++) {
        CHECK(iov[i].iov_len > 0);
        size_t n = iov[i].iov_len < t->room ? iov[i].iov_len : t->room;
        struct slice bytes = slice_of(iov[i].iov_base, n);
        if (n > 0 && t->peer.client != NULL) {
            client_received(t->peer.client, bytes);
        } else if (n > 0) {
            conn_received(t->peer.conn, bytes);
        }
        t->room -= t->room == SIZE_MAX ? 0 : n;
        sent += n;
        if (n < iov[i].iov_len) {
            t->want_write = true;
            break;
        }
    }
    /* To a server that has closed, the first bytes go, and bring a reset. */
    t->broken = t->fin && t->peer.conn != NULL;
    return (ssize_t)sent;
}

void transport_look_for_room(struct transport *t)
{
    CHECK(t->owner != NULL && t->peer.client == NULL);
}

void transport_set_reading(struct transport *t, bool on)
{
    CHECK(t->owner != NULL);
    t->reading = on;
}

void transport_shutdown(struct transport *t)
{
    CHECK(t->owner != NULL);
    if (t->peer.conn != NULL) {
        conn_proxy_shut(t->peer.conn);
    }
}

bool transport_broken(const struct transport *t)
{
    return t->broken || t->rst;
}

void transport_close(struct transport **where)
{
    struct transport *t = *where;
    if (t == NULL) {
        return;
    }
    CHECK(t->owner != NULL);
    *where = NULL;
    if (t->peer.client != NULL) {
        client_proxy_closed(t->peer.client);
    } else if (t->peer.conn != NULL) {
        conn_proxy_closed(t->peer.conn);
    }
    t->owner = NULL;
    loop_disarm(t->loop, &t->deadline);
    list_remove(&t->node);
    list_append(&world.dead_transports, &t->node);
}

void net_free_dead(void)
{
    struct list_node *n;
    while ((n = list_pop(&world.dead_transports)) != NULL) {
        struct transport *t = CONTAINER_OF(n, struct transport, node);
        buf_release(&t->in);
        free(t);
    }
}

void net_accept(struct client *c, unsigned index)
{
    client_begin(c, index);
    struct newcomer newcomer = {.fd = FD_FIRST + (int)index, .reader = c->reader};
    worker_take_client(world.worker, &newcomer);
    net_turn();
}

void net_send(struct transport *t, const char *bytes, size_t n)
{
    if (!t->fin && !t->rst) {
        buf_append(&t->in, slice_of(bytes, n));
    }
}

void net_arrive(struct transport *t, size_t n)
{
    t->arrived = t->arrived + n < buf_len(&t->in) ? t->arrived + n : buf_len(&t->in);
}

static void connect_callback(struct transport *t)
{
    const struct node *node = &world.node[t->to];
    int outcome = t->outcome;
    if (outcome == 0 && !node->mute) {
        outcome = node->down ? -ECONNREFUSED : 1;
    }
    if (outcome != 0) {
        report_connected(t, outcome > 0 ? 0 : outcome);
    }
}

static void callbacks(struct transport *t)
{
    if (t->connecting) {
        connect_callback(t);
        return;
    }
    size_t before = buf_len(&t->in);
    if (t->reading && (readable(t) > 0 || ended(t) || t->broken)) {
        t->events->readable(t->owner);
        /* Else the kernel would report it again at once, for ever. */
        CHECK(t->owner == NULL || buf_len(&t->in) < before || !t->reading || t->broken);
    } else if (!t->reading && !t->hung_up && (t->fin || t->rst)) {
        t->hung_up = true;
        t->events->hangup(t->owner);
    }
    if (t->owner != NULL && t->want_write && t->room > 0) {
        t->want_write = false;
        t->events->writable(t->owner);
    }
}

static void sockets(void)
{
    struct transport *open[64];
    size_t count = 0;
    for (struct list_node *n = world.transports.first; n != NULL && count < 64; n = n->next) {
        open[count++] = CONTAINER_OF(n, struct transport, node);
    }
    for (size_t i = 0; i < count; i++) {
        struct transport *t = open[world.backwards ? count - 1 - i : i];
        if (t->owner != NULL) { /* the dead are freed at the end of the turn */
            callbacks(t);
        }
    }
}

static void deliver_mail(struct loop *loop)
{
    struct mail *mail = loop->first;
    loop->first = NULL;
    loop->last = &loop->first;
    while (mail != NULL) {
        struct mail *next = mail->next;
        mail->next = NULL;
        mail->deliver(mail, loop->owner);
        mail = next;
    }
}

void net_turn(void)
{
    struct loop *loop = world.loop;
    loop->again = false;
    servers_work();
    sockets();
    deliver_mail(loop);
    wheel_advance(&loop->wheel, loop->now);
    loop->flush(loop->owner);
    net_free_dead();
}

void net_settle(void)
{
    for (unsigned turns = 0; turns == 0 || world.loop->again; turns++) {
        CHECK(turns < TURNS_MAX);
        net_turn();
    }
}

void net_pass(uint64_t ms)
{
    world.loop->now += ms;
}

uint64_t net_now(void)
{
    return world.loop->now;
}
