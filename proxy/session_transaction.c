/* A transaction and the links it is on. Nothing of it runs before EXEC: when its link is lost
 * before EXEC was sent whole, all that was answered is said again on the next one, and the answers
 * must be the same. With a WATCH it is over: what the client has read came from another primary.
 *
 * What it changes of the session (its profile, what it listens to, CLIENT TRACKING) is changed once
 * EXEC is answered. An EXEC in doubt has changed nothing that is confirmed by an answer of its own,
 * which has not come: the client goes on with the subscriptions that it knows of. But its user, its
 * database, and the version of RESP, it may think to have changed, and the next write would go to
 * the wrong place: such a session is ended. */
#include "proxy/session_restore.h"

#include <string.h>

#include "proxy/base/limits.h"
#include "proxy/base/log.h"
#include "proxy/exec_answer.h"
#include "proxy/learnt.h"
#include "proxy/service.h"
#include "proxy/session_input.h"
#include "proxy/session_subscribe.h"
#include "proxy/session_tracking.h"
#include "proxy/tentative.h"
#include "proxy/tracking.h"
#include "proxy/transaction.h"

void transaction_begun(struct session *s)
{
    s->multi = true;
    s->transaction = transaction_new();
    /* Who listens may be told, in the answer to EXEC, of what is done there. */
    s->link->follows = s->subs != NULL;
}

void transaction_over(struct session *s)
{
    s->multi = s->watch = s->multi_lost = s->watch_lost = false;
    transaction_free(&s->transaction);
    if (s->link != NULL) {
        s->link->follows = false;
    }
}

void transaction_abort(struct session *s)
{
    s->multi_lost = true;
    transaction_free(&s->transaction);
}

void transaction_spoil(struct session *s)
{
    struct slice bad = slice_str("*1\r\n$3\r\nGET\r\n");
    transaction_queued_frame(s, command_lookup_name(slice_str("get")), bad,
                             slice_str("-ERR wrong number of arguments for 'get' command\r\n"));
    if (s->link != NULL) {
        struct asker own = s->asker;
        own.own = ASK_SELF;
        s->outstanding++;
        link_ask(s->link, command_lookup_name(slice_str("ping")), own, bad);
    }
}

bool transaction_can_move(const struct session *s)
{
    return !s->multi || s->watch || (s->transaction != NULL && s->transaction->whole);
}

void transaction_lost(struct session *s)
{
    s->watch_lost = s->watch_lost || s->watch;
    if (s->multi && (s->watch || !transaction_can_move(s))) {
        transaction_abort(s);
    }
    s->watch = false;
}

/* What this command, which was queued, will do to the session. */
static void note_queued(struct session *s, const struct command *command, struct slice answer)
{
    struct transaction *t = s->transaction;
    if (!slice_starts_with(answer, "+QUEUED")) {
        return;
    }
    bool profile = command_changes_profile(command);
    t->subscribes = t->subscribes || command->cls == COMMAND_SUBSCRIBE;
    t->blurs = t->blurs || (profile && command->cls != COMMAND_SETNAME);
    t->follows = t->follows || profile || t->subscribes || command->cls == COMMAND_TRACKING ||
                 command->cls == COMMAND_EVICT;
    s->link->follows = s->link->follows || t->follows;
}

void transaction_queued(struct session *s, const struct journal *j, const struct record *r,
                        struct slice answer)
{
    note_queued(s, r->command, answer);
    if (!journal_has(j, r)) {
        transaction_forget(s->transaction);
        return;
    }
    char *to = transaction_keep(s->transaction, journal_bytes(j, r), answer);
    if (to != NULL) {
        journal_copy(j, r, to);
    }
}

void transaction_queued_frame(struct session *s, const struct command *command, struct slice frame,
                              struct slice answer)
{
    note_queued(s, command, answer);
    char *to = transaction_keep(s->transaction, frame.n, answer);
    if (to != NULL) {
        memcpy(to, frame.p, frame.n);
    }
}

/* MULTI alone, and what was queued once it is taken: were MULTI refused, that would run at once. */
static void say_again(struct session *s, bool queued)
{
    struct transaction_at at = {0};
    struct slice frame, answer;
    for (bool first = true; transaction_next(s->transaction, &at, &frame, &answer); first = false) {
        if (first != queued) {
            session_say(s, ASK_TRANSACTION, frame);
            s->service->report.resent++;
        }
    }
}

void transaction_say(struct session *s)
{
    struct transaction *t = s->transaction;
    if (t == NULL) {
        return;
    }
    if (s->link->bare_from != GREET_STEPS) {
        transaction_abort(s); /* it would run in another database, or as another user */
        return;
    }
    s->link->dirty = true; /* frames of any form */
    s->link->follows = t->follows || s->subs != NULL;
    transaction_again(t);
    say_again(s, false);
}

void transaction_said(struct session *s, struct slice reply)
{
    bool begins = s->transaction->compared == 0;
    if (transaction_same(s->transaction, reply)) {
        if (begins) {
            say_again(s, true);
        }
        return;
    }
    bool refused = is_refusal(reply);
    if (!refused) {
        log_limited(LOG_NOTICE, "transaction-aborted", "service=%s error=%s",
                    s->service->config->name, log_quote(slice_of(reply.p, reply.n - 2)));
        transaction_abort(s);
    }
    session_leave_link(s, refused);
}

bool transaction_blurs_profile(const struct session *s)
{
    if (s->transaction == NULL || !s->transaction->blurs || s->link == NULL) {
        return false;
    }
    const struct journal *j = &s->link->journal;
    for (uint32_t i = 0; i < j->count; i++) {
        const struct record *r = journal_at(j, i);
        if (r->command->cls == COMMAND_EXEC || r->command->cls == COMMAND_DISCARD) {
            return r->command->cls == COMMAND_EXEC && journal_state(j, r) == RECORD_SENT;
        }
    }
    return false;
}

static bool answers_exec(const struct session *s)
{
    const struct journal *j = &s->link->journal;
    return s->multi && j->count > 0 && journal_at(j, 0)->command->cls == COMMAND_EXEC;
}

/* All of it was answered, as far as the server can be understood. */
static enum exec_state read_answer(struct session *s, struct slice bytes)
{
    struct transaction *t = s->transaction;
    if (t->exec == NULL) {
        static const struct pubsub_counts none;
        bool monitor = s->subs != NULL && s->subs->monitor == MONITOR_ON;
        t->exec = exec_answer_new(s->subs != NULL ? &s->subs->on_link : &none,
                                  s->set->profile.resp == 3, monitor);
        t->exec->muted = answers_exec(s) && journal_at(&s->link->journal, 0)->asker.mute;
    }
    return exec_answer_feed(t->exec, t, bytes);
}

bool transaction_ran_more(struct session *s, struct slice bytes)
{
    const struct transaction *t = s->transaction;
    if (t == NULL || !answers_exec(s) || (!t->whole && !t->subscribes)) {
        return false; /* it is one array, whatever stands in it */
    }
    switch (t->whole ? read_answer(s, bytes) : EXEC_UNSURE) {
    case EXEC_MORE: return true;
    case EXEC_DONE: return false;
    case EXEC_BROKEN: link_lost(s->link, LINK_END_PROTOCOL); return false;
    case EXEC_UNSURE: break;
    }
    static const char why[] = "SUBSCRIBE in a transaction whose answer can't be read";
    if (journal_at(&s->link->journal, 0)->asker.mute || s->replies != REPLIES_ON) {
        session_end(s, SESSION_END_UNCARRIED, why);
    } else {
        transaction_over(s);
        session_become_raw(s, why);
    }
    return false;
}

/* One command of it was executed with an answer of this type. */
static void ran_one(struct session *s, struct slice frame, char type)
{
    struct args args;
    CHECK(args_parse(frame, &args) == ARGS_OK);
    const struct command *command = learnt_lookup(s->service->learnt, &args);
    if (command_changes_profile(command)) {
        request_ask_profile(s, command, &args);
        session_profile_answered(s, command, type);
    } else if (command->cls == COMMAND_SUBSCRIBE && type != '-') {
        listening_ran(s, command, frame, &args);
    } else if (command->cls == COMMAND_TRACKING && type == '+' && tracking_redirect(frame) != 0) {
        s->uncarried = command->name; /* it was not asked in our words: see session_redirect.h */
    } else if (command->link == COMMAND_PINNED && type == '+') {
        tracking_noted(s, command, frame);
    }
    args_free(&args);
}

static void follow(struct session *s, const struct transaction *t)
{
    struct slice types = buf_slice(&t->exec->types);
    struct transaction_at at = {0};
    struct slice frame, answer;
    for (size_t i = 0; i < types.n && transaction_next(t, &at, &frame, &answer);) {
        CHECK(types.p != NULL);
        if (slice_starts_with(answer, "+QUEUED")) { /* not an error, nor MULTI */
            ran_one(s, frame, types.p[i++]);
        }
    }
    listening_counted(s, &t->exec->counts);
}

void transaction_ran(struct session *s, struct slice reply)
{
    struct transaction *t = s->transaction;
    bool ran = t != NULL && t->follows && reply.p[0] == '*' && !slice_starts_with(reply, "*-1\r\n");
    if (ran && t->whole && t->exec == NULL) {
        (void)read_answer(s, reply); /* it was kept till now */
    }
    s->transaction = NULL;
    transaction_over(s);
    if (ran && (t->exec == NULL || t->exec->state != EXEC_DONE)) {
        s->uncarried = "a transaction too large to be followed";
    } else if (ran) {
        follow(s, t);
    }
    if (t != NULL && t->exec != NULL) {
        session_give_push(s, buf_slice(&t->exec->heard));
    }
    transaction_free(&t);
    if (s->subs != NULL && s->link->reading) {
        listening_resumed(s); /* it could not be asked before */
    }
}
