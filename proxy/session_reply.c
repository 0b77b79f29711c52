/* Answers on their way from a link to the client, and what they make of the session. */
#include "proxy/session_input.h"

#include <stdlib.h>

#include "proxy/base/limits.h"
#include "proxy/base/log.h"
#include "proxy/worker.h"

/* An AUTH, HELLO, SELECT or CLIENT SETNAME was answered. */
static void profile_answered(struct session *s, char type)
{
    CHECK(s->asked != NULL);
    if (type != '-' && (s->multi || !s->asked_known)) {
        /* Queued, it takes effect at EXEC and who knows how; or a form we do not understand. */
        s->uncarried = "a profile that can't be followed";
    } else if (type != '-') {
        bool mended = s->asked->authenticated || s->refused != GREET_AUTH;
        profile_copy(&s->profile, s->asked);
        s->refused = mended ? GREET_STEPS : s->refused;
    }
    session_forget_asked(s);
}

void session_forget_asked(struct session *s)
{
    if (s->asked != NULL) {
        profile_clear(s->asked);
        free(s->asked);
        s->asked = NULL;
    }
}

/* What an answer of this type to this command makes of the session. */
static void note_answer(struct session *s, const struct command *command, char type)
{
    switch ((int)command->cls) {
    case COMMAND_MULTI: s->multi = s->multi || type == '+'; break;
    case COMMAND_EXEC:
    case COMMAND_DISCARD:
        /* EXEC ends it even with an error. */
        if (s->multi && (command->cls == COMMAND_EXEC || type == '+')) {
            s->multi = s->watch = s->watch_lost = false;
        }
        break;
    case COMMAND_WATCH: s->watch = s->watch || (type == '+' && !s->multi); break;
    case COMMAND_UNWATCH:
        if (type == '+' && !s->multi) {
            s->watch = s->watch_lost = false;
        }
        break;
    case COMMAND_AUTH:
    case COMMAND_HELLO:
    case COMMAND_SELECT:
    case COMMAND_SETNAME: profile_answered(s, type); break;
    case COMMAND_TRACKING:
        if (type == '+') {
            s->uncarried = command->name;
        }
        break;
    default: break;
    }
}

static void answered(struct session *s, char type)
{
    struct journal *j = &s->link->journal;
    note_answer(s, journal_at(j, 0)->command, type);
    journal_answered(j);
    s->last_deadline_ms = 0;
    if (!s->link->proven) {
        s->link->proven = true;
        service_link_proven(s->service);
    }
    if (s->scout) {
        service_scout_succeeded(s->service, s);
    }
    if (s->link->state == LINK_RETIRING && !s->link->streaming) {
        link_close(&s->link, LINK_END_GENERATION);
        worker_again(s->service->worker, s);
    }
}

/* The server ended a blocked command because its role changed: it popped nothing. Answered as the
 * time-out that it amounts to; but WAIT has no such answer. */
static bool force_unblocked(const struct record *r, struct slice reply)
{
    return r->command->may_block && r->command->cls != COMMAND_WRITE &&
           slice_starts_with(reply, "-UNBLOCKED force unblock");
}

/* What we took for a request, the server does not: its limits before AUTH are lower. */
static bool breaks_protocol(const struct record *r, struct slice reply)
{
    return !r->command->forgeable && slice_starts_with(reply, "-ERR Protocol error: ");
}

static void deliver(struct session *s, struct block *block, struct slice reply, char type)
{
    const struct record *r = journal_at(&s->link->journal, 0);
    if (r->own) {
        journal_answered(&s->link->journal);
        return;
    }
    if (journal_state(&s->link->journal, r) != RECORD_SENT || breaks_protocol(r, reply)) {
        /* The server takes no more of this frame, and nothing that follows. */
        session_give(s, block, reply);
        session_finish(s, SESSION_END_PROTOCOL);
        return;
    }
    if (force_unblocked(r, reply)) {
        service_hint(s->service, s->link->generation, HINT_REFUSED);
        session_give_str(s, session_nil(s, r->command));
    } else {
        session_give(s, block, reply);
    }
    answered(s, type);
}

void session_reply(struct session *s, struct block *block, struct slice reply, char type)
{
    if (type == '>') {
        session_give(s, block, reply);
    } else if (!tentative_take(s, reply)) {
        deliver(s, block, reply, type);
    }
}

void session_reply_settled(struct session *s, struct slice reply)
{
    deliver(s, NULL, reply, reply.p[0]);
}

void session_reply_part(struct session *s, struct block *block, struct slice part, char type,
                        bool last)
{
    session_give(s, block, part);
    if (last && type != '>') {
        answered(s, type);
    }
}

void session_raw_bytes(struct session *s, struct block *block, struct slice bytes)
{
    session_give(s, block, bytes);
}

void session_link_ready(struct session *s)
{
    session_pump(s);
}

void session_link_drained(struct session *s)
{
    if (!s->reading) {
        session_pump(s);
    }
}
