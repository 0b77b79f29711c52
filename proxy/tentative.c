#include "proxy/tentative.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/limits.h"
#include "proxy/base/log.h"
#include "proxy/resp/emit.h"
#include "proxy/session_blocking.h"
#include "proxy/session_mute.h"
#include "proxy/session_reads.h"
#include "proxy/session_restore.h"
#include "proxy/session_tracking.h"
#include "proxy/worker.h"

/* Redis 7.0 processCommand answers these before it runs anything; only the code word is the same in
 * Valkey. */
static const char *const refusals[] = {"READONLY ", "MASTERDOWN ", "LOADING ", "NOREPLICAS "};

/* The first n of these words, of themselves or as the reason why EXEC ran nothing. */
static bool tells(struct slice reply, size_t n)
{
    static const char aborted[] = "-EXECABORT Transaction discarded because of: ";
    size_t skip = slice_starts_with(reply, aborted) ? sizeof aborted - 1 : 1;
    struct slice why = slice_of(reply.p + skip, reply.n - skip);
    for (size_t i = 0; i < n; i++) {
        if (reply.p[0] == '-' && slice_starts_with(why, refusals[i])) {
            return true;
        }
    }
    return false;
}

bool is_refusal(struct slice reply)
{
    return tells(reply, ARRAY_LEN(refusals));
}

/* A blocked command was ended by the server, for its role changes, or by us: it took nothing. */
static bool was_unblocked(const struct session *s, const struct command *command,
                          struct slice reply)
{
    return s->link->unblock == UNBLOCK_PROVEN ||
           (blocking_takes_all_or_nothing(command) &&
            slice_starts_with(reply, "-UNBLOCKED force unblock"));
}

/* That reply to r proves that nothing came of it. */
static bool ran_not(const struct session *s, const struct record *r, struct slice reply)
{
    if (r->command->cls == COMMAND_SUBSCRIBE || r->command->cls == COMMAND_MONITOR) {
        return false; /* no server refuses these; and one behind them is answered at once */
    }
    return is_refusal(reply) || was_unblocked(s, r->command, reply);
}

/* The refusals by which a node tells that it is no primary. */
static bool tells_demotion(struct slice reply)
{
    return tells(reply, 2) || slice_starts_with(reply, "-UNBLOCKED force unblock");
}

static void kept_free(struct kept *k)
{
    buf_wipe(&k->frame);
    buf_release(&k->reply);
    free(k);
}

static struct kept *kept_of(struct list_node *n)
{
    return n != NULL ? CONTAINER_OF(n, struct kept, node) : NULL;
}

void tentative_clear(struct tentative **where)
{
    struct tentative *t = *where;
    *where = NULL;
    if (t != NULL) {
        for (struct kept *k = kept_of(list_pop(&t->kept)); k != NULL;
             k = kept_of(list_pop(&t->kept))) {
            kept_free(k);
        }
        free(t->healing);
        free(t);
    }
}

/* Requests whose answer may still come: those sent whole. */
static uint32_t sent_whole(const struct journal *j)
{
    uint32_t n = j->count;
    while (n > 0 && journal_state(j, journal_at(j, n - 1)) != RECORD_SENT) {
        n--;
    }
    return n;
}

/* Whether a question of ours may follow the request that was refused. */
static bool may_ask(const struct session *s)
{
    const struct journal *j = &s->link->journal;
    if (s->link->kind != LINK_EXCLUSIVE) {
        return true;
    }
    if (journal_unsent(j) > 0) {
        return false; /* it would be asked behind requests that must not be sent now */
    }
    for (uint32_t i = 0; i < j->count; i++) {
        if (journal_at(j, i)->command->cls == COMMAND_MULTI) {
            return false; /* it would become part of that transaction */
        }
    }
    return true;
}

/* A refusal to a script may be the script's own words: only the node's role tells. */
static void ask_role(struct session *s)
{
    struct buf role = {0};
    emit_words(&role, "ROLE", NULL);
    struct asker own = s->asker;
    own.own = ASK_SELF;
    s->outstanding++;
    link_ask(s->link, command_lookup_name(slice_str("role")), own, buf_slice(&role));
    buf_release(&role);
}

/* Until it is decided what becomes of what was sent. */
static struct tentative *keep_from_now(struct session *s, const struct record *r,
                                       struct slice reply)
{
    log_limited(LOG_INFO, "request-refused", "service=%s command=%s answer=%s",
                s->service->config->name, r->command->name,
                log_quote(slice_of(reply.p, reply.n - 2)));
    s->tentative = xcalloc(1, sizeof *s->tentative);
    s->tentative->safe = true;
    s->tentative->multi = s->multi;
    /* What is not sent yet stays here; on a shared link it is others' turn too. */
    s->link->frozen = s->link->kind == LINK_EXCLUSIVE;
    return s->tentative;
}

/* On a link to a replica, where nothing can have been done. */
static bool begin_at_replica(struct session *s, const struct record *r, struct slice reply)
{
    if (!reads_refused(s, r, reply) || !journal_has(&s->link->journal, r) ||
        !transaction_can_move(s)) {
        return false;
    }
    keep_from_now(s, r, reply)->elsewhere = true;
    reads_turn_away(s, r, reply);
    return true;
}

static bool begin(struct session *s, const struct record *r, struct slice reply)
{
    const struct command *command = r->command;
    if (s->link->replica != 0) {
        return begin_at_replica(s, r, reply);
    }
    bool forgeable = command->forgeable && !s->multi; /* queued, it has not spoken yet */
    if (tells_demotion(reply) && !forgeable) {
        service_hint(s->service, s->link->generation, HINT_REFUSED);
    }
    bool lost_script = !s->multi && healing_may(r, reply);
    bool eligible = !r->asker.own && (lost_script || ran_not(s, r, reply)) &&
                    journal_has(&s->link->journal, r) && transaction_can_move(s);
    struct healing *healing = NULL;
    if (!eligible || (forgeable && !may_ask(s)) || (lost_script && !healing_asks(s, &healing, r))) {
        return false;
    }
    if (forgeable && !lost_script) {
        ask_role(s);
    }
    struct tentative *t = keep_from_now(s, r, reply);
    t->ask_role = forgeable && !lost_script;
    t->healing = healing;
    return true;
}

bool tentative_keeps(struct session *s, const struct record *r, struct slice reply)
{
    bool refusal = reply.p[0] == '-' || s->link->unblock == UNBLOCK_PROVEN;
    return s->tentative != NULL || (refusal && begin(s, r, reply));
}

/* In a transaction only an EXEC that succeeds has done anything. */
static bool queued_is_safe(struct tentative *t, const struct command *command, struct slice reply)
{
    bool error = reply.p[0] == '-';
    t->spoilt = t->spoilt || is_refusal(reply);
    if (command->cls == COMMAND_EXEC || (command->cls == COMMAND_DISCARD && !error)) {
        t->multi = t->spoilt = false;
    }
    return command->cls != COMMAND_EXEC || error;
}

static bool answer_is_safe(struct session *s, const struct record *r, struct slice reply)
{
    struct tentative *t = s->tentative;
    if (r->asker.own && t->elsewhere) {
        return true;
    }
    if (r->asker.own && t->healing != NULL) {
        return healing_takes(s, t->healing, reply);
    }
    if (r->asker.own) {
        if (memmem(reply.p, reply.n < 32 ? reply.n : 32, "$5\r\nslave", 9) == NULL) {
            return false; /* a primary: the script spoke for itself */
        }
        service_hint(s->service, s->link->generation, HINT_REFUSED);
        return true;
    }
    if (t->multi) {
        return queued_is_safe(t, r->command, reply) || t->elsewhere;
    }
    if (r->command->cls == COMMAND_MULTI && reply.p[0] == '+') {
        t->multi = true;
        return true;
    }
    if (t->elsewhere) {
        return true;
    }
    if (ran_not(s, r, reply)) {
        return !r->command->forgeable || t->ask_role;
    }
    if (t->healing != NULL && healing_may(r, reply)) {
        return healing_asks(s, &t->healing, r);
    }
    return r->command->cls == COMMAND_READ;
}

void tentative_keep(struct session *s, const struct record *r, struct slice reply)
{
    struct tentative *t = s->tentative;
    const struct journal *j = &s->link->journal;
    bool whole = journal_has(j, r); /* else it is too large to be sent again */
    t->safe = t->safe && whole && answer_is_safe(s, r, reply);
    s->link->unblock = UNBLOCK_NONE;
    if (r->asker.own) {
        return;
    }
    struct kept *k = xcalloc(1, sizeof *k);
    k->command = r->command;
    k->mute = r->asker.mute;
    if (whole) {
        size_t n = journal_bytes(j, r);
        journal_copy(j, r, buf_reserve(&k->frame, n));
        buf_commit(&k->frame, n);
    }
    buf_append(&k->reply, reply);
    t->reply_bytes += reply.n;
    list_append(&t->kept, &k->node);
}

void tentative_decide(struct session *s)
{
    struct tentative *t = s->tentative;
    bool waits_for_all = s->link->kind != LINK_EXCLUSIVE || t->ask_role || t->healing != NULL;
    uint32_t awaited = waits_for_all ? s->outstanding : sent_whole(&s->link->journal);
    if (!t->safe || t->reply_bytes > TENTATIVE_REPLIES_MAX) {
        tentative_give_up(s);
    } else if (awaited == 0) {
        log_debug("requests-taken-back", "service=%s requests=%zu", s->service->config->name,
                  t->kept.count);
        bool heals = t->healing != NULL, elsewhere = t->elsewhere;
        uint32_t requests = (uint32_t)t->kept.count;
        session_take_back(s);
        if (heals) {
            s->healed = requests;
            worker_again(s->service->worker, s);
        } else if (elsewhere) {
            worker_again(s->service->worker, s);
        } else {
            service_wait_refused(s->service, s);
            session_start_waiting(s);
        }
    }
}

void tentative_give_up(struct session *s)
{
    struct tentative *t = s->tentative;
    if (t == NULL) {
        return;
    }
    s->tentative = NULL;
    s->link->frozen = false;
    link_touch(s->link);
    for (struct kept *k = kept_of(list_pop(&t->kept)); k != NULL; k = kept_of(list_pop(&t->kept))) {
        bool multi = s->multi;
        char type = buf_head(&k->reply)[0];
        s->hushed = k->mute;
        session_answer(s, k->command, NULL, buf_slice(&k->reply), type);
        s->hushed = false;
        if (k->command->link == COMMAND_PINNED && type == '+') {
            tracking_noted(s, k->command, buf_slice(&k->frame));
        }
        if (multi && s->multi) {
            transaction_queued_frame(s, k->command, buf_slice(&k->frame), buf_slice(&k->reply));
        }
        kept_free(k);
    }
    if (t->overtaken) {
        tracking_flush(s); /* it may have been about what was given only now */
    }
    tentative_clear(&t);
    session_requests_done(s);
}

bool tentative_settled(const struct session *s, const struct journal *left)
{
    const struct tentative *t = s->tentative;
    bool safe = t->safe && !t->ask_role && t->healing == NULL;
    bool multi = t->multi, spoilt = t->spoilt;
    for (uint32_t i = 0; i < left->count && safe; i++) {
        const struct record *r = journal_at(left, i);
        enum command_class cls = r->command->cls;
        if (t->elsewhere || journal_state(left, r) != RECORD_SENT) {
            break; /* so is nothing behind it */
        }
        if (multi) {
            safe = cls != COMMAND_EXEC || spoilt;
            multi = cls != COMMAND_EXEC && cls != COMMAND_DISCARD;
        } else {
            multi = cls == COMMAND_MULTI;
            spoilt = false;
            safe = multi || command_repeatable(r->command);
        }
    }
    return !safe;
}

void tentative_follow(struct session *s)
{
    if (s->tentative->multi != s->multi) {
        transaction_over(s);
        if (s->tentative->multi) {
            transaction_begun(s);
        }
    }
}

void tentative_park(struct tentative **where, bool settled, struct list *items)
{
    struct tentative *t = *where;
    struct kept *k;
    while (t != NULL && (k = kept_of(list_pop(&t->kept))) != NULL) {
        if (settled) {
            park_answer(items, buf_slice(&k->reply))->voice = voice_of(k->mute);
        } else {
            park_frame(items, k->command, &k->frame)->voice = voice_of(k->mute);
        }
        kept_free(k);
    }
    tentative_clear(where);
}
