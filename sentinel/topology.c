#include "sentinel/topology.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "proxy/base/check.h"

struct topology *topology_new(size_t service_count)
{
    struct topology *t = xcalloc(1, sizeof *t + service_count * sizeof t->service[0]);
    atomic_init(&t->refs, 1);
    t->service_count = service_count;
    return t;
}

static void count_up(_Atomic uint32_t *refs)
{
    uint32_t before = atomic_fetch_add_explicit(refs, 1, memory_order_relaxed);
    CHECK(before > 0 && before < UINT32_MAX);
}

/* True for the last holder, who must see everything the others did before they let go. */
static bool count_down(_Atomic uint32_t *refs)
{
    uint32_t before = atomic_fetch_sub_explicit(refs, 1, memory_order_acq_rel);
    CHECK(before > 0);
    return before == 1;
}

struct topology *topology_ref(struct topology *t)
{
    count_up(&t->refs);
    return t;
}

void topology_unref(struct topology **t)
{
    struct topology *left = *t;
    *t = NULL;
    if (left == NULL || !count_down(&left->refs)) {
        return;
    }
    for (size_t i = 0; i < left->service_count; i++) {
        command_list_unref(&left->service[i].commands);
        rounds_unref(&left->service[i].rounds);
        topology_replicas_unref(&left->service[i].replicas);
    }
    free(left);
}

struct rounds *rounds_new(void)
{
    struct rounds *r = xcalloc(1, sizeof *r);
    atomic_init(&r->refs, 1);
    return r;
}

struct rounds *rounds_ref(struct rounds *r)
{
    count_up(&r->refs);
    return r;
}

void rounds_unref(struct rounds **r)
{
    struct rounds *left = *r;
    *r = NULL;
    if (left != NULL && count_down(&left->refs)) {
        free(left);
    }
}

uint64_t rounds_next(const struct rounds *r)
{
    return atomic_load_explicit(&r->begun, memory_order_seq_cst) + 1;
}

struct topology_replicas *topology_replicas_new(uint32_t room)
{
    struct topology_replicas *r = xcalloc(1, sizeof *r + room * sizeof r->replica[0]);
    atomic_init(&r->refs, 1);
    return r;
}

struct topology_replicas *topology_replicas_ref(struct topology_replicas *r)
{
    count_up(&r->refs);
    return r;
}

void topology_replicas_unref(struct topology_replicas **r)
{
    struct topology_replicas *left = *r;
    *r = NULL;
    if (left != NULL && count_down(&left->refs)) {
        free(left);
    }
}
