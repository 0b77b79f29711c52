#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/base/wheel.h"

#define START 1000000u

/* A timer that notes how often it fired and may do something then. */
struct probe {
    struct wheel_timer timer;
    struct wheel *wheel;
    struct probe *other; /* what the action is about */
    uint64_t again_ms;   /* arms itself for then */
    unsigned fired;
    uint64_t fired_at;
};

static void note(struct wheel_timer *timer)
{
    struct probe *p = CONTAINER_OF(timer, struct probe, timer);
    p->fired++;
    p->fired_at = p->wheel->now_ms;
}

static void arm(struct probe *p, struct wheel *w, uint64_t due)
{
    p->wheel = w;
    wheel_arm(w, &p->timer, due, note);
}

static struct wheel *new_wheel(void)
{
    struct wheel *w = malloc(sizeof *w);
    assert_non_null(w);
    wheel_init(w, START);
    return w;
}

static void fires_when_due(void **state)
{
    struct wheel *w = new_wheel();
    struct probe a = {0}, b = {0};
    (void)state;
    assert_true(wheel_wait_ms(w, START) == UINT64_MAX);
    arm(&a, w, START + 1);
    arm(&b, w, START + 10);
    assert_int_equal(wheel_wait_ms(w, START), 1);
    wheel_advance(w, START + 1);
    assert_int_equal(a.fired, 1);
    assert_int_equal(wheel_wait_ms(w, START + 1), 9);
    assert_int_equal(wheel_wait_ms(w, START + 30), 0);
    wheel_advance(w, START + 9);
    assert_int_equal(b.fired, 0);
    wheel_advance(w, START + 10);
    assert_int_equal(b.fired, 1);
    wheel_advance(w, START + 5000);
    assert_int_equal(a.fired + b.fired, 2);
    assert_int_equal(w->armed, 0);
    assert_true(wheel_wait_ms(w, START + 5000) == UINT64_MAX);
    free(w);
}

static void the_past_is_next(void **state)
{
    struct wheel *w = new_wheel();
    struct probe a = {0}, b = {0}, c = {0};
    (void)state;
    arm(&a, w, START);
    arm(&b, w, 5);
    arm(&c, w, 0);
    assert_int_equal(a.fired + b.fired + c.fired, 0);
    assert_true(wheel_wait_ms(w, START) <= 1);
    wheel_advance(w, START + 1);
    assert_int_equal(a.fired + b.fired + c.fired, 3);
    free(w);
}

/* Further than one turn of the wheel, and on each side of its edges. */
static void far_timers(void **state)
{
    static const uint64_t delays[] = {510,  511,  512,  513,   1022,  1023,   1024,
                                      1025, 5000, 5120, 60000, 86400, 1000003};
    struct probe probes[ARRAY_LEN(delays)];
    struct wheel *w = new_wheel();
    (void)state;
    memset(probes, 0, sizeof probes);
    for (size_t i = 0; i < ARRAY_LEN(delays); i++) {
        arm(&probes[i], w, START + delays[i]);
    }
    for (uint64_t now = START; w->armed > 0;) {
        uint64_t wait = wheel_wait_ms(w, now);
        assert_true(wait >= 1 && wait < WHEEL_SLOTS);
        now += wait;
        wheel_advance(w, now);
        assert_true(now <= START + 1000003);
    }
    for (size_t i = 0; i < ARRAY_LEN(delays); i++) {
        assert_int_equal(probes[i].fired, 1);
        assert_int_equal(probes[i].fired_at, START + delays[i]);
    }
    free(w);
}

static void moved(void **state)
{
    struct wheel *w = new_wheel();
    struct probe later = {0}, earlier = {0}, far = {0}, twice = {0};
    (void)state;
    arm(&later, w, START + 10);
    arm(&later, w, START + 700);
    arm(&earlier, w, START + 700);
    arm(&earlier, w, START + 10);
    arm(&far, w, START + 100000);
    arm(&far, w, START + 20);
    arm(&twice, w, START + 10);
    arm(&twice, w, START + 300);
    arm(&twice, w, START + 5);
    assert_int_equal(w->armed, 4);
    for (uint64_t now = START + 1; now <= START + 1000; now++) {
        wheel_advance(w, now);
    }
    assert_int_equal(later.fired_at, START + 700);
    assert_int_equal(earlier.fired_at, START + 10);
    assert_int_equal(far.fired_at, START + 20);
    assert_int_equal(twice.fired_at, START + 5);
    assert_int_equal(later.fired + earlier.fired + far.fired + twice.fired, 4);
    free(w);
}

static void cancelled(void **state)
{
    struct wheel *w = new_wheel();
    struct probe a = {0}, b = {0};
    (void)state;
    wheel_cancel(w, &a.timer);
    arm(&a, w, START + 10);
    arm(&b, w, START + 10);
    wheel_cancel(w, &a.timer);
    wheel_cancel(w, &a.timer);
    assert_int_equal(w->armed, 1);
    wheel_advance(w, START + 20);
    assert_int_equal(a.fired, 0);
    assert_int_equal(b.fired, 1);
    wheel_cancel(w, &b.timer);
    arm(&a, w, START + 30);
    wheel_advance(w, START + 30);
    assert_int_equal(a.fired, 1);
    assert_int_equal(w->armed, 0);
    free(w);
}

static void cancel_other(struct wheel_timer *timer)
{
    struct probe *p = CONTAINER_OF(timer, struct probe, timer);
    note(timer);
    wheel_cancel(p->wheel, &p->other->timer);
}

/* Of two that are due together, the first cancels the second. */
static void cancel_inside_fire(void **state)
{
    for (uint64_t gap = 0; gap < 2; gap++) {
        struct wheel *w = new_wheel();
        struct probe a = {.wheel = w}, b = {.wheel = w};
        a.other = &b;
        b.other = &a;
        wheel_arm(w, &a.timer, START + 10, cancel_other);
        wheel_arm(w, &b.timer, START + 10 + gap, cancel_other);
        wheel_advance(w, START + 100);
        assert_int_equal(a.fired + b.fired, 1);
        assert_int_equal(w->armed, 0);
        free(w);
    }
    (void)state;
}

static void again(struct wheel_timer *timer)
{
    struct probe *p = CONTAINER_OF(timer, struct probe, timer);
    note(timer);
    wheel_arm(p->wheel, timer, p->again_ms, again);
}

/* A timer that arms itself for the past fires once a millisecond, not for ever in one of them. */
static void arm_inside_fire(void **state)
{
    struct wheel *w = new_wheel();
    struct probe past = {.wheel = w, .again_ms = START}, future = {.wheel = w};
    (void)state;
    wheel_arm(w, &past.timer, START + 1, again);
    wheel_advance(w, START + 1);
    assert_int_equal(past.fired, 1);
    wheel_advance(w, START + 4);
    assert_int_equal(past.fired, 4);
    wheel_cancel(w, &past.timer);
    future.again_ms = START + 4 + WHEEL_SLOTS;
    wheel_arm(w, &future.timer, START + 5, again);
    wheel_advance(w, START + 5);
    assert_int_equal(future.fired, 1);
    wheel_advance(w, START + 3 + WHEEL_SLOTS);
    assert_int_equal(future.fired, 1);
    wheel_advance(w, START + 4 + WHEEL_SLOTS);
    assert_int_equal(future.fired, 2);
    free(w);
}

static void move_other(struct wheel_timer *timer)
{
    struct probe *p = CONTAINER_OF(timer, struct probe, timer);
    note(timer);
    wheel_arm(p->wheel, &p->other->timer, p->again_ms, note);
}

/* A timer that is due now is put off, or called in, by another that is due now. */
static void move_inside_fire(void **state)
{
    static const uint64_t new_due[] = {START + 50, START + 10, START + 3, START + 2000};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(new_due); i++) {
        struct wheel *w = new_wheel();
        struct probe a = {.wheel = w, .again_ms = new_due[i]}, b = {.wheel = w};
        a.other = &b;
        wheel_arm(w, &a.timer, START + 10, move_other);
        arm(&b, w, START + 10);
        wheel_advance(w, START + 10);
        assert_int_equal(a.fired, 1);
        assert_true(b.fired == (new_due[i] == START + 10));
        wheel_advance(w, START + 2000);
        assert_int_equal(b.fired, 1);
        assert_true(b.fired_at >= new_due[i] && b.fired_at >= START + 10);
        assert_int_equal(w->armed, 0);
        free(w);
    }
}

static void free_self(struct wheel_timer *timer)
{
    struct probe *p = CONTAINER_OF(timer, struct probe, timer);
    ++*(unsigned *)(void *)p->other;
    free(p);
}

static void free_inside_fire(void **state)
{
    struct wheel *w = new_wheel();
    unsigned freed = 0;
    (void)state;
    for (uint64_t i = 0; i < 100; i++) {
        struct probe *p = calloc(1, sizeof *p);
        assert_non_null(p);
        p->other = (void *)&freed;
        wheel_arm(w, &p->timer, START + 10 + i % 3 * 600, free_self);
    }
    wheel_advance(w, START + 10);
    assert_int_equal(freed, 34);
    wheel_advance(w, START + 5000);
    assert_int_equal(freed, 100);
    free(w);
}

/* A process that was stopped for long finds all that fell due, in order, and nothing else. */
static void big_jumps(void **state)
{
    struct wheel *w = new_wheel();
    struct probe due[3] = {{.fired = 0}}, not_yet = {0};
    uint64_t now = START + 3600u * 1000u;
    (void)state;
    arm(&due[0], w, START + 1);
    arm(&due[1], w, START + 3000000);
    arm(&due[2], w, now);
    arm(&not_yet, w, now + 1);
    wheel_advance(w, now);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(due[i].fired, 1);
    }
    assert_true(due[0].fired_at <= due[1].fired_at && due[1].fired_at <= due[2].fired_at);
    assert_int_equal(not_yet.fired, 0);
    wheel_advance(w, now + 1);
    assert_int_equal(not_yet.fired, 1);
    /* Nothing armed: any distance at once. */
    now += 365ull * 86400 * 1000 * 1000;
    wheel_advance(w, now);
    assert_int_equal(w->now_ms, now);
    arm(&not_yet, w, now + 700);
    wheel_advance(w, now + 699);
    assert_int_equal(not_yet.fired, 1);
    wheel_advance(w, now + 700);
    assert_int_equal(not_yet.fired, 2);
    /* Time that stands still or goes back fires nothing. */
    arm(&not_yet, w, now + 701);
    wheel_advance(w, now);
    assert_int_equal(not_yet.fired, 2);
    assert_int_equal(wheel_wait_ms(w, now + 700), 1);
    free(w);
}

#define PROBES 64

/* A random course beside a plain model: at each advance just those fire that are due. */
static void long_course(void **state)
{
    struct wheel *w = new_wheel();
    static struct probe probes[PROBES];
    uint64_t due[PROBES] = {0}, now = START;
    unsigned fired[PROBES] = {0};
    uint32_t seed = 7;
    (void)state;
    for (int round = 0; round < 20000; round++) {
        seed = seed * 1103515245u + 12345u;
        size_t i = (seed >> 16) % PROBES;
        if ((seed >> 8 & 7) == 0) {
            wheel_cancel(w, &probes[i].timer);
            due[i] = 0;
        } else {
            due[i] = now + (seed >> 10) % 2000;
            arm(&probes[i], w, due[i]);
        }
        uint64_t wait = wheel_wait_ms(w, now);
        for (size_t k = 0; k < PROBES; k++) {
            assert_true(due[k] == 0 || due[k] <= now || now + wait <= due[k]);
        }
        now += 1 + (seed >> 20) % 40 * ((seed >> 5 & 63) == 0 ? 100 : 1);
        wheel_advance(w, now);
        for (size_t k = 0; k < PROBES; k++) {
            if (due[k] != 0 && due[k] <= now) {
                due[k] = 0;
                fired[k]++;
            }
            assert_int_equal(probes[k].fired, fired[k]);
        }
    }
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fires_when_due),   cmocka_unit_test(the_past_is_next),
        cmocka_unit_test(far_timers),       cmocka_unit_test(moved),
        cmocka_unit_test(cancelled),        cmocka_unit_test(cancel_inside_fire),
        cmocka_unit_test(arm_inside_fire),  cmocka_unit_test(move_inside_fire),
        cmocka_unit_test(free_inside_fire), cmocka_unit_test(big_jumps),
        cmocka_unit_test(long_course),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
