#include "proxy/tentative.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/limits.h"
#include "proxy/base/log.h"
#include "proxy/resp/emit.h"
#include "proxy/session_input.h"
#include "proxy/worker.h"

/* Redis 7.0 processCommand answers these before it runs anything; only the code word is the same in
 * Valkey. */
static bool is_refusal(struct slice reply)
{
    static const char *const words[] = {"-READONLY ", "-LOADING ", "-MASTERDOWN ", "-NOREPLICAS "};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (slice_starts_with(reply, words[i])) {
            return true;
        }
    }
    return false;
}

/* The refusals by which a node tells that it is no primary. */
static bool tells_demotion(struct slice reply)
{
    return slice_starts_with(reply, "-READONLY ") || slice_starts_with(reply, "-MASTERDOWN ");
}

void tentative_clear(struct tentative **t)
{
    if (*t != NULL) {
        buf_release(&(*t)->replies);
        buf_release(&(*t)->lengths);
        free(*t);
        *t = NULL;
    }
}

static uint32_t length_at(const struct tentative *t, uint32_t i)
{
    uint32_t length;
    memcpy(&length, buf_head(&t->lengths) + i * sizeof length, sizeof length);
    return length;
}

struct slice tentative_reply(const struct tentative *t, uint32_t i)
{
    size_t at = 0;
    for (uint32_t k = 0; k < i; k++) {
        at += length_at(t, k);
    }
    return slice_of(buf_head(&t->replies) + at, length_at(t, i));
}

static void keep(struct tentative *t, struct slice reply)
{
    uint32_t length = (uint32_t)reply.n;
    buf_append(&t->replies, reply);
    buf_append(&t->lengths, slice_of((const char *)&length, sizeof length));
    t->answered++;
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

/* A refusal to a script may be the script's own words: only the node's role tells. */
static bool ask_role(struct session *s)
{
    struct link *l = s->link;
    if (journal_unsent(&l->journal) > 0) {
        return false; /* it would be asked behind requests that must not be sent now */
    }
    struct buf role = {0};
    emit_words(&role, "ROLE", NULL);
    (void)journal_begin(&l->journal, command_lookup_name(slice_str("role")), true);
    journal_append(&l->journal, &s->service->worker->pool, NULL, buf_slice(&role));
    journal_end(&l->journal);
    buf_release(&role);
    link_touch(l);
    return true;
}

static bool begin(struct session *s, const struct record *r, struct slice reply)
{
    const struct command *command = r->command;
    const struct journal *j = &s->link->journal;
    if (tells_demotion(reply) && !command->forgeable) {
        service_hint(s->service, s->link->generation, HINT_REFUSED);
    }
    bool eligible = !s->multi && !r->own && is_refusal(reply) && journal_has(j, r) &&
                    journal_state(j, r) == RECORD_SENT && command->cls != COMMAND_EXEC;
    if (!eligible || (command->forgeable && !ask_role(s))) {
        return false;
    }
    log_limited(LOG_INFO, "request-refused", "service=%s command=%s error=%s",
                s->service->config->name, command->name, log_quote(slice_of(reply.p, reply.n - 2)));
    s->tentative = xcalloc(1, sizeof *s->tentative);
    s->tentative->safe = true;
    s->tentative->ask_role = command->forgeable;
    s->link->frozen = true;
    return true;
}

void tentative_give_up(struct session *s)
{
    struct tentative *kept = s->tentative;
    if (kept == NULL) {
        return;
    }
    s->tentative = NULL;
    s->link->frozen = false;
    link_touch(s->link);
    for (uint32_t i = 0; i < kept->answered && s->link != NULL; i++) {
        session_reply_settled(s, tentative_reply(kept, i));
    }
    tentative_clear(&kept);
}

/* Nothing of it was executed, or it may be executed again: all of it waits. */
static void take_back(struct session *s)
{
    log_debug("requests-taken-back", "service=%s requests=%u", s->service->config->name,
              s->tentative->answered);
    session_take_back(s);
    service_wait_refused(s->service, s);
}

static bool answer_is_safe(struct session *s, const struct record *r, struct slice reply)
{
    if (r->own) {
        if (memmem(reply.p, reply.n < 32 ? reply.n : 32, "$5\r\nslave", 9) == NULL) {
            return false; /* a primary: the script spoke for itself */
        }
        service_hint(s->service, s->link->generation, HINT_REFUSED);
        return true;
    }
    if (is_refusal(reply)) {
        return !r->command->forgeable || s->tentative->ask_role;
    }
    return r->command->cls == COMMAND_READ;
}

bool tentative_take(struct session *s, struct slice reply)
{
    const struct journal *j = &s->link->journal;
    if (s->tentative == NULL && !begin(s, journal_at(j, 0), reply)) {
        return false;
    }
    struct tentative *t = s->tentative;
    const struct record *r = journal_at(j, t->answered);
    t->safe = t->safe && answer_is_safe(s, r, reply);
    keep(t, reply);
    uint32_t awaited = t->ask_role ? j->count : sent_whole(j);
    if (!t->safe || buf_len(&t->replies) > TENTATIVE_REPLIES_MAX) {
        tentative_give_up(s);
    } else if (t->answered == awaited) {
        take_back(s);
    }
    return true;
}

uint32_t tentative_settled(const struct session *s)
{
    const struct tentative *t = s->tentative;
    if (t == NULL) {
        return 0;
    }
    const struct journal *j = &s->link->journal;
    bool safe = t->safe && !t->ask_role;
    for (uint32_t i = t->answered; i < j->count && safe; i++) {
        const struct record *r = journal_at(j, i);
        safe = journal_state(j, r) != RECORD_SENT || command_repeatable(r->command);
    }
    return safe ? 0 : t->answered;
}
