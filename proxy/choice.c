#include "proxy/choice.h"

#include "proxy/base/check.h"
#include "proxy/base/limits.h"

#define ALL 100u /* a whole share */

/* So much more to do is no reason to move: depths of a moment's pipelines. */
#define SLACK(n) (2 * (n) + 16)

enum when { NOW, SOON, WHENS }; /* SOON: as if the next round were there */

/* What counts of a node. */
struct seat {
    uint64_t burden;
    uint64_t crowd; /* how crowded it would be with one more at home there */
    bool serves[WHENS];
    bool near; /* and not busy */
};

struct choosing {
    struct seat seats[REPLICAS_MAX + 1];
    size_t count, turn;
    size_t home; /* count: not among them */
};

static uint64_t weigh(uint64_t n, uint32_t share)
{
    return share == ALL ? n : n * ALL / share;
}

static void seat_all(struct choosing *c, const struct choice_node *nodes,
                     const struct choice_demand *d)
{
    for (size_t i = 0; i < c->count; i++) {
        const struct choice_node *n = &nodes[i];
        struct seat *seat = &c->seats[i];
        bool home = n->id == d->home;
        c->home = home ? i : c->home;
        seat->burden = weigh(n->outstanding, n->share);
        seat->crowd = weigh((uint64_t)n->homes + 1, n->share);
        seat->serves[NOW] = n->caught >= d->need && (home || n->caught >= d->seen);
        seat->serves[SOON] = n->caught >= d->wrote;
        seat->near = n->near && seat->burden < REPLICA_BUSY;
    }
}

/* One more or less at home does not matter, lest short sessions all go where one fewer stays;
 * within that a session stays where it is. count: there is none. */
static size_t best_of(const struct choosing *c, enum when when)
{
    uint64_t least[] = {UINT64_MAX, UINT64_MAX}, crowd = UINT64_MAX;
    for (size_t i = 0; i < c->count; i++) {
        const struct seat *n = &c->seats[i];
        if (n->serves[when] && n->burden < least[n->near]) {
            least[n->near] = n->burden;
        }
    }
    bool near = least[true] != UINT64_MAX;
    uint64_t much = SLACK(least[near]);
    bool fits[REPLICAS_MAX + 1];
    for (size_t i = 0; i < c->count; i++) {
        const struct seat *n = &c->seats[i];
        fits[i] = n->serves[when] && n->near == near && n->burden <= much;
        crowd = fits[i] && n->crowd < crowd ? n->crowd : crowd;
    }
    uint64_t most = crowd + crowd / 10 + 1;
    if (c->home < c->count && fits[c->home] && c->seats[c->home].crowd <= most) {
        return c->home;
    }
    for (size_t i = 0, at = c->turn; i < c->count; i++, at = at + 1 < c->count ? at + 1 : 0) {
        if (fits[at] && c->seats[at].crowd <= most) {
            return at;
        }
    }
    return c->count;
}

/* The next round would change nothing. */
static bool same_soon(const struct choosing *c)
{
    for (size_t i = 0; i < c->count; i++) {
        if (c->seats[i].serves[NOW] != c->seats[i].serves[SOON]) {
            return false;
        }
    }
    return true;
}

enum choice choice_make(const struct choice_node *nodes, size_t count,
                        const struct choice_demand *demand, uint32_t *turn, struct chosen *chosen)
{
    if (count == 0) {
        return CHOICE_NONE;
    }
    CHECK(count <= REPLICAS_MAX + 1);
    struct choosing c;
    c.count = c.home = count;
    c.turn = *turn % count;
    seat_all(&c, nodes, demand);
    size_t best = best_of(&c, NOW);
    if (best == count) {
        return best_of(&c, SOON) < count ? CHOICE_SOON : CHOICE_BEHIND;
    }
    *chosen = (struct chosen){.node = best};
    if ((best == c.home || nodes[best].id == 0) && !same_soon(&c)) {
        chosen->soon = best_of(&c, SOON) != best;
    }
    if (best != c.home) {
        ++*turn;
    }
    return CHOICE_NODE;
}
