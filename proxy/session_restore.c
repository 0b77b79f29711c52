/* See session_restore.h. */
#include "proxy/session_restore.h"

#include "proxy/service.h"
#include "proxy/session_input.h"
#include "proxy/worker.h"

bool session_lives_on_link(const struct session *s)
{
    return s->transaction != NULL;
}

void session_restore(struct session *s)
{
    transaction_say(s); /* the last: behind MULTI all else would be queued */
}

void session_restored(struct session *s, enum ask ask, struct slice reply)
{
    switch (ask) {
    case ASK_CLIENT:
    case ASK_SELF: return;
    case ASK_TRANSACTION: transaction_said(s, reply); return;
    }
    UNREACHABLE("ask");
}

void session_say(struct session *s, enum ask ask, struct slice request)
{
    struct asker own = s->asker;
    own.own = ask;
    s->outstanding++;
    s->restoring++;
    /* For what becomes of it, it is a request without effect. */
    link_ask(s->link, command_lookup_name(slice_str("ping")), own, request);
}

void session_leave_link(struct session *s, bool refused)
{
    link_close(&s->link, LINK_END_REFUSED);
    s->outstanding = s->restoring = 0;
    if (refused) {
        service_wait_refused(s->service, s);
    } else {
        worker_again(s->service->worker, s);
    }
}
