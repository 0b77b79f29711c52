#include "sentinel/reply.h"

#include <hiredis/hiredis.h>
#include <string.h>

static const redisReply *raw(const struct reply *r)
{
    return (const redisReply *)(const void *)r;
}

struct reply *reply_parse(struct slice frame)
{
    redisReader *reader = redisReaderCreate();
    CHECK(reader != NULL);
    void *got = NULL;
    if (frame.n == 0 || redisReaderFeed(reader, frame.p, frame.n) != REDIS_OK ||
        redisReaderGetReply(reader, &got) != REDIS_OK) {
        got = NULL;
    }
    redisReaderFree(reader);
    return got;
}

void reply_free(struct reply **r)
{
    if (*r != NULL) {
        freeReplyObject(*r);
        *r = NULL;
    }
}

enum reply_type reply_type(const struct reply *r)
{
    switch (raw(r)->type) {
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS: return REPLY_STRING;
    case REDIS_REPLY_ERROR: return REPLY_ERROR;
    case REDIS_REPLY_ARRAY: return REPLY_ARRAY;
    case REDIS_REPLY_INTEGER: return REPLY_NUMBER;
    default: return REPLY_NIL;
    }
}

static struct slice text_of(const redisReply *r)
{
    if (r->type != REDIS_REPLY_STRING && r->type != REDIS_REPLY_STATUS &&
        r->type != REDIS_REPLY_ERROR) {
        return (struct slice){0};
    }
    return slice_of(r->str, (size_t)r->len);
}

struct slice reply_text(const struct reply *r)
{
    return text_of(raw(r));
}

bool reply_is_error(const struct reply *r, const char *word)
{
    struct slice text = reply_text(r);
    size_t n = strlen(word);
    return raw(r)->type == REDIS_REPLY_ERROR && slice_starts_with(text, word) &&
           (text.n == n || text.p[n] == ' ');
}

/* A string element, or nothing. */
static struct slice string_of(const redisReply *r)
{
    return r != NULL && r->type == REDIS_REPLY_STRING ? text_of(r) : (struct slice){0};
}

static bool printable(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] <= ' ' || (unsigned char)s.p[i] >= 0x7f) {
            return false;
        }
    }
    return s.n > 0;
}

bool reply_make_addr(struct slice host, struct slice port, struct addr *out)
{
    static const char *const nowhere[] = {"?", "0.0.0.0", "::", "::ffff:0.0.0.0", "NULL"};
    int64_t number;
    if (host.n > ADDR_HOST_MAX || !printable(host) || host.p[0] == '/' ||
        !slice_to_i64(port, 1, 65535, &number)) {
        return false;
    }
    struct addr told = {.port = (uint16_t)number};
    memcpy(told.host, host.p, host.n);
    struct addr same = told;
    addr_normalize(&same);
    for (size_t i = 0; i < ARRAY_LEN(nowhere); i++) {
        if (strcmp(same.host, nowhere[i]) == 0) {
            return false;
        }
    }
    *out = told;
    return true;
}

static bool make_id(struct slice text, char out[SENTINEL_ID_MAX + 1])
{
    if (text.n == 0 || text.n > SENTINEL_ID_MAX || !printable(text)) {
        return false;
    }
    memcpy(out, text.p, text.n);
    out[text.n] = '\0';
    return true;
}

bool reply_read_id(const struct reply *r, char out[SENTINEL_ID_MAX + 1])
{
    return make_id(string_of(raw(r)), out);
}

/* The value of a field of INFO; empty when there is none. */
static struct slice info_field(struct slice text, const char *name)
{
    size_t n = strlen(name);
    while (text.n > 0) {
        const char *end = memchr(text.p, '\n', text.n);
        size_t line = end == NULL ? text.n : (size_t)(end - text.p) + 1;
        if (line > n && text.p[n] == ':' && slice_starts_with(slice_of(text.p, line), name)) {
            struct slice value = slice_of(text.p + n + 1, line - n - 1);
            while (value.n > 0 && (unsigned char)value.p[value.n - 1] <= ' ') {
                value.n--;
            }
            return value;
        }
        text = slice_of(text.p + line, text.n - line);
    }
    return (struct slice){0};
}

bool reply_read_info_id(const struct reply *r, char out[SENTINEL_ID_MAX + 1])
{
    return make_id(info_field(string_of(raw(r)), "run_id"), out);
}

static bool info_says(struct slice text, const char *name)
{
    return slice_eq(info_field(text, name), slice_str("1"));
}

/* Empty when it is longer than max, or not printable. */
static void copy_field(struct slice value, char *out, size_t max)
{
    size_t n = value.n <= max && printable(value) ? value.n : 0;
    memcpy(out, n > 0 ? value.p : "", n);
    out[n] = '\0';
}

bool reply_read_info(const struct reply *r, struct node_info *out)
{
    struct slice text = string_of(raw(r));
    memset(out, 0, sizeof *out);
    if (text.n == 0) {
        return false;
    }
    out->loading = info_says(text, "loading") || info_says(text, "async_loading");
    out->syncing = info_says(text, "master_sync_in_progress");
    out->priority_zero = slice_eq(info_field(text, "slave_priority"), slice_str("0"));
    copy_field(info_field(text, "master_replid"), out->repl_id, REPL_ID_MAX);
    copy_field(info_field(text, "availability_zone"), out->zone, ZONE_MAX);
    return true;
}

bool reply_read_address(const struct reply *r, struct addr *out)
{
    const redisReply *a = raw(r);
    return a->type == REDIS_REPLY_ARRAY && a->elements == 2 &&
           reply_make_addr(string_of(a->element[0]), string_of(a->element[1]), out);
}

/* The value of a field in a flat list of fields and values; empty when there is none. */
static struct slice field(const redisReply *list, const char *name)
{
    for (size_t i = 0; list->type == REDIS_REPLY_ARRAY && i + 1 < list->elements; i += 2) {
        if (slice_eq(string_of(list->element[i]), slice_str(name))) {
            return string_of(list->element[i + 1]);
        }
    }
    return (struct slice){0};
}

/* True if the comma-separated list of flags has this one. */
static bool has_flag(struct slice flags, const char *name)
{
    while (flags.n > 0) {
        const char *comma = memchr(flags.p, ',', flags.n);
        size_t n = comma == NULL ? flags.n : (size_t)(comma - flags.p);
        if (slice_eq(slice_of(flags.p, n), slice_str(name))) {
            return true;
        }
        n += comma == NULL ? 0 : 1;
        flags = slice_of(flags.p + n, flags.n - n);
    }
    return false;
}

bool reply_read_master(const struct reply *r, struct sentinel_master *out)
{
    struct sentinel_master m = {0};
    struct slice flags = field(raw(r), "flags");
    int64_t n;
    if (flags.n == 0 || !reply_make_addr(field(raw(r), "ip"), field(raw(r), "port"), &m.addr) ||
        !slice_to_i64(field(raw(r), "config-epoch"), 0, INT64_MAX, &m.config_epoch)) {
        return false;
    }
    if (slice_to_i64(field(raw(r), "down-after-milliseconds"), 1, REPLY_DURATION_MAX_MS, &n)) {
        m.down_after_ms = (uint64_t)n;
    }
    if (slice_to_i64(field(raw(r), "num-other-sentinels"), 0, UINT16_MAX, &n)) {
        m.other_sentinels = (uint32_t)n;
    }
    m.s_down = has_flag(flags, "s_down");
    m.o_down = has_flag(flags, "o_down");
    m.failover_in_progress = has_flag(flags, "failover_in_progress");
    *out = m;
    return true;
}

size_t reply_read_peers(const struct reply *r, struct sentinel_peer *out, size_t max, bool *valid)
{
    const redisReply *list = raw(r);
    size_t count = 0;
    *valid = list->type == REDIS_REPLY_ARRAY;
    for (size_t i = 0; *valid && i < list->elements && count < max; i++) {
        const redisReply *entry = list->element[i];
        struct sentinel_peer *peer = &out[count];
        memset(peer, 0, sizeof *peer);
        if (!reply_make_addr(field(entry, "ip"), field(entry, "port"), &peer->addr)) {
            continue;
        }
        struct slice flags = field(entry, "flags");
        if (has_flag(flags, "sentinel") && !make_id(field(entry, "runid"), peer->id)) {
            peer->id[0] = '\0'; /* not known yet to the Sentinel that told us */
        }
        peer->down = has_flag(flags, "s_down") || has_flag(flags, "o_down") ||
                     has_flag(flags, "disconnected");
        count++;
    }
    return count;
}

enum role reply_read_role(const struct reply *r, struct addr *master)
{
    const redisReply *a = raw(r);
    memset(master, 0, sizeof *master);
    if (a->type == REDIS_REPLY_ERROR) {
        return ROLE_REFUSED;
    }
    if (a->type != REDIS_REPLY_ARRAY || a->elements == 0) {
        return ROLE_STRANGE;
    }
    struct slice word = string_of(a->element[0]);
    if (slice_eq(word, slice_str("master"))) {
        return ROLE_MASTER;
    }
    if (!slice_eq(word, slice_str("slave"))) {
        return ROLE_STRANGE;
    }
    const redisReply *port = a->elements > 2 ? a->element[2] : NULL;
    if (port != NULL && port->type == REDIS_REPLY_INTEGER && port->integer >= 1 &&
        port->integer <= 65535) {
        struct addr found;
        if (reply_make_addr(string_of(a->element[1]), slice_of("1", 1), &found)) {
            found.port = (uint16_t)port->integer;
            *master = found;
        }
    }
    return ROLE_REPLICA;
}

void reply_read_repl(const struct reply *r, struct repl_state *out)
{
    const redisReply *a = raw(r);
    bool list = a->type == REDIS_REPLY_ARRAY && a->elements > 1;
    bool replica = list && slice_eq(string_of(a->element[0]), slice_str("slave"));
    size_t at = replica ? 4 : 1;
    *out = (struct repl_state){.link = REPL_DOWN, .offset = -1};
    if (list && a->elements > at && a->element[at]->type == REDIS_REPLY_INTEGER &&
        a->element[at]->integer >= 0) {
        out->offset = a->element[at]->integer;
    }
    if (replica && a->elements > 3) {
        struct slice word = string_of(a->element[3]);
        out->link = slice_eq(word, slice_str("connected")) ? REPL_UP
                    : slice_eq(word, slice_str("sync"))    ? REPL_SYNCING
                                                           : REPL_DOWN;
    }
}

struct push reply_read_push(const struct reply *r)
{
    const redisReply *a = raw(r);
    struct push push = {.kind = PUSH_OTHER};
    if (a->type == REDIS_REPLY_STATUS && slice_eq(text_of(a), slice_str("PONG"))) {
        push.kind = PUSH_PONG;
    }
    if (a->type != REDIS_REPLY_ARRAY || a->elements < 2) {
        return push;
    }
    struct slice word = string_of(a->element[0]);
    if (slice_eq(word, slice_str("pong"))) {
        push.kind = PUSH_PONG;
    } else if (slice_eq(word, slice_str("subscribe"))) {
        push.kind = PUSH_SUBSCRIBED;
        push.channel = string_of(a->element[1]);
    } else if (slice_eq(word, slice_str("message")) && a->elements == 3) {
        push.kind = PUSH_MESSAGE;
        push.channel = string_of(a->element[1]);
        push.payload = string_of(a->element[2]);
    }
    return push;
}
