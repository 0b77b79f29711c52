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

struct topology *topology_ref(struct topology *t)
{
    uint32_t before = atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    CHECK(before > 0 && before < UINT32_MAX);
    return t;
}

void topology_unref(struct topology **t)
{
    struct topology *left = *t;
    if (left == NULL) {
        return;
    }
    *t = NULL;
    /* The last holder must see everything the others did before they let go. */
    uint32_t before = atomic_fetch_sub_explicit(&left->refs, 1, memory_order_acq_rel);
    CHECK(before > 0);
    if (before == 1) {
        for (size_t i = 0; i < left->service_count; i++) {
            command_list_unref(&left->service[i].commands);
        }
        free(left);
    }
}
