#include "proxy/script_cache.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"

/* Of all bytes, eight at a time: bodies that differ in a number somewhere are many. */
static uint64_t hash_of(struct slice body)
{
    uint64_t hash = body.n * 0x9e3779b97f4a7c15u, word;
    size_t i = 0;
    for (; i + sizeof word <= body.n; i += sizeof word) {
        memcpy(&word, body.p + i, sizeof word);
        hash = (hash ^ word) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
    }
    word = 0;
    memcpy(&word, body.p + i, body.n - i);
    hash = (hash ^ word) * 0xc4ceb9fe1a85ec53u;
    return hash ^ (hash >> 29);
}

struct script *script_new(struct slice body, bool loaded)
{
    struct script *script = xcalloc(1, sizeof *script + body.n);
    if (!sha1_hex(body, script->sha)) {
        free(script);
        return NULL;
    }
    atomic_init(&script->refs, 1);
    script->loaded = loaded;
    script->hash = hash_of(body);
    script->len = body.n;
    memcpy(script->body, body.p, body.n);
    return script;
}

struct script *script_ref(struct script *script)
{
    atomic_fetch_add_explicit(&script->refs, 1, memory_order_relaxed);
    return script;
}

void script_unref(struct script **where)
{
    struct script *script = *where;
    *where = NULL;
    if (script != NULL && atomic_fetch_sub_explicit(&script->refs, 1, memory_order_acq_rel) == 1) {
        free(script);
    }
}

#define GENERATION_BITS 16u /* enough to tell a primary from those a moment before */

static void note(struct script *script, uint64_t found)
{
    uint64_t last = atomic_load_explicit(&script->absent, memory_order_relaxed);
    while (last < found &&
           !atomic_compare_exchange_weak_explicit(&script->absent, &last, found,
                                                  memory_order_relaxed, memory_order_relaxed)) {
    }
}

void script_note_absent(struct script *script, uint64_t generation, uint64_t read_us)
{
    uint64_t mask = (1u << GENERATION_BITS) - 1;
    note(script, read_us << GENERATION_BITS | (generation & mask));
}

bool script_was_absent(const struct script *script, uint64_t generation, uint64_t since_us)
{
    uint64_t mask = (1u << GENERATION_BITS) - 1;
    uint64_t found = atomic_load_explicit(&script->absent, memory_order_relaxed);
    return (found & mask) == (generation & mask) && found >> GENERATION_BITS > since_us;
}

static unsigned digit(char c)
{
    return (unsigned)(c >= 'a' ? c - 'a' + 10 : c - '0');
}

static struct script_entry **by_hash(const struct script_cache *c, uint64_t hash)
{
    return &c->by_hash[hash % SCRIPT_BUCKETS];
}

static struct script_entry **by_sha(const struct script_cache *c, const char *sha)
{
    unsigned first = digit(sha[0]) << 8 | digit(sha[1]) << 4 | digit(sha[2]);
    return &c->by_sha[first % SCRIPT_BUCKETS];
}

bool script_cache_has(const struct script_cache *c, struct slice body, bool loaded)
{
    if (c->by_hash == NULL) {
        return false;
    }
    uint64_t hash = hash_of(body);
    const struct script_entry *e = *by_hash(c, hash);
    while (e != NULL && (e->script->hash != hash || !slice_eq(script_body(e->script), body))) {
        e = e->same_hash;
    }
    return e != NULL && (e->script->loaded || !loaded);
}

static struct script_entry *find(const struct script_cache *c, const char sha[SHA1_HEX])
{
    struct script_entry *e = c->by_sha != NULL ? *by_sha(c, sha) : NULL;
    while (e != NULL && memcmp(e->script->sha, sha, SHA1_HEX) != 0) {
        e = e->same_sha;
    }
    return e;
}

struct script_entry *script_cache_find(const struct script_cache *c, struct slice sha)
{
    char lower[SHA1_HEX];
    if (sha.n != SHA1_HEX) {
        return NULL;
    }
    for (size_t i = 0; i < SHA1_HEX; i++) {
        bool upper = sha.p[i] >= 'A' && sha.p[i] <= 'F';
        lower[i] = (char)(upper ? sha.p[i] | 0x20 : sha.p[i]);
        if (!(lower[i] >= '0' && lower[i] <= '9') && !(lower[i] >= 'a' && lower[i] <= 'f')) {
            return NULL;
        }
    }
    return find(c, lower);
}

static void drop(struct script_cache *c, struct script_entry *e)
{
    struct script_entry **at = by_hash(c, e->script->hash);
    while (*at != e) {
        at = &(*at)->same_hash;
    }
    *at = e->same_hash;
    at = by_sha(c, e->script->sha);
    while (*at != e) {
        at = &(*at)->same_sha;
    }
    *at = e->same_sha;
    list_remove(&e->node);
    c->held -= e->script->len + SCRIPT_OVERHEAD;
    script_unref(&e->script);
    free(e);
}

static struct script_entry *oldest(const struct script_cache *c)
{
    struct list_node *n = c->seen.first != NULL ? c->seen.first : c->loaded.first;
    /* The analyzer takes it for the one dropped last. */
    return n == NULL ? NULL : CONTAINER_OF(n, struct script_entry, node); /* NOLINT */
}

void script_cache_add(struct script_cache *c, struct script *script)
{
    struct script_entry *known = find(c, script->sha);
    if (known != NULL && known->script->loaded == script->loaded &&
        (uintptr_t)script < (uintptr_t)known->script) {
        note(script, atomic_load_explicit(&known->script->absent, memory_order_relaxed));
        script_unref(&known->script);
        known->script = script;
        return;
    }
    if (script->len + SCRIPT_OVERHEAD > c->limit ||
        (known != NULL && (known->script->loaded || !script->loaded))) {
        script_unref(&script);
        return;
    }
    if (known != NULL) {
        drop(c, known);
    }
    if (c->by_hash == NULL) {
        c->by_hash = xcalloc(SCRIPT_BUCKETS, sizeof(struct script_entry *));
        c->by_sha = xcalloc(SCRIPT_BUCKETS, sizeof(struct script_entry *));
    }
    c->held += script->len + SCRIPT_OVERHEAD;
    while (c->held > c->limit) {
        struct script_entry *last = oldest(c);
        CHECK(last != NULL);
        drop(c, last);
    }
    struct script_entry *e = xcalloc(1, sizeof *e);
    e->script = script;
    struct script_entry **at = by_hash(c, script->hash);
    e->same_hash = *at;
    *at = e;
    at = by_sha(c, script->sha);
    e->same_sha = *at;
    *at = e;
    list_append(script->loaded ? &c->loaded : &c->seen, &e->node);
}

size_t script_cache_count(const struct script_cache *c)
{
    return c->loaded.count + c->seen.count;
}

void script_cache_clear(struct script_cache *c)
{
    for (struct script_entry *e = oldest(c); e != NULL; e = oldest(c)) {
        drop(c, e);
    }
    CHECK(c->held == 0);
    free(c->by_hash);
    free(c->by_sha);
    c->by_hash = c->by_sha = NULL;
}
