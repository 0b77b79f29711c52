/* Private to what looks at names in requests: how those of commands are found. A sub-command is
 * kept as "name|sub"; clients write names in any case. */
#ifndef VEDETTE_PROXY_COMMAND_NAME_H
#define VEDETTE_PROXY_COMMAND_NAME_H

#include <string.h>

#include "proxy/base/limits.h"
#include "proxy/base/slice.h"

static inline unsigned char command_name_lower(char c)
{
    unsigned char u = (unsigned char)c;
    return u >= 'A' && u <= 'Z' ? (unsigned char)(u | 0x20) : u;
}

static inline uint32_t command_name_hash_more(uint32_t hash, struct slice bytes)
{
    for (size_t i = 0; i < bytes.n; i++) {
        hash = (hash ^ command_name_lower(bytes.p[i])) * 16777619u; /* FNV-1a */
    }
    return hash;
}

/* Of name, or of "name|sub" where sub is not NULL. */
static inline uint32_t command_name_hash(struct slice name, const struct slice *sub)
{
    uint32_t hash = command_name_hash_more(2166136261u, name);
    if (sub != NULL) {
        hash = command_name_hash_more(command_name_hash_more(hash, slice_of("|", 1)), *sub);
    }
    return hash ^ hash >> 16;
}

static inline bool command_name_same(const char *own, struct slice bytes)
{
    for (size_t i = 0; i < bytes.n; i++) {
        if ((unsigned char)own[i] != command_name_lower(bytes.p[i])) {
            return false;
        }
    }
    return true;
}

/* True if own, in lower case, is name alone, or "name|sub" where sub is not NULL. A bar in what a
 * client sent is no separator. */
static inline bool command_name_is(struct slice own, struct slice name, const struct slice *sub)
{
    if (sub == NULL) {
        return own.n == name.n && command_name_same(own.p, name) &&
               memchr(own.p, '|', own.n) == NULL;
    }
    return own.n == name.n + 1 + sub->n && own.p[name.n] == '|' && command_name_same(own.p, name) &&
           command_name_same(own.p + name.n + 1, *sub);
}

/* Redis compares names as strings of C, up to a NUL, once their hashes have led to the same place:
 * one with more behind it may be taken for the name before it, or not. */
static inline bool command_name_has_nul(struct slice name)
{
    return name.n > 0 && memchr(name.p, '\0', name.n) != NULL;
}

static inline struct slice command_name_until_nul(struct slice name)
{
    return command_name_has_nul(name)
               ? slice_of(name.p, (size_t)((const char *)memchr(name.p, '\0', name.n) - name.p))
               : name;
}

/* Takes "name|sub" apart; false where it is a name alone. */
static inline bool command_name_split(struct slice whole, struct slice *name, struct slice *sub)
{
    const char *bar = memchr(whole.p, '|', whole.n);
    *name = bar == NULL ? whole : slice_of(whole.p, (size_t)(bar - whole.p));
    *sub = bar == NULL ? (struct slice){0} : slice_of(bar + 1, whole.n - name->n - 1);
    return bar != NULL;
}

#endif
