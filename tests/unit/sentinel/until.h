/* Runs the loop of a test until something holds of its stage. */
#ifndef VEDETTE_TESTS_UNTIL_H
#define VEDETTE_TESTS_UNTIL_H

#include "proxy/base/check.h"
#include "proxy/base/clock.h"
#include "proxy/net/loop.h"

struct stage; /* each test's own, which has one of these */

struct until {
    struct loop *loop;
    struct stage *stage;
    bool (*met)(struct stage *s); /* NULL: nothing is run */
    uint64_t over_ms;
    struct wheel_timer timer;
    bool seen;
};

/* Looks at once, for it may have passed before the next millisecond. */
static inline void until_look(struct until *u)
{
    if (u->met != NULL && u->met(u->stage)) {
        u->seen = true;
        loop_stop(u->loop);
    }
}

static inline void until_on_look(struct wheel_timer *timer)
{
    struct until *u = CONTAINER_OF(timer, struct until, timer);
    until_look(u);
    if (!u->seen && clock_ms() > u->over_ms) {
        loop_stop(u->loop);
    } else if (!u->seen) {
        loop_arm(u->loop, &u->timer, 1, until_on_look);
    }
}

/* At most ms; true if it was met. */
static inline bool until_run(struct until *u, struct loop *loop, struct stage *s,
                             bool (*met)(struct stage *s), uint64_t ms)
{
    u->loop = loop;
    u->stage = s;
    u->met = met;
    u->over_ms = clock_ms() + ms;
    u->seen = false;
    loop_arm(loop, &u->timer, 0, until_on_look);
    loop_run(loop);
    loop_disarm(loop, &u->timer);
    u->met = NULL;
    return u->seen;
}

#endif
