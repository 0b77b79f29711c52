#include "proxy/session_subscribe.h"

#include <stdlib.h>

#include "proxy/base/limits.h"

static struct subscriptions *listener(struct session *s)
{
    if (s->subs == NULL) {
        s->subs = xcalloc(1, sizeof *s->subs);
    }
    s->link->listens = true;
    return s->subs;
}

static struct pubsub_verb verb_of(const struct command *command)
{
    struct pubsub_verb verb;
    CHECK(command->cls == COMMAND_SUBSCRIBE && pubsub_verb(slice_str(command->name), &verb));
    return verb;
}

static const struct record *head(const struct session *s)
{
    const struct journal *j = &s->link->journal;
    return j->count > 0 ? journal_at(j, 0) : NULL;
}

void listening_asked(struct session *s, uint32_t args)
{
    struct subscriptions *subs = listener(s);
    struct record *r = journal_at(&s->link->journal, s->link->journal.count - 1);
    if (r->command->cls == COMMAND_MONITOR) {
        subs->monitor = MONITOR_ASKED;
    } else {
        r->names = args - 1;
    }
}

/* In a transaction subscriptions are answered to in the middle of EXEC's answer and behind it, and
 * RESP may change there. Of what a monitoring client asks the answers stand among the lines. */
bool listening_ends_framing(const struct session *s, const struct command *command)
{
    if (s->multi && command->cls == COMMAND_SUBSCRIBE) {
        return true;
    }
    return s->subs != NULL &&
           (s->subs->monitor == MONITOR_ON || (s->multi && command_changes_profile(command)));
}

static bool answers(const struct record *r, struct pubsub_verb verb)
{
    struct pubsub_verb asked = verb_of(r->command);
    return verb.kind == asked.kind && verb.on == asked.on;
}

char listening_type(const struct session *s, struct slice begun)
{
    const struct record *r = head(s);
    char type = begun.p[0];
    struct pubsub_verb verb;
    if (type == '|') {
        return s->link->scan.type;
    }
    if (type == '+' && r == NULL && s->subs->monitor == MONITOR_ON) {
        return '>';
    }
    bool pushed = type == '>' && r != NULL && r->command->cls == COMMAND_SUBSCRIBE;
    bool mixed = type == '*' && s->set->profile.resp == 2 && pubsub_total(&s->subs->on_link) > 0;
    if (!pushed && !mixed) {
        return type;
    }
    switch (pubsub_look(begun, &verb)) {
    case PUBSUB_UNSURE: return '\0';
    case PUBSUB_MESSAGE: return '>';
    case PUBSUB_CONFIRMED: return pushed && !answers(r, verb) ? '>' : '*';
    case PUBSUB_OTHER: return type;
    }
    UNREACHABLE("what it is");
}

/* What the client holds now is what it would have on another link. */
static void keep(struct session *s, const struct confirmation *c)
{
    struct name_set *held = s->subs->held;
    if (s->uncarried != NULL) {
        return;
    }
    if (!c->verb.on) {
        name_set_remove(&held[c->verb.kind], c->name);
        return;
    }
    name_set_add(&held[c->verb.kind], c->name);
    size_t bytes = 0;
    for (unsigned kind = 0; kind < PUBSUB_KINDS; kind++) {
        bytes += held[kind].bytes;
    }
    if (bytes > SUBSCRIPTIONS_MAX) {
        for (unsigned kind = 0; kind < PUBSUB_KINDS; kind++) {
            name_set_clear(&held[kind]);
        }
        s->uncarried = "more subscriptions than are kept";
    }
}

void listening_confirmed(struct session *s, const struct record *r, struct block *block,
                         struct slice reply)
{
    struct subscriptions *subs = s->subs;
    struct confirmation c;
    if (subs->left == 0) {
        subs->left = pubsub_expected(&subs->on_link, verb_of(r->command), r->names);
    }
    if (!pubsub_confirmation(reply, &c) || !answers(r, c.verb) ||
        !pubsub_count(&subs->on_link, &c)) {
        link_lost(s->link, LINK_END_PROTOCOL);
        return;
    }
    subs->left--;
    if (!r->asker.own) {
        keep(s, &c);
    }
    if (subs->left > 0) {
        if (!r->asker.own) {
            session_give(s, block, reply);
        }
        return;
    }
    if (!r->asker.own) {
        session_answer(s, r->command, block, reply, '*');
    }
    session_request_done(s);
}

void listening_monitor_answered(struct session *s, char type)
{
    if (s->subs->monitor == MONITOR_ASKED) {
        s->subs->monitor = type == '+' && !s->multi ? MONITOR_ON : MONITOR_NO;
    }
}

bool listening_now(const struct session *s)
{
    return s->subs != NULL &&
           (s->subs->monitor == MONITOR_ON || pubsub_total(&s->subs->on_link) > 0);
}

static bool holds_nothing(const struct subscriptions *subs)
{
    bool none = subs->monitor == MONITOR_NO;
    for (unsigned kind = 0; kind < PUBSUB_KINDS; kind++) {
        none = none && subs->held[kind].count == 0;
    }
    return none;
}

void listening_settle(struct session *s)
{
    if (s->subs != NULL && holds_nothing(s->subs) && pubsub_total(&s->subs->on_link) == 0) {
        if (s->link != NULL) {
            s->link->listens = false;
        }
        listening_forget(s);
    }
}

void listening_link_gone(struct session *s)
{
    s->subs->on_link = (struct pubsub_counts){0};
    s->subs->left = 0;
    if (s->subs->monitor == MONITOR_ASKED) {
        s->subs->monitor = MONITOR_NO;
    }
}

uint32_t listening_given(const struct session *s, const struct record *r)
{
    if (s->subs == NULL || s->subs->left == 0 || r != head(s)) {
        return 0;
    }
    return r->names > 0 ? r->names - s->subs->left : 0;
}

void listening_forget(struct session *s)
{
    if (s->subs != NULL) {
        for (unsigned kind = 0; kind < PUBSUB_KINDS; kind++) {
            name_set_clear(&s->subs->held[kind]);
        }
        free(s->subs);
        s->subs = NULL;
    }
}
