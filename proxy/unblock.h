/* When a hold begins, blocked commands are ended by CLIENT UNBLOCK, said on a link of the same
 * profile that is opened for it: `:1` proves that the command took nothing, so what it answers is
 * swallowed and it waits with the requests that were not sent. Without that proof it stays in
 * doubt. A drain ends them in the same way, and gives their answers.
 *
 * A link of its own: those that are shared have requests queued that must not be sent now, an idle
 * one need not be there, and what the session's user may not say cannot be said for it. It is no
 * race, for the proof is as good behind the promotion as before. */
#ifndef VEDETTE_PROXY_UNBLOCK_H
#define VEDETTE_PROXY_UNBLOCK_H

#include "proxy/link.h"

/* A hold has begun, or a drain is over: opens the links that are needed. */
void unblock_begin(struct worker_service *ws);
/* Such a link is ready. */
void unblock_ready(struct link *control);
/* Its oldest request is answered. s: the session that this was about; NULL: it is gone. */
void unblock_answered(struct link *control, struct session *s, struct slice reply);
/* It is lost: closes it. */
void unblock_lost(struct link *control);

#endif
