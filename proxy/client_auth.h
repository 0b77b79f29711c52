/* Who a client is, where that is for the proxy to say and not for the server: client-auth = none or
 * users. AUTH, and HELLO with it, are answered here, and what goes to the server is said by the
 * user that the client's user has there. Until a client has said who it is nothing of it goes
 * anywhere: its session has no link, and is let through to none. */
#ifndef VEDETTE_PROXY_CLIENT_AUTH_H
#define VEDETTE_PROXY_CLIENT_AUTH_H

#include "proxy/session_input.h"

/* As a client is that has said nothing yet. */
void client_auth_begin(struct session *s);
/* It is nobody any more: the session is being freed. */
void client_auth_end(struct session *s);

/* Of a session that is not GATE_FORWARD: this request is not let through unseen. */
static inline bool client_auth_meets(const struct session *s, const struct request *r)
{
    return s->gate == GATE_SHUT || r->command->cls == COMMAND_AUTH ||
           r->command->cls == COMMAND_HELLO;
}
/* As request_take, of one that it meets. */
bool client_auth_take(struct session *s, const struct request *r);
/* Refuses a request behind which nobody could tell AUTH from the bytes of another protocol. */
bool client_auth_refuse_raw(struct session *s, const struct request *r);
/* There are other users: a session is closed whose user is gone, as Redis does. */
void client_auth_users_changed(struct session *s);

#endif
