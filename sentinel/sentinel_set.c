#include "sentinel/sentinel_set.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/limits.h"
#include "proxy/base/log.h"

struct member {
    struct sentinel *sentinel;
    bool configured;
    uint64_t told_ms; /* when it was last configured or told of */
};

struct sentinel_set {
    const struct sentinel_group *group;
    struct names *names;
    struct member member[SENTINELS_MAX];
    size_t count;
    bool full_told;
};

static struct member *find(struct sentinel_set *set, const struct sockaddr_any *at)
{
    for (size_t i = 0; i < set->count; i++) {
        if (sockaddr_eq(sentinel_at(set->member[i].sentinel), at)) {
            return &set->member[i];
        }
    }
    return NULL;
}

static bool up(const struct member *m)
{
    return sentinel_state(m->sentinel) == SENTINEL_UP;
}

/* True if another member that is up has this id. */
static bool id_is_up(const struct sentinel_set *set, const struct member *but, const char *id)
{
    for (size_t i = 0; i < set->count; i++) {
        const struct member *m = &set->member[i];
        if (m != but && up(m) && strcmp(sentinel_id(m->sentinel), id) == 0) {
            return true;
        }
    }
    return false;
}

static void drop(struct sentinel_set *set, struct member *m, const char *reason)
{
    struct addr numeric = {0};
    char text[ADDR_TEXT_MAX];
    (void)sockaddr_to_addr(sentinel_at(m->sentinel), &numeric); /* only v4 and v6 come in */
    log_info("sentinel-dropped", "sentinel=%s reason=\"%s\"", addr_text(&numeric, text), reason);
    sentinel_free(&m->sentinel);
    *m = set->member[--set->count];
}

/* Makes room for one more by dropping a learnt one that is not up. */
static bool make_room(struct sentinel_set *set)
{
    for (size_t i = set->count; set->count == SENTINELS_MAX && i-- > 0;) {
        if (!set->member[i].configured && !up(&set->member[i])) {
            drop(set, &set->member[i], "room for another");
        }
    }
    if (set->count == SENTINELS_MAX && !set->full_told) {
        set->full_told = true;
        log_warning("sentinels-too-many", "limit=%u", (unsigned)SENTINELS_MAX);
    }
    return set->count < SENTINELS_MAX;
}

static void add(struct sentinel_set *set, const struct sockaddr_any *at, const struct addr *name,
                bool configured)
{
    struct member *m = find(set, at);
    if (m == NULL) {
        if (!make_room(set)) {
            return;
        }
        m = &set->member[set->count++];
        *m = (struct member){.sentinel = sentinel_new(set->group, at, name)};
    }
    m->configured = m->configured || configured;
    m->told_ms = clock_ms();
}

struct sentinel_set *sentinel_set_new(const struct sentinel_group *group, struct names *names)
{
    struct sentinel_set *set = xcalloc(1, sizeof *set);
    set->group = group;
    set->names = names;
    return set;
}

void sentinel_set_free(struct sentinel_set **set)
{
    struct sentinel_set *left = *set;
    *set = NULL;
    for (size_t i = 0; i < left->count; i++) {
        sentinel_free(&left->member[i].sentinel);
    }
    free(left);
}

static void add_configured(struct sentinel_set *set)
{
    const struct config_addrs *configured = &set->group->config->address;
    bool resolved = true;
    for (size_t i = 0; i < configured->count; i++) {
        struct sockaddr_any at[RESOLVE_MAX];
        resolved = names_all(set->names, &configured->v[i], at) > 0 && resolved;
    }
    /* One that a name does not lead to any more goes the way of learnt ones. */
    for (size_t i = 0; resolved && i < set->count; i++) {
        set->member[i].configured = false;
    }
    for (size_t i = 0; i < configured->count; i++) {
        struct sockaddr_any at[RESOLVE_MAX];
        size_t count = names_all(set->names, &configured->v[i], at);
        for (size_t k = 0; k < count; k++) {
            add(set, &at[k], &configured->v[i], true);
        }
    }
}

void sentinel_set_refresh(struct sentinel_set *set)
{
    uint64_t now = clock_ms();
    add_configured(set);
    for (size_t i = set->count; i-- > 0;) {
        struct member *m = &set->member[i];
        if (m->configured) {
            continue;
        }
        if (!up(m) && m->told_ms + SENTINEL_FORGET_MS < now) {
            drop(set, m, "neither reached nor told of");
        } else if (up(m) && id_is_up(set, m, sentinel_id(m->sentinel))) {
            drop(set, m, "the same Sentinel by another address");
        }
    }
}

void sentinel_set_learn(struct sentinel_set *set, const struct sentinel_peer *peers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct sockaddr_any at;
        if (!names_one(set->names, &peers[i].addr, &at)) {
            continue;
        }
        if (find(set, &at) == NULL && (peers[i].id[0] == '\0' || id_is_up(set, NULL, peers[i].id) ||
                                       (peers[i].down && set->count == SENTINELS_MAX))) {
            continue;
        }
        add(set, &at, &peers[i].addr, false);
    }
}

size_t sentinel_set_count(const struct sentinel_set *set)
{
    return set->count;
}

struct sentinel *sentinel_set_at(const struct sentinel_set *set, size_t i)
{
    CHECK(i < set->count);
    return set->member[i].sentinel;
}

size_t sentinel_set_pending(const struct sentinel_set *set)
{
    const struct config_addrs *configured = &set->group->config->address;
    size_t pending = 0;
    for (size_t i = 0; i < configured->count; i++) {
        pending += names_pending(set->names, &configured->v[i]) ? 1 : 0;
    }
    for (size_t i = 0; i < set->count; i++) {
        pending += sentinel_state(set->member[i].sentinel) == SENTINEL_TRYING ? 1 : 0;
    }
    return pending;
}

size_t sentinel_set_known(const struct sentinel_set *set)
{
    size_t known = 0;
    for (size_t i = 0; i < set->count; i++) {
        const char *id = sentinel_id(set->member[i].sentinel);
        bool seen = id[0] == '\0' && !set->member[i].configured;
        for (size_t k = 0; k < i && id[0] != '\0'; k++) {
            seen = seen || strcmp(sentinel_id(set->member[k].sentinel), id) == 0;
        }
        known += seen ? 0 : 1;
    }
    return known;
}
