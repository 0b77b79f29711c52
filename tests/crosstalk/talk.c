#include "tests/crosstalk/talk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t talk_random(uint64_t *state)
{
    return mix((*state)++);
}

static uint32_t pick(struct talk *t, uint32_t below)
{
    return (uint32_t)(talk_random(&t->random) % below);
}

static void add_bulk_of(struct text *out, const char *data, size_t size)
{
    char head[32];
    int n = snprintf(head, sizeof(head), "$%zu\r\n", size);
    text_add(out, head, (size_t)n);
    text_add(out, data, size);
    text_add(out, "\r\n", 2);
}

static void add_value(struct text *out, const struct talk *t, uint32_t serial)
{
    char head[VALUE_HEAD + 1], length[32];
    size_t size = value_size(t->life, serial);
    int n = snprintf(length, sizeof(length), "$%zu\r\n", size);
    text_add(out, length, (size_t)n);
    text_add(out, head, value_head(head, t->life, t->db, serial));
    text_add(out, value_rest(t->life, t->db, serial), size - VALUE_HEAD);
    text_add(out, "\r\n", 2);
}

static struct want *add_want(struct wants *w, enum kind kind, const struct talk *t, uint32_t serial)
{
    if (w->count == w->capacity) {
        uint32_t capacity = w->capacity > 0 ? w->capacity * 2 : 16;
        struct want *items = calloc(capacity, sizeof(*items));
        if (items == NULL) {
            abort();
        }
        for (uint32_t i = 0; i < w->count; i++) {
            items[i] = w->items[(w->first + i) % w->capacity];
        }
        free(w->items);
        *w = (struct wants){items, 0, w->count, capacity};
    }
    struct want *want = &w->items[(w->first + w->count++) % w->capacity];
    *want = (struct want){.kind = kind, .db = t->db, .resp = t->resp, .serial = serial};
    return want;
}

/* A reply to what is asked now: at once, or inside that of EXEC. */
static struct want *owe(struct talk *t, enum kind kind, uint32_t serial)
{
    if (t->in_multi) {
        add_want(&t->owed, WANT_QUEUED, t, 0);
        return add_want(&t->block, kind, t, serial);
    }
    return add_want(&t->owed, kind, t, serial);
}

static void forget_block(struct talk *t)
{
    free(t->block.items);
    t->block = (struct wants){0};
    t->in_multi = t->watching = false;
}

static void add_head(struct text *out, unsigned count, const char *command)
{
    char head[16];
    int n = snprintf(head, sizeof(head), "*%u\r\n", count);
    text_add(out, head, (size_t)n);
    add_bulk_of(out, command, strlen(command));
}

static void add_word(struct text *out, const char *word)
{
    add_bulk_of(out, word, strlen(word));
}

static void add_key_of(struct text *out, uint64_t life, const char *name)
{
    char key[40];
    int n = snprintf(key, sizeof(key), "%016llx:%s", (unsigned long long)life, name);
    add_bulk_of(out, key, (size_t)n);
}

static void add_slot(struct text *out, const struct talk *t, unsigned slot)
{
    char name[] = {(char)('0' + slot), '\0'};
    add_key_of(out, t->life, name);
}

static void ask_echo(struct talk *t, struct text *out)
{
    char head[VALUE_HEAD + 1];
    uint32_t serial = ++t->serial, way = pick(t, 8);
    owe(t, WANT_ECHO, serial);
    if (value_size(t->life, serial) > 900 || way > 1 || t->in_multi) {
        add_head(out, 2, way % 2 != 0 ? "PING" : "ECHO");
        add_value(out, t, serial);
        return;
    }
    /* inline; with quotes it can't be shared */
    const char *quote = way == 0 ? "\"" : "";
    text_add(out, "ECHO ", 5);
    text_add(out, quote, strlen(quote));
    text_add(out, head, value_head(head, t->life, t->db, serial));
    text_add(out, value_rest(t->life, t->db, serial), value_size(t->life, serial) - VALUE_HEAD);
    text_add(out, quote, strlen(quote));
    text_add(out, "\r\n", 2);
}

static void ask_get(struct talk *t, struct text *out)
{
    uint32_t slot = pick(t, TALK_SLOTS);
    bool length = pick(t, 5) == 0;
    owe(t, length ? WANT_STRLEN : WANT_GET, 0)->slot = (uint8_t)slot;
    add_head(out, 2, length ? "STRLEN" : "GET");
    add_slot(out, t, slot);
}

static void ask_mget(struct talk *t, struct text *out)
{
    owe(t, WANT_MGET, 0);
    add_head(out, 1 + TALK_SLOTS, "MGET");
    for (unsigned slot = 0; slot < TALK_SLOTS; slot++) {
        add_slot(out, t, slot);
    }
}

static void ask_set(struct talk *t, struct text *out)
{
    uint32_t slot = pick(t, TALK_SLOTS);
    owe(t, WANT_SET, ++t->serial)->slot = (uint8_t)slot;
    add_head(out, 5, "SET");
    add_slot(out, t, slot);
    add_value(out, t, t->serial);
    add_word(out, "EX");
    add_word(out, "600");
}

static void ask_mset(struct talk *t, struct text *out)
{
    owe(t, WANT_MSET, ++t->serial);
    add_head(out, 1 + 2 * TALK_SLOTS, "MSET");
    for (unsigned slot = 0; slot < TALK_SLOTS; slot++) {
        add_slot(out, t, slot);
        add_value(out, t, t->serial);
    }
}

uint64_t talk_step(const struct talk *t)
{
    return (t->life << 20) + 1048573;
}

static void ask_incr(struct talk *t, struct text *out)
{
    char number[24];
    (void)snprintf(number, sizeof(number), "%llu", (unsigned long long)talk_step(t));
    owe(t, WANT_INCR, 0);
    add_head(out, 3, "INCRBY");
    add_key_of(out, t->life, "n");
    add_word(out, number);
}

static void ask_hash(struct talk *t, struct text *out)
{
    if (pick(t, 3) > 0) {
        owe(t, WANT_HGETALL, 0);
        add_head(out, 2, "HGETALL");
        add_key_of(out, t->life, "h");
        return;
    }
    owe(t, WANT_HSET, 0);
    add_head(out, 6, "HSET");
    add_key_of(out, t->life, "h");
    for (uint32_t serial = 1; serial <= 2; serial++) {
        add_word(out, serial == 1 ? "a" : "b");
        add_value(out, t, serial);
    }
}

/* What is pushed is popped by a command that may block. */
static void ask_queue(struct talk *t, struct text *out)
{
    if (t->in_multi) {
        return;
    }
    owe(t, WANT_PUSHED, ++t->serial);
    add_head(out, 3, "RPUSH");
    add_key_of(out, t->life, "q");
    add_value(out, t, t->serial);
    owe(t, WANT_POPPED, t->serial);
    add_head(out, 3, "BLPOP");
    add_key_of(out, t->life, "q");
    add_word(out, "0.3");
}

static void ask_nosuch(struct talk *t, struct text *out)
{
    char name[24];
    if (t->in_multi) {
        return; /* it would spoil the block */
    }
    owe(t, WANT_NOSUCH, ++t->serial);
    (void)snprintf(name, sizeof(name), "NOSUCH%08x", t->serial);
    add_head(out, 2, name);
    add_key_of(out, t->life, "x");
}

static void ask_eval(struct talk *t, struct text *out)
{
    t->serial += 2;
    owe(t, WANT_EVAL, t->serial);
    add_head(out, 5, "EVAL");
    add_word(out, "return {ARGV[1], ARGV[2]}");
    add_word(out, "0");
    add_value(out, t, t->serial - 1);
    add_value(out, t, t->serial);
}

static void ask_select(struct talk *t, struct text *out)
{
    if (t->in_multi && t->shaken) {
        return; /* such a session is closed when its connection is lost */
    }
    char number[] = {(char)('0' + pick(t, TALK_DATABASES)), '\0'};
    bool there = !t->in_multi && t->db == number[0] - '0'; /* others may be sent behind it */
    owe(t, there ? WANT_SAID : WANT_OK, 0);
    add_head(out, 2, "SELECT");
    add_word(out, number);
    t->db = (uint8_t)(number[0] - '0');
}

static void ask_hello(struct talk *t, struct text *out)
{
    if (t->in_multi) {
        return;
    }
    t->resp = (uint8_t)(2 + pick(t, 2));
    owe(t, WANT_HELLO, 0);
    add_head(out, 2, "HELLO");
    add_word(out, t->resp == 2 ? "2" : "3");
}

static void ask_name(struct talk *t, struct text *out)
{
    if (t->in_multi) {
        return;
    }
    bool give = pick(t, 2) == 0;
    owe(t, give ? WANT_OK : WANT_NAME, t->named);
    add_head(out, give ? 3 : 2, "CLIENT");
    add_word(out, give ? "SETNAME" : "GETNAME");
    if (give) {
        add_key_of(out, t->life, "name");
        t->named = true;
    }
}

static void ask_reset(struct talk *t, struct text *out)
{
    if (pick(t, 2) == 0 && !t->in_multi) {
        owe(t, WANT_ID, 0); /* what has its own connection, until */
        add_head(out, 2, "CLIENT");
        add_word(out, "ID");
        return;
    }
    forget_block(t);
    owe(t, WANT_RESET, 0);
    add_head(out, 1, "RESET");
    t->db = 0;
    t->resp = 2;
    t->named = false;
}

static void ask_multi(struct talk *t, struct text *out)
{
    if (t->in_multi) {
        return;
    }
    if (pick(t, 4) == 0) {
        owe(t, WANT_SAID, 0);
        add_head(out, 2, "WATCH");
        add_slot(out, t, pick(t, TALK_SLOTS));
        t->watching = true;
    }
    owe(t, WANT_OK, 0);
    add_head(out, 1, "MULTI");
    t->in_multi = true;
    t->database_before = t->db;
}

static void ask_exec(struct talk *t, struct text *out)
{
    t->in_multi = false;
    if (pick(t, 6) == 0) {
        owe(t, WANT_OK, 0);
        add_head(out, 1, "DISCARD");
        t->db = t->database_before; /* a SELECT in it did not run */
    } else {
        struct want *w = owe(t, t->watching ? WANT_EXEC_WATCHED : WANT_EXEC, 0);
        add_head(out, 1, "EXEC");
        w->list = t->block.items; /* from its first on: nothing is ever taken out */
        w->count = t->block.count;
        t->block = (struct wants){0};
    }
    forget_block(t);
}

static void ask_unlink(struct talk *t, struct text *out)
{
    static const char *const names[] = {"0", "1", "2", "3", "n", "h", "q"};
    char number[] = {(char)('0' + t->cleaned++), '\0'};
    owe(t, t->db == number[0] - '0' ? WANT_SAID : WANT_OK, 0);
    t->db = (uint8_t)(number[0] - '0');
    add_head(out, 2, "SELECT");
    add_word(out, number);
    owe(t, WANT_UNLINKED, 0);
    add_head(out, 1 + sizeof(names) / sizeof(*names), "UNLINK");
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        add_key_of(out, t->cleaning, names[i]);
    }
}

static const struct {
    void (*ask)(struct talk *t, struct text *out);
    uint32_t weight;
} questions[] = {
    {ask_echo, 25}, {ask_get, 25},  {ask_set, 18},  {ask_incr, 10},  {ask_mget, 4},
    {ask_hash, 6},  {ask_mset, 1},  {ask_eval, 3},  {ask_multi, 2},  {ask_select, 3},
    {ask_name, 2},  {ask_queue, 1}, {ask_hello, 1}, {ask_nosuch, 1}, {ask_reset, 1},
};

void talk_ask(struct talk *t, struct text *out)
{
    if (t->cleaning != 0 && t->cleaned < TALK_DATABASES) {
        ask_unlink(t, out);
        return;
    }
    if (t->in_multi && pick(t, 5) == 0) {
        ask_exec(t, out);
        return;
    }
    uint32_t sum = 0, at = 0;
    for (size_t i = 0; i < sizeof(questions) / sizeof(*questions); i++) {
        sum += questions[i].weight;
    }
    for (uint32_t chosen = pick(t, sum); chosen >= questions[at].weight; at++) {
        chosen -= questions[at].weight;
    }
    questions[at].ask(t, out);
}

void talk_begin(struct talk *t, uint64_t life, uint64_t before, uint64_t seed, bool shaken)
{
    *t = (struct talk){.life = life, .random = mix(seed ^ mix(life)), .shaken = shaken};
    t->resp = 2;
    t->serial = 2; /* the hash has the first two */
    t->cleaning = before;
}

void talk_end(struct talk *t)
{
    for (uint32_t i = 0; i < t->owed.count; i++) {
        free(t->owed.items[(t->owed.first + i) % t->owed.capacity].list);
    }
    free(t->owed.items);
    free(t->block.items);
}
