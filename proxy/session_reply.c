/* Answers on their way from a link to the client, and what they make of the session. */
#include "proxy/session_blocking.h"
#include "proxy/session_reads.h"

#include <stdlib.h>

#include "proxy/base/limits.h"
#include "proxy/base/log.h"
#include "proxy/session_redirect.h"
#include "proxy/session_restore.h"
#include "proxy/session_subscribe.h"
#include "proxy/session_tracking.h"
#include "proxy/transaction.h"
#include "proxy/worker.h"

/* The session has another profile from now on. Its own link has taken it on with it. */
static void take_profile(struct session *s, const struct profile *profile)
{
    struct linkset *set = linkset_get(s->service, profile, s->set->replica);
    set->refused = GREET_STEPS; /* the server has just accepted all of it */
    s->refused = false;
    linkset_drop(&s->set);
    s->set = set;
    if (s->link->kind == LINK_EXCLUSIVE) {
        struct linkset *before = s->link->set;
        s->link->set = linkset_use(set);
        s->link->needs_auth = s->link->needs_auth && !profile->authenticated;
        linkset_drop(&before);
    }
    reads_profile_changed(s);
}

/* An AUTH, HELLO, SELECT or CLIENT SETNAME was answered. */
void session_profile_answered(struct session *s, const struct command *command, char type)
{
    CHECK(s->asked != NULL);
    const struct asked *asked = s->asked;
    bool accepted = type != '-' && !s->multi; /* else it is queued, and takes effect at EXEC */
    if (accepted && asked->form == PROFILE_UNKNOWN) {
        s->uncarried = "a profile that can't be followed";
    } else if (accepted) {
        bool named = buf_len(&asked->name) > 0 || command->cls == COMMAND_SETNAME;
        if (named) {
            buf_release(&s->name);
            buf_append(&s->name, buf_slice(&asked->name));
            s->link->named = true;
        }
        if (!profile_same(&asked->profile, &s->set->profile) || s->set->refused != GREET_STEPS) {
            take_profile(s, &asked->profile);
        }
    }
    if (asked->form != PROFILE_PLAIN) {
        s->link->dirty = true; /* an error may have come behind a part that was accepted */
    }
    session_forget_asked(s);
}

void session_forget_asked(struct session *s)
{
    if (s->asked != NULL) {
        profile_clear(&s->asked->profile);
        buf_release(&s->asked->name);
        free(s->asked);
        s->asked = NULL;
    }
}

/* What this answer to this command makes of the session. */
static void note_answer(struct session *s, const struct command *command, struct slice reply,
                        char type)
{
    switch ((int)command->cls) {
    case COMMAND_MULTI:
        if (type == '+' && !s->multi) {
            transaction_begun(s);
        }
        break;
    case COMMAND_EXEC: /* ends it even with an error */
        if (s->multi) {
            transaction_ran(s, reply);
        }
        break;
    case COMMAND_DISCARD:
        if (s->multi && type == '+') {
            transaction_ran(s, reply);
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
    case COMMAND_SETNAME: session_profile_answered(s, command, type); break;
    case COMMAND_MONITOR:
        if (!s->multi) {
            listening_monitor_answered(s, type);
        }
        break;
    case COMMAND_STATE:
        if (type == '+') {
            s->uncarried = command->name;
        }
        break;
    default: break;
    }
    if (command->link == COMMAND_PINNED &&
        !(command == &command_unknown && slice_starts_with(reply, "-ERR unknown command"))) {
        s->pinned = true;
        redirect_number_told(s, command, reply);
    }
    if (command->may_block) {
        blocking_done(s);
        s->link->unblock = UNBLOCK_NONE;
    }
    if (!command_repeatable(command)) {
        s->wrote_in = s->link->generation;
    }
    reads_answered(s, s->link, reads_told(command));
    if (!s->link->proven) {
        s->link->proven = true;
        if (s->link->replica == 0) {
            service_link_proven(s->service);
        }
    }
    if (s->scout) {
        service_scout_succeeded(s->service, s);
    }
    if (s->tracking != NULL) {
        tracking_answered(s, command);
    }
    s->last_deadline_ms = 0;
}

void session_requests_done(struct session *s)
{
    if (s->link->kind != LINK_SHARED) {
        return; /* its link pumps it */
    }
    if (s->outstanding == 0) {
        s->link = NULL;
    }
    if (!s->reading || s->state != SESSION_OPEN || s->service->worker->draining) {
        worker_pump(s->service->worker, s);
    }
}

void session_request_done(struct session *s)
{
    struct link *l = s->link;
    journal_answered(&l->journal);
    s->outstanding--;
    if (l->state == LINK_RETIRING && !l->streaming) {
        link_close(&s->link, LINK_END_GENERATION);
        worker_again(s->service->worker, s);
    } else {
        session_requests_done(s);
    }
}

/* What we took for a request, the server does not: its limits before AUTH are lower. */
static bool breaks_protocol(const struct record *r, struct slice reply)
{
    return !r->command->forgeable && slice_starts_with(reply, "-ERR Protocol error: ");
}

void session_answer(struct session *s, const struct command *command, struct block *block,
                    struct slice reply, char type)
{
    session_give(s, block, reply);
    note_answer(s, command, reply, type);
    s->large_left -= s->large_left > 0;
    s->healed -= s->healed > 0;
}

void session_reply(struct session *s, struct block *block, struct slice reply, char type)
{
    if (type == '>') {
        if (s->redirect != NULL && redirect_turns(s, reply)) {
            return;
        }
        /* Lines of MONITOR are no pushes to the server. */
        s->hushed = s->replies != REPLIES_ON && reply.p[0] == '+';
        session_give(s, block, reply);
        s->hushed = false;
        if (s->tentative != NULL) {
            s->tentative->overtaken = true;
        }
        return;
    }
    struct journal *j = &s->link->journal;
    struct record r = *journal_at(j, 0); /* a copy: a question of our own may move it */
    if (journal_state(j, &r) != RECORD_SENT || (type == '-' && breaks_protocol(&r, reply))) {
        /* The server takes no more of this frame, and nothing that follows. */
        s->hushed = r.asker.mute;
        session_give(s, block, reply);
        if (s->link->kind == LINK_SHARED) {
            journal_answered(j);
        }
        session_finish(s, SESSION_END_PROTOCOL);
    } else if (r.command->cls == COMMAND_SUBSCRIBE && type != '-' &&
               (!s->multi || r.asker.own)) { /* what is said again is said before MULTI */
        listening_confirmed(s, &r, block, reply);
    } else if (tentative_keeps(s, &r, reply)) {
        tentative_keep(s, &r, reply);
        journal_answered(j);
        s->outstanding--;
        tentative_decide(s);
    } else {
        if (r.command->script != SCRIPT_NONE && type != '-' && !r.asker.own) {
            session_script_accepted(s, &r);
        }
        if (!r.asker.own) {
            bool multi = s->multi;
            s->hushed = r.asker.mute;
            session_answer(s, r.command, block, reply, type);
            s->hushed = false;
            if (r.command->link == COMMAND_PINNED && type == '+' && journal_has(j, &r)) {
                struct buf copy = {0};
                tracking_noted(s, r.command, journal_view(j, &r, &copy));
                buf_release(&copy);
            }
            if (multi && s->multi) {
                transaction_queued(s, j, &r, reply);
            }
        }
        session_request_done(s);
        if (r.asker.own > ASK_SELF) {
            s->restoring--;
            session_restored(s, r.asker.own, reply);
        }
    }
}

bool session_takes_runs(const struct session *s)
{
    return !s->mutes && s->tentative == NULL && !s->scout && s->large_left == 0 && s->healed == 0 &&
           !s->multi && s->subs == NULL && !s->pinned && s->restoring == 0;
}

void session_replies(struct session *s, uint32_t count, struct block *block, struct slice replies)
{
    struct link *l = s->link;
    CHECK(l != NULL && count <= s->outstanding);
    session_give(s, block, replies);
    enum reads_told told = READS_TOLD_NOTHING;
    for (uint32_t i = 0; i < count && told != READS_TOLD_WRITE; i++) {
        enum reads_told one = reads_told(journal_at(&l->journal, i)->command);
        told = one > told ? one : told;
    }
    if (told == READS_TOLD_WRITE) {
        s->wrote_in = l->generation;
    }
    reads_answered(s, l, told);
    s->last_deadline_ms = 0;
    journal_answered_all(&l->journal, count);
    s->outstanding -= count;
    session_requests_done(s);
}

void session_reply_part(struct session *s, struct block *block, struct slice part, char type,
                        uint64_t whole)
{
    s->hushed = type != '>' && s->link != NULL && journal_at(&s->link->journal, 0)->asker.mute;
    session_give(s, block, part);
    s->hushed = false;
    if (type == '>' && whole > 0) {
        worker_pump(s->service->worker, s); /* an answer of our own may have waited for its end */
    }
    if (type == '>' || s->link == NULL) {
        return;
    }
    const struct record *r = journal_at(&s->link->journal, 0);
    const struct command *command = r->command;
    if (command->cls == COMMAND_SUBSCRIBE && type != '-' && !s->multi) {
        session_become_raw(s, "the name of a channel too large to be kept");
        return;
    }
    if (whole == 0) {
        return;
    }
    if (command->script != SCRIPT_NONE && type != '-') {
        session_script_accepted(s, r);
    }
    note_answer(s, command, slice_of(&type, 1), type);
    if (s->transaction != NULL) {
        transaction_forget(s->transaction); /* an answer of this size it can't compare */
    }
    s->large_left -= s->large_left > 0;
    if (whole > SHARED_REPLY_MAX) {
        s->large_left = SMALL_REPLIES_MIN;
    }
    session_request_done(s);
}

void session_become_raw(struct session *s, const char *why)
{
    struct link *l = s->link;
    CHECK(l->kind == LINK_EXCLUSIVE);
    if (s->reader || s->service->denied != NULL || s->gate != GATE_FORWARD) {
        /* Nobody would see what it says, nor who it says it is. */
        session_end(s, SESSION_END_UNCARRIED, why);
        return;
    }
    journal_forget_requests(&l->journal);
    session_forget_asked(s);
    s->outstanding = 0;
    l->raw = true;
    l->streaming = false;
    s->uncarried = why;
}

void session_raw_bytes(struct session *s, struct block *block, struct slice bytes)
{
    session_give(s, block, bytes);
}

/* It was let in before clients had to AUTH, and now needs a link of its own, which is not. Were
 * only its MULTI refused, the rest of the transaction would run on the shared one. */
static void shut_out(struct session *s)
{
    struct linkset *set = linkset_get(s->service, &s->set->profile, s->set->replica);
    if (s->multi) {
        transaction_abort(s);
    }
    link_close(&s->link, LINK_END_GREETING);
    linkset_drop(&s->set);
    s->set = set;
}

void session_link_ready(struct session *s)
{
    if (!s->set->profile.authenticated) {
        /* None lets it in: this one was asked all the same, for its words. */
        bool for_words = s->set->needs_auth && !service_shares(s->service);
        linkset_ready(s->link);
        if (s->link->replica != 0 && s->link->needs_auth && !for_words) {
            link_close(&s->link, LINK_END_GREETING); /* another node may let it in */
        } else if (service_shares(s->service) && s->link->needs_auth && !s->set->needs_auth) {
            shut_out(s);
        }
    }
    if (s->link != NULL) {
        session_restore(s);
    }
    session_pump(s);
}

void session_link_drained(struct session *s)
{
    if (!s->reading) {
        session_pump(s);
    }
}
