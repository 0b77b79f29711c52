#include "tests/bench/load_work.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const mix_names[MIX_COUNT] = {"get", "set",    "mix90",  "many",
                                                 "tx",  "select", "publish"};

const char work_subscribe[] = "*2\r\n$9\r\nSUBSCRIBE\r\n$5\r\nbench\r\n";

#define HEAD(text)                                                                                 \
    {                                                                                              \
        .head = (text), .head_size = sizeof(text) - 1                                              \
    }

static const struct reply reply_ok = HEAD("+OK\r\n");
static const struct reply reply_queued = HEAD("+QUEUED\r\n");
static const struct reply reply_value = {.head = "", .bulks = 1};
static const struct reply reply_values = {.head = "*10\r\n", .head_size = 5, .bulks = WORK_MANY};
static const struct reply reply_exec = {.head = "*2\r\n+OK\r\n", .head_size = 9, .bulks = 1};

bool work_mix_named(const char *name, enum work_mix *mix)
{
    for (int i = 0; i < MIX_COUNT; i++) {
        if (strcmp(name, mix_names[i]) == 0) {
            *mix = (enum work_mix)i;
            return true;
        }
    }
    return false;
}

static struct reply count_reply(uint32_t readers)
{
    static char text[16];
    int size = snprintf(text, sizeof(text), ":%u\r\n", readers);
    return (struct reply){.head = text, .head_size = (uint32_t)size};
}

void work_init(struct work *w, enum work_mix mix, uint32_t keys, size_t size, uint32_t readers)
{
    *w = (struct work){.mix = mix, .keys = keys, .size = size, .seed = 88172645463325252ULL};
    w->padding = malloc(size + 2);
    w->digits = malloc(keys * sizeof(*w->digits));
    if (w->padding == NULL || w->digits == NULL) {
        abort();
    }
    memset(w->padding, 'x', size);
    memcpy(w->padding + size - WORK_VALUE_MIN, "\r\n", 2);
    for (uint32_t i = 0; i < keys; i++) {
        char text[16];
        (void)snprintf(text, sizeof(text), "%08u", i);
        memcpy(w->digits[i], text, WORK_VALUE_MIN);
    }
    int head = snprintf(w->bulk_head, sizeof(w->bulk_head), "$%zu\r\n", size);
    w->bulk_head_size = (uint32_t)head;
    w->published = count_reply(readers);
    w->subscribed = (struct reply)HEAD("*3\r\n$9\r\nsubscribe\r\n$5\r\nbench\r\n:1\r\n");
    w->message = (struct reply)HEAD("*3\r\n$7\r\nmessage\r\n$5\r\nbench\r\n");
    w->message.bulks = 1;
}

void work_free(struct work *w)
{
    free(w->padding);
    free(w->digits);
}

size_t work_unit_size(const struct work *w)
{
    size_t argument = w->size + 64;
    return 256 + argument * (w->mix == MIX_MANY ? WORK_MANY : 1);
}

/* xorshift64: cheap, and the same choices in every run. */
static uint32_t choose(struct work *w, uint32_t below)
{
    w->seed ^= w->seed << 13;
    w->seed ^= w->seed >> 7;
    w->seed ^= w->seed << 17;
    return (uint32_t)((w->seed >> 32) * below >> 32);
}

static char *put(char *out, const char *text, size_t size)
{
    memcpy(out, text, size);
    return out + size;
}

#define PUT(out, text) put((out), (text), sizeof(text) - 1)

static char *put_key(const struct work *w, char *out, uint32_t key)
{
    out = PUT(out, "$12\r\nkey:");
    out = put(out, w->digits[key], WORK_VALUE_MIN);
    return PUT(out, "\r\n");
}

static char *put_value(const struct work *w, char *out, uint32_t key)
{
    out = put(out, w->bulk_head, w->bulk_head_size);
    out = put(out, w->digits[key], WORK_VALUE_MIN);
    return put(out, w->padding, w->size - WORK_VALUE_MIN + 2);
}

static char *put_get(const struct work *w, char *out, uint32_t key)
{
    return put_key(w, PUT(out, "*2\r\n$3\r\nGET\r\n"), key);
}

static char *put_set(const struct work *w, char *out, uint32_t key)
{
    return put_value(w, put_key(w, PUT(out, "*3\r\n$3\r\nSET\r\n"), key), key);
}

static char *put_mget(const struct work *w, char *out, uint32_t key)
{
    out = PUT(out, "*11\r\n$4\r\nMGET\r\n");
    for (uint32_t i = 0; i < WORK_MANY; i++) {
        out = put_key(w, out, key + i);
    }
    return out;
}

static char *put_mset(const struct work *w, char *out, uint32_t key)
{
    out = PUT(out, "*21\r\n$4\r\nMSET\r\n");
    for (uint32_t i = 0; i < WORK_MANY; i++) {
        out = put_value(w, put_key(w, out, key + i), key + i);
    }
    return out;
}

static char *put_publish(const struct work *w, char *out)
{
    return put_value(w, PUT(out, "*3\r\n$7\r\nPUBLISH\r\n$5\r\nbench\r\n"), 0);
}

static char *put_select(char *out, bool first)
{
    return first ? PUT(out, "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n")
                 : PUT(out, "*2\r\n$6\r\nSELECT\r\n$1\r\n1\r\n");
}

static struct reply of(struct reply reply, uint32_t key)
{
    reply.key = key;
    return reply;
}

static char *put_transaction(const struct work *w, char *out, uint32_t key, struct reply *replies)
{
    out = PUT(out, "*1\r\n$5\r\nMULTI\r\n");
    out = put_get(w, put_set(w, out, key), key);
    replies[0] = reply_ok;
    replies[1] = reply_queued;
    replies[2] = reply_queued;
    replies[3] = of(reply_exec, key);
    return PUT(out, "*1\r\n$4\r\nEXEC\r\n");
}

size_t work_unit(struct work *w, char *out, struct reply *replies, uint32_t *count)
{
    char *end = out;
    uint32_t dice = choose(w, 100);
    uint32_t key = choose(w, w->keys - WORK_MANY);
    *count = 1;
    replies[0] = of(reply_value, key);
    if (w->mix == MIX_SET || (w->mix == MIX_90 && dice < 10)) {
        replies[0] = reply_ok;
        end = put_set(w, out, key);
    } else if (w->mix == MIX_MANY) {
        replies[0] = dice < 50 ? reply_ok : of(reply_values, key);
        end = dice < 50 ? put_mset(w, out, key) : put_mget(w, out, key);
    } else if (w->mix == MIX_TX && dice < 10) {
        *count = 4;
        end = put_transaction(w, out, key, replies);
    } else if (w->mix == MIX_SELECT) {
        *count = 2;
        replies[0] = reply_ok;
        replies[1] = of(reply_value, key);
        end = put_get(w, put_select(out, dice < 50), key);
    } else if (w->mix == MIX_PUBLISH) {
        replies[0] = w->published;
        end = put_publish(w, out);
    } else {
        end = put_get(w, out, key);
    }
    return (size_t)(end - out);
}

/* A stretch of a reply, and what it must be; text NULL: padding, which is not looked at. */
struct stretch {
    const char *text;
    size_t size;
};

/* The stretch that byte `at` of the reply lies in; *at becomes its place in there. */
static struct stretch stretch_at(const struct work *w, const struct reply *reply, size_t *at)
{
    if (*at < reply->head_size) {
        return (struct stretch){reply->head, reply->head_size};
    }
    size_t bulk = w->bulk_head_size + w->size + 2;
    size_t in = *at - reply->head_size;
    const char *digits = w->digits[reply->key + in / bulk];
    struct stretch parts[] = {{w->bulk_head, w->bulk_head_size},
                              {digits, WORK_VALUE_MIN},
                              {NULL, w->size - WORK_VALUE_MIN},
                              {"\r\n", 2}};
    size_t i = 0;
    for (in %= bulk; in >= parts[i].size; i++) {
        in -= parts[i].size;
    }
    *at = in;
    return parts[i];
}

enum match work_match(const struct work *w, const struct reply *reply, size_t *at, const char *data,
                      size_t size, size_t *used)
{
    size_t bulk = w->bulk_head_size + w->size + 2;
    size_t whole = reply->head_size + reply->bulks * bulk;
    for (*used = 0; *at < whole && *used < size;) {
        size_t in = *at;
        struct stretch stretch = stretch_at(w, reply, &in);
        size_t take = stretch.size - in;
        if (take > size - *used) {
            take = size - *used;
        }
        if (stretch.text != NULL && memcmp(data + *used, stretch.text + in, take) != 0) {
            return MATCH_WRONG;
        }
        *at += take;
        *used += take;
    }
    return *at == whole ? MATCH_WHOLE : MATCH_PART;
}
