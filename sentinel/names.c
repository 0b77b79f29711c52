#include "sentinel/names.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/log.h"

#define NAMES_TICK_MS 500u

struct name {
    struct list_node node;
    struct names *names;
    struct addr addr;
    struct sockaddr_any found[RESOLVE_MAX];
    size_t count;
    size_t chosen; /* index of what names_one gives */
    bool works;    /* a connection to the chosen one has worked */
    bool answered; /* the first look-up has ended */
    bool failing;  /* the last look-up failed */
    uint64_t used_ms, begun_ms, due_ms;
    struct resolve *resolve;
};

struct names {
    struct loop *loop;
    struct list list;
    struct wheel_timer timer;
    void (*changed)(void *owner);
    void *owner;
};

static struct name *name_of(struct list_node *node)
{
    return CONTAINER_OF(node, struct name, node);
}

static size_t index_of(const struct sockaddr_any *found, size_t count,
                       const struct sockaddr_any *at)
{
    size_t i = 0;
    while (i < count && !sockaddr_eq(&found[i], at)) {
        i++;
    }
    return i;
}

static bool same_set(const struct name *name, const struct sockaddr_any *found, size_t count)
{
    size_t i = 0;
    while (i < count && index_of(name->found, name->count, &found[i]) < name->count) {
        i++;
    }
    return i == count && count == name->count;
}

static void log_failure(struct name *name, int err)
{
    if (!name->failing) {
        char text[ADDR_TEXT_MAX];
        log_warning("name-unresolved", "name=%s error=%s keeps=%zu",
                    log_quote(slice_str(addr_text(&name->addr, text))),
                    log_quote(slice_str(resolve_error(err))), name->count);
    }
    name->failing = true;
}

static void on_done(void *owner, int err, const struct sockaddr_any *found, size_t count)
{
    struct name *name = owner;
    struct names *names = name->names;
    bool first = !name->answered;
    name->resolve = NULL;
    name->answered = true;
    if (err != 0) {
        name->due_ms = clock_ms() + NAMES_RETRY_MS;
        log_failure(name, err);
        if (first) {
            names->changed(names->owner);
        }
        return;
    }
    name->due_ms = clock_ms() + NAMES_REFRESH_MS;
    bool changed = !same_set(name, found, count);
    if (changed || name->failing) {
        char text[ADDR_TEXT_MAX], to[ADDR_TEXT_MAX];
        struct addr numeric = {0};
        (void)sockaddr_to_addr(&found[0], &numeric); /* the resolver gives v4 and v6 only */
        log_info("name-resolved", "name=%s address=%s addresses=%zu",
                 log_quote(slice_str(addr_text(&name->addr, text))), addr_text(&numeric, to),
                 count);
    }
    name->failing = false;
    if (changed) {
        size_t kept = name->count > 0 ? index_of(found, count, &name->found[name->chosen]) : count;
        name->works = name->works && kept < count;
        name->chosen = kept < count ? kept : 0;
        memcpy(name->found, found, count * sizeof *found);
        name->count = count;
        names->changed(names->owner);
    }
}

static void look_up(struct name *name)
{
    name->begun_ms = clock_ms();
    name->due_ms = UINT64_MAX;
    name->resolve = resolve_start(name->names->loop, &name->addr, on_done, name);
}

static void forget(struct name *name)
{
    resolve_cancel(&name->resolve);
    list_remove(&name->node);
    free(name);
}

static void on_tick(struct wheel_timer *timer)
{
    struct names *n = CONTAINER_OF(timer, struct names, timer);
    uint64_t now = clock_ms();
    loop_arm(n->loop, &n->timer, NAMES_TICK_MS, on_tick);
    for (struct list_node *at = n->list.first, *next; at != NULL; at = next) {
        next = at->next;
        if (name_of(at)->used_ms + NAMES_FORGET_MS < now) {
            forget(name_of(at));
        } else if (name_of(at)->due_ms <= now) {
            look_up(name_of(at));
        }
    }
}

struct names *names_new(struct loop *loop, void (*changed)(void *owner), void *owner)
{
    struct names *n = xcalloc(1, sizeof *n);
    n->loop = loop;
    n->changed = changed;
    n->owner = owner;
    loop_arm(loop, &n->timer, NAMES_TICK_MS, on_tick);
    return n;
}

void names_free(struct names **n)
{
    struct names *names = *n;
    *n = NULL;
    loop_disarm(names->loop, &names->timer);
    for (struct list_node *at = names->list.first, *next; at != NULL; at = next) {
        next = at->next;
        resolve_cancel(&name_of(at)->resolve);
        free(name_of(at));
    }
    free(names);
}

/* The entry of a name, made if need be; NULL when there are too many. */
static struct name *entry(struct names *n, const struct addr *addr)
{
    for (struct list_node *at = n->list.first; at != NULL; at = at->next) {
        if (addr_eq(&name_of(at)->addr, addr)) {
            name_of(at)->used_ms = clock_ms();
            return name_of(at);
        }
    }
    if (n->list.count >= NAMES_MAX) {
        return NULL;
    }
    struct name *name = xcalloc(1, sizeof *name);
    name->names = n;
    name->addr = *addr;
    name->used_ms = clock_ms();
    list_append(&n->list, &name->node);
    look_up(name);
    return name;
}

size_t names_all(struct names *n, const struct addr *name, struct sockaddr_any *out)
{
    if (addr_numeric(name, &out[0])) {
        return 1;
    }
    const struct name *known = entry(n, name);
    if (known == NULL) {
        return 0;
    }
    memcpy(out, known->found, known->count * sizeof *out);
    return known->count;
}

bool names_one(struct names *n, const struct addr *name, struct sockaddr_any *out)
{
    if (addr_numeric(name, out)) {
        return true;
    }
    const struct name *known = entry(n, name);
    if (known == NULL || known->count == 0) {
        return false;
    }
    *out = known->found[known->chosen];
    return true;
}

bool names_pending(struct names *n, const struct addr *name)
{
    struct sockaddr_any numeric;
    if (addr_numeric(name, &numeric)) {
        return false;
    }
    const struct name *known = entry(n, name);
    return known != NULL && !known->answered;
}

static bool leads_to(const struct name *name, const struct sockaddr_any *at)
{
    return name->count > 0 && sockaddr_eq(&name->found[name->chosen], at);
}

struct addr names_called(const struct names *n, const struct sockaddr_any *at)
{
    struct addr called = {0};
    for (struct list_node *node = n->list.first; node != NULL; node = node->next) {
        const struct name *name = name_of(node);
        if (index_of(name->found, name->count, at) < name->count) {
            return name->addr;
        }
    }
    (void)sockaddr_to_addr(at, &called); /* of one that can be connected to */
    return called;
}

void names_worked(struct names *n, const struct sockaddr_any *at)
{
    for (struct list_node *node = n->list.first; node != NULL; node = node->next) {
        if (leads_to(name_of(node), at)) {
            name_of(node)->works = true;
        }
    }
}

void names_failed(struct names *n, const struct sockaddr_any *at)
{
    for (struct list_node *node = n->list.first; node != NULL; node = node->next) {
        struct name *name = name_of(node);
        if (index_of(name->found, name->count, at) == name->count) {
            continue;
        }
        if (leads_to(name, at) && !name->works) {
            name->chosen = (name->chosen + 1) % name->count;
        }
        if (name->resolve == NULL && name->due_ms > name->begun_ms + NAMES_RETRY_MS) {
            name->due_ms = name->begun_ms + NAMES_RETRY_MS;
        }
    }
}
