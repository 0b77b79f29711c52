/* Which node answers a read: decided from plain values. */
#ifndef VEDETTE_PROXY_CHOICE_H
#define VEDETTE_PROXY_CHOICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A node that may be read from. */
struct choice_node {
    uint32_t id;          /* 0: the primary */
    uint32_t outstanding; /* requests of this worker that it has not answered */
    uint32_t homes;       /* sessions of this worker that read from it */
    uint32_t share;       /* 1..100: of what others are given */
    bool near;            /* preferred while it has not too much to do */
    uint64_t caught;      /* the round of probes that it has caught up with; the primary: all */
};

#define HOME_NONE UINT32_MAX

/* What a session has seen, in rounds of probes; see session_reads.h. */
struct choice_demand {
    uint32_t home;  /* the node that it reads from; HOME_NONE: none yet */
    uint64_t need;  /* that a node must have caught up with */
    uint64_t seen;  /* the same of another node than its home */
    uint64_t wrote; /* what it needs for what it has written alone */
};

enum choice {
    CHOICE_NODE,   /* that one */
    CHOICE_SOON,   /* none yet, but one will be, with the next round */
    CHOICE_BEHIND, /* none has what the session wrote */
    CHOICE_NONE,   /* there is no node */
};

struct chosen {
    size_t node;
    bool soon; /* with the next round there is a better one, or one in place of the primary */
};

/* The near ones go first unless all of them have much to do. Those that have hardly more to do than
 * the least busy one are as good as that; of them the session's home, unless too many are at home
 * there; else the one where the fewest are for its share, by turns. *turn counts them. */
enum choice choice_make(const struct choice_node *nodes, size_t count,
                        const struct choice_demand *demand, uint32_t *turn, struct chosen *chosen);

#endif
