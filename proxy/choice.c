#include "proxy/choice.h"

#include "proxy/base/check.h"
#include "proxy/base/limits.h"

#define ALL 100u /* a whole share */

/* So much more to do is no reason to move: depths of a moment's pipelines. */
#define SLACK(n) (2 * (n) + 16)

struct choosing {
    const struct choice_node *nodes;
    size_t count;
    const struct choice_demand *demand;
    uint32_t turn;
    bool soon; /* as if the next round were there */
};

static uint64_t weigh(uint32_t n, uint32_t share)
{
    return (uint64_t)n * ALL / share;
}

static uint64_t burden(const struct choice_node *n)
{
    return weigh(n->outstanding, n->share);
}

static bool may_serve(const struct choosing *c, const struct choice_node *n)
{
    const struct choice_demand *d = c->demand;
    if (c->soon) {
        return n->caught >= d->wrote;
    }
    return n->caught >= d->need && (n->id == d->home || n->caught >= d->seen);
}

static bool takes_part(const struct choosing *c, const struct choice_node *n, bool near)
{
    return may_serve(c, n) && (!near || (n->near && burden(n) < REPLICA_BUSY));
}

/* How crowded it would be with one more at home there. */
static uint64_t crowd(const struct choice_node *n)
{
    return weigh(n->homes + 1, n->share);
}

/* What decides among those that take part: the least burden, and how crowded the least crowded is
 * that bears hardly more. */
struct bounds {
    uint64_t burden, crowd;
};

static struct bounds bounds_of(const struct choosing *c, bool near)
{
    struct bounds b = {UINT64_MAX, UINT64_MAX};
    for (size_t i = 0; i < c->count; i++) {
        const struct choice_node *n = &c->nodes[i];
        if (takes_part(c, n, near) && burden(n) < b.burden) {
            b.burden = burden(n);
        }
    }
    for (size_t i = 0; i < c->count; i++) {
        const struct choice_node *n = &c->nodes[i];
        if (takes_part(c, n, near) && burden(n) <= SLACK(b.burden) && crowd(n) < b.crowd) {
            b.crowd = crowd(n);
        }
    }
    return b;
}

/* One more or less at home does not matter, lest short sessions all go where one fewer stays;
 * within that a session stays where it is. count: there is none. */
static size_t best_of(const struct choosing *c, bool near)
{
    struct bounds b = bounds_of(c, near);
    uint64_t most = b.crowd + b.crowd / 10 + 1;
    size_t best = c->count;
    for (size_t i = 0; i < c->count; i++) {
        size_t at = (c->turn + i) % c->count;
        const struct choice_node *n = &c->nodes[at];
        if (!takes_part(c, n, near) || burden(n) > SLACK(b.burden) || crowd(n) > most) {
            continue;
        }
        if (n->id == c->demand->home) {
            return at;
        }
        best = best < c->count ? best : at;
    }
    return best;
}

static size_t choose(const struct choosing *c)
{
    size_t best = best_of(c, true);
    return best < c->count ? best : best_of(c, false);
}

enum choice choice_make(const struct choice_node *nodes, size_t count,
                        const struct choice_demand *demand, uint32_t *turn, struct chosen *chosen)
{
    struct choosing now = {.nodes = nodes, .count = count, .demand = demand, .turn = *turn};
    struct choosing soon = now;
    soon.soon = true;
    size_t best = choose(&now);
    if (best == count) {
        return choose(&soon) < count ? CHOICE_SOON : (count > 0 ? CHOICE_BEHIND : CHOICE_NONE);
    }
    uint32_t id = nodes[best].id;
    *chosen = (struct chosen){.node = best};
    if (id == demand->home || id == 0) {
        chosen->soon = nodes[choose(&soon)].id != id;
    }
    if (id != demand->home) {
        ++*turn;
    }
    return CHOICE_NODE;
}
