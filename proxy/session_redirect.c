#include "proxy/session_redirect.h"

#include <stdlib.h>

#include "proxy/base/limits.h"
#include "proxy/resp/emit.h"
#include "proxy/server.h"
#include "proxy/session_restore.h"
#include "proxy/session_subscribe.h"
#include "proxy/session_tracking.h"
#include "proxy/tentative.h"
#include "proxy/tracking.h"

static const char unknown[] = "ERR The client ID you want redirect to does not exist";

static struct redirect *part_of(struct session *s)
{
    if (s->redirect == NULL) {
        s->redirect = xcalloc(1, sizeof *s->redirect);
        s->redirect->session = s;
        list_append(&s->service->worker->redirects, &s->redirect->node);
    }
    return s->redirect;
}

static void tell_others(const struct session *s)
{
    server_redirects_changed(s->service->worker->server);
}

/* Its own link, greeted with all of its profile; NULL: it has none. */
static struct link *link_of(const struct session *s)
{
    struct link *l = s->link;
    return l != NULL && l->kind == LINK_EXCLUSIVE && l->state == LINK_READY && !l->raw &&
                   l->bare_from == GREET_STEPS
               ? l
               : NULL;
}

/* ---- as a target ---- */

void redirect_number_told(struct session *s, const struct command *command, struct slice reply)
{
    int64_t number;
    if (!slice_eq(slice_str(command->name), slice_str("client|id")) || reply.p[0] != ':' ||
        !slice_to_i64(slice_of(reply.p + 1, reply.n - 3), 1, INT64_MAX, &number)) {
        return;
    }
    struct worker *w = s->service->worker;
    redirects_tell(server_redirects(w->server), s->service->index, number, &part_of(s)->self);
}

/* Those who asked hear that its client was told, once that is written: so they can't overtake it.
 */
static void tell_told(struct session *s)
{
    struct redirect *x = s->redirect;
    struct worker *w = s->service->worker;
    if (x->asked_for == 0) {
        return;
    }
    if (w->moment < x->moment + 2) {
        worker_again(w, s); /* a flush phase has yet to pass */
        return;
    }
    target_told(x->self, x->asked_for);
    x->asked_for = 0;
    tell_others(s);
}

static void settle_target(struct session *s)
{
    struct redirect *x = s->redirect;
    const struct link *l = link_of(s);
    if (x->id == 0 && l != NULL && l->client_id != 0 && s->restoring == 0 &&
        x->state != REDIRECTION_FRESH) {
        x->id = l->client_id;
        target_set_link(x->self, x->id, l->generation);
        if (target_is_aimed_at(x->self)) {
            tell_others(s);
        }
    }
    if (x->asked_for == 0 && target_is_due(x->self)) {
        x->asked_for = target_look(x->self).asked;
        x->moment = s->service->worker->moment;
        x->due = true;
    }
    tell_told(s);
    if (x->due && s->link != NULL && s->link->raw) {
        session_end(s, SESSION_END_UNCARRIED, "invalidations redirected to it");
    } else if (x->due && (s->link == NULL || !s->link->streaming)) {
        x->due = false;
        tracking_flush(s);
    }
}

/* ---- as a tracker ---- */

/* Takes over the reference. False: it was aimed there already. */
static bool aim_at(struct aim_of *aim, struct target *target)
{
    if (aim->target == target) {
        target_unref(&target);
        return false;
    }
    if (aim->target != NULL) {
        target_aim(aim->target, false);
        target_unref(&aim->target);
    }
    if (target != NULL) {
        target_aim(target, true);
    }
    *aim = (struct aim_of){.target = target};
    return true;
}

static void stop_waiting(struct session *s)
{
    s->redirect->waited = false;
    loop_disarm(s->service->worker->loop, &s->redirect->wait);
}

static void on_waited(struct wheel_timer *timer)
{
    struct redirect *x = CONTAINER_OF(timer, struct redirect, wait);
    x->waited = true;
    session_pump(x->session);
}

static void start_waiting(struct session *s)
{
    struct redirect *x = s->redirect;
    if (!x->waited && !list_on(&x->wait.node)) {
        loop_arm(s->service->worker->loop, &x->wait, REDIRECT_WAIT_MS, on_waited);
    }
}

/* The number by which the primary of the session's link knows the target now; 0: not at all. False:
 * that is about to change. */
static bool look_up(struct session *s, struct aim_of *aim, int64_t *id)
{
    struct redirect *x = s->redirect;
    *id = 0;
    if (aim->target == NULL) {
        return true;
    }
    struct target_state t = target_look(aim->target);
    aim->seen = t.version;
    if (aim->target == x->self) {
        *id = s->link->client_id;
        return true;
    }
    bool there = t.id != 0 && t.generation == s->link->generation && t.version != aim->refused;
    if (!there && !t.gone && !x->waited) {
        start_waiting(s);
        return false;
    }
    if (there) {
        *id = t.id;
        stop_waiting(s);
    }
    return true;
}

static void begin_saying(struct redirect *x, int64_t id)
{
    x->said = id;
    x->saying = 0;
    x->unsure = false;
    x->state = REDIRECTION_SAYING;
}

bool redirect_is_settled(struct session *s)
{
    struct redirect *x = s->redirect;
    int64_t id;
    if (!redirect_is_tracker(s) || link_of(s) == NULL) {
        return true;
    }
    if (!look_up(s, &x->aim, &id)) {
        return false;
    }
    begin_saying(x, id);
    return true;
}

int64_t redirect_id(const struct session *s)
{
    return redirect_is_tracker(s) ? s->redirect->said : 0;
}

void redirect_says(struct session *s, uint32_t requests)
{
    if (redirect_is_tracker(s)) {
        s->redirect->saying += requests;
    }
}

/* As Redis 7.0 says it instead of what it can't tell (tracking.c, sendTrackingMessage). */
static void say_broken(struct session *s)
{
    struct buf words = {0};
    if (s->set->profile.resp == 3) {
        buf_printf(&words, ">2\r\n$21\r\ntracking-redir-broken\r\n:%lld\r\n",
                   (long long)s->redirect->number);
        session_give_push(s, buf_slice(&words));
    }
    buf_release(&words);
}

static bool is_unknown(struct slice reply)
{
    return reply.p[0] == '-' && slice_starts_with(slice_of(reply.p + 1, reply.n - 1), unknown);
}

bool redirect_said(struct session *s, struct slice reply)
{
    struct redirect *x = s->redirect;
    if (!redirect_is_tracker(s)) {
        return true;
    }
    x->saying--;
    if (is_unknown(reply)) {
        /* It has just lost that link, which its worker has not noticed yet. */
        x->aim.refused = x->aim.seen;
        x->state = REDIRECTION_STALE;
        x->unsure = true;
        if (s->multi) {
            session_leave_link(s, false); /* where it could not be said behind MULTI */
        }
        return false;
    }
    if (x->saying > 0 || x->state != REDIRECTION_SAYING || reply.p[0] == '-') {
        return true;
    }
    if (x->said == 0) {
        x->state = REDIRECTION_ON;
        say_broken(s);
    } else {
        x->state = REDIRECTION_TELLING;
        x->ticket = target_ask(x->aim.target);
        start_waiting(s);
        tell_others(s);
    }
    return true;
}

bool redirect_turns(struct session *s, struct slice push)
{
    const struct redirect *x = s->redirect;
    if (x->state == REDIRECTION_NONE) {
        return false;
    }
    if (slice_starts_with(push, ">2\r\n$21\r\ntracking-redir-broken\r\n")) {
        if (x->aim.target == NULL || x->waited || target_look(x->aim.target).gone) {
            say_broken(s);
        } /* else it gets another link, and its client is told */
        return true;
    }
    if (x->said == 0 && slice_starts_with(push, ">2\r\n$10\r\ninvalidate\r\n")) {
        say_broken(s);
        return true;
    }
    return false;
}

static void go_on(struct session *s)
{
    s->redirect->state = REDIRECTION_ON;
    loop_disarm(s->service->worker->loop, &s->redirect->wait);
    worker_again(s->service->worker, s);
}

/* A subscriber of RESP2 may not say it, nor may one that is in MONITOR. */
static bool may_not_say(const struct session *s)
{
    return s->subs != NULL &&
           (s->subs->monitor != MONITOR_NO || (s->set->profile.resp == 2 && listening_now(s)));
}

/* The target has another link: that is said on a link where another was said before. */
static void renew(struct session *s)
{
    struct redirect *x = s->redirect;
    int64_t id;
    if (s->multi || s->outstanding > 0 || s->tentative != NULL || s->asked != NULL ||
        s->streaming || !look_up(s, &x->aim, &id)) {
        return;
    }
    if (!x->unsure && (id == x->said || id == 0)) {
        go_on(s); /* the server knows by itself that it is not there */
    } else if (may_not_say(s)) {
        session_give_up_link(s, LINK_END_SESSION);
    } else {
        begin_saying(x, id);
        tracking_say_anew(s);
    }
}

static bool has_changed(const struct aim_of *aim)
{
    return aim->target != NULL && target_version(aim->target) != aim->seen;
}

static void settle_tracker(struct session *s)
{
    struct redirect *x = s->redirect;
    if (link_of(s) == NULL) {
        return;
    }
    if (x->state == REDIRECTION_ON && has_changed(&x->aim)) {
        x->state = REDIRECTION_STALE;
    }
    if (x->state == REDIRECTION_FRESH) {
        session_restore(s);
    } else if (x->state == REDIRECTION_STALE) {
        renew(s);
    } else if (x->state == REDIRECTION_TELLING) {
        struct target_state t = target_look(x->aim.target);
        if (t.told >= x->ticket || t.gone || x->waited) {
            go_on(s);
        }
    }
}

void redirect_accepted(struct session *s, int64_t number)
{
    if (number == 0 && s->redirect == NULL) {
        return;
    }
    struct redirect *x = part_of(s);
    struct aim_of aim = x->asked;
    (void)aim_at(&x->aim, NULL);
    if (number != 0) {
        x->aim = aim; /* of which nobody is: it was a number of nobody here */
        x->asked = (struct aim_of){0};
    }
    stop_waiting(s);
    x->number = number;
    x->said = aim.target != NULL ? x->asked_id : number;
    x->unsure = false;
    x->state = number != 0 ? REDIRECTION_ON : REDIRECTION_NONE;
}

/* ---- the request that redirects ---- */

bool redirect_names_target(struct session *s, const struct request *r)
{
    int64_t number = r->args != NULL && !s->multi ? tracking_redirect(r->frame) : 0;
    if (number == 0) {
        return false;
    }
    if (redirect_is_asking(s)) {
        return true;
    }
    struct target *target =
        redirects_find(server_redirects(s->service->worker->server), s->service->index, number);
    if (target == NULL && s->redirect == NULL) {
        return false;
    }
    if (aim_at(&part_of(s)->asked, target)) {
        tell_others(s); /* it may be without a link */
    }
    return target != NULL;
}

static void answer(struct session *s, const struct request *r, struct slice reply)
{
    CHECK(reply.p != NULL);
    session_answer(s, r->command, NULL, reply, reply.p[0]);
    if (reply.p[0] == '+') {
        tracking_noted(s, r->command, r->frame);
    }
    (void)aim_at(&s->redirect->asked, NULL);
    stop_waiting(s);
}

bool redirect_take(struct session *s, const struct request *r)
{
    struct redirect *x = s->redirect;
    if (x->asking) {
        struct buf reply = x->answer;
        x->answer = (struct buf){0};
        x->asking = false;
        answer(s, r, buf_slice(&reply));
        buf_release(&reply);
        return true;
    }
    if (s->outstanding > 0 || !look_up(s, &x->asked, &x->asked_id)) {
        return false;
    }
    struct buf words = {0};
    if (x->asked_id == 0) {
        emit_error(&words, unknown);
        answer(s, r, buf_slice(&words));
    } else {
        x->asking = true;
        tracking_redirected(r->frame, x->asked_id, &words);
        session_say(s, ASK_REDIRECT, buf_slice(&words));
    }
    buf_release(&words);
    return !x->asking;
}

void redirect_answered(struct session *s, struct slice reply)
{
    struct redirect *x = s->redirect;
    if (is_refusal(reply)) {
        session_leave_link(s, true);
    } else if (is_unknown(reply) && x->asked.target != x->self) {
        x->asked.refused = x->asked.seen; /* see redirect_said */
        x->asking = false;
    } else {
        buf_append(&x->answer, reply);
    }
}

/* ---- both ---- */

void redirect_settle(struct session *s)
{
    if (s->redirect->self != NULL) {
        settle_target(s);
    }
    if (s->state < SESSION_CLOSING && redirect_is_tracker(s)) {
        settle_tracker(s);
    }
}

void redirects_hear(struct worker *w)
{
    for (struct list_node *n = w->redirects.first; n != NULL; n = n->next) {
        const struct redirect *x = CONTAINER_OF(n, struct redirect, node);
        bool wanted = redirect_is_target(x->session) && x->session->link == NULL;
        bool due = x->self != NULL && target_is_due(x->self);
        if (wanted || due || x->state == REDIRECTION_TELLING || has_changed(&x->aim) ||
            has_changed(&x->asked)) {
            worker_pump(w, x->session);
        }
    }
}

void redirect_link_gone(struct session *s)
{
    struct redirect *x = s->redirect;
    if (x == NULL) {
        return;
    }
    if (x->id != 0) {
        x->id = 0;
        target_set_link(x->self, 0, 0);
        if (target_is_aimed_at(x->self)) {
            tell_others(s);
        }
    }
    x->asking = false;
    buf_release(&x->answer);
    if (x->state != REDIRECTION_NONE) {
        x->state = REDIRECTION_FRESH;
        stop_waiting(s);
    }
}

void redirect_end(struct session *s)
{
    struct redirect *x = s->redirect;
    if (x == NULL || !list_on(&x->node)) {
        return;
    }
    if (x->self != NULL) {
        target_end(x->self);
        if (target_is_aimed_at(x->self)) {
            tell_others(s);
        }
        x->id = 0;
    }
    x->state = REDIRECTION_NONE;
    stop_waiting(s);
    (void)aim_at(&x->aim, NULL);
    (void)aim_at(&x->asked, NULL);
    list_remove(&x->node);
}

void redirect_free(struct session *s)
{
    if (s->redirect != NULL) {
        CHECK(!list_on(&s->redirect->node));
        target_unref(&s->redirect->self);
        buf_release(&s->redirect->answer);
        free(s->redirect);
        s->redirect = NULL;
    }
}
