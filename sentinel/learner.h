/* Asks a node for its COMMAND, once, over a connection that is for nothing else. Nothing ever waits
 * for the answer. */
#ifndef VEDETTE_SENTINEL_LEARNER_H
#define VEDETTE_SENTINEL_LEARNER_H

#include "config/config.h"
#include "proxy/net/loop.h"
#include "sentinel/command_list.h"

struct learner;
struct tls_ctx;

/* Nothing is asked before learner_ask. service: credentials, time-out, name for the log; tls: NULL:
 * without. told gets the list, with a reference; or NULL after the first failure, which is logged:
 * it is tried again, seldom and more seldom. */
struct learner *learner_new(struct loop *loop, const struct config_service *service,
                            struct tls_ctx *tls,
                            void (*told)(void *owner, struct command_list *list), void *owner);
/* Asks this node, and no other any more. name is for the log. */
void learner_ask(struct learner *l, const struct sockaddr_any *at, const struct addr *name);
/* Sets *l to NULL; *l may be NULL. */
void learner_free(struct learner **l);

#endif
