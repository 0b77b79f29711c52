#include "proxy/session_tracking.h"

#include <stdlib.h>

#include "proxy/base/log.h"
#include "proxy/service.h"
#include "proxy/session_redirect.h"
#include "proxy/session_restore.h"
#include "proxy/session_subscribe.h"
#include "proxy/tentative.h"
#include "proxy/tracking.h"

/* As Redis 7.0 writes it at FLUSHALL (tracking.c, trackingInvalidateKeysOnFlush). On RESP2 nothing
 * is written on the connection that tracks, and to another one only while that is subscribed to
 * anything: as a message of this channel. */
static const char forget_all[] = ">2\r\n$10\r\ninvalidate\r\n_\r\n";
static const char forget_all_message[] =
    "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n$-1\r\n";

static bool tracks_for_itself(const struct session *s)
{
    return s->tracking != NULL && !redirect_is_tracker(s);
}

static const char *words(const struct session *s)
{
    bool target = redirect_is_target(s);
    if (s->set->profile.resp == 3) {
        return target || tracks_for_itself(s) ? forget_all : "";
    }
    return target && listening_holds(s) ? forget_all_message : "";
}

void tracking_end(struct session *s)
{
    if (s->tracking != NULL) {
        redirect_accepted(s, 0);
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
    case TRACKING_ON:
        s->tracking->cached = true;
        redirect_accepted(s, s->tracking->redirect);
        return;
    case TRACKING_OFF: tracking_end(s); return;
    case TRACKING_ONCE:
        tracking_end(s);
        s->uncarried = command->name;
        return;
    }
}

void tracking_noted(struct session *s, const struct command *command, struct slice frame)
{
    if (s->multi) {
        return; /* it takes effect at EXEC, perhaps */
    }
    if (command->cls == COMMAND_EVICT) {
        eviction_noted(s, command, frame);
    } else if (command->cls == COMMAND_TRACKING) {
        switched(s, command, frame);
    } else if (command->cls == COMMAND_CACHING && s->tracking != NULL) {
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
    session_give_push(s, slice_str(words(s)));
}

bool tracking_used_up(const struct session *s)
{
    return s->tracking != NULL && buf_len(&s->tracking->caching) > 0;
}

static bool is_answer(struct list_node *n)
{
    return CONTAINER_OF(n, struct parked, node)->is_answer;
}

void tracking_lost(struct session *s, struct list *items)
{
    struct tracking *t = s->tracking;
    bool heard = redirect_is_heard(s) || (t != NULL && t->cached);
    struct list_node *n = items->first;
    if (t != NULL && t->cached && n != NULL && is_answer(n)) {
        buf_release(&t->caching); /* it was about that request */
    }
    if (t != NULL) {
        t->cached = false;
    }
    if (!heard) {
        return;
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

static void say(struct session *s, struct slice request)
{
    session_say(s, ASK_TRACKING, request);
    redirect_says(s, 1);
}

/* Redirected to that number, if it is not 0. */
static void say_all(struct session *s, struct slice frames, int64_t redirect)
{
    while (frames.n > 0) {
        struct request_scan scan = {0};
        struct buf request = {0};
        size_t used;
        CHECK(request_scan_feed(&scan, frames, &used) == SCAN_DONE);
        if (redirect != 0) {
            tracking_redirected(slice_of(frames.p, used), redirect, &request);
        } else {
            buf_append(&request, slice_of(frames.p, used));
        }
        say(s, buf_slice(&request));
        buf_release(&request);
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
    say_all(s, buf_slice(&t->said), redirect_id(s));
}

void tracking_say_anew(struct session *s)
{
    say(s, slice_str("*3\r\n$6\r\nCLIENT\r\n$8\r\nTRACKING\r\n$3\r\nOFF\r\n"));
    say_all(s, buf_slice(&s->tracking->said), redirect_id(s));
    say_all(s, buf_slice(&s->tracking->caching), 0);
}

void tracking_say_caching(struct session *s)
{
    bool may = s->set->profile.resp == 3 || (redirect_is_tracker(s) && s->subs == NULL);
    if (s->tracking != NULL && may && s->link->bare_from == GREET_STEPS) {
        say_all(s, buf_slice(&s->tracking->caching), 0);
    }
}

void tracking_said(struct session *s, struct slice reply)
{
    if (is_refusal(reply)) {
        session_leave_link(s, true);
    } else if (!redirect_said(s, reply)) {
        return;
    } else if (reply.p[0] == '-') {
        log_limited(LOG_NOTICE, "tracking-refused", "service=%s error=%s", s->service->config->name,
                    log_quote(slice_of(reply.p, reply.n - 2)));
        session_end(s, SESSION_END_UNCARRIED, "client|tracking");
    } else if (s->tracking != NULL && s->tracking->broadcast) {
        tracking_flush(s); /* others may have read what changed before it was broadcast here */
    }
}
