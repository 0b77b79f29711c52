/* Private to this folder: what transports, listeners and resolvers need of a loop. */
#ifndef VEDETTE_NET_LOOP_UV_H
#define VEDETTE_NET_LOOP_UV_H

#include <uv.h>

#include "proxy/base/list.h"
#include "proxy/net/loop.h"

struct tls_room;

/* Work left over by a callback of a socket that will not be called again for it. */
struct leftover {
    struct list_node node;
    void (*run)(struct leftover *leftover);
};

uv_loop_t *loop_uv(struct loop *loop);
/* Has it run once, behind the socket callbacks of this turn, or of the next one if those are over.
 * The loop does not wait before. */
void loop_leave(struct loop *loop, struct leftover *leftover);
/* False once TLS_STEPS_A_TURN were asked for in this turn: the next one is soon enough. */
bool loop_may_shake(struct loop *loop);
/* Scratch space of the TLS connections of this loop. */
struct tls_room *loop_tls_room(struct loop *loop);

#endif
