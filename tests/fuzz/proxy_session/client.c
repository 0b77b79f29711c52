/* Clients. Each knows what it asked, in which order, and what it is to the server by what it was
 * told; and it takes nothing that does not fit. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/session.h"
#include "tests/fuzz/proxy_session/world.h"

#define LARGE_REQUEST 70000
#define HUGE_REQUEST  130000 /* more than retain-max */

static int first_user(void)
{
    return world.own_identity ? 2 : 0;
}

void client_begin(struct client *c, unsigned index)
{
    buf_release(&c->in);
    *c = (struct client){.self = {.resp = 2, .user = first_user()},
                         .reader = world.readers && index + 2 >= CLIENTS};
    reply_scan_reset(&c->scan, 1u << 20);
}

static bool judged(const struct client *c)
{
    return !c->wild && !world.evil;
}

/* Requests */

static void put_request(struct buf *out, const struct request *r, unsigned how)
{
    static const char *const verbs[KINDS] = {
        "ECHO",    "SET",  "EVAL",      "BLPOP",  "MULTI",  "EXEC", "DISCARD", "WATCH",
        "UNWATCH", "WAIT", "X.UNKNOWN", "CLIENT", "SELECT", "AUTH", "HELLO",   "CLIENT"};
    char tag[16];
    (void)snprintf(tag, sizeof tag, "#%u#", r->number);
    int n = (int)strlen(tag);
    switch ((int)r->kind) {
    case KIND_GET:
        if (how % 8 == 1) {
            buf_printf(out, "ECHO %s\r\n", tag);
            return;
        }
        if (how % 8 == 2) {
            buf_printf(out, "echo \"%s\"\n", tag);
            return;
        }
        if (how % 2 == 1) { /* which a replica may answer */
            buf_printf(out, "*3\r\n$3\r\nGET\r\n$%d\r\n%s\r\n$1\r\n0\r\n", n, tag);
            return;
        }
        break;
    case KIND_SET:
        if (how % 8 < 2 && world.large_left > 0) {
            size_t padding = how % 8 == 0 ? LARGE_REQUEST : HUGE_REQUEST;
            world.large_left--;
            buf_printf(out, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%zu\r\n", n, tag, padding);
            memset(buf_reserve(out, padding), 'x', padding);
            buf_commit(out, padding);
            buf_append_str(out, "\r\n");
            return;
        }
        break;
    case KIND_WAIT: buf_printf(out, "*3\r\n$4\r\nWAIT\r\n$%d\r\n%s\r\n$1\r\n0\r\n", n, tag); return;
    case KIND_PINNED:
        buf_printf(out, "*3\r\n$6\r\nCLIENT\r\n$4\r\nLIST\r\n$%d\r\n%s\r\n", n, tag);
        return;
    case KIND_SELECT: buf_printf(out, "*2\r\n$6\r\nSELECT\r\n$1\r\n%d\r\n", r->value); return;
    case KIND_AUTH:
        buf_printf(out, "*3\r\n$4\r\nAUTH\r\n$2\r\nu%d\r\n$1\r\n%s\r\n", r->value % 4,
                   r->value < 4 ? "p" : "q");
        return;
    case KIND_HELLO:
        if (r->value < 4) {
            buf_printf(out, "*2\r\n$5\r\nHELLO\r\n$1\r\n%d\r\n", r->value);
            return;
        }
        buf_printf(out,
                   "*7\r\n$5\r\nHELLO\r\n$1\r\n%d\r\n$4\r\nAUTH\r\n$2\r\nu1\r\n$1\r\n%s\r\n$7\r\n"
                   "SETNAME\r\n$2\r\nn1\r\n",
                   r->value % 2 + 2, r->value < 6 ? "p" : "q");
        return;
    case KIND_SETNAME:
        buf_printf(out, "*3\r\n$6\r\nCLIENT\r\n$7\r\nSETNAME\r\n$%d\r\n%s\r\n",
                   r->value > 0 ? 2 : 0,
                   r->value == 1   ? "n1"
                   : r->value == 2 ? "n2"
                                   : "");
        return;
    case KIND_GETNAME: buf_append_str(out, "*2\r\n$6\r\nCLIENT\r\n$7\r\nGETNAME\r\n"); return;
    case KIND_RESET: buf_append_str(out, "*1\r\n$5\r\nRESET\r\n"); return;
    case KIND_QUIT: buf_append_str(out, "*1\r\n$4\r\nQUIT\r\n"); return;
    default: break;
    }
    buf_printf(out, "*3\r\n$%zu\r\n%s\r\n$%d\r\n%s\r\n$1\r\n0\r\n", strlen(verbs[r->kind]),
               verbs[r->kind], n, tag);
}

void client_ask(struct client *c, enum kind kind, unsigned how)
{
    if (c->transport == NULL || c->gone || world.requests == REQUESTS_MAX) {
        return;
    }
    static const int values[KINDS] = {[KIND_SELECT] = 6, [KIND_AUTH] = 8, [KIND_SETNAME] = 3};
    unsigned number = world.requests++;
    struct request *r = &world.request[number];
    *r = (struct request){.kind = kind, .number = number};
    r->value = kind == KIND_HELLO ? 2 + (int)(how % 6)
                                  : (int)(values[kind] > 0 ? how % (unsigned)values[kind] : 0);
    struct buf frame = {0};
    put_request(&frame, r, how);
    r->blind = kind == KIND_GET && memmem(buf_head(&frame), buf_len(&frame), "GET", 3) == NULL;
    TRACE("client %td asks #%u: %.20s\n", c - world.client, number, buf_head(&frame) + 4);
    net_send(c->transport, buf_head(&frame), buf_len(&frame));
    buf_release(&frame);
    c->asked[c->count++] = number;
    c->gone = kind == KIND_QUIT;
}

void client_subscribe(struct client *c, unsigned how)
{
    if (c->transport == NULL || c->gone || world.requests == REQUESTS_MAX) {
        return;
    }
    unsigned number = world.requests++;
    struct request *r = &world.request[number];
    *r = (struct request){.kind = how % 3 == 0 ? KIND_UNSUBSCRIBE : KIND_SUBSCRIBE,
                          .number = number};
    r->name_count = r->kind == KIND_SUBSCRIBE ? 1 + how / 3 % NAMES_MAX : how / 3 % (NAMES_MAX + 1);
    r->expected = r->name_count;
    struct buf frame = {0};
    buf_printf(&frame, "*%u\r\n%s\r\n", r->name_count + 1,
               r->kind == KIND_SUBSCRIBE ? "$9\r\nSUBSCRIBE" : "$11\r\nUNSUBSCRIBE");
    for (unsigned i = 0; i < r->name_count; i++) {
        r->names[i] = take() % CHANNELS;
        buf_printf(&frame, "$2\r\nc%u\r\n", r->names[i]);
    }
    TRACE("client %td asks #%u: %.40s\n", c - world.client, number, buf_head(&frame) + 4);
    net_send(c->transport, buf_head(&frame), buf_len(&frame));
    buf_release(&frame);
    c->asked[c->count++] = number;
}

/* Answers */

static bool starts(struct slice reply, const char *words)
{
    return slice_starts_with(reply, words);
}

/* What the proxy says of what certainly was not executed. */
static bool says_not_executed(struct slice reply)
{
    return starts(reply, "-LOADING No primary available") ||
           starts(reply, "-MASTERDOWN No replica of ") ||
           starts(reply, "-NOAUTH The session could not be authenticated again") ||
           starts(reply, "-NOAUTH Authentication required.\r\n") ||
           (reply.p[0] == '-' && memmem(reply.p, reply.n, "#-1#", 4) != NULL); /* in a greeting */
}

/* A reply of a server's own to this very request, from a connection that is what the client is. */
static void check_own(const struct client *c, const struct request *r, struct slice reply)
{
    char body[64];
    int tag = snprintf(body, sizeof body, "#%u#", r->number);
    if (reply.p[0] != '-') {
        tag = snprintf(body, sizeof body, "#%u#@%d/%d/%d", r->number, c->self.db, c->self.user,
                       c->self.resp);
    }
    size_t n = reply.n < 300 || reply.p[0] == '*' ? reply.n : 300;
    CHECK(memmem(reply.p, n, body, (size_t)tag) != NULL);
    CHECK(r->sent > 0 && !r->distrusted);
}

/* Nobody is shown an older state than before, or one without what he wrote. */
static void check_version(struct client *c, const struct request *r, struct slice reply)
{
    if (!r->blind && (reply.p[0] == '$' || reply.p[0] == '*')) {
        CHECK(r->version >= c->version);
        c->version = r->version;
    }
}

/* What was said in a transaction is not said again any more. */
static void leave_multi(struct client *c)
{
    c->self.multi = false;
    for (unsigned i = 0; i < c->block_count; i++) {
        world.request[c->block[i]].queued = false;
    }
    c->block_count = 0;
}

/* In the order of commands that say +OK when they succeed. */
static void state_answered(struct client *c, const struct request *r, struct slice reply)
{
    struct identity *s = &c->self;
    if (reply.p[0] == '-') {
        return;
    }
    if (s->multi && starts(reply, "+QUEUED")) {
        c->queued[c->queued_count++] = r->number;
        return;
    }
    switch ((int)r->kind) {
    case KIND_SELECT: s->db = r->value; break;
    case KIND_AUTH: s->user = r->value % 4; break;
    case KIND_SETNAME: s->name = r->value; break;
    case KIND_HELLO:
        s->resp = r->value < 4 ? r->value : r->value % 2 + 2;
        s->user = r->value < 4 ? s->user : 1;
        s->name = r->value < 4 ? s->name : 1;
        CHECK(reply.p[0] == (s->resp == 3 ? '%' : '*'));
        return;
    case KIND_GETNAME:
        CHECK(s->name == 0 ? starts(reply, "$-1") || starts(reply, "_")
                           : starts(reply, "$2\r\nn") && reply.p[5] == '0' + s->name);
        return;
    case KIND_RESET:
        CHECK(starts(reply, "+RESET"));
        leave_multi(c);
        c->held = 0;
        c->self = (struct identity){.resp = 2, .user = first_user()};
        return;
    default: break;
    }
    CHECK(starts(reply, "+OK"));
}

/* True if that was the last one for r. */
static bool confirmed(struct client *c, struct request *r, struct slice reply)
{
    bool on = r->kind == KIND_SUBSCRIBE;
    const char *name = reply.p + (on ? 19 : 22), *end = reply.p + reply.n;
    bool nil = name[0] == '_' || name[1] == '-';
    unsigned channel = nil ? 0 : (unsigned)(name[5] - '0');
    CHECK(starts(slice_of(reply.p + 1, reply.n - 1),
                 on ? "3\r\n$9\r\nsubscribe\r\n" : "3\r\n$11\r\nunsubscribe\r\n"));
    CHECK(reply.p[0] == (c->self.resp == 3 ? '>' : '*'));
    if (r->expected == 0) {
        r->expected = c->held == 0 ? 1 : (unsigned)__builtin_popcount(c->held);
    }
    if (r->name_count > 0) {
        CHECK(!nil && channel == r->names[r->given]);
    } else {
        CHECK(nil ? c->held == 0 : (c->held & 1u << channel) != 0);
    }
    unsigned bit = nil ? 0 : 1u << channel;
    c->held = on ? c->held | bit : c->held & ~bit;
    CHECK(end[-3] == '0' + __builtin_popcount(c->held));
    return ++r->given == r->expected;
}

/* An element of what EXEC answered: to a command that changes what the client is, or with a tag.
 * True if it was the last one for r. */
static bool element_answered(struct client *c, struct request *r, struct slice reply)
{
    if (r->kind >= KIND_SUBSCRIBE) {
        return confirmed(c, r, reply);
    }
    if (r->kind >= KIND_SELECT) {
        state_answered(c, r, reply);
    } else {
        check_own(c, r, reply);
    }
    return true;
}

/* Some elements stand behind the array. */
static void executed(struct client *c, const struct request *r, struct slice reply)
{
    char head[16];
    int n = snprintf(head, sizeof head, "*%u\r\n", c->queued_count);
    CHECK(starts(reply, head) && r->sent > 0 && !r->distrusted);
    struct slice rest = slice_of(reply.p + n, reply.n - (size_t)n);
    for (unsigned i = 0; i < c->queued_count;) {
        struct reply_scan scan = {0};
        size_t used;
        reply_scan_reset(&scan, 1u << 20);
        CHECK(reply_scan_feed(&scan, rest, &used) == SCAN_DONE);
        bool last = element_answered(c, &world.request[c->queued[i]], slice_of(rest.p, used));
        i += last ? 1 : 0;
        rest = slice_of(rest.p + used, rest.n - used);
    }
    CHECK(rest.n == 0);
}

/* How many replies stand behind the array that EXEC is answered with. */
static unsigned behind_array(const struct client *c, struct slice array)
{
    unsigned behind = 0, held = c->held;
    CHECK(array.p != NULL);
    if (c->first == c->count || world.request[c->asked[c->first]].kind != KIND_EXEC ||
        !c->self.multi || array.p[0] != '*' || array.p[1] == '-') {
        return 0;
    }
    for (unsigned i = 0; i < c->queued_count; i++) {
        const struct request *r = &world.request[c->queued[i]];
        unsigned all = held == 0 ? 1 : (unsigned)__builtin_popcount(held);
        if (r->kind < KIND_SUBSCRIBE) {
            continue;
        }
        behind += (r->name_count > 0 ? r->name_count : all) - 1;
        for (unsigned k = 0; k < r->name_count; k++) {
            unsigned bit = 1u << r->names[k];
            held = r->kind == KIND_SUBSCRIBE ? held | bit : held & ~bit;
        }
        held = r->name_count > 0 ? held : 0;
    }
    return behind;
}

static void exec_answered(struct client *c, const struct request *r, struct slice reply)
{
    bool multi = c->self.multi;
    leave_multi(c);
    if (reply.p[0] == '-') {
        if (starts(reply, "-EXECABORT Transaction discarded because the primary changed")) {
            CHECK(r->open == 0 && multi);
        } else if (starts(reply, "-EXECABORT Transaction discarded because of: NOAUTH ")) {
            CHECK(r->sent == 0);
        } else {
            CHECK(tag_in(reply) == (int)r->number);
        }
        return;
    }
    CHECK(multi);
    if (starts(reply, "*-1") || starts(reply, "_")) {
        CHECK(r->open == 0); /* its WATCH was lost */
        return;
    }
    executed(c, r, reply);
    check_version(c, r, reply);
}

static void plain_answered(struct client *c, const struct request *r, struct slice reply)
{
    if (starts(reply, "+QUEUED\r\n")) {
        CHECK(c->self.multi);
        c->queued[c->queued_count++] = r->number;
        return;
    }
    CHECK(!c->self.multi || reply.p[0] == '-');
    bool nil = starts(reply, "*-1\r\n") || starts(reply, "_\r\n");
    if (nil && r->kind == KIND_BLPOP) {
        return;
    }
    if (r->kind == KIND_WAIT && starts(reply, ":0\r\n")) {
        return;
    }
    if ((r->kind == KIND_WATCH || r->kind == KIND_UNWATCH) && reply.p[0] == '+') {
        CHECK(starts(reply, "+OK\r\n"));
        return;
    }
    if (c->self.multi && starts(reply, "-ERR WATCH inside MULTI")) {
        return;
    }
    check_own(c, r, reply);
    check_version(c, r, reply);
}

/* Only what it would see of a later request keeps a read from being sent again. */
static bool doubt_behind(const struct client *c)
{
    for (unsigned i = c->first; i < c->count;
         i++) { /* from the one behind that which is answered */
        const struct request *r = &world.request[c->asked[i]];
        if (r->sent > 0 && r->kind != KIND_GET) {
            return true;
        }
    }
    return false;
}

static void answered(struct client *c, struct request *r, struct slice reply)
{
    bool state = r->kind >= KIND_SELECT;
    if (c->self.multi) {
        c->block[c->block_count++] = r->number;
        r->queued = true;
    }
    if (r->kind == KIND_SET && starts(reply, "-ERR Protocol error: unauthenticated bulk length")) {
        c->wild = true; /* it is closed, as Redis closes whoever says so much before AUTH */
        return;
    }
    if (starts(reply, "-INDOUBT ")) {
        CHECK(state || r->sent > 0 || world.stopping);
        CHECK(r->kind != KIND_GET || doubt_behind(c) || world.stopping);
        if (r->kind == KIND_EXEC) {
            leave_multi(c);
        }
        return;
    }
    if (says_not_executed(reply)) {
        CHECK(r->open == 0 || r->kind < KIND_SET || r->kind > KIND_BLPOP);
        CHECK(r->kind != KIND_EXEC || r->open == 0);
        return;
    }
    if (c->reader && starts(reply, "-READONLY You can't write against a read only replica.\r\n")) {
        CHECK(r->sent == 0 && !repeatable(r->kind));
        return;
    }
    switch ((int)r->kind) {
    case KIND_MULTI:
        if (reply.p[0] == '+') {
            CHECK(starts(reply, "+OK\r\n"));
            c->self.multi = true;
            c->queued_count = 0;
        } else {
            CHECK(reply.p[0] == '-');
        }
        return;
    case KIND_DISCARD:
        CHECK(starts(reply, "+OK\r\n") || reply.p[0] == '-');
        leave_multi(c);
        return;
    case KIND_EXEC: exec_answered(c, r, reply); return;
    default: break;
    }
    if (state) {
        state_answered(c, r, reply);
    } else {
        plain_answered(c, r, reply);
    }
}

/* Each message once, of channels it holds. */
static void heard(struct client *c, struct slice message)
{
    unsigned channel = (unsigned)(message.p[22] - '0'), number = 0;
    for (unsigned i = 0; i < 8; i++) {
        number = number * 10 + (unsigned)(message.p[29 + i] - '0');
    }
    CHECK((c->held & 1u << channel) != 0 && number > c->heard);
    c->heard = number;
}

/* What is said to one that listens. False: it is another answer. */
static bool take_subscribed(struct client *c, struct slice reply, char type)
{
    bool pushed = type == '>' || (c->self.resp == 2 && c->held != 0);
    if (pushed && starts(slice_of(reply.p + 1, reply.n - 1), "3\r\n$7\r\nmessage\r\n")) {
        heard(c, reply);
        return true;
    }
    struct request *r = c->first < c->count ? &world.request[c->asked[c->first]] : NULL;
    bool pushed_else = type == '>' && !starts(slice_of(reply.p + 1, reply.n - 1), "3\r\n");
    if (r == NULL || r->kind < KIND_SUBSCRIBE || pushed_else) {
        return false;
    }
    if (c->self.multi && type == '+') {
        return false;
    }
    if (type != '-') {
        r->answered = confirmed(c, r, reply);
        c->first += r->answered ? 1 : 0;
        return true;
    }
    CHECK(!starts(reply, "-INDOUBT"));
    r->answered = true;
    c->first++;
    return true;
}

static void take_reply(struct client *c, struct slice reply, char type)
{
    CHECK(reply.p != NULL);
    TRACE("client %td gets %.*s\n", c - world.client, (int)(reply.n < 60 ? reply.n : 60), reply.p);
    if (!judged(c) || take_subscribed(c, reply, type) || type == '>') {
        return;
    }
    CHECK(c->first < c->count); /* nobody asked for more */
    struct request *r = &world.request[c->asked[c->first++]];
    answered(c, r, reply);
    r->answered = true;
}

void client_received(struct client *c, struct slice bytes)
{
    /* What it is then, only its server knows. */
    c->wild = c->wild || (c->session->link != NULL && c->session->link->raw);
    if (!judged(c)) {
        return;
    }
    buf_append(&c->in, bytes);
    while (buf_len(&c->in) > c->scan.length) {
        struct slice in = buf_slice(&c->in);
        size_t seen = (size_t)c->scan.length, used;
        enum scan_result result =
            reply_scan_feed(&c->scan, slice_of(in.p + seen, in.n - seen), &used);
        CHECK(result != SCAN_ERROR);
        if (result == SCAN_DONE && c->behind == 0 && !c->array) {
            c->behind = behind_array(c, in);
            c->array = c->behind > 0;
        } else if (result == SCAN_DONE) {
            c->behind--;
        }
        if (result == SCAN_DONE && c->behind > 0) {
            reply_scan_extend(&c->scan);
            continue;
        }
        c->array = c->array && result == SCAN_MORE;
        if (result == SCAN_MORE) {
            return;
        }
        take_reply(c, slice_of(in.p, seen + used), c->scan.type);
        buf_consume(&c->in, seen + used);
        reply_scan_reset(&c->scan, 1u << 20);
    }
}

void client_proxy_closed(struct client *c)
{
    const struct session *s = c->session;
    const struct transport *t = c->transport;
    bool cut = c->scan.length > 0 || s->out.len > 0;
    bool slow = s->scan.length > 0 && !t->all && t->arrived < buf_len(&t->in);
    TRACE("client %td closed, end %d cut %d\n", c - world.client, (int)s->end, cut);
    /* A client is never left because the primary is. */
    if (judged(c) && !c->gone && !c->excused) {
        CHECK(cut || slow ||
              (s->state >= SESSION_CLOSING && (s->end == SESSION_END_UNCARRIED ||
                                               (s->end == SESSION_END_OUTPUT && c->held != 0))));
    }
    c->transport = NULL;
    c->session = NULL;
}

void client_forget(struct client *c)
{
    buf_release(&c->in);
}
