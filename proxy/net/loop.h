/* An event loop of one thread: sockets, timers, mail from other threads, and a flush phase at the
 * end of each turn. The only users of libuv are the files of this folder. */
#ifndef VEDETTE_NET_LOOP_H
#define VEDETTE_NET_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/wheel.h"

struct loop;

/* A message to a loop. Embed it; deliver is called once in the loop's thread and then owns it. */
struct mail {
    struct mail *next;
    void (*deliver)(struct mail *mail, void *owner);
};

/* A loop for the calling thread or for a thread yet to start. owner is handed to deliver, flush and
 * signal callbacks. flush (may be NULL) is called once at the end of every turn in which anything
 * happened, after all socket, timer and mail callbacks of that turn. */
struct loop *loop_new(void *owner, void (*flush)(void *owner));
/* Runs until loop_stop; returns after the turn in which it was called. */
void loop_run(struct loop *loop);
/* From a callback of this loop. */
void loop_stop(struct loop *loop);
/* Frees the loop after loop_run returned. All transports, listeners and resolvers must have been
 * closed; it runs the loop until libuv has let go of their handles, delivers what mail is left and
 * CHECKs that nothing remained open. Sets the pointer to NULL. */
void loop_free(struct loop **where);

/* Any thread, any time before loop_free. Takes ownership of the mail; order per sender is kept. */
void loop_post(struct loop *loop, struct mail *mail);

/* Milliseconds of the monotonic clock, as of the last wake-up of this loop: the clock is read at
 * most twice a turn. */
uint64_t loop_now_ms(struct loop *loop);
/* Arms a timer of this loop to fire in delay_ms milliseconds; see wheel.h. */
void loop_arm(struct loop *loop, struct wheel_timer *timer, uint64_t delay_ms,
              void (*fire)(struct wheel_timer *));
void loop_disarm(struct loop *loop, struct wheel_timer *timer);
/* Asks for another turn without waiting: work was left over for it. */
void loop_again(struct loop *loop);

/* Calls on_signal in the loop's thread whenever signum arrives. Main thread's loop only. */
void loop_watch_signal(struct loop *loop, int signum, void (*on_signal)(void *owner, int signum));

#endif
