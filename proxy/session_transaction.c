/* A transaction and the links it is on. Nothing of it runs before EXEC: when its link is lost
 * before EXEC was sent whole, all that was answered is said again on the next one, and the answers
 * must be the same. With a WATCH it is over: what the client has read came from another primary. */
#include "proxy/session_restore.h"

#include <string.h>

#include "proxy/base/limits.h"
#include "proxy/base/log.h"
#include "proxy/learnt.h"
#include "proxy/service.h"
#include "proxy/session_input.h"
#include "proxy/tentative.h"
#include "proxy/transaction.h"

void transaction_begun(struct session *s)
{
    s->multi = true;
    s->transaction = transaction_new();
}

void transaction_over(struct session *s)
{
    s->multi = s->watch = s->multi_lost = s->watch_lost = false;
    transaction_free(&s->transaction);
}

void transaction_abort(struct session *s)
{
    s->multi_lost = true;
    transaction_free(&s->transaction);
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

void transaction_queued(struct session *s, const struct journal *j, const struct record *r,
                        struct slice answer)
{
    if (!journal_has(j, r)) {
        transaction_forget(s->transaction);
        return;
    }
    char *to = transaction_keep(s->transaction, journal_bytes(j, r), answer);
    if (to != NULL) {
        journal_copy(j, r, to);
    }
}

void transaction_queued_frame(struct session *s, struct slice frame, struct slice answer)
{
    char *to = transaction_keep(s->transaction, frame.n, answer);
    if (to != NULL) {
        memcpy(to, frame.p, frame.n);
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
    transaction_again(t);
    struct transaction_at at = {0};
    struct slice frame, answer;
    while (transaction_next(t, &at, &frame, &answer)) {
        session_say(s, ASK_TRANSACTION, frame);
        s->service->report.resent++;
    }
}

void transaction_said(struct session *s, struct slice reply)
{
    if (transaction_same(s->transaction, reply)) {
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
    if (s->transaction == NULL || !s->transaction->profile || s->link == NULL) {
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

/* One command of it was executed with an answer of this type. */
static void ran_one(struct session *s, struct slice frame, char type)
{
    struct args args;
    CHECK(args_parse(frame, &args) == ARGS_OK);
    const struct command *command = learnt_lookup(s->service->learnt, &args);
    if (command_changes_profile(command)) {
        request_ask_profile(s, command, &args);
        session_profile_answered(s, command, type);
    }
    args_free(&args);
}

/* Element by element; false: the answer can't be read. */
static bool follow(struct session *s, const struct transaction *t, struct slice reply)
{
    const char *line = memchr(reply.p, '\n', reply.n);
    if (line == NULL || !t->whole) {
        return false;
    }
    struct slice rest = slice_of(line + 1, (size_t)(reply.p + reply.n - line - 1));
    struct transaction_at at = {0};
    struct slice frame, answer;
    while (transaction_next(t, &at, &frame, &answer)) {
        if (!slice_starts_with(answer, "+QUEUED")) {
            continue; /* an error, or MULTI */
        }
        struct reply_scan scan = {0};
        size_t used;
        reply_scan_reset(&scan, REPLY_ELEMENTS_MAX);
        if (reply_scan_feed(&scan, rest, &used) != SCAN_DONE) {
            return false;
        }
        ran_one(s, frame, scan.type);
        rest = slice_of(rest.p + used, rest.n - used);
    }
    return true;
}

void transaction_ran(struct session *s, struct slice reply)
{
    struct transaction *t = s->transaction;
    s->transaction = NULL;
    transaction_over(s);
    bool ran = reply.p[0] == '*' && !slice_starts_with(reply, "*-1\r\n");
    if (t != NULL && t->profile && ran && !follow(s, t, reply)) {
        s->uncarried = "a profile that can't be followed";
    }
    transaction_free(&t);
}
