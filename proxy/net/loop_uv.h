/* Private to this folder: what transports, listeners and resolvers need of a loop. */
#ifndef VEDETTE_NET_LOOP_UV_H
#define VEDETTE_NET_LOOP_UV_H

#include <uv.h>

#include "proxy/net/loop.h"

uv_loop_t *loop_uv(struct loop *loop);

#endif
