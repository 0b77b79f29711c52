/* What becomes of the requests that a lost link leaves unanswered. The journal tells what was sent:
 *
 *   not sent, or sent in part           goes back, to be sent on the next link
 *   sent, repeatable                    the same; unless a request in doubt stands behind it, whose
 *                                       effect it would see: then in doubt
 *   sent, a blocking pop                the same if CLIENT UNBLOCK has ended it; else as
 *                                       blocking-in-doubt says
 *   sent, anything else                 in doubt: said once, never sent again
 *   a transaction whose EXEC was sent   its commands were queued, EXEC is in doubt
 *   a transaction whose EXEC was not    goes back; what was answered of it is said again before
 *
 * What a replica's link leaves goes back, all of it: nothing that was sent there changes anything.
 */
#include "proxy/session_blocking.h"

#include <stdlib.h>

#include "proxy/base/log.h"
#include "proxy/session_mute.h"
#include "proxy/session_reads.h"
#include "proxy/session_restore.h"
#include "proxy/session_subscribe.h"
#include "proxy/session_tracking.h"
#include "proxy/worker.h"

static const char in_doubt[] = "-INDOUBT The primary was lost after the command was sent; it may "
                               "or may not have been, or may still be, executed\r\n";
static const char exec_in_doubt[] =
    "-INDOUBT The primary was lost after EXEC was sent; the transaction may or may not have been, "
    "or may still be, executed\r\n";

enum verdict { AGAIN, DOUBT, BLOCKED, OK, QUEUED, EXEC_DOUBT, NOT_EXECUTED, NONE };

struct judgement {
    struct session *s;
    const struct journal *journal;
    enum verdict *verdicts;
    bool harmless; /* it is a replica's: nothing has changed anything */
};

static bool was_sent(const struct journal *j, const struct record *r)
{
    return journal_state(j, r) == RECORD_SENT;
}

static enum verdict again(const struct journal *j, const struct record *r)
{
    return journal_has(j, r) ? AGAIN : NOT_EXECUTED;
}

/* CLIENT UNBLOCK has ended it: it took nothing. */
static bool was_unblocked(const struct session *s, const struct record *r)
{
    return r->command->may_block && s->link != NULL && s->link->unblock == UNBLOCK_PROVEN;
}

static enum verdict judge_plain(const struct judgement *g, const struct record *r,
                                bool doubt_behind)
{
    const struct journal *j = g->journal;
    if (r->asker.own) {
        return NONE;
    }
    if (!was_sent(j, r)) {
        return again(j, r);
    }
    bool repeatable = g->harmless || command_repeatable(r->command) || was_unblocked(g->s, r);
    if (repeatable && !doubt_behind && journal_has(j, r)) {
        return AGAIN;
    }
    return r->command->cls == COMMAND_BLOCKING ? BLOCKED : DOUBT;
}

static bool ends_transaction(const struct record *r)
{
    return r->command->cls == COMMAND_EXEC || r->command->cls == COMMAND_DISCARD;
}

/* Judges the transaction that holds the records [from, ...): up to its EXEC or DISCARD, or all that
 * is left. Returns the first record behind it. */
static uint32_t judge_transaction(struct judgement *g, uint32_t from)
{
    const struct journal *j = g->journal;
    uint32_t end = from;
    const struct record *last = NULL;
    while (end < j->count && last == NULL) {
        const struct record *r = journal_at(j, end++);
        if (ends_transaction(r)) {
            last = r;
        }
    }
    bool ended = last != NULL && was_sent(j, last) && !g->harmless;
    for (uint32_t i = from; i < end; i++) {
        g->verdicts[i] = NONE;
        const struct record *r = journal_at(j, i);
        if (r->asker.own) {
            continue; /* no part of it */
        }
        g->verdicts[i] = ended ? QUEUED : again(j, r);
        if (ended && (r == last || r->command->cls == COMMAND_MULTI)) {
            g->verdicts[i] = r->command->cls == COMMAND_EXEC ? EXEC_DOUBT : OK;
        }
    }
    if (ended) {
        transaction_over(g->s);
    }
    return end;
}

static void judge(struct judgement *g)
{
    const struct journal *j = g->journal;
    bool doubt_behind = false, multi = g->s->multi;
    uint32_t i = 0;
    while (i < j->count) {
        const struct record *r = journal_at(j, i);
        if (multi || r->command->cls == COMMAND_MULTI) {
            i = judge_transaction(g, i);
            multi = false;
        } else {
            g->verdicts[i++] = NONE;
        }
    }
    bool ended_behind = false;
    for (i = j->count; i-- > 0;) {
        const struct record *r = journal_at(j, i);
        if (g->verdicts[i] == NONE && r->command->cls == COMMAND_WATCH && ended_behind) {
            g->verdicts[i] = OK; /* forgotten by what ended the transaction */
        } else if (g->verdicts[i] == NONE) {
            bool sees = r->command->cls != COMMAND_SUBSCRIBE; /* which reads nothing */
            g->verdicts[i] = judge_plain(g, r, sees && doubt_behind);
        }
        enum verdict v = g->verdicts[i];
        ended_behind = ended_behind || (ends_transaction(r) && (v == OK || v == EXEC_DOUBT));
        doubt_behind = doubt_behind || v == DOUBT || v == BLOCKED || v == EXEC_DOUBT;
    }
}

/* Nothing of it was executed, as the refusal before it tells. */
static void judge_as_refused(struct judgement *g)
{
    for (uint32_t i = 0; i < g->journal->count; i++) {
        const struct record *r = journal_at(g->journal, i);
        g->verdicts[i] = r->asker.own ? NONE : again(g->journal, r);
    }
}

static void put_again(struct session *s, struct list *items, const struct journal *j,
                      const struct record *r)
{
    struct buf frame = {0};
    size_t n = journal_bytes(j, r);
    journal_copy(j, r, buf_reserve(&frame, n));
    buf_commit(&frame, n);
    if (r->command->cls == COMMAND_SUBSCRIBE && listening_given(s, r) > 0) {
        struct buf rest = {0};
        args_without(buf_slice(&frame), listening_given(s, r), &rest);
        buf_release(&frame);
        frame = rest;
    }
    if (journal_state(j, r) != RECORD_UNSENT) {
        s->service->report.resent++;
    }
    if (r->end != UINT64_MAX) {
        park_frame(items, r->command, &frame)->voice = voice_of(r->asker.mute);
        return;
    }
    if (r->asker.mute && s->replies == REPLIES_ON) {
        s->replies = REPLIES_SKIP; /* which is for it */
    }
    /* The client is still sending it: it goes on as if nothing of it had been taken. */
    buf_append(&frame, buf_slice(&s->raw));
    buf_release(&s->raw);
    s->raw = frame;
    s->streaming = false;
}

/* Our answer to r. */
static void owe(struct list *items, const struct record *r, struct slice answer)
{
    park_answer(items, answer)->voice = voice_of(r->asker.mute);
}

/* A blocking command that may have taken an element. */
static void put_blocked(struct session *s, struct list *items, const struct journal *j,
                        const struct record *r)
{
    const char *answer = blocking_in_doubt(s, r->command, journal_has(j, r));
    s->service->report.in_doubt++;
    if (answer == NULL) {
        put_again(s, items, j, r);
    } else {
        owe(items, r, slice_str(answer));
        blocking_done(s);
    }
}

static void put_not_executed(struct session *s, struct list *items, const struct record *r)
{
    struct buf words = {0};
    if (s->multi) {
        transaction_abort(s); /* what it queued would run without this */
    }
    say_not_executed(s, &words);
    owe(items, r, buf_slice(&words));
    buf_release(&words);
    if (r->end == UINT64_MAX) {
        s->streaming = false;
        s->swallowing = true;
    }
}

static void put(const struct judgement *g, uint32_t i, struct list *items)
{
    struct session *s = g->s;
    const struct record *r = journal_at(g->journal, i);
    switch (g->verdicts[i]) {
    case AGAIN: put_again(s, items, g->journal, r); return;
    case DOUBT:
        s->service->report.in_doubt++;
        owe(items, r, slice_str(in_doubt));
        return;
    case EXEC_DOUBT:
        s->service->report.in_doubt++;
        owe(items, r, slice_str(exec_in_doubt));
        return;
    case BLOCKED: put_blocked(s, items, g->journal, r); return;
    case OK: owe(items, r, slice_str("+OK\r\n")); return;
    case QUEUED: owe(items, r, slice_str("+QUEUED\r\n")); return;
    case NOT_EXECUTED: put_not_executed(s, items, r); return;
    case NONE: return;
    }
}

/* The items go in front of what is parked already. */
static void park_in_front(struct session *s, struct list *items)
{
    for (struct list_node *n = list_pop(&s->parked); n != NULL; n = list_pop(&s->parked)) {
        list_append(items, n);
    }
    for (struct list_node *n = list_pop(items); n != NULL; n = list_pop(items)) {
        list_append(&s->parked, n);
    }
}

static void give_back(struct session *s, const struct journal *j, bool harmless)
{
    s->healed = 0;
    struct judgement g = {.s = s, .journal = j, .harmless = harmless};
    if (!harmless && j->count > 0) {
        reads_begin_to_note(s);
    }
    g.verdicts = xcalloc(j->count + 1u, sizeof *g.verdicts);
    bool settled = s->tentative != NULL && tentative_settled(s, j);
    if (settled) {
        tentative_follow(s);
    }
    if (s->tentative == NULL || settled) {
        judge(&g);
    } else {
        judge_as_refused(&g);
    }
    struct list items = {0};
    tentative_park(&s->tentative, settled, &items);
    for (uint32_t i = 0; i < j->count; i++) {
        put(&g, i, &items);
    }
    free(g.verdicts);
    tracking_lost(s, &items);
    park_in_front(s, &items);
    if (settled && s->multi) {
        transaction_abort(s); /* by a refusal that the client is shown */
    }
    transaction_lost(s);
    session_forget_asked(s);
}

void session_take_back(struct session *s)
{
    struct list items = {0};
    /* On its link a transaction would go on that is spoilt, and CLIENT CACHING is used up. */
    bool clean = !s->multi && !s->tentative->multi && !tracking_used_up(s);
    tentative_park(&s->tentative, false, &items);
    struct link *l = s->link;
    if (l->kind == LINK_EXCLUSIVE) { /* on a shared one nothing of it is left */
        const struct journal *j = &l->journal;
        for (uint32_t i = 0; i < j->count; i++) {
            const struct record *r = journal_at(j, i);
            if (!r->asker.own) {
                put_again(s, &items, j, r);
            }
            clean = clean && journal_state(j, r) != RECORD_PARTIAL;
        }
        l->frozen = false;
        if (clean) {
            journal_clear(&l->journal);
        } else {
            link_close(&s->link, LINK_END_REFUSED);
            transaction_lost(s);
        }
    } else {
        s->link = NULL;
    }
    s->outstanding = 0;
    park_in_front(s, &items);
    session_forget_asked(s);
    blocking_back(s);
}

/* Nothing but their answers ties these requests to its link. */
static bool asks_plainly(const struct session *s, uint32_t from)
{
    const struct journal *j = &s->link->journal;
    bool keeps_books = s->subs != NULL || s->tracking != NULL; /* of what changes either of them */
    bool plain = s->tentative == NULL && s->asked == NULL && s->redirect == NULL &&
                 s->restoring == 0 && !s->streaming && !s->link->raw;
    for (uint32_t i = from; plain && i < j->count; i++) {
        const struct record *r = journal_at(j, i);
        plain = !r->asker.own && (!keeps_books || r->command->link == COMMAND_SHARED);
    }
    return plain;
}

void session_take_unsent(struct session *s, uint32_t from)
{
    struct journal *j = &s->link->journal;
    if (!asks_plainly(s, from)) {
        return;
    }
    struct list items = {0};
    for (uint32_t i = from; i < j->count; i++) {
        put_again(s, &items, j, journal_at(j, i));
    }
    s->outstanding -= journal_drop_unsent(j, s->asker);
    park_in_front(s, &items);
    blocking_back(s);
    session_pump(s);
}

void session_end(struct session *s, enum session_end end, const char *what)
{
    log_limited(LOG_NOTICE, "session-closed", "service=%s reason=%s state=%s",
                s->service->config->name, session_end_word(end), log_quote(slice_str(what)));
    s->service->report.closed++;
    session_finish(s, end); /* what was answered before is still given */
}

void session_requests_lost(struct session *s, bool begun, bool harmless)
{
    struct journal *j = s->lost;
    s->lost = NULL;
    if (s->state < SESSION_CLOSING && begun) {
        session_end(s, SESSION_END_CUT, "part of a reply was given");
    } else if (s->state < SESSION_CLOSING) {
        if (s->scout) {
            service_unwait(s->service, s);
        }
        give_back(s, j, harmless);
    }
    journal_clear(j);
    free(j);
}

/* A read's answer already begun may end on its old link while a primary only moved. */
static bool keep_begun_answer(struct session *s, enum link_end end)
{
    struct journal *j = &s->link->journal;
    if (!link_may_retire(s->link, end) || s->uncarried != NULL) {
        return false;
    }
    struct journal rest = {0};
    for (uint32_t i = 1; i < j->count; i++) {
        journal_adopt(&rest, &s->service->worker->pool, j, journal_at(j, i));
    }
    give_back(s, &rest, s->link->replica != 0);
    journal_clear(&rest);
    s->outstanding = 1;
    link_retire(s->link);
    return true;
}

void session_give_up_link(struct session *s, enum link_end end)
{
    CHECK(s->link->kind == LINK_EXCLUSIVE);
    link_settle(s->link);
    bool message = s->link->streaming && s->link->scan.type == '>';
    if (message || link_answer_begun(s->link)) {
        if (!keep_begun_answer(s, end)) {
            session_end(s, SESSION_END_CUT, "part of a reply was given");
        }
        return;
    }
    if (s->link->raw && s->state == SESSION_ENDING) {
        session_finish(s, SESSION_END_CLIENT);
        return;
    }
    if (s->uncarried != NULL) {
        session_end(s, SESSION_END_UNCARRIED, s->uncarried);
        return;
    }
    if (listening_lags(s)) {
        session_end(s, SESSION_END_OUTPUT, "messages that were not read");
        return;
    }
    if (s->scout) {
        service_unwait(s->service, s);
    }
    bool blurred = transaction_blurs_profile(s);
    give_back(s, &s->link->journal, s->link->replica != 0);
    s->outstanding = s->restoring = 0;
    if (blurred) {
        input_give_answers(s); /* EXEC is told that it is in doubt */
        session_end(s, SESSION_END_UNCARRIED, "a profile chosen in a transaction in doubt");
        return;
    }
    link_close(&s->link, end);
}

void session_link_lost(struct session *s, enum link_end end)
{
    if (s->link != NULL) {
        session_give_up_link(s, end);
        session_pump(s);
    }
}
