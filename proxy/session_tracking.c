#include "proxy/session_tracking.h"

#include <stdlib.h>

#include "proxy/base/log.h"
#include "proxy/service.h"
#include "proxy/session_input.h"
#include "proxy/session_restore.h"
#include "proxy/session_subscribe.h"
#include "proxy/tentative.h"
#include "proxy/tracking.h"

/* As Redis 7.0 writes it at FLUSHALL (tracking.c, trackingInvalidateKeysOnFlush). On RESP2 nothing
 * is written on the connection that tracks. */
static const char forget_all[] = ">2\r\n$10\r\ninvalidate\r\n_\r\n";

static const char *words(const struct session *s)
{
    return s->tracking != NULL && s->set->profile.resp == 3 ? forget_all : "";
}

void tracking_end(struct session *s)
{
    if (s->tracking != NULL) {
        tracking_clear(s->tracking);
        free(s->tracking);
        s->tracking = NULL;
    }
}

static void switched(struct session *s, const struct command *command, struct slice frame)
{
    if (s->tracking == NULL) {
        s->tracking = xcalloc(1, sizeof *s->tracking);
    }
    s->uncarried = s->uncarried == command->name ? NULL : s->uncarried;
    switch (tracking_accepted(s->tracking, frame)) {
    case TRACKING_ON: s->tracking->cached = true; return;
    case TRACKING_OFF: tracking_end(s); return;
    case TRACKING_ELSEWHERE:
        tracking_end(s);
        s->uncarried = command->name;
        return;
    }
}

void tracking_noted(struct session *s, const struct command *command, struct slice frame)
{
    if (command->cls == COMMAND_EVICT) {
        eviction_noted(s, command, frame);
        return;
    }
    if (command->cls == COMMAND_TRACKING && s->multi) {
        s->uncarried = command->name; /* it takes effect at EXEC, perhaps */
    } else if (command->cls == COMMAND_TRACKING) {
        switched(s, command, frame);
    } else if (command->cls == COMMAND_CACHING && s->tracking != NULL && !s->multi) {
        tracking_caching(s->tracking, frame);
    }
}

/* Redis 7.0 resetClient: not behind a CLIENT command, and a transaction is as one command. */
void tracking_answered(struct session *s, const struct command *command)
{
    if (!s->multi && !slice_starts_with(slice_str(command->name), "client|")) {
        buf_release(&s->tracking->caching);
    }
}

void tracking_flush(struct session *s)
{
    bool hushed = s->hushed; /* what is pushed is heard all the same */
    s->hushed = false;
    session_give_str(s, words(s));
    s->hushed = hushed;
}

bool tracking_used_up(const struct session *s)
{
    return s->tracking != NULL && buf_len(&s->tracking->caching) > 0;
}

bool tracking_told_here(const struct session *s)
{
    return s->subs != NULL &&
           name_set_has(&s->subs->held[PUBSUB_CHANNEL], slice_str("__redis__:invalidate"));
}

static bool is_answer(struct list_node *n)
{
    return CONTAINER_OF(n, struct parked, node)->is_answer;
}

void tracking_lost(struct session *s, struct list *items)
{
    struct tracking *t = s->tracking;
    if (t == NULL || !t->cached) {
        return;
    }
    t->cached = false;
    struct list_node *n = items->first;
    if (n != NULL && is_answer(n)) {
        buf_release(&t->caching); /* it was about that request */
    }
    while (n != NULL && is_answer(n)) {
        n = n->next;
    }
    struct list again = {0};
    for (struct list_node *next; n != NULL; n = next) {
        next = n->next;
        list_remove(n);
        list_append(&again, n);
    }
    park_answer(items, slice_str(words(s)))->voice = VOICE_GIVEN;
    for (n = list_pop(&again); n != NULL; n = list_pop(&again)) {
        list_append(items, n);
    }
}

static void say_all(struct session *s, struct slice frames)
{
    while (frames.n > 0) {
        struct request_scan scan = {0};
        size_t used;
        CHECK(request_scan_feed(&scan, frames, &used) == SCAN_DONE);
        session_say(s, ASK_TRACKING, slice_of(frames.p, used));
        frames = slice_of(frames.p + used, frames.n - used);
    }
}

void tracking_say(struct session *s)
{
    struct tracking *t = s->tracking;
    if (t == NULL || s->link->bare_from != GREET_STEPS) {
        return; /* a bare link serves only what mends the profile; another one follows */
    }
    if (t->cached) {
        tracking_flush(s);
    }
    t->cached = true;
    say_all(s, buf_slice(&t->said));
}

void tracking_say_caching(struct session *s)
{
    if (s->tracking != NULL && s->set->profile.resp == 3 && s->link->bare_from == GREET_STEPS) {
        say_all(s, buf_slice(&s->tracking->caching));
    }
}

void tracking_said(struct session *s, struct slice reply)
{
    if (is_refusal(reply)) {
        session_leave_link(s, true);
    } else if (reply.p[0] == '-') {
        log_limited(LOG_NOTICE, "tracking-refused", "service=%s error=%s", s->service->config->name,
                    log_quote(slice_of(reply.p, reply.n - 2)));
        session_end(s, SESSION_END_UNCARRIED, "client|tracking");
    }
}
