/* Timers: coarse (1 ms), embedded in the objects they serve, and cheap to move. A timer that is
 * moved later only notes its new time; it is put right when the old one comes. */
#ifndef VEDETTE_BASE_WHEEL_H
#define VEDETTE_BASE_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/list.h"

#define WHEEL_SLOTS 512u

struct wheel_timer {
    struct list_node node;
    uint64_t due_ms;  /* 0: not armed */
    uint64_t slot_ms; /* the time whose slot it lies in; <= due_ms */
    void (*fire)(struct wheel_timer *timer);
};

struct wheel {
    struct list slots[WHEEL_SLOTS];
    uint64_t now_ms; /* everything due up to here has fired */
    uint64_t armed;
};

/* now_ms: the current time in milliseconds, of the clock used in all calls. */
void wheel_init(struct wheel *w, uint64_t now_ms);
/* Arms the timer, or moves it, to call fire at due_ms or within the next advance after it. In the
 * past means the next advance. The timer must stay where it is in memory until it fired or was
 * cancelled. fire may arm or cancel any timer and may free its own. */
void wheel_arm(struct wheel *w, struct wheel_timer *timer, uint64_t due_ms,
               void (*fire)(struct wheel_timer *));
/* Does nothing when the timer is not armed. */
void wheel_cancel(struct wheel *w, struct wheel_timer *timer);
/* Fires all that is due. */
void wheel_advance(struct wheel *w, uint64_t now_ms);
/* How many milliseconds until something may be due: 0 and more; UINT64_MAX when nothing is armed.
 * It may be early, never late. */
uint64_t wheel_wait_ms(const struct wheel *w, uint64_t now_ms);

#endif
