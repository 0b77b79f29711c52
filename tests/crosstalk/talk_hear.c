#include "tests/crosstalk/talk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const words[] = {
    [WANT_OK] = "+OK",
    [WANT_QUEUED] = "+QUEUED",
    [WANT_RESET] = "RESET",
    [WANT_HELLO] = "HELLO",
    [WANT_NAME] = "GETNAME",
    [WANT_SAID] = "+OK or doubt",
    [WANT_ECHO] = "ECHO",
    [WANT_GET] = "GET",
    [WANT_MGET] = "MGET",
    [WANT_STRLEN] = "STRLEN",
    [WANT_HGETALL] = "HGETALL",
    [WANT_SET] = "SET",
    [WANT_MSET] = "MSET",
    [WANT_INCR] = "INCRBY",
    [WANT_HSET] = "HSET",
    [WANT_PUSHED] = "RPUSH",
    [WANT_POPPED] = "BLPOP",
    [WANT_NOSUCH] = "NOSUCH",
    [WANT_EVAL] = "EVAL",
    [WANT_ID] = "CLIENT ID",
    [WANT_UNLINKED] = "UNLINK",
    [WANT_EXEC] = "EXEC",
    [WANT_EXEC_WATCHED] = "EXEC behind WATCH",
    [WANT_NOTHING] = "nothing",
};

static const char in_doubt[] =
    "-INDOUBT The primary was lost after the command was sent; it may or "
    "may not have been, or may still be, executed\r\n";
static const char exec_in_doubt[] =
    "-INDOUBT The primary was lost after EXEC was sent; the transaction may or may not have been, "
    "or may still be, executed\r\n";
static const char aborted[] =
    "-EXECABORT Transaction discarded because the primary changed before EXEC\r\n";

static bool is_text(const char *frame, size_t size, const char *text)
{
    return size == strlen(text) && memcmp(frame, text, size) == 0;
}

static bool is_null(const struct want *w, const char *frame, size_t size)
{
    return is_text(frame, size, w->resp == 3 ? "_\r\n" : "$-1\r\n");
}

static bool is_null_array(const struct want *w, const char *frame, size_t size)
{
    return is_text(frame, size, w->resp == 3 ? "_\r\n" : "*-1\r\n");
}

/* A value that may be in the slot; once seen, nothing older is. */
static bool hear_slot(struct talk *t, const struct want *w, unsigned slot, const char *frame,
                      size_t size)
{
    uint32_t *sure = &t->stores[w->db].slots[slot].sure, top = t->stores[w->db].slots[slot].top;
    if (*sure == 0 && is_null(w, frame, size)) {
        return true;
    }
    uint32_t serial = value_serial(frame, size);
    if (serial == 0 || serial < *sure || serial > top ||
        !value_is(t->life, w->db, serial, frame, size)) {
        return false;
    }
    *sure = serial;
    return true;
}

static bool hear_length(const struct talk *t, const struct want *w, const char *frame)
{
    uint32_t sure = t->stores[w->db].slots[w->slot].sure, top = t->stores[w->db].slots[w->slot].top;
    if (*frame != ':') {
        return false;
    }
    long length = strtol(frame + 1, NULL, 10);
    for (uint32_t serial = sure; serial <= top; serial++) {
        if (length == (serial == 0 ? 0 : (long)value_size(t->life, serial))) {
            return true;
        }
    }
    return false;
}

/* Takes the first element from what is left of an array. */
static bool next_element(const char **at, size_t *left, const char **frame, size_t *size)
{
    long n = frame_length(*at, *left);
    if (n <= 0) {
        return false;
    }
    *frame = *at;
    *size = (size_t)n;
    *at += n;
    *left -= (size_t)n;
    return true;
}

/* Steps over the header `kind``count`\r\n of an array. */
static bool enter(const char **at, size_t *left, char kind, uint32_t count)
{
    char head[16];
    int n = snprintf(head, sizeof(head), "%c%u\r\n", kind, count);
    if (*left < (size_t)n || memcmp(*at, head, (size_t)n) != 0) {
        return false;
    }
    *at += n;
    *left -= (size_t)n;
    return true;
}

static bool hear_mget(struct talk *t, const struct want *w, const char *at, size_t left)
{
    const char *frame;
    size_t size;
    if (!enter(&at, &left, '*', TALK_SLOTS)) {
        return false;
    }
    for (unsigned slot = 0; slot < TALK_SLOTS; slot++) {
        if (!next_element(&at, &left, &frame, &size) || !hear_slot(t, w, slot, frame, size)) {
            return false;
        }
    }
    return left == 0;
}

static bool hear_hash(struct talk *t, const struct want *w, const char *at, size_t left)
{
    struct store *s = &t->stores[w->db];
    const char *frame;
    size_t size;
    if (enter(&at, &left, w->resp == 3 ? '%' : '*', 0)) {
        return left == 0 && !s->hash_sure;
    }
    if (!s->hash_asked || !enter(&at, &left, w->resp == 3 ? '%' : '*', w->resp == 3 ? 2 : 4)) {
        return false;
    }
    bool second = left > 4 && at[4] == 'b'; /* fields come in any order */
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t serial = second ? 2 - i : 1 + i;
        if (!next_element(&at, &left, &frame, &size) ||
            !is_text(frame, size, serial == 1 ? "$1\r\na\r\n" : "$1\r\nb\r\n") ||
            !next_element(&at, &left, &frame, &size) ||
            !value_is(t->life, w->db, serial, frame, size)) {
            return false;
        }
    }
    s->hash_sure = true;
    return left == 0;
}

static bool hear_values(const struct talk *t, const struct want *w, const char *at, size_t left)
{
    const char *frame;
    size_t size;
    if (!enter(&at, &left, '*', 2)) {
        return false;
    }
    for (uint32_t serial = w->serial - 1; serial <= w->serial; serial++) {
        if (!next_element(&at, &left, &frame, &size) ||
            !value_is(t->life, w->db, serial, frame, size)) {
            return false;
        }
    }
    return left == 0;
}

static bool hear_popped(struct talk *t, const struct want *w, const char *at, size_t left)
{
    char key[48];
    const char *frame;
    size_t size;
    if (is_null_array(w, at, left)) { /* so is doubt said of what blocks */
        t->doubt_owed = false;
        return t->shaken;
    }
    (void)snprintf(key, sizeof(key), "$18\r\n%016llx:q\r\n", (unsigned long long)t->life);
    if (!enter(&at, &left, '*', 2) || !next_element(&at, &left, &frame, &size) ||
        !is_text(frame, size, key) || !next_element(&at, &left, &frame, &size)) {
        return false;
    }
    uint32_t serial = value_serial(frame, size);
    return serial > 0 && serial <= w->serial && (serial == w->serial || t->shaken) &&
           value_is(t->life, w->db, serial, frame, size) && left == 0;
}

static bool hear_number(struct talk *t, const struct want *w, const char *frame)
{
    struct store *s = &t->stores[w->db];
    unsigned long long value = *frame == ':' ? strtoull(frame + 1, NULL, 10) : 0;
    uint64_t times = value / talk_step(t);
    if (value % talk_step(t) != 0 || times < s->raised_low + 1 || times > s->raised_high + 1) {
        return false;
    }
    s->raised_low = s->raised_high = times;
    return true;
}

static bool hear_set(struct talk *t, const struct want *w, bool sure)
{
    for (unsigned slot = 0; slot < TALK_SLOTS; slot++) {
        if (w->kind == WANT_MSET || slot == w->slot) {
            t->stores[w->db].slots[slot].top = w->serial;
            if (sure) {
                t->stores[w->db].slots[slot].sure = w->serial;
            }
        }
    }
    return true;
}

static bool hear_hello(const struct want *w, const char *frame, size_t size)
{
    const char *proto = w->resp == 3 ? "$5\r\nproto\r\n:3\r\n" : "$5\r\nproto\r\n:2\r\n";
    return *frame == (w->resp == 3 ? '%' : '*') &&
           memmem(frame, size, proto, strlen(proto)) != NULL;
}

static bool hear_text_of(const struct talk *t, const struct want *w, const char *frame, size_t size)
{
    char text[160];
    unsigned long long life = t->life;
    if (w->kind == WANT_NAME) {
        if (w->serial == 0) {
            return is_null(w, frame, size);
        }
        (void)snprintf(text, sizeof(text), "$21\r\n%016llx:name\r\n", life);
    } else {
        (void)snprintf(text, sizeof(text),
                       "-ERR unknown command 'NOSUCH%08x', with args beginning with: "
                       "'%016llx:x' \r\n",
                       w->serial, life);
    }
    return is_text(frame, size, text);
}

static bool hear_count(const char *frame, long low, long high)
{
    char *end;
    long n = strtol(frame + 1, &end, 10);
    return *frame == ':' && *end == '\r' && n >= low && n <= high;
}

static bool hear_one(struct talk *t, const struct want *w, const char *frame, size_t size);

static bool hear_exec(struct talk *t, const struct want *w, const char *at, size_t left)
{
    const char *frame;
    size_t size;
    if (!enter(&at, &left, '*', w->count)) {
        return false;
    }
    for (uint32_t i = 0; i < w->count; i++) {
        if (!next_element(&at, &left, &frame, &size) || !hear_one(t, &w->list[i], frame, size)) {
            return false;
        }
    }
    return left == 0;
}

/* It was executed. */
static bool hear_one(struct talk *t, const struct want *w, const char *frame, size_t size)
{
    switch (w->kind) {
    case WANT_OK:
    case WANT_SAID: return is_text(frame, size, "+OK\r\n");
    case WANT_QUEUED: return is_text(frame, size, "+QUEUED\r\n");
    case WANT_RESET: return is_text(frame, size, "+RESET\r\n");
    case WANT_HELLO: return hear_hello(w, frame, size);
    case WANT_NAME:
    case WANT_NOSUCH: return hear_text_of(t, w, frame, size);
    case WANT_ECHO: return value_is(t->life, w->db, w->serial, frame, size);
    case WANT_GET: return hear_slot(t, w, w->slot, frame, size);
    case WANT_MGET: return hear_mget(t, w, frame, size);
    case WANT_STRLEN: return hear_length(t, w, frame);
    case WANT_HGETALL: return hear_hash(t, w, frame, size);
    case WANT_SET:
    case WANT_MSET: return is_text(frame, size, "+OK\r\n") && hear_set(t, w, true);
    case WANT_INCR: return hear_number(t, w, frame);
    case WANT_HSET:
        t->stores[w->db].hash_asked = t->stores[w->db].hash_sure = true;
        return is_text(frame, size, ":2\r\n") || is_text(frame, size, ":0\r\n");
    case WANT_PUSHED: return hear_count(frame, 1, t->shaken ? 1000 : 1);
    case WANT_POPPED: return hear_popped(t, w, frame, size);
    case WANT_EVAL: return hear_values(t, w, frame, size);
    case WANT_ID: return hear_count(frame, 1, INT32_MAX);
    case WANT_UNLINKED: return hear_count(frame, 0, 7);
    case WANT_EXEC:
    case WANT_EXEC_WATCHED: return hear_exec(t, w, frame, size);
    case WANT_NOTHING: break;
    }
    return false;
}

/* Whatever it was may have happened. */
static void doubt_one(struct talk *t, const struct want *w)
{
    if (w->kind == WANT_SET || w->kind == WANT_MSET) {
        hear_set(t, w, false);
    } else if (w->kind == WANT_INCR) {
        t->stores[w->db].raised_high++;
    } else if (w->kind == WANT_HSET) {
        t->stores[w->db].hash_asked = true;
    }
}

/* The answers that only a lost connection explains. */
static bool hear_loss(struct talk *t, const struct want *w, const char *frame, size_t size)
{
    bool exec = w->kind == WANT_EXEC || w->kind == WANT_EXEC_WATCHED;
    if (exec) {
        if (is_text(frame, size, exec_in_doubt)) {
            for (uint32_t i = 0; i < w->count; i++) {
                doubt_one(t, &w->list[i]);
            }
            t->doubt_owed = false;
            t->doubts++;
            return true;
        }
        return is_text(frame, size, aborted) ||
               (w->kind == WANT_EXEC_WATCHED && is_null_array(w, frame, size));
    }
    if (!is_text(frame, size, in_doubt) || w->kind < WANT_SAID) {
        return false;
    }
    t->doubt_owed = w->kind < WANT_SET;
    t->doubts++;
    doubt_one(t, w);
    return true;
}

static void remember(struct talk *t, enum kind kind, const char *frame, size_t size)
{
    uint32_t at = t->heard++ % TALK_HISTORY;
    size_t n = 0;
    for (size_t i = 0; i < size && n < sizeof(t->history[at].reply) - 1; i++) {
        bool plain = frame[i] > ' ' && frame[i] <= '~' && frame[i] != '"' && frame[i] != '\\';
        t->history[at].reply[n++] = '_';
        if (plain) {
            t->history[at].reply[n - 1] = frame[i];
        }
    }
    t->history[at].reply[n] = '\0';
    t->history[at].kind = kind;
}

bool talk_hear(struct talk *t, const char *frame, size_t size)
{
    if (t->owed.count == 0) {
        remember(t, WANT_NOTHING, frame, size);
        return false;
    }
    struct want w = t->owed.items[t->owed.first];
    t->owed.first = (t->owed.first + 1) % t->owed.capacity;
    t->owed.count--;
    remember(t, w.kind, frame, size);
    bool fits = (t->shaken && hear_loss(t, &w, frame, size)) || hear_one(t, &w, frame, size);
    free(w.list);
    return fits && !(t->owed.count == 0 && t->doubt_owed);
}

bool talk_hear_part(const struct talk *t, const char *part, size_t size)
{
    const struct want *w = &t->owed.items[t->owed.first];
    if (t->owed.count == 0) {
        return false;
    }
    if (*part == '-' || size < 64) {
        return true; /* said when it is whole */
    }
    if (w->kind == WANT_ECHO) {
        return value_begins(t->life, w->db, w->serial, part, size);
    }
    if (w->kind == WANT_GET) {
        uint32_t serial = value_serial(part, size);
        return serial > 0 && value_begins(t->life, w->db, serial, part, size);
    }
    return true;
}

bool talk_is_over(const struct talk *t)
{
    return t->owed.count == 0 ||
           (t->shaken && t->owed.items[t->owed.first].kind == WANT_POPPED); /* its push was lost */
}

void talk_print_history(const struct talk *t)
{
    uint32_t from = t->heard > TALK_HISTORY ? t->heard - TALK_HISTORY : 0;
    for (uint32_t i = from; i < t->heard; i++) {
        printf("%s%s: %s", i > from ? ", " : "", words[t->history[i % TALK_HISTORY].kind],
               t->history[i % TALK_HISTORY].reply);
    }
}
