/* Nodes. Whatever the kernel takes for one is looked at there and then, since from that moment it
 * may be executed; it is executed, and answered, when the input says so. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/linkset.h"
#include "proxy/resp/emit.h"
#include "tests/fuzz/proxy_session/world.h"

#define WORDS_MAX  8
#define LARGE_BODY 70000
#define HUGE_BODY  1100000

enum verb {
    VERB_OTHER,
    VERB_WRITE,
    VERB_BLPOP,
    VERB_SUBSCRIBE,
    VERB_UNSUBSCRIBE,
    VERB_MULTI,
    VERB_EXEC,
    VERB_DISCARD,
    VERB_WATCH,
    VERB_UNWATCH,
    VERB_AUTH,
    VERB_HELLO,
    VERB_SELECT,
    VERB_CLIENT,
    VERB_ROLE,
    VERB_PING,
    VERB_UNKNOWN,
};

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

struct order {
    enum verb verb;
    int tag;   /* -1: none of ours */
    int count; /* of words */
    char word[WORDS_MAX][12];
};

/* A reply on its way to the proxy. */
struct mark {
    uint64_t begin, end;
    int tag;
    bool refusal;
    unsigned tags, tag_count; /* of what an EXEC has not executed, in its connection's `spared` */
};

struct conn {
    struct list_node node;
    struct transport *transport;
    unsigned at;
    struct buf in;
    bool spoilt; /* no request any more what comes */
    struct order orders[REQUESTS_MAX];
    unsigned order_count, order_done;
    struct mark marks[REQUESTS_MAX * 2];
    unsigned mark_count, mark_done;
    uint64_t out, read, quiet_since;
    /* what it is, once all is executed that has come; and as far as it is executed */
    bool multi_in, multi, dirty, watching;
    unsigned channels; /* a bit for each */
    int queue_in[REQUESTS_MAX];
    struct order queue[REQUESTS_MAX];
    unsigned queued_in, queued;
    int spared[REQUESTS_MAX]; /* of transactions that were aborted; the newest overwrite others */
    unsigned spared_from, spared_count;
    struct identity self;
    bool default_closed; /* whoever has not said AUTH has nothing to say */
    bool authenticated;
};

static void forget_queue(struct conn *c);

static struct conn *conn_of(struct list_node *n)
{
    return CONTAINER_OF(n, struct conn, node);
}

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

static void not_executed(int tag)
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
        if (tag >= 0 && !world.request[tag].executed) {
            not_executed(tag);
        }
    }
    c->queued_in = 0;
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
    } else if (c->multi_in) {
        c->queue_in[c->queued_in++] = o->tag;
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
        for (char *word = o->word[0]; at < (size_t)(end - in.p) && in.p[at] != ' ' && n < 11;
             at++) {
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
    CHECK(l->replica == 0 || l->state != LINK_READY || get || o->verb == VERB_PING ||
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
    bool distrusted =
        now->state == SERVICE_HOLDING && !world.released &&
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

/* Answers */

static void say(struct conn *c, int tag, bool refusal, struct buf *words)
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

static void put_body(const struct conn *c, int tag, struct buf *out)
{
    const struct identity *s = &c->self;
    buf_printf(out, "#%d#@%d/%d/%d", tag, s->db, s->user, s->resp);
}

static void put_bulk(const struct conn *c, int tag, size_t padding, struct buf *out)
{
    struct buf body = {0};
    put_body(c, tag, &body);
    size_t n = buf_len(&body) + padding;
    buf_printf(out, "$%zu\r\n", n);
    buf_append(out, buf_slice(&body));
    memset(buf_reserve(out, padding + 1), 'p', padding);
    buf_commit(out, padding);
    buf_append_str(out, "\r\n");
    buf_release(&body);
}

static void put_error(const struct conn *c, int tag, const char *words, struct buf *out)
{
    buf_printf(out, "-%s ", words);
    put_body(c, tag, out);
    buf_append_str(out, "\r\n");
}

static void set_user(struct conn *c, int user)
{
    c->self.user = user;
    c->authenticated = true;
}

/* u1/p, u2/p; 0 and "p" alone: the default one. -1: wrong. */
static int user_of(const char *user, const char *password)
{
    if (strcmp(password, "p") != 0) {
        return -1;
    }
    return user[0] == 'u' && user[1] > '0' && user[1] < '0' + (int)USERS ? user[1] - '0' : -1;
}

static void do_auth(struct conn *c, const struct order *o, struct buf *out)
{
    int user =
        o->count == 3 ? user_of(o->word[1], o->word[2]) : (strcmp(o->word[1], "p") == 0 ? 0 : -1);
    if (user < 0 || world.node[c->at].no_auth) {
        put_error(c, o->tag, "WRONGPASS invalid username-password pair", out);
        return;
    }
    set_user(c, user);
    buf_append_str(out, "+OK\r\n");
}

static void do_hello(struct conn *c, const struct order *o, struct buf *out)
{
    int version = o->count > 1 ? o->word[1][0] - '0' : c->self.resp;
    if (version != 2 && version != 3) {
        put_error(c, o->tag, "NOPROTO unsupported protocol version", out);
        return;
    }
    for (int i = 2; i + 1 < o->count;) { /* one after the other, as far as there is no error */
        if (strcasecmp(o->word[i], "SETNAME") == 0) {
            c->self.name = o->word[i + 1][1] - '0';
            i += 2;
            continue;
        }
        int user = i + 2 < o->count ? user_of(o->word[i + 1], o->word[i + 2]) : -1;
        if (user < 0 || world.node[c->at].no_auth) {
            put_error(c, o->tag, "WRONGPASS invalid username-password pair", out);
            return;
        }
        set_user(c, user);
        i += 3;
    }
    if (c->default_closed && !c->authenticated) {
        put_error(c, o->tag, "NOAUTH HELLO must be called with the client already authenticated",
                  out);
        return;
    }
    c->self.resp = version;
    buf_append_str(out, c->self.resp == 3 ? "%1\r\n$5\r\nproto\r\n:3\r\n"
                                          : "*2\r\n$5\r\nproto\r\n:2\r\n");
}

static void do_select(struct conn *c, const struct order *o, struct buf *out)
{
    int64_t db;
    if (!slice_to_i64(slice_str(o->word[1]), 0, 3, &db) || world.node[c->at].no_select) {
        put_error(c, o->tag, "ERR DB index is out of range", out);
        return;
    }
    c->self.db = (int)db;
    buf_append_str(out, "+OK\r\n");
}

static void do_client(struct conn *c, const struct order *o, struct buf *out)
{
    if (strcasecmp(o->word[1], "SETNAME") == 0) {
        c->self.name = o->word[2][0] == 'n' ? o->word[2][1] - '0' : 0;
        buf_append_str(out, "+OK\r\n");
    } else if (strcasecmp(o->word[1], "GETNAME") == 0) {
        buf_printf(out, c->self.name > 0 ? "$2\r\nn%d\r\n" : "$-1\r\n", c->self.name);
    } else if (strcasecmp(o->word[1], "ID") == 0) {
        buf_append_str(out, ":7\r\n");
    } else if (strcasecmp(o->word[1], "UNBLOCK") == 0) {
        buf_append_str(out, ":0\r\n"); /* nobody is: whatever is answered is answered at once */
    } else {
        put_bulk(c, o->tag, 0, out);
    }
}

static void do_role(const struct conn *c, struct buf *out)
{
    const struct node *node = &world.node[c->at];
    const struct link *l = c->transport->owner;
    bool slave = node->replica != (l->replica != 0); /* as is expected, or not */
    if (node->no_role) {
        buf_append_str(out, "-NOPERM this user has no permissions to run the 'role' command\r\n");
    } else {
        buf_append_str(out, slave
                                ? "*5\r\n$5\r\nslave\r\n$1\r\nx\r\n:1\r\n$9\r\nconnected\r\n:0\r\n"
                                : "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
    }
}

/* NULL: the node does it. Else the words with which it refuses before it does anything. */
static const char *refusal(const struct conn *c, const struct order *o, enum mood mood)
{
    const struct node *node = &world.node[c->at];
    bool always = o->verb >= VERB_AUTH && o->verb <= VERB_PING &&
                  !(node->busy && (o->verb == VERB_SELECT || o->verb == VERB_ROLE));
    if (o->verb == VERB_DISCARD || always) {
        return NULL;
    }
    if (node->busy && o->verb != VERB_MULTI) {
        return "BUSY Redis is busy running a script.";
    }
    if (node->loading || (mood == MOOD_REFUSE && o->verb != VERB_WRITE)) {
        return "LOADING Redis is loading the dataset in memory";
    }
    if ((o->verb == VERB_WRITE || o->verb == VERB_BLPOP) &&
        (node->replica || mood == MOOD_REFUSE)) {
        return "READONLY You can't write against a read only replica.";
    }
    return NULL;
}

/* Subscriptions */

static bool only_listens(const struct conn *c)
{
    return c->channels != 0 && c->self.resp == 2;
}

unsigned conn_channels(const struct conn *c)
{
    return c->channels;
}

static void confirm(struct conn *c, bool on, int channel, struct buf *out)
{
    unsigned bit = channel < 0 ? 0 : 1u << channel;
    c->channels = on ? c->channels | bit : c->channels & ~bit;
    buf_printf(out, "%c3\r\n%s\r\n", c->self.resp == 3 ? '>' : '*',
               on ? "$9\r\nsubscribe" : "$11\r\nunsubscribe");
    if (channel < 0) {
        buf_append_str(out, c->self.resp == 3 ? "_\r\n" : "$-1\r\n");
    } else {
        buf_printf(out, "$2\r\nc%d\r\n", channel);
    }
    buf_printf(out, ":%d\r\n", __builtin_popcount(c->channels));
}

static void do_subscribe(struct conn *c, const struct order *o, struct buf *out)
{
    for (int i = 1; i < o->count; i++) {
        confirm(c, o->verb == VERB_SUBSCRIBE, (o->word[i][1] - '0') & (int)(CHANNELS - 1), out);
    }
    for (int i = (int)CHANNELS - 1; o->count == 1 && i >= 0; i--) { /* in an order of its own */
        if ((c->channels & 1u << i) != 0) {
            confirm(c, false, i, out);
        }
    }
    if (o->count == 1 && buf_len(out) == 0) {
        confirm(c, false, -1, out);
    }
}

void node_publish(unsigned node, unsigned channel)
{
    world.messages++;
    for (struct list_node *n = world.conns.first; n != NULL; n = n->next) {
        struct conn *c = conn_of(n);
        struct buf out = {0};
        if (c->at == node && (c->channels & 1u << channel) != 0) {
            buf_printf(&out, "%c3\r\n$7\r\nmessage\r\n$2\r\nc%u\r\n$8\r\n%08u\r\n",
                       c->self.resp == 3 ? '>' : '*', channel, world.messages);
            say(c, -1, false, &out);
        }
    }
}

static void do_plain(struct conn *c, const struct order *o, enum mood mood, struct buf *out)
{
    switch (o->verb) {
    case VERB_AUTH: do_auth(c, o, out); return;
    case VERB_HELLO: do_hello(c, o, out); return;
    case VERB_SELECT: do_select(c, o, out); return;
    case VERB_CLIENT: do_client(c, o, out); return;
    case VERB_ROLE: do_role(c, out); return;
    case VERB_PING:
        buf_append_str(out, only_listens(c) ? "*2\r\n$4\r\npong\r\n$0\r\n\r\n" : "+PONG\r\n");
        return;
    case VERB_WATCH:
    case VERB_UNWATCH:
        c->watching = o->verb == VERB_WATCH;
        buf_append_str(out, "+OK\r\n");
        return;
    case VERB_UNKNOWN: put_error(c, o->tag, "ERR unknown command 'X.UNKNOWN'", out); return;
    case VERB_BLPOP:
        if (mood == MOOD_UNBLOCK) {
            put_error(c, o->tag, "UNBLOCKED force unblock from blocking operation", out);
            not_executed(o->tag);
            return;
        }
        break;
    case VERB_SUBSCRIBE:
    case VERB_UNSUBSCRIBE: do_subscribe(c, o, out); return;
    case VERB_OTHER:
    case VERB_WRITE:
    case VERB_MULTI:
    case VERB_EXEC:
    case VERB_DISCARD: break;
    }
    if (mood == MOOD_ERROR) {
        put_error(c, o->tag, "ERR it does not like that", out);
        return;
    }
    size_t padding = 0;
    if (mood == MOOD_LARGE && world.large_left > 0) {
        world.large_left--;
        padding = LARGE_BODY;
    } else if (mood == MOOD_HUGE && world.huge_left > 0) {
        world.huge_left--;
        padding = HUGE_BODY;
    }
    put_bulk(c, o->tag, padding, out);
}

/* It is executed: by a primary, which has all the data, or by a replica. */
static void note_version(const struct conn *c, int tag)
{
    const struct link *l = c->transport->owner;
    if (tag >= 0) {
        struct request *r = &world.request[tag];
        world.version += repeatable(r->kind) ? 0 : 1;
        r->version = l->replica != 0 ? world.fit[c->at].version : world.version;
    }
}

/* One command of a transaction. */
static void do_queued(struct conn *c, const struct order *o, struct buf *out)
{
    if (o->verb >= VERB_AUTH && o->verb <= VERB_CLIENT) {
        do_plain(c, o, MOOD_RIGHT, out);
    } else {
        put_bulk(c, o->tag, 0, out);
    }
    note_version(c, o->tag);
    if (o->tag >= 0) {
        world.request[o->tag].executed = true;
    }
}

/* True if it has executed nothing. */
static bool do_exec(struct conn *c, const struct order *o, struct buf *out)
{
    bool multi = c->multi, ran = false;
    const struct node *node = &world.node[c->at];
    if (!c->multi) {
        put_error(c, o->tag, "ERR EXEC without MULTI", out);
    } else if (c->dirty) {
        put_error(c, o->tag, "EXECABORT Transaction discarded because of previous errors.", out);
    } else if (node->replica || node->loading) {
        put_error(c, o->tag, "EXECABORT Transaction discarded because of: READONLY no", out);
    } else {
        buf_printf(out, "*%u\r\n", c->queued + 1);
        for (unsigned i = 0; i < c->queued; i++) {
            do_queued(c, &c->queue[i], out);
        }
        note_version(c, o->tag);
        put_bulk(c, o->tag, 0, out);
        ran = true;
    }
    for (unsigned i = 0; i < c->queued && !ran; i++) {
        c->spared[c->spared_count++ % REQUESTS_MAX] = c->queue[i].tag;
    }
    c->watching = c->watching && !multi;
    c->multi = c->dirty = false;
    c->queued = 0;
    return multi && !ran;
}

static void do_multi(struct conn *c, const struct order *o, struct buf *out)
{
    if (c->multi) {
        put_error(c, o->tag, "ERR MULTI calls can not be nested", out);
        return;
    }
    c->multi = true;
    c->queued = 0;
    buf_append_str(out, "+OK\r\n");
}

static void do_discard(struct conn *c, const struct order *o, struct buf *out)
{
    if (c->multi) {
        buf_append_str(out, "+OK\r\n");
        c->watching = false;
    } else {
        put_error(c, o->tag, "ERR DISCARD without MULTI", out);
    }
    c->multi = c->dirty = false;
    c->queued = 0;
}

static void do_order(struct conn *c, struct order *o, enum mood mood)
{
    struct buf out = {0};
    bool closed = c->default_closed && !c->authenticated;
    const char *words = refusal(c, o, mood);
    bool refused = false;
    struct identity before = c->self;
    if (mood == MOOD_PUSH && c->self.resp == 3) {
        buf_append_str(&out, ">2\r\n+a\r\n+b\r\n");
        say(c, -1, false, &out);
    }
    if (closed && o->verb != VERB_AUTH && o->verb != VERB_HELLO) {
        put_error(c, o->tag, "NOAUTH Authentication required.", &out);
    } else if (only_listens(c) && o->verb != VERB_SUBSCRIBE && o->verb != VERB_UNSUBSCRIBE &&
               o->verb != VERB_PING) {
        put_error(c, o->tag, "ERR Can't execute it: only (P|S)SUBSCRIBE / ...", &out);
        refused = true;
    } else if (o->verb == VERB_EXEC) {
        refused = do_exec(c, o, &out);
    } else if (words != NULL) {
        put_error(c, o->tag, words, &out);
        c->dirty = c->dirty || c->multi;
        refused = words[0] != 'B';
    } else if (o->verb == VERB_MULTI) {
        do_multi(c, o, &out);
    } else if (o->verb == VERB_DISCARD) {
        do_discard(c, o, &out);
    } else if (c->multi && o->count == 1 && strcasecmp(o->word[0], "GET") == 0) {
        buf_append_str(&out, "-ERR wrong number of arguments for 'get' command\r\n");
        c->dirty = true;
    } else if (c->multi) {
        c->queue[c->queued++] = *o;
        buf_append_str(&out, "+QUEUED\r\n");
    } else {
        if (o->tag >= 0) {
            world.request[o->tag].executed = true;
        }
        note_version(c, o->tag);
        do_plain(c, o, mood, &out);
        refused = o->verb == VERB_BLPOP && mood == MOOD_UNBLOCK;
    }
    say(c, o->tag, refused, &out);
    const struct link *l = c->transport->owner;
    CHECK(l->kind != LINK_SHARED || l->state != LINK_READY || world.evil ||
          (before.db == c->self.db && before.user == c->self.user && before.resp == c->self.resp));
}

void conn_handle(struct conn *c, unsigned most, enum mood mood)
{
    for (; most > 0 && c->order_done < c->order_count && !c->transport->fin && !c->transport->rst;
         most--) {
        do_order(c, &c->orders[c->order_done++], mood);
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
