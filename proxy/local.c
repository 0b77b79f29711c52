/* Answers that the session gives itself. */
#include "proxy/session_input.h"

#include "proxy/base/log.h"
#include "proxy/linkset.h"
#include "proxy/session_mute.h"
#include "proxy/session_reads.h"
#include "proxy/session_redirect.h"
#include "proxy/session_restore.h"
#include "proxy/session_subscribe.h"
#include "proxy/session_tracking.h"
#include "proxy/worker.h"

void say_not_executed(const struct session *s, struct buf *to)
{
    if (s->reader) {
        reads_say_refused(s, to);
        return;
    }
    buf_printf(to, "-LOADING No primary available for '%.64s'; the command was not executed\r\n",
               s->service->config->name);
}

void say_noauth(struct session *s, const struct command *command)
{
    session_give_str(s, command->cls == COMMAND_EXEC
                            ? "-EXECABORT Transaction discarded because of: NOAUTH Authentication "
                              "required.\r\n"
                            : "-NOAUTH Authentication required.\r\n");
}

static const char *nil_array(const struct session *s)
{
    return s->set->profile.resp == 3 ? "_\r\n" : "*-1\r\n";
}

/* The rest of a transaction whose link is gone: nothing of it was executed, and EXEC says so in the
 * words a client knows. */
static void answer_lost_transaction(struct session *s, const struct command *command)
{
    if (s->multi) {
        transaction_abort(s); /* if only now, for want of a link of its profile */
    }
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
    if (s->watch) {
        link_close(&s->link, LINK_END_SESSION); /* it would go on watching */
    }
    transaction_over(s);
}

static void reset(struct session *s)
{
    if (s->link != NULL) {
        link_close(&s->link, LINK_END_SESSION);
    }
    bool noted = s->reads != READS_PRIMARY;
    session_set_plain_profile(s);
    if (!noted) {
        reads_begin_to_note(s);
    }
    buf_release(&s->name);
    transaction_over(s);
    listening_forget(s);
    tracking_end(s);
    s->pinned = redirect_is_target(s); /* others still name it */
    s->hushed =
        s->hushed && s->replies != REPLIES_OFF; /* a SKIP before it is for it, as in Redis */
    s->replies = REPLIES_ON;
    s->mutes = s->no_evict = s->no_touch = false;
    s->uncarried = NULL;
    session_give_str(s, "+RESET\r\n");
}

/* A name belongs to the client, not to the link that it shares. */
static void set_name(struct session *s, struct slice name)
{
    if (!name_is_valid(name)) {
        session_give_str(s, "-ERR Client names cannot contain spaces, newlines or special "
                            "characters.\r\n");
        return;
    }
    if (s->link != NULL) {
        linkset_give_back(s); /* its lease is over; the next one is told the name */
    }
    buf_release(&s->name);
    buf_append(&s->name, name);
    session_give_str(s, "+OK\r\n");
}

static void get_name(struct session *s)
{
    struct buf answer = {0};
    if (buf_len(&s->name) > 0) {
        buf_printf(&answer, "$%zu\r\n%.*s\r\n", buf_len(&s->name), (int)buf_len(&s->name),
                   buf_head(&s->name));
    } else {
        buf_append_str(&answer, s->set->profile.resp == 3 ? "_\r\n" : "$-1\r\n");
    }
    session_give(s, NULL, buf_slice(&answer));
    buf_release(&answer);
}

/* In the words of Redis 7.0 for what an ACL does not let a user run. */
static void deny(struct session *s, const struct command *command)
{
    struct buf error = {0};
    char text[ADDR_TEXT_MAX];
    buf_printf(&error, "-NOPERM this user has no permissions to run the '%s' command\r\n",
               command->name);
    log_limited(LOG_NOTICE, "command-denied", "service=%s client=%s command=%s",
                s->service->config->name, session_peer(s, text),
                log_quote(slice_str(command->name)));
    session_give(s, NULL, buf_slice(&error));
    buf_release(&error);
    if (s->multi && !s->multi_lost) {
        transaction_spoil(s);
    }
}

void local_answer(struct session *s, const struct command *command, const struct args *args)
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
    } else if (command->cls == COMMAND_DENIED && !session_needs_auth(s)) {
        deny(s, command);
    } else if (s->multi || (s->watch_lost && command->cls == COMMAND_MULTI)) {
        answer_lost_transaction(s, command);
    } else if (session_needs_auth(s)) {
        say_noauth(s, command);
    } else if (command->cls == COMMAND_REPLY && !s->refused && s->set->refused == GREET_STEPS) {
        mute_set(s, args);
    } else if (command->cls == COMMAND_READONLY && !s->refused && s->set->refused == GREET_STEPS) {
        reads_choose(s, command);
    } else if (command->cls == COMMAND_SETNAME) {
        set_name(s, args->v[2]);
    } else if (command->cls == COMMAND_GETNAME) {
        get_name(s);
    } else if (command->cls == COMMAND_WAIT) {
        /* What it wrote was written elsewhere: no replica of this primary is known to have it. */
        session_give_str(s, args->count == 3 ? ":0\r\n" : "*2\r\n:0\r\n:0\r\n");
    } else {
        s->refused = true; /* what follows, perhaps of the same transaction, is not served either */
        struct buf error = {0};
        buf_printf(&error, "-%.*s\r\n", (int)buf_len(&s->set->refused_words),
                   buf_head(&s->set->refused_words));
        session_give(s, NULL, buf_slice(&error));
        buf_release(&error);
    }
}
