/* One turn: libuv waits and calls the socket callbacks; then, in the check phase, mail, timers and
 * the owner's flush follow, in this order. The libuv timer only bounds the wait. */
#include "proxy/net/loop.h"

#include <pthread.h>
#include <stdlib.h>

#include "proxy/base/clock.h"
#include "proxy/base/limits.h"
#include "proxy/net/loop_uv.h"
#include "proxy/net/tls.h"

#define LOOP_MAGIC  0x100f0001u
#define SIGNALS_MAX 4

struct signal_watch {
    uv_signal_t handle;
    void (*on_signal)(void *owner, int signum);
};

struct loop {
    uint32_t magic;
    uv_loop_t uv;
    uv_check_t check;
    uv_prepare_t prepare;
    uv_timer_t timer;
    uv_idle_t idle;
    uv_async_t async;
    struct signal_watch signals[SIGNALS_MAX];
    size_t signal_count;
    struct wheel wheel;
    struct list leftovers;
    struct tls_room *tls_room; /* NULL: not needed yet */
    unsigned tls_steps;        /* of handshakes, in this turn */
    uint64_t now_ms;           /* 0: not read since the loop last waited */
    void *owner;
    void (*flush)(void *owner);
    bool stopped;
    pthread_mutex_t mail_lock;
    struct mail *mail_first, **mail_last;
};

static struct loop *loop_of(void *data)
{
    struct loop *loop = data;
    CHECK_MAGIC(loop, LOOP_MAGIC);
    return loop;
}

uv_loop_t *loop_uv(struct loop *loop)
{
    return &loop->uv;
}

static void deliver_mail(struct loop *loop)
{
    CHECK(pthread_mutex_lock(&loop->mail_lock) == 0);
    struct mail *mail = loop->mail_first;
    loop->mail_first = NULL;
    loop->mail_last = &loop->mail_first;
    CHECK(pthread_mutex_unlock(&loop->mail_lock) == 0);
    while (mail != NULL) {
        struct mail *next = mail->next;
        mail->next = NULL;
        mail->deliver(mail, loop->owner);
        mail = next;
    }
}

static void run_leftovers(struct loop *loop)
{
    for (size_t n = loop->leftovers.count; n > 0 && loop->leftovers.count > 0; n--) {
        struct leftover *first = CONTAINER_OF(list_pop(&loop->leftovers), struct leftover, node);
        first->run(first);
    }
}

static void on_check(uv_check_t *check)
{
    struct loop *loop = loop_of(check->data);
    loop->now_ms = clock_ms();
    (void)uv_idle_stop(&loop->idle); /* cannot fail */
    loop->tls_steps = 0;
    run_leftovers(loop);
    deliver_mail(loop);
    wheel_advance(&loop->wheel, loop->now_ms);
    if (loop->flush != NULL) {
        loop->flush(loop->owner);
    }
    if (loop->stopped) {
        uv_stop(&loop->uv);
    }
}

static void on_timer(uv_timer_t *timer)
{
    (void)timer; /* the wait is over: that was all */
}

static void on_idle(uv_idle_t *idle)
{
    (void)idle; /* an active idle handle makes the wait zero: that is all */
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct loop *loop = loop_of(prepare->data);
    loop->now_ms = 0; /* the wait that follows may be long */
    uint64_t wait = wheel_wait_ms(&loop->wheel, clock_ms());
    if (wait == UINT64_MAX) {
        CHECK(uv_timer_stop(&loop->timer) == 0);
        return;
    }
    uv_update_time(&loop->uv);
    CHECK(uv_timer_start(&loop->timer, on_timer, wait, 0) == 0);
}

static void on_async(uv_async_t *async)
{
    (void)async; /* the mail is delivered in the check phase of this turn */
}

struct loop *loop_new(void *owner, void (*flush)(void *owner))
{
    struct loop *loop = xcalloc(1, sizeof *loop);
    loop->magic = LOOP_MAGIC;
    loop->owner = owner;
    loop->flush = flush;
    loop->now_ms = clock_ms();
    wheel_init(&loop->wheel, loop->now_ms);
    loop->mail_last = &loop->mail_first;
    CHECK(pthread_mutex_init(&loop->mail_lock, NULL) == 0);
    CHECK(uv_loop_init(&loop->uv) == 0);
    loop->check.data = loop->prepare.data = loop;
    CHECK(uv_check_init(&loop->uv, &loop->check) == 0 &&
          uv_check_start(&loop->check, on_check) == 0);
    CHECK(uv_prepare_init(&loop->uv, &loop->prepare) == 0 &&
          uv_prepare_start(&loop->prepare, on_prepare) == 0);
    CHECK(uv_timer_init(&loop->uv, &loop->timer) == 0);
    CHECK(uv_idle_init(&loop->uv, &loop->idle) == 0);
    CHECK(uv_async_init(&loop->uv, &loop->async, on_async) == 0);
    return loop;
}

void loop_run(struct loop *loop)
{
    loop->stopped = false;
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT); /* non-zero only says that handles are still open */
}

void loop_stop(struct loop *loop)
{
    loop->stopped = true;
    loop_again(loop);
}

void loop_free(struct loop **where)
{
    struct loop *loop = *where;
    deliver_mail(loop);
    CHECK(loop->wheel.armed == 0);
    uv_handle_t *own[] = {(uv_handle_t *)&loop->check, (uv_handle_t *)&loop->prepare,
                          (uv_handle_t *)&loop->timer, (uv_handle_t *)&loop->idle,
                          (uv_handle_t *)&loop->async};
    for (size_t i = 0; i < ARRAY_LEN(own); i++) {
        uv_close(own[i], NULL);
    }
    for (size_t i = 0; i < loop->signal_count; i++) {
        uv_close((uv_handle_t *)&loop->signals[i].handle, NULL);
    }
    /* Whatever is still closing, or still being looked up, ends here. */
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
    CHECK(uv_loop_close(&loop->uv) == 0);
    CHECK(loop->leftovers.count == 0);
    tls_room_free(&loop->tls_room);
    CHECK(pthread_mutex_destroy(&loop->mail_lock) == 0);
    loop->magic = 0;
    free(loop);
    *where = NULL;
}

void loop_post(struct loop *loop, struct mail *mail)
{
    mail->next = NULL;
    CHECK(pthread_mutex_lock(&loop->mail_lock) == 0);
    bool was_empty = loop->mail_first == NULL;
    *loop->mail_last = mail;
    loop->mail_last = &mail->next;
    /* Under the lock: the loop can't be freed between its last mail and this wake-up. */
    if (was_empty) {
        CHECK(uv_async_send(&loop->async) == 0);
    }
    CHECK(pthread_mutex_unlock(&loop->mail_lock) == 0);
}

uint64_t loop_now_ms(struct loop *loop)
{
    if (loop->now_ms == 0) {
        loop->now_ms = clock_ms();
    }
    return loop->now_ms;
}

void loop_arm(struct loop *loop, struct wheel_timer *timer, uint64_t delay_ms,
              void (*fire)(struct wheel_timer *))
{
    wheel_arm(&loop->wheel, timer, clock_ms() + delay_ms, fire);
}

void loop_disarm(struct loop *loop, struct wheel_timer *timer)
{
    wheel_cancel(&loop->wheel, timer);
}

void loop_again(struct loop *loop)
{
    CHECK(uv_idle_start(&loop->idle, on_idle) == 0);
}

void loop_leave(struct loop *loop, struct leftover *leftover)
{
    if (!list_on(&leftover->node)) {
        list_append(&loop->leftovers, &leftover->node);
        loop_again(loop);
    }
}

bool loop_may_shake(struct loop *loop)
{
    return loop->tls_steps++ < TLS_STEPS_A_TURN;
}

struct tls_room *loop_tls_room(struct loop *loop)
{
    if (loop->tls_room == NULL) {
        loop->tls_room = tls_room_new();
    }
    return loop->tls_room;
}

static void on_uv_signal(uv_signal_t *handle, int signum)
{
    struct signal_watch *watch = CONTAINER_OF(handle, struct signal_watch, handle);
    watch->on_signal(loop_of(handle->data)->owner, signum);
}

void loop_watch_signal(struct loop *loop, int signum, void (*on_signal)(void *owner, int signum))
{
    CHECK(loop->signal_count < SIGNALS_MAX);
    struct signal_watch *watch = &loop->signals[loop->signal_count++];
    watch->on_signal = on_signal;
    CHECK(uv_signal_init(&loop->uv, &watch->handle) == 0);
    watch->handle.data = loop;
    CHECK(uv_signal_start(&watch->handle, on_uv_signal, signum) == 0);
}
