#include "proxy/base/wheel.h"

#include <string.h>

void wheel_init(struct wheel *w, uint64_t now_ms)
{
    memset(w, 0, sizeof *w);
    w->now_ms = now_ms;
}

static void place(struct wheel *w, struct wheel_timer *timer)
{
    uint64_t at = timer->due_ms > w->now_ms ? timer->due_ms : w->now_ms + 1;
    /* Further than one turn of the wheel: looked at again when the turn is over. */
    if (at > w->now_ms + WHEEL_SLOTS - 1) {
        at = w->now_ms + WHEEL_SLOTS - 1;
    }
    timer->slot_ms = at;
    list_append(&w->slots[at % WHEEL_SLOTS], &timer->node);
}

void wheel_arm(struct wheel *w, struct wheel_timer *timer, uint64_t due_ms,
               void (*fire)(struct wheel_timer *))
{
    timer->fire = fire;
    timer->due_ms = due_ms > 0 ? due_ms : 1;
    if (list_on(&timer->node)) {
        if (timer->due_ms >= timer->slot_ms) {
            return;
        }
        list_remove(&timer->node);
    } else {
        w->armed++;
    }
    place(w, timer);
}

void wheel_cancel(struct wheel *w, struct wheel_timer *timer)
{
    if (list_on(&timer->node)) {
        list_remove(&timer->node);
        w->armed--;
    }
    timer->due_ms = 0;
}

static void run_slot(struct wheel *w, uint64_t at)
{
    /* Moved aside first, so that a timer armed again by a callback waits for its next turn. */
    struct list due = {0};
    struct list *slot = &w->slots[at % WHEEL_SLOTS];
    for (struct list_node *n = list_pop(slot); n != NULL; n = list_pop(slot)) {
        list_append(&due, n);
    }
    for (struct list_node *n = list_pop(&due); n != NULL; n = list_pop(&due)) {
        struct wheel_timer *timer = CONTAINER_OF(n, struct wheel_timer, node);
        if (timer->due_ms > at) {
            place(w, timer);
            continue;
        }
        w->armed--;
        timer->due_ms = 0;
        timer->fire(timer);
    }
}

void wheel_advance(struct wheel *w, uint64_t now_ms)
{
    if (now_ms > w->now_ms + WHEEL_SLOTS && w->armed == 0) {
        w->now_ms = now_ms;
    }
    while (w->now_ms < now_ms) {
        w->now_ms++;
        run_slot(w, w->now_ms);
    }
}

uint64_t wheel_wait_ms(const struct wheel *w, uint64_t now_ms)
{
    if (w->armed == 0) {
        return UINT64_MAX;
    }
    for (uint64_t i = 1; i < WHEEL_SLOTS; i++) {
        if (w->slots[(w->now_ms + i) % WHEEL_SLOTS].count > 0) {
            uint64_t at = w->now_ms + i;
            return at > now_ms ? at - now_ms : 0;
        }
    }
    return 0;
}
