/* Answers that the session gives itself. */
#include "proxy/session_input.h"

#include "proxy/base/log.h"
#include "proxy/worker.h"

void say_not_executed(const struct session *s, struct buf *to)
{
    buf_printf(to, "-LOADING No primary available for '%.64s'; the command was not executed\r\n",
               s->service->config->name);
}

static const char *nil_array(const struct session *s)
{
    return s->profile.resp == 3 ? "_\r\n" : "*-1\r\n";
}

static void forget_transaction(struct session *s)
{
    s->multi = s->watch = s->multi_lost = s->watch_lost = false;
}

/* The rest of a transaction whose link is gone: nothing of it was executed, and EXEC says so in the
 * words a client knows. */
static void answer_lost_transaction(struct session *s, const struct command *command)
{
    switch ((int)command->cls) {
    case COMMAND_MULTI:
        session_give_str(s, s->multi ? "-ERR MULTI calls can not be nested\r\n" : "+OK\r\n");
        s->multi = s->multi_lost = true;
        return;
    case COMMAND_WATCH: session_give_str(s, "-ERR WATCH inside MULTI is not allowed\r\n"); return;
    case COMMAND_DISCARD: session_give_str(s, "+OK\r\n"); break;
    case COMMAND_EXEC:
        session_give_str(s, s->watch_lost ? nil_array(s)
                                          : "-EXECABORT Transaction discarded because the primary "
                                            "changed before EXEC\r\n");
        break;
    default: session_give_str(s, "+QUEUED\r\n"); return;
    }
    forget_transaction(s);
}

static void reset(struct session *s)
{
    link_close(&s->link, LINK_END_SESSION);
    profile_clear(&s->profile);
    forget_transaction(s);
    s->uncarried = NULL;
    s->refused = GREET_STEPS;
    session_give_str(s, "+RESET\r\n");
}

void local_answer(struct session *s, const struct command *command)
{
    if (command->cls == COMMAND_QUIT) {
        session_give_str(s, "+OK\r\n");
        session_finish(s, SESSION_END_QUIT);
    } else if (command->cls == COMMAND_HTTP) {
        log_limited(LOG_WARNING, "http-request", "service=%s action=closed",
                    s->service->config->name);
        session_finish(s, SESSION_END_PROTOCOL);
    } else if (command->cls == COMMAND_RESET) {
        reset(s);
    } else if (s->multi_lost || (s->watch_lost && command->cls == COMMAND_MULTI)) {
        answer_lost_transaction(s, command);
    } else {
        struct buf error = {0};
        buf_printf(&error, "-%.*s\r\n", (int)buf_len(&s->refused_words),
                   buf_head(&s->refused_words));
        session_give(s, NULL, buf_slice(&error));
        buf_release(&error);
    }
}
