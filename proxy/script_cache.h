/* The bodies of scripts that a server has accepted, found by their bytes and by their SHA1. Each
 * worker has a cache of its own for each service; the bodies are shared by all and never change. */
#ifndef VEDETTE_PROXY_SCRIPT_CACHE_H
#define VEDETTE_PROXY_SCRIPT_CACHE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "proxy/base/list.h"
#include "proxy/base/slice.h"
#include "proxy/net/sha1.h"

struct script {
    _Atomic uint32_t refs;
    _Atomic uint64_t absent; /* see script_note_absent */
    bool loaded;             /* by SCRIPT LOAD, not just seen in EVAL */
    uint64_t hash;
    char sha[SHA1_HEX];
    size_t len;
    char body[];
};

/* NULL where SHA1 is not to be had. */
struct script *script_new(struct slice body, bool loaded);
struct script *script_ref(struct script *script);
/* Sets *where to NULL; it may be. */
void script_unref(struct script **where);
static inline struct slice script_body(const struct script *script)
{
    return slice_of(script->body, script->len);
}

/* The primary of that generation was found without it, by whichever worker, or has it since it was
 * found without; and that was read at this time of clock_us. Of several such times the latest
 * counts. */
void script_note_absent(struct script *script, uint64_t generation, uint64_t read_us);
/* True if that was read behind that time. */
bool script_was_absent(const struct script *script, uint64_t generation,
                       uint64_t since_us) NODISCARD;

struct script_entry {
    struct list_node node; /* among those kept, by age */
    struct script_entry *same_hash, *same_sha;
    struct script *script;
};

/* Counted for each body besides its bytes. */
#define SCRIPT_OVERHEAD 256u
#define SCRIPT_BUCKETS  1024u

/* Zero-initialised but for the limit is empty. */
struct script_cache {
    uint64_t limit, held; /* bytes */
    struct list loaded, seen;
    struct script_entry **by_hash, **by_sha; /* SCRIPT_BUCKETS each; NULL while nothing was kept */
};

/* True if that body is kept, as loaded if that is asked for. */
bool script_cache_has(const struct script_cache *c, struct slice body, bool loaded) NODISCARD;
/* By SHA1 in hex of any case; NULL: not kept. */
struct script_entry *script_cache_find(const struct script_cache *c, struct slice sha) NODISCARD;
/* Takes over the reference. Past the limit the oldest are dropped: those only seen before those
 * that were loaded. A body too large for the limit is not kept. Of two copies, as two workers made
 * them, all that are given both keep the same one. */
void script_cache_add(struct script_cache *c, struct script *script);
/* How many are kept. */
size_t script_cache_count(const struct script_cache *c);
/* Forgets all of it. */
void script_cache_clear(struct script_cache *c);

#endif
