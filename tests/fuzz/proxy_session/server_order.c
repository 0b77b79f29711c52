/* What a node does with a request, and how it answers it. */
#include <stdio.h>
#include <string.h>

#include "proxy/resp/emit.h"
#include "tests/fuzz/proxy_session/server.h"

#define LARGE_BODY 70000
#define HUGE_BODY  1100000

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

bool conn_in_multi(const struct conn *c)
{
    return c->multi;
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
    if (o->count == 1 && c->channels == 0) {
        confirm(c, false, -1, out);
    }
    for (int i = (int)CHANNELS - 1; o->count == 1 && i >= 0; i--) { /* in an order of its own */
        if ((c->channels & 1u << i) != 0) {
            confirm(c, false, i, out);
        }
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
            conn_say(c, -1, false, &out);
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
    bool subscribes = o->verb == VERB_SUBSCRIBE || o->verb == VERB_UNSUBSCRIBE;
    if (subscribes || (o->verb >= VERB_AUTH && o->verb <= VERB_CLIENT)) {
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
        buf_printf(out, "*%u\r\n", c->queued);
        for (unsigned i = 0; i < c->queued; i++) {
            do_queued(c, &c->queue[i], out);
        }
        note_version(c, o->tag);
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

void order_do(struct conn *c, const struct order *o, enum mood mood)
{
    struct buf out = {0};
    bool closed = c->default_closed && !c->authenticated;
    const char *words = refusal(c, o, mood);
    bool refused = false;
    struct identity before = c->self;
    if (mood == MOOD_PUSH && c->self.resp == 3) {
        buf_append_str(&out, ">2\r\n+a\r\n+b\r\n");
        conn_say(c, -1, false, &out);
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
    conn_say(c, o->tag, refused, &out);
    const struct link *l = c->transport->owner;
    CHECK(l->kind != LINK_SHARED || l->state != LINK_READY || world.evil ||
          (before.db == c->self.db && before.user == c->self.user && before.resp == c->self.resp));
}
