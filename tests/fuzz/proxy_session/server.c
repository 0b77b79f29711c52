/* Nodes. Whatever the kernel takes for one is looked at there and then, since from that moment it
 * may be executed; it is executed, and answered, when the input says so. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/linkset.h"
#include "tests/fuzz/proxy_session/server.h"

static const struct {
    const char *name;
    enum verb verb;
} verbs[] = {{"SET", VERB_WRITE},
             {"EVAL", VERB_WRITE},
             {"BLPOP", VERB_BLPOP},
             {"MULTI", VERB_MULTI},
             {"EXEC", VERB_EXEC},
             {"DISCARD", VERB_DISCARD},
             {"WATCH", VERB_WATCH},
             {"UNWATCH", VERB_UNWATCH},
             {"AUTH", VERB_AUTH},
             {"HELLO", VERB_HELLO},
             {"SELECT", VERB_SELECT},
             {"CLIENT", VERB_CLIENT},
             {"ROLE", VERB_ROLE},
             {"PING", VERB_PING},
             {"X.UNKNOWN", VERB_UNKNOWN},
             {"SUBSCRIBE", VERB_SUBSCRIBE},
             {"UNSUBSCRIBE", VERB_UNSUBSCRIBE}};

static void forget_queue(struct conn *c);

struct conn *conn_at(unsigned index)
{
    struct list_node *n = world.conns.first;
    for (index %= world.conns.count > 0 ? (unsigned)world.conns.count : 1; n != NULL && index > 0;
         index--) {
        n = n->next;
    }
    return n != NULL ? conn_of(n) : NULL;
}

struct transport *conn_transport(struct conn *c)
{
    return c->transport;
}

struct conn *conn_open(struct transport *t, unsigned node)
{
    struct conn *c = xcalloc(1, sizeof *c);
    c->transport = t;
    c->at = node;
    c->self.resp = 2;
    c->default_closed = world.node[node].closed_to_default;
    list_append(&world.conns, &c->node);
    if (world.node[node].full) {
        static const char words[] = "-ERR max number of clients reached\r\n";
        net_send(t, words, sizeof words - 1);
        t->fin = true;
    }
    return c;
}

void conn_proxy_closed(struct conn *c)
{
    forget_queue(c);
    list_remove(&c->node);
    buf_release(&c->in);
    free(c);
}

void conn_proxy_shut(struct conn *c)
{
    c->transport->fin = true; /* it closes as soon as it sees that, with nothing more to say */
}

void conn_end(struct conn *c, bool reset)
{
    c->transport->fin = true;
    c->transport->rst = c->transport->rst || reset;
    if (reset) {
        buf_release(&c->transport->in);
        c->transport->arrived = 0;
    }
}

/* What was sent, once */

int tag_in(struct slice bytes)
{
    for (size_t i = 0; i < bytes.n && i < 100; i++) {
        size_t n = 0;
        while (i + 1 + n < bytes.n && bytes.p[i + 1 + n] >= '0' && bytes.p[i + 1 + n] <= '9') {
            n++;
        }
        int64_t number;
        if (bytes.p[i] == '#' && n > 0 && i + 1 + n < bytes.n && bytes.p[i + 1 + n] == '#' &&
            slice_to_i64(slice_of(bytes.p + i + 1, n), 0, (int64_t)world.requests - 1, &number)) {
            return (int)number;
        }
    }
    return -1;
}

bool repeatable(enum kind kind)
{
    return kind != KIND_SET && kind != KIND_EVAL && kind != KIND_BLPOP && kind != KIND_EXEC &&
           kind != KIND_WAIT && kind != KIND_UNKNOWN;
}

/* It may be executed from now on. */
static void may_execute(int tag)
{
    if (tag >= 0 && !world.evil) {
        struct request *r = &world.request[tag];
        TRACE("  may execute #%d\n", tag);
        CHECK(r->open == 0 || repeatable(r->kind));
        r->open++;
    }
}

void not_executed(int tag)
{
    struct request *r = tag >= 0 ? &world.request[tag] : NULL;
    if (r != NULL && r->open > 0) {
        TRACE("  not executed #%d\n", tag);
        r->open--;
    }
}

/* What was queued and not executed by an EXEC never is. */
static void forget_queue(struct conn *c)
{
    for (unsigned i = 0; i < c->queued_in; i++) {
        int tag = c->queue_in[i];
        if (!world.request[tag].executed) {
            not_executed(tag);
        }
    }
    c->queued_in = 0;
}

/* Said again where MULTI was refused, it may be there. */
static void queue(struct conn *c, int tag)
{
    for (unsigned i = 0; i < c->queued_in; i++) {
        if (c->queue_in[i] == tag) {
            return;
        }
    }
    c->queue_in[c->queued_in++] = tag;
}

static void count_order(struct conn *c, const struct order *o)
{
    struct request *r = o->tag >= 0 ? &world.request[o->tag] : NULL;
    if (r != NULL && !world.evil) {
        /* What was answered is not sent again, but as a part of the transaction it is in. */
        CHECK(!r->answered || (r->queued && c->multi_in));
        r->sent++;
    }
    const struct link *l = c->transport->owner;
    if (l->replica == 0) { /* there it changes nothing, however often */
        may_execute(o->tag);
    }
    if (o->verb == VERB_MULTI) {
        c->multi_in = true;
    } else if (o->verb == VERB_EXEC || o->verb == VERB_DISCARD) {
        if (o->verb == VERB_DISCARD) {
            forget_queue(c);
        }
        c->multi_in = false;
        c->queued_in = 0;
    } else if (c->multi_in && o->tag >= 0) {
        queue(c, o->tag);
    }
}

/* On what several sessions use there may be nothing that touches others. */
static void check_shared(const struct conn *c, const struct order *o)
{
    const struct link *l = c->transport->owner;
    if (l->kind == LINK_EXCLUSIVE || l->state != LINK_READY) {
        return;
    }
    CHECK(l->kind == LINK_SHARED || l->kind == LINK_CONTROL || o->verb == VERB_PING);
    CHECK(!c->multi && !c->watching && c->channels == 0);
    CHECK(o->verb != VERB_SUBSCRIBE && o->verb != VERB_UNSUBSCRIBE);
    CHECK(o->verb != VERB_BLPOP && o->verb != VERB_MULTI && o->verb != VERB_WATCH &&
          o->verb != VERB_UNKNOWN);
    CHECK(o->tag < 0 || world.request[o->tag].kind != KIND_PINNED);
}

/* The words of a canonical request, or of a line. Bytes of it; 0: it goes on; -1: it is neither. */
static ssize_t parse(struct slice in, struct order *o)
{
    size_t at = 0, n = 0;
    CHECK(in.p != NULL);
    bool line = in.p[0] != '*';
    const char *end = memchr(in.p, '\n', in.n);
    int64_t count, length;
    *o = (struct order){.tag = -1};
    if (end == NULL) {
        return in.n > 100 && !line ? -1 : 0;
    }
    if (line) {
        for (char *word = o->word[0];
             at < (size_t)(end - in.p) && in.p[at] != ' ' && in.p[at] != '\r' && n < 11; at++) {
            word[n++] = in.p[at];
        }
        o->count = 1;
        o->tag = tag_in(slice_of(in.p, (size_t)(end - in.p)));
        return end + 1 - in.p;
    }
    if (end[-1] != '\r' ||
        !slice_to_i64(slice_of(in.p + 1, (size_t)(end - in.p) - 2), 1, 1000000, &count)) {
        return -1;
    }
    at = (size_t)(end + 1 - in.p);
    for (int64_t i = 0; i < count; i++) {
        end = memchr(in.p + at, '\n', in.n - at);
        if (end == NULL) {
            return in.n - at > 100 ? -1 : 0;
        }
        size_t header = (size_t)(end - in.p) - at;
        if (header < 3 || in.p[at] != '$' || end[-1] != '\r' ||
            !slice_to_i64(slice_of(in.p + at + 1, header - 2), 0, 600000000, &length)) {
            return -1;
        }
        at += header + 1;
        if (in.n - at < (size_t)length + 2) {
            return 0;
        }
        if (in.p[at + (size_t)length] != '\r' || in.p[at + (size_t)length + 1] != '\n') {
            return -1;
        }
        if (o->count < WORDS_MAX && length < 12) {
            memcpy(o->word[o->count], in.p + at, (size_t)length);
        }
        o->count += o->count < WORDS_MAX ? 1 : 0;
        at += (size_t)length + 2;
    }
    o->tag = tag_in(slice_of(in.p, at));
    return (ssize_t)at;
}

/* Replicas are only read from. */
static void check_replica(const struct conn *c, const struct order *o)
{
    const struct link *l = c->transport->owner;
    const struct request *r = o->tag >= 0 ? &world.request[o->tag] : NULL;
    bool get = o->verb == VERB_OTHER && strcasecmp(o->word[0], "GET") == 0;
    bool name = o->verb == VERB_CLIENT && strcasecmp(o->word[1], "SETNAME") == 0 && r == NULL;
    CHECK(l->replica == 0 || l->state != LINK_READY || get || o->verb == VERB_PING || name ||
          world.readers);
    CHECK(l->replica == 0 || r == NULL || repeatable(r->kind) || r->kind == KIND_EXEC ||
          r->kind == KIND_WAIT || world.evil);
}

static bool take_order(struct conn *c)
{
    if (c->order_done == c->order_count) {
        c->order_done = c->order_count = 0;
    }
    struct order *o = &c->orders[c->order_count];
    ssize_t n = buf_len(&c->in) > 0 ? parse(buf_slice(&c->in), o) : 0;
    if (n == 0 || c->spoilt || c->order_count + 2 > REQUESTS_MAX) {
        return false;
    }
    const struct link *l = c->transport->owner;
    if (n < 0) {
        CHECK(l->kind == LINK_EXCLUSIVE); /* else all others on it are lost too */
        c->spoilt = true;
        return false;
    }
    buf_consume(&c->in, (size_t)n);
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (strcasecmp(o->word[0], verbs[i].name) == 0) {
            o->verb = verbs[i].verb;
        }
    }
    TRACE("  node %u conn %p gets %s #%d\n", c->at, (void *)c, o->word[0], o->tag);
    c->order_count++;
    check_shared(c, o);
    check_replica(c, o);
    count_order(c, o);
    return true;
}

/* For how long the oldest request waits for its first byte, as far as the link may count that. */
static uint64_t silent_ms(const struct conn *c, const struct link *l)
{
    const struct order *o = &c->orders[c->order_done];
    bool counts = c->channels == 0 && c->order_done < c->order_count && o->verb != VERB_BLPOP &&
                  o->verb != VERB_OTHER && !l->raw && l->reading && !l->frozen && c->read == c->out;
    uint64_t since = c->quiet_since > l->progress_ms ? c->quiet_since : l->progress_ms;
    return counts ? net_now() - since : 0;
}

/* Nothing goes to a primary that is being moved, but what frees its blocked clients, and only the
 * rest of a frame to a silent one. */
static void check_may_send(const struct conn *c)
{
    const struct link *l = c->transport->owner;
    const struct worker_service *ws = &world.worker->services[0];
    if (l->state == LINK_READY && l->kind != LINK_CONTROL && !world.evil) {
        CHECK(ws->now->state == SERVICE_SERVING || l->replica != 0);
        CHECK(buf_len(&c->in) > 0 || silent_ms(c, l) < ws->config->stall_timeout_ms);
    }
}

void conn_received(struct conn *c, struct slice bytes)
{
    check_may_send(c);
    if (c->order_done == c->order_count) {
        c->quiet_since = net_now();
    }
    buf_append(&c->in, bytes);
    while (take_order(c)) {
    }
}

void conn_was_read(struct conn *c, size_t n)
{
    const struct topology_service *now = world.worker->services[0].now;
    const struct link *l = c->transport->owner;
    bool distrusted =
        now->state == SERVICE_HOLDING && !world.released && l->replica == 0 &&
        net_now() >= now->state_since_ms + world.worker->services[0].config->hold_grace_ms;
    uint64_t before = c->read;
    c->read += n;
    c->quiet_since = net_now();
    for (unsigned i = c->mark_done; i < c->mark_count; i++) {
        const struct mark *m = &c->marks[i];
        struct request *r = m->tag >= 0 ? &world.request[m->tag] : NULL;
        if (r != NULL && m->begin >= before && m->begin < c->read) {
            r->distrusted = distrusted && !repeatable(r->kind);
        }
        if (m->end > c->read) {
            break;
        }
        c->mark_done++;
        if (m->refusal) {
            not_executed(m->tag);
        }
        for (unsigned k = 0; k < m->tag_count; k++) {
            not_executed(c->spared[(m->tags + k) % REQUESTS_MAX]);
        }
    }
}

void conn_say(struct conn *c, int tag, bool refusal, struct buf *words)
{
    if (c->mark_done == c->mark_count) {
        c->mark_done = c->mark_count = 0;
    }
    if (c->mark_count < ARRAY_LEN(c->marks)) {
        c->marks[c->mark_count++] =
            (struct mark){c->out,  c->out + buf_len(words), tag,
                          refusal, c->spared_from,          c->spared_count - c->spared_from};
    }
    c->spared_from = c->spared_count;
    c->out += buf_len(words);
    TRACE("  node %u conn %p says %.*s\n", c->at, (void *)c,
          (int)(buf_len(words) < 60 ? buf_len(words) : 60), buf_head(words));
    net_send(c->transport, buf_head(words), buf_len(words));
    buf_release(words);
}

void conn_handle(struct conn *c, unsigned most, enum mood mood)
{
    for (; most > 0 && c->order_done < c->order_count && !c->transport->fin && !c->transport->rst;
         most--) {
        order_do(c, &c->orders[c->order_done++], mood);
    }
    if (c->spoilt && c->order_done == c->order_count && !c->transport->fin) {
        static const char words[] = "-ERR Protocol error: whatever\r\n";
        net_send(c->transport, words, sizeof words - 1);
        c->transport->fin = true;
    }
}

void servers_work(void)
{
    for (struct list_node *n = world.conns.first; n != NULL; n = n->next) {
        struct conn *c = conn_of(n);
        if (!world.node[c->at].silent) {
            conn_handle(c, REQUESTS_MAX, MOOD_RIGHT);
        }
    }
}

void servers_heal(void)
{
    memset(world.node, 0, sizeof world.node);
    for (struct list_node *n = world.conns.first; n != NULL; n = n->next) {
        struct transport *t = conn_of(n)->transport;
        t->all = true;
        t->room = SIZE_MAX;
    }
}
