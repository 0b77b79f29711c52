#include "proxy/redirects.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "proxy/base/limits.h"
#include "proxy/base/list.h"

#define BUCKETS 1024u

struct target {
    struct redirects *all;
    uint32_t refs;
    struct list numbers; /* struct number, the newest last; empty once it is gone */
    struct target_state state;
    /* Copies of what is in there, for those who only look whether they have to. */
    _Atomic uint64_t version;
    _Atomic bool due;
    _Atomic uint32_t aims;
};

struct number {
    struct list_node in_bucket, node; /* node: of its target, or of all that are gone */
    size_t service;
    int64_t number;
    struct target *target;
};

struct redirects {
    pthread_mutex_t lock;
    struct list buckets[BUCKETS];
    struct list gone; /* numbers whose sessions have ended, the newest last */
};

struct redirects *redirects_new(void)
{
    struct redirects *all = xcalloc(1, sizeof *all);
    CHECK(pthread_mutex_init(&all->lock, NULL) == 0);
    return all;
}

static void lock(struct redirects *all)
{
    CHECK(pthread_mutex_lock(&all->lock) == 0);
}

static void unlock(struct redirects *all)
{
    CHECK(pthread_mutex_unlock(&all->lock) == 0);
}

/* Locked. */
static void drop(struct target *t)
{
    if (--t->refs == 0) {
        CHECK(t->numbers.count == 0);
        free(t);
    }
}

static void number_forget(struct list_node *node)
{
    struct number *n = CONTAINER_OF(node, struct number, node);
    list_remove(&n->in_bucket);
    list_remove(&n->node);
    drop(n->target);
    free(n);
}

void redirects_free(struct redirects **where)
{
    struct redirects *all = *where;
    *where = NULL;
    for (struct list_node *n = list_pop(&all->gone); n != NULL; n = list_pop(&all->gone)) {
        number_forget(n);
    }
    for (size_t i = 0; i < BUCKETS; i++) {
        CHECK(all->buckets[i].count == 0);
    }
    CHECK(pthread_mutex_destroy(&all->lock) == 0);
    free(all);
}

static struct list *bucket(struct redirects *all, size_t service, int64_t number)
{
    return &all->buckets[((uint64_t)number + service * 257) % BUCKETS];
}

static struct number *find(struct redirects *all, size_t service, int64_t number)
{
    for (struct list_node *i = bucket(all, service, number)->first; i != NULL; i = i->next) {
        struct number *n = CONTAINER_OF(i, struct number, in_bucket);
        if (n->service == service && n->number == number) {
            return n;
        }
    }
    return NULL;
}

void redirects_tell(struct redirects *all, size_t service, int64_t number, struct target **target)
{
    lock(all);
    struct target *t = *target;
    if (t == NULL) {
        t = *target = xcalloc(1, sizeof *t);
        t->all = all;
        t->refs = 1;
    }
    struct number *n = find(all, service, number);
    if (n == NULL) {
        n = xcalloc(1, sizeof *n);
        n->service = service;
        n->number = number;
        list_append(bucket(all, service, number), &n->in_bucket);
    } else {
        list_remove(&n->node);
        drop(n->target);
    }
    t->refs++;
    n->target = t;
    list_append(&t->numbers, &n->node);
    if (t->numbers.count > REDIRECT_NUMBERS_MAX) {
        number_forget(list_pop(&t->numbers));
    }
    unlock(all);
}

struct target *redirects_find(struct redirects *all, size_t service, int64_t number)
{
    lock(all);
    const struct number *n = find(all, service, number);
    struct target *t = n != NULL ? n->target : NULL;
    if (t != NULL) {
        t->refs++;
    }
    unlock(all);
    return t;
}

void target_unref(struct target **where)
{
    struct target *t = *where;
    *where = NULL;
    if (t != NULL) {
        struct redirects *all = t->all;
        lock(all);
        drop(t);
        unlock(all);
    }
}

struct target_state target_look(struct target *t)
{
    lock(t->all);
    struct target_state state = t->state;
    unlock(t->all);
    return state;
}

uint64_t target_version(const struct target *t)
{
    return atomic_load(&t->version);
}

void target_aim(struct target *t, bool more)
{
    (void)atomic_fetch_add(&t->aims, more ? 1u : UINT32_MAX);
}

bool target_is_aimed_at(const struct target *t)
{
    return atomic_load(&t->aims) > 0;
}

bool target_is_due(const struct target *t)
{
    return atomic_load(&t->due);
}

/* Locked. */
static void changed(struct target *t)
{
    t->state.version++;
    atomic_store(&t->version, t->state.version);
}

/* Locked. */
static void counted(struct target *t)
{
    atomic_store(&t->due, t->state.asked != t->state.told);
}

void target_set_link(struct target *t, int64_t id, uint64_t generation)
{
    lock(t->all);
    t->state.id = id;
    t->state.generation = generation;
    changed(t);
    unlock(t->all);
}

uint64_t target_ask(struct target *t)
{
    lock(t->all);
    uint64_t asked = ++t->state.asked;
    counted(t);
    unlock(t->all);
    return asked;
}

void target_told(struct target *t, uint64_t times)
{
    lock(t->all);
    t->state.told = times;
    counted(t);
    unlock(t->all);
}

void target_end(struct target *t)
{
    struct redirects *all = t->all;
    lock(all);
    t->state.gone = true;
    t->state.id = 0;
    changed(t);
    for (struct list_node *n = list_pop(&t->numbers); n != NULL; n = list_pop(&t->numbers)) {
        list_append(&all->gone, n);
    }
    while (all->gone.count > REDIRECT_GONE_MAX) {
        number_forget(list_pop(&all->gone));
    }
    unlock(all);
}
