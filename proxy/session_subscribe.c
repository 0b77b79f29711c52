#include "proxy/session_subscribe.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/limits.h"
#include "proxy/base/log.h"
#include "proxy/resp/emit.h"
#include "proxy/session_blocking.h"
#include "proxy/session_restore.h"
#include "proxy/tentative.h"
#include "proxy/worker.h"

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

/* Of what a monitoring client asks the answers stand among the lines, and those of a user's program
 * may look like one. A second MONITOR is not answered at all. */
bool listening_only(const struct session *s)
{
    return s->subs != NULL && s->set->profile.resp == 2 && pubsub_total(&s->subs->on_link) > 0;
}

bool listening_ends_framing(const struct session *s, const struct command *command)
{
    return s->subs->monitor == MONITOR_ON && (command->forgeable || command == &command_unknown ||
                                              (command->cls == COMMAND_MONITOR && !s->multi));
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
    if (type == '+' && s->subs->monitor == MONITOR_ON) {
        switch (r == NULL ? PUBSUB_MESSAGE : monitor_look(begun)) {
        case PUBSUB_UNSURE: return '\0';
        case PUBSUB_MESSAGE: return '>';
        case PUBSUB_CONFIRMED:
        case PUBSUB_OTHER: return type;
        }
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

size_t listening_held(const struct session *s)
{
    size_t bytes = 0;
    for (unsigned kind = 0; s->subs != NULL && kind < PUBSUB_KINDS; kind++) {
        bytes += s->subs->held[kind].bytes;
    }
    return bytes;
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
    if (listening_held(s) > SUBSCRIPTIONS_MAX) {
        for (unsigned kind = 0; kind < PUBSUB_KINDS; kind++) {
            name_set_clear(&held[kind]);
        }
        s->uncarried = "more subscriptions than are kept";
    }
}

static void ran_name(struct session *s, struct pubsub_verb verb, struct slice name)
{
    keep(s, &(struct confirmation){.verb = verb, .named = true, .name = name});
}

void listening_ran(struct session *s, const struct command *command, struct slice frame,
                   const struct args *args)
{
    struct pubsub_verb verb = verb_of(command);
    struct name_set *held = listener(s)->held;
    struct args_walk walk;
    struct slice name;
    if (args->count == 1) {
        name_set_clear(&held[verb.kind]);
    } else if (args_walk_begin(&walk, frame) && args_walk_next(&walk, &name)) {
        while (args_walk_next(&walk, &name)) {
            ran_name(s, verb, name);
        }
    } else if (args->count > args->kept) {
        s->uncarried = "more subscriptions by an inline command than are kept";
    } else {
        for (uint32_t i = 1; i < args->kept; i++) {
            ran_name(s, verb, args->v[i]);
        }
    }
}

void listening_counted(struct session *s, const struct pubsub_counts *counts)
{
    if (s->subs != NULL) {
        s->subs->on_link = *counts;
    }
}

/* One request less of those by which the link is told; with the last one all is as it was. */
static void said(struct session *s)
{
    struct subscriptions *subs = s->subs;
    if (--subs->saying > 0) {
        return;
    }
    uint64_t gap = loop_now_ms(s->service->worker->loop) - subs->lost_ms;
    log_limited(LOG_NOTICE, "subscriptions-restored",
                "service=%s channels=%u patterns=%u shards=%u monitor=%s gap-ms=%llu",
                s->service->config->name, subs->held[PUBSUB_CHANNEL].count,
                subs->held[PUBSUB_PATTERN].count, subs->held[PUBSUB_SHARD].count,
                subs->monitor == MONITOR_ON ? "yes" : "no", (unsigned long long)gap);
    subs->lost_ms = 0;
    s->link->proven = true;
    service_link_proven(s->service);
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
    bool last = --subs->left == 0;
    if (r->asker.own) {
        if (last) {
            session_request_done(s);
            s->restoring--;
            said(s);
        }
        return;
    }
    keep(s, &c);
    if (!last) {
        session_give(s, block, reply);
        return;
    }
    session_answer(s, r->command, block, reply, '*');
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

bool listening_holds(const struct session *s)
{
    return s->subs != NULL && s->subs->held[PUBSUB_CHANNEL].count +
                                      s->subs->held[PUBSUB_PATTERN].count +
                                      s->subs->held[PUBSUB_SHARD].count >
                                  0;
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
    struct subscriptions *subs = s->subs;
    subs->on_link = (struct pubsub_counts){0};
    subs->left = subs->saying = subs->asking = 0;
    subs->behind = false;
    if (subs->monitor == MONITOR_ASKED) {
        subs->monitor = MONITOR_NO;
    }
    if (subs->lost_ms == 0) {
        subs->lost_ms = loop_now_ms(s->service->worker->loop);
    }
    if (holds_nothing(subs)) {
        listening_forget(s);
    }
}

void listening_paused(struct session *s)
{
    if (s->subs->monitor == MONITOR_NO) { /* of others the server keeps all */
        s->subs->behind = true;
        s->subs->asked = false;
    }
}

void listening_resumed(struct session *s)
{
    /* In a transaction the question would become a part of it. */
    if (s->subs->behind && s->link->state == LINK_READY && s->tentative == NULL &&
        !session_queues(s)) {
        s->subs->asked = true;
        s->subs->asking++;
        session_say(s, ASK_CAUGHT_UP, slice_str("*1\r\n$4\r\nPING\r\n"));
    }
}

void listening_caught_up(struct session *s)
{
    if (s->subs != NULL && --s->subs->asking == 0 && s->subs->asked) {
        s->subs->behind = false;
    }
}

bool listening_lags(const struct session *s)
{
    return s->subs != NULL && s->subs->behind && listening_now(s);
}

/* As many of the names as a request may have at once. */
static const struct name *say_some(struct session *s, const struct command *command,
                                   const struct name_set *set, const struct name *name)
{
    struct buf names = {0}, request = {0};
    uint32_t count = 0;
    for (; name != NULL && buf_len(&names) < RESUBSCRIBE_BYTES; name = name_set_next(set, name)) {
        buf_printf(&names, "$%u\r\n", name->len);
        buf_append(&names, name_slice(name));
        buf_append_str(&names, "\r\n");
        count++;
    }
    buf_printf(&request, "*%u\r\n$%zu\r\n%s\r\n", count + 1, strlen(command->name), command->name);
    buf_append(&request, buf_slice(&names));
    session_say_as(s, ASK_LISTEN, command, buf_slice(&request));
    listening_asked(s, count + 1);
    s->subs->saying++;
    buf_release(&names);
    buf_release(&request);
    return name;
}

void listening_say(struct session *s)
{
    static const char *const commands[PUBSUB_KINDS] = {"subscribe", "psubscribe", "ssubscribe"};
    if (s->subs == NULL || s->uncarried != NULL) {
        return;
    }
    for (unsigned kind = 0; kind < PUBSUB_KINDS; kind++) {
        const struct name_set *set = &s->subs->held[kind];
        const struct command *command = command_lookup_name(slice_str(commands[kind]));
        const struct name *name = name_set_next(set, NULL);
        while (name != NULL) {
            name = say_some(s, command, set, name);
        }
    }
    if (s->subs->monitor == MONITOR_ON) {
        s->link->listens = true;
        session_say(s, ASK_LISTEN, slice_str("*1\r\n$7\r\nmonitor\r\n"));
        s->subs->saying++;
    }
}

void listening_said(struct session *s, struct slice reply)
{
    if (reply.p[0] != '-') {
        said(s);
    } else if (is_refusal(reply)) {
        session_leave_link(s, true);
    } else {
        log_limited(LOG_NOTICE, "subscriptions-refused", "service=%s error=%s",
                    s->service->config->name, log_quote(slice_of(reply.p, reply.n - 2)));
        session_end(s, SESSION_END_UNCARRIED, "subscriptions");
    }
}

void listening_refused(struct session *s)
{
    if (s->subs != NULL) {
        session_end(s, SESSION_END_UNCARRIED, "subscriptions");
    }
}

uint32_t listening_given(const struct session *s, const struct record *r)
{
    const struct record *first = s->link != NULL ? head(s) : NULL;
    if (s->subs == NULL || s->subs->left == 0 || first == NULL || r != first) {
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
