#include "proxy/resp/pubsub.h"

#include <string.h>

#define WORD_MAX 12u /* punsubscribe */

static const struct {
    const char *name;
    struct pubsub_verb verb;
} verbs[] = {
    {"subscribe", {PUBSUB_CHANNEL, true}},  {"unsubscribe", {PUBSUB_CHANNEL, false}},
    {"psubscribe", {PUBSUB_PATTERN, true}}, {"punsubscribe", {PUBSUB_PATTERN, false}},
    {"ssubscribe", {PUBSUB_SHARD, true}},   {"sunsubscribe", {PUBSUB_SHARD, false}},
};

bool pubsub_verb(struct slice name, struct pubsub_verb *out)
{
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        if (slice_eq(name, slice_str(verbs[i].name))) {
            *out = verbs[i].verb;
            return true;
        }
    }
    return false;
}

/* Bytes still to be read. */
struct rest {
    const char *p, *end;
};

enum got { GOT, GOT_PART, GOT_ELSE };

/* A line that begins with that type and holds a canonical number of nine digits at most. */
static enum got number(struct rest *r, char type, uint32_t *out)
{
    const char *p = r->p;
    uint32_t n = 0;
    unsigned digits = 0;
    if (p < r->end && *p != type) {
        return GOT_ELSE;
    }
    for (p += p < r->end; p < r->end && *p >= '0' && *p <= '9'; p++) {
        if (++digits > 9 || (digits == 2 && n == 0)) {
            return GOT_ELSE;
        }
        n = n * 10 + (uint32_t)(*p - '0');
    }
    if (r->end - p >= 1 && (*p != '\r' || digits == 0)) {
        return GOT_ELSE;
    }
    if (r->end - p >= 2 && p[1] != '\n') {
        return GOT_ELSE;
    }
    if (r->end - p < 2) {
        return GOT_PART;
    }
    r->p = p + 2;
    *out = n;
    return GOT;
}

static enum got bulk(struct rest *r, size_t most, struct slice *out)
{
    uint32_t n = 0;
    enum got got = number(r, '$', &n);
    if (got != GOT) {
        return got;
    }
    if (n > most) {
        return GOT_ELSE;
    }
    if ((size_t)(r->end - r->p) < (size_t)n + 2) {
        return GOT_PART;
    }
    *out = slice_of(r->p, n);
    r->p += (size_t)n + 2;
    return GOT;
}

static bool is_message(struct slice word)
{
    return slice_eq(word, slice_str("message")) || slice_eq(word, slice_str("pmessage")) ||
           slice_eq(word, slice_str("smessage"));
}

/* The header and the word of an array or push of `*elements`, 3 or 4. */
static enum got begin(struct rest *r, uint32_t *elements, struct slice *word)
{
    if (r->p == r->end) {
        return GOT_PART;
    }
    char type = *r->p;
    if (type != '*' && type != '>') {
        return GOT_ELSE;
    }
    enum got got = number(r, type, elements);
    if (got == GOT && *elements != 3 && *elements != 4) {
        return GOT_ELSE;
    }
    return got == GOT ? bulk(r, WORD_MAX, word) : got;
}

enum pubsub_what pubsub_look(struct slice begun, struct pubsub_verb *verb)
{
    struct rest r = {begun.p, begun.p + begun.n};
    uint32_t elements = 0;
    struct slice word;
    switch (begin(&r, &elements, &word)) {
    case GOT_PART: return PUBSUB_UNSURE;
    case GOT_ELSE: return PUBSUB_OTHER;
    case GOT: break;
    }
    if (elements == (word.n > 0 && word.p[0] == 'p' ? 4 : 3) && is_message(word)) {
        return PUBSUB_MESSAGE;
    }
    return elements == 3 && pubsub_verb(word, verb) ? PUBSUB_CONFIRMED : PUBSUB_OTHER;
}

/* "+1795265335.214416 [" */
enum pubsub_what monitor_look(struct slice begun)
{
    static const char pattern[] = ".dddddd [";
    size_t at = 1;
    if (begun.n > 0 && begun.p[0] != '+') {
        return PUBSUB_OTHER;
    }
    while (at < begun.n && at < WORD_MAX && begun.p[at] >= '0' && begun.p[at] <= '9') {
        at++;
    }
    if (at == 1 && begun.n > 1) {
        return PUBSUB_OTHER;
    }
    for (size_t i = 0; i < sizeof pattern - 1; i++, at++) {
        if (at >= begun.n) {
            return PUBSUB_UNSURE;
        }
        char c = begun.p[at];
        if (pattern[i] == 'd' ? c < '0' || c > '9' : c != pattern[i]) {
            return PUBSUB_OTHER;
        }
    }
    return PUBSUB_MESSAGE;
}

static bool skip(struct rest *r, const char *text)
{
    size_t n = strlen(text);
    bool is = (size_t)(r->end - r->p) >= n && memcmp(r->p, text, n) == 0;
    r->p += is ? n : 0;
    return is;
}

bool pubsub_confirmation(struct slice reply, struct confirmation *out)
{
    struct rest r = {reply.p, reply.p + reply.n};
    uint32_t elements = 0;
    struct slice word;
    *out = (struct confirmation){0};
    if (begin(&r, &elements, &word) != GOT || elements != 3 || !pubsub_verb(word, &out->verb)) {
        return false;
    }
    out->named = !skip(&r, "$-1\r\n") && !skip(&r, "_\r\n");
    if (out->named && bulk(&r, reply.n, &out->name) != GOT) {
        return false;
    }
    return number(&r, ':', &out->count) == GOT && r.p == r.end && (out->named || !out->verb.on);
}

/* Channels and patterns are counted together. */
static uint32_t counted_with(const struct pubsub_counts *c, enum pubsub_kind kind)
{
    return kind == PUBSUB_SHARD ? c->of[PUBSUB_SHARD]
                                : c->of[PUBSUB_CHANNEL] + c->of[PUBSUB_PATTERN];
}

bool pubsub_count(struct pubsub_counts *c, const struct confirmation *what)
{
    uint32_t *own = &c->of[what->verb.kind];
    uint32_t before = counted_with(c, what->verb.kind);
    if (what->count == before) {
        return true; /* there already, or not there */
    }
    if (what->verb.on ? what->count != before + 1 : *own == 0 || what->count != before - 1) {
        return false;
    }
    *own = what->verb.on ? *own + 1 : *own - 1;
    return true;
}

uint32_t pubsub_expected(const struct pubsub_counts *c, struct pubsub_verb verb, uint32_t names)
{
    if (names > 0) {
        return names;
    }
    return c->of[verb.kind] > 1 ? c->of[verb.kind] : 1;
}
