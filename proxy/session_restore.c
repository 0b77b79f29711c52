/* See session_restore.h. */
#include "proxy/session_restore.h"

#include "proxy/service.h"
#include "proxy/session_input.h"
#include "proxy/session_redirect.h"
#include "proxy/session_subscribe.h"
#include "proxy/session_tracking.h"
#include "proxy/worker.h"

bool session_lives_on_link(const struct session *s)
{
    return s->transaction != NULL || s->tracking != NULL || s->subs != NULL ||
           redirect_is_target(s);
}

void session_restore(struct session *s)
{
    if (!redirect_is_settled(s)) {
        return; /* it will be: then again */
    }
    eviction_say(s);
    tracking_say(s);
    listening_say(s);
    tracking_say_caching(s);
    transaction_say(s); /* the last: behind MULTI all else would be queued */
}

void session_restored(struct session *s, enum ask ask, struct slice reply)
{
    switch (ask) {
    case ASK_CLIENT:
    case ASK_SELF: return;
    case ASK_LISTEN: listening_said(s, reply); return;
    case ASK_CAUGHT_UP: listening_caught_up(s); return;
    case ASK_EVICT: eviction_said(s, reply); return;
    case ASK_TRACKING: tracking_said(s, reply); return;
    case ASK_REDIRECT: redirect_answered(s, reply); return;
    case ASK_TRANSACTION: transaction_said(s, reply); return;
    }
    UNREACHABLE("ask");
}

void session_say(struct session *s, enum ask ask, struct slice request)
{
    /* For what becomes of it, it is a request without effect. */
    session_say_as(s, ask, command_lookup_name(slice_str("ping")), request);
}

void session_say_as(struct session *s, enum ask ask, const struct command *command,
                    struct slice request)
{
    struct asker own = s->asker;
    own.own = ask;
    s->outstanding++;
    s->restoring++;
    link_ask(s->link, command, own, request);
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

bool session_marks_link(const struct session *s)
{
    return s->multi || s->watch || s->pinned || s->uncarried != NULL || s->subs != NULL;
}
