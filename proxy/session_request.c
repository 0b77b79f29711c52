/* Where a request goes: to a link that others share, to one of the session's own, to wait, or
 * nowhere, being answered here. */
#include "proxy/session_input.h"

#include <stdlib.h>

#include "proxy/base/clock.h"
#include "proxy/base/limits.h"
#include "proxy/base/log.h"
#include "proxy/client_auth.h"
#include "proxy/learnt.h"
#include "proxy/route.h"
#include "proxy/session_blocking.h"
#include "proxy/session_mute.h"
#include "proxy/session_reads.h"
#include "proxy/session_redirect.h"
#include "proxy/session_restore.h"
#include "proxy/session_subscribe.h"
#include "proxy/worker.h"

/* The link that a request needs. */
struct aim {
    bool exclusive;
    enum greeting_step until; /* of one of its own: the first step of the greeting to leave out */
    struct linkset *set;      /* of a shared one */
    struct link *link;        /* as far as it is there */
};

/* What it makes of the profile, if the server accepts it. */
static struct asked *asked_by(const struct session *s, const struct request *r)
{
    struct asked *asked = xcalloc(1, sizeof *asked);
    profile_copy(&asked->profile, &s->set->profile);
    if (r->args != NULL) { /* else it is too large to be understood: PROFILE_UNKNOWN */
        asked->form = profile_apply(&asked->profile, &asked->name, r->command, r->args);
    }
    return asked;
}

void request_ask_profile(struct session *s, const struct command *command, const struct args *args)
{
    struct request r = {.command = command, .args = args};
    s->asked = asked_by(s, &r);
}

/* A command that changes the profile goes to a shared link of the profile that it asks for, to
 * which its success changes nothing. Without such a link the session's own tells. */
static struct linkset *set_asked_for(const struct session *s, const struct request *r)
{
    struct asked *asked = asked_by(s, r);
    struct linkset *set = asked->form == PROFILE_PLAIN
                              ? linkset_find(s->service, &asked->profile, s->set->replica)
                              : NULL;
    profile_clear(&asked->profile);
    buf_release(&asked->name);
    free(asked);
    struct link *l = set != NULL ? linkset_link(set, s->asker.slot) : NULL;
    return l != NULL && linkset_takes(l) ? set : NULL;
}

static const struct command select_same = {
    .name = "select", .cls = COMMAND_READ, .link = COMMAND_SHARED, .replica = REPLICA_BLIND};

const struct command *request_command(const struct session *s, const struct args *args)
{
    const struct command *command = learnt_lookup(s->service->learnt, args);
    int64_t database;
    bool same = command->cls == COMMAND_SELECT && args->count == 2 && s->asked == NULL &&
                !s->multi && s->set->refused == GREET_STEPS &&
                slice_to_i64(args->v[1], 0, INT32_MAX, &database) &&
                database == s->set->profile.database;
    return same ? &select_same : command;
}

/* It was greeted with all of its profile: what another link was refused does not touch it. */
static bool is_whole(const struct link *l)
{
    return l != NULL && l->state == LINK_READY && l->bare_from == GREET_STEPS;
}

/* A link of the session's own that leads to where those of the set do. */
static struct link *own_link_to(const struct session *s, const struct linkset *set)
{
    struct link *l = s->link;
    return l != NULL && l->kind == LINK_EXCLUSIVE && l->replica == set->replica ? l : NULL;
}

static struct aim aim_at(const struct session *s, const struct request *r)
{
    struct aim a = {.set = s->set, .until = s->set->refused};
    if (r->command->cls == COMMAND_KILL && !s->multi && a.until > GREET_SELECT &&
        a.set->profile.database != 0) {
        a.until = GREET_SELECT; /* refused while a script runs */
    }
    a.exclusive = !service_shares(s->service) || r->command->link != COMMAND_SHARED || r->odd ||
                  r->frame.n > REQUEST_BUFFER_MAX || session_marks_link(s) || s->large_left > 0;
    if (!a.exclusive && command_changes_profile(r->command)) {
        a.set = set_asked_for(s, r);
        a.exclusive = a.set == NULL;
        a.set = a.set != NULL ? a.set : s->set;
    }
    if (!a.exclusive) {
        a.link = linkset_link(a.set, s->asker.slot);
        a.exclusive = a.set->refused != GREET_STEPS && (s->refused || !is_whole(a.link));
    }
    if (a.exclusive) {
        a.link = own_link_to(s, a.set);
    }
    return a;
}

static struct aim aim_at_replica(const struct session *s, const struct request *r,
                                 struct linkset *set)
{
    struct aim a = {.set = set, .until = GREET_STEPS};
    a.exclusive =
        !service_shares(s->service) || r->command->link != COMMAND_SHARED || s->large_left > 0;
    a.link = a.exclusive ? own_link_to(s, set) : linkset_link(set, s->asker.slot);
    return a;
}

static bool full(const struct link *l)
{
    return l != NULL && !link_has_room(l);
}

/* Nobody can look at what passes from this request on. */
static bool is_raw(const struct session *s, const struct request *r)
{
    return r->command->cls == COMMAND_RAW || mute_ends_framing(s, r) ||
           (s->subs != NULL && listening_ends_framing(s, r->command));
}

/* The last request is one of the SUBSCRIBE family, which are only sent alone or behind another:
 * then all that are outstanding are. */
static bool last_subscribes(const struct link *l)
{
    const struct journal *j = &l->journal;
    return j->count > 0 && journal_at(j, j->count - 1)->command->cls == COMMAND_SUBSCRIBE;
}

static enum route decide(const struct session *s, const struct request *r, const struct aim *a)
{
    const struct link *l = a->link;
    bool raw = is_raw(s, r);
    bool flag = r->command->cls == COMMAND_REPLY && mute_is_ours(s, r);
    struct route_input in = {
        .command = r->command,
        .outstanding = s->outstanding,
        .full = a->exclusive && full(l),
        .elsewhere = s->link != l,
        .shares = service_shares(s->service),
        .exclusive = a->exclusive,
        .serving = linkset_serving(a->set),
        .link_open = l != NULL,
        .link_ready = l != NULL && link_sendable(l) && !full(l) && s->restoring == 0 &&
                      !redirect_holds(s) && (!raw || l->journal.count == 0),
        .asking = s->asked != NULL || mute_is_unsure(s, r),
        .listening = s->subs != NULL && s->subs->monitor == MONITOR_ASKED,
        .pushing = s->link != NULL && s->link->kind == LINK_EXCLUSIVE && s->link->streaming,
        .raw = raw,
        .flag = flag,
        .silent = flag && mute_is_silent(r),
        .mixed =
            r->command->cls == COMMAND_SUBSCRIBE && s->outstanding > 0 && !last_subscribes(s->link),
        .blocking = blocking_ahead(s),
        .judging = s->tentative != NULL,
        .scout = s->scout,
        .multi = s->multi,
        .multi_lost = s->multi_lost,
        .watch_lost = s->watch_lost,
        .writes_lost = s->wrote_in != 0 && s->wrote_in != s->service->now->generation &&
                       (s->subs == NULL || s->set->profile.resp == 3), /* else it is refused */
        .args = r->args != NULL ? r->args->count : 0,
        .refused = is_whole(l) ? GREET_STEPS : s->set->refused,
        .needs_auth = session_needs_auth(s),
        .bare = l != NULL && l->bare_from != GREET_STEPS,
    };
    return route_decide(&in);
}

static void on_deadline(struct wheel_timer *timer)
{
    struct session *s = CONTAINER_OF(timer, struct session, deadline_timer);
    if (s->deadline_ms == 0) {
        return;
    }
    if (loop_now_ms(s->service->worker->loop) < s->deadline_ms) {
        uint64_t left = s->deadline_ms - loop_now_ms(s->service->worker->loop);
        loop_arm(s->service->worker->loop, timer, left, on_deadline);
        return;
    }
    log_limited(LOG_WARNING, "hold-timeout", "service=%s waited-ms=%llu parked=%zu",
                s->service->config->name, (unsigned long long)s->service->now->hold_timeout_ms,
                s->parked.count);
    input_expire(s);
    session_pump(s);
}

void session_start_waiting(struct session *s)
{
    if (s->deadline_ms != 0) {
        return;
    }
    struct loop *loop = s->service->worker->loop;
    uint64_t now = loop_now_ms(loop);
    s->waiting_since_ms = now;
    /* What waited before and comes back unanswered keeps its deadline. */
    s->deadline_ms =
        s->last_deadline_ms != 0 ? s->last_deadline_ms : now + s->service->now->hold_timeout_ms;
    s->service->report.waited++;
    loop_arm(loop, &s->deadline_timer, s->deadline_ms > now ? s->deadline_ms - now : 0,
             on_deadline);
}

void session_stop_waiting(struct session *s)
{
    if (s->deadline_ms == 0) {
        return;
    }
    struct switch_report *report = &s->service->report;
    uint64_t waited = loop_now_ms(s->service->worker->loop) - s->waiting_since_ms;
    report->longest_ms = waited > report->longest_ms ? waited : report->longest_ms;
    s->last_deadline_ms = s->deadline_ms;
    s->deadline_ms = 0;
    list_remove(&s->waiting);
}

/* It waits until its node may be reached. */
static void wait_for_node(struct session *s, struct linkset *set)
{
    if (set->replica != 0) {
        nodes_wait(s->service, s, true);
    } else if (linkset_rests(set)) {
        linkset_wait(set, s);
    } else {
        service_wait(s->service, s);
    }
}

/* True if a client without credentials is to be served as its profile says; false: not known yet.
 * The primary tells it; while there is none, the replica for what it is asked. */
static bool is_vetted(struct session *s, struct linkset *replica)
{
    if ((s->vetted && !session_needs_auth(s)) || !service_shares(s->service)) {
        return true;
    }
    if (!s->set->profile.authenticated && !list_on(&s->set->in_service)) {
        struct linkset *now = linkset_get(s->service, &s->set->profile, s->set->replica);
        list_remove(&s->waiting); /* it may be among those of the set */
        linkset_drop(&s->set);    /* it came too late for that era */
        s->set = now;
    }
    struct linkset *set = replica != NULL && !service_serving(s->service) ? replica : s->set;
    bool vetted = linkset_check(set);
    if (set == s->set) {
        s->vetted = vetted;
    }
    if (!vetted) {
        session_start_waiting(s);
        if (set->check != NULL) {
            linkset_wait(set, s);
        } else {
            wait_for_node(s, set);
        }
    }
    return vetted;
}

/* Its own link is given back when another takes its requests. */
static void move_to(struct session *s, struct link *l)
{
    if (s->link != NULL && s->link != l) {
        linkset_give_back(s);
    }
    s->link = l;
}

/* A link of its own from those kept warm. */
static bool lease(struct session *s, struct linkset *set)
{
    s->link = set->refused == GREET_STEPS ? linkset_lease(set, s) : NULL;
    if (s->link != NULL) {
        session_restore(s);
    }
    return s->link != NULL;
}

/* On which the client has just mended its profile. */
static bool is_spent(const struct session *s)
{
    const struct link *l = s->link;
    return l != NULL && l->kind == LINK_EXCLUSIVE && l->state == LINK_READY &&
           l->bare_from != GREET_STEPS && s->set->refused == GREET_STEPS && !session_busy(s);
}

void session_seek_link(struct session *s)
{
    if (session_lives_on_link(s) && is_spent(s)) {
        move_to(s, NULL);
    }
    if (!session_lives_on_link(s) || s->link != NULL || list_on(&s->waiting) ||
        s->state != SESSION_OPEN || s->gate == GATE_SHUT) {
        return;
    }
    enum reads_way way = s->reader ? reader_settle(s) : READS_WAY_PRIMARY;
    if (way == READS_WAY_REFUSED) {
        nodes_wait(s->service, s, false); /* it asks for nothing: it may wait */
    }
    if (way == READS_WAY_REFUSED || way == READS_WAY_WAIT) {
        return;
    }
    if (linkset_refused(s->set)) {
        listening_refused(s);
        return;
    }
    if (!linkset_may_open(s->set)) {
        wait_for_node(s, s->set);
    } else if (!lease(s, s->set)) {
        s->link = link_open(s->set, LINK_EXCLUSIVE, s, GREET_STEPS);
    }
}

/* Opens the link where one may be opened now, else queues up for it. True: it is there already. */
static bool want_link(struct session *s, const struct aim *a)
{
    if (list_on(&s->waiting)) {
        session_start_waiting(s); /* it may have been there with no request */
        return false;
    }
    move_to(s, NULL); /* a bare one is of no more use */
    if (!a->exclusive && linkset_link(a->set, s->asker.slot) != NULL) {
        return true; /* the very link it had */
    }
    if (a->exclusive && lease(s, a->set)) {
        return true;
    }
    session_start_waiting(s);
    if (!linkset_may_open(a->set)) {
        wait_for_node(s, a->set);
    } else if (a->exclusive) {
        s->link = link_open(a->set, LINK_EXCLUSIVE, s, a->until);
    } else {
        linkset_open(a->set, s->asker.slot);
        linkset_wait(a->set, s);
    }
    return false;
}

/* It waits for a primary that may be sent to, or for its link to take more. */
static void wait_for_primary(struct session *s, const struct aim *a)
{
    session_start_waiting(s);
    if (!a->exclusive && a->link != NULL && linkset_serving(a->set)) {
        linkset_wait(a->set, s);
    } else if (!a->exclusive || s->link == NULL) {
        wait_for_node(s, a->set);
    }
}

/* False: it has to wait for what its session asks first. */
static bool submit(struct session *s, const struct request *r, const struct aim *a)
{
    struct link *l = a->link;
    CHECK(l != NULL);
    session_stop_waiting(s);
    move_to(s, l);
    l->used_ms = loop_now_ms(s->service->worker->loop);
    if (r->command->cls == COMMAND_TRACKING && redirect_names_target(s, r)) {
        return redirect_take(s, r);
    }
    if (command_changes_profile(r->command)) {
        request_ask_profile(s, r->command, r->args);
    }
    l->dirty = l->dirty || r->odd;
    if (r->command->cls == COMMAND_WAIT && service_shares(s->service) && !s->multi) {
        /* Redis waits for the offset behind the last command of this connection, whatever that was
         * (server.c, processCommand): behind the session's writes on the shared one. */
        link_ask(l, command_lookup_name(slice_str("ping")), ASKER_NOBODY,
                 slice_str("*1\r\n$4\r\nPING\r\n"));
    }
    if (is_raw(s, r)) {
        if (s->gate != GATE_FORWARD) {
            return client_auth_refuse_raw(s, r);
        }
        mute_become_raw(s, r->command->name);
        if (s->state >= SESSION_CLOSING) {
            return true;
        }
    } else {
        struct asker asker = s->asker;
        asker.mute = s->hushed;
        journal_begin(&l->journal, r->command, asker);
        s->outstanding++;
        if (r->command->script == SCRIPT_SHA) {
            journal_at(&l->journal, l->journal.count - 1)->asked_us = (uint32_t)clock_us();
        }
        if (!s->multi &&
            (r->command->cls == COMMAND_SUBSCRIBE || r->command->cls == COMMAND_MONITOR)) {
            listening_asked(s, r->args != NULL ? r->args->count : s->scan.argc);
        }
    }
    journal_append(&l->journal, &s->service->worker->pool, r->block, r->frame);
    if (!l->raw && r->whole) {
        journal_end(&l->journal);
    }
    if (s->reads != READS_PRIMARY) {
        nodes_count(l); /* for those that choose in this turn */
    }
    link_touch(l);
    return true;
}

/* It can't be had anywhere. */
static bool refuse_read(struct session *s)
{
    struct buf error = {0};
    session_stop_waiting(s);
    reads_say_refused(s, &error);
    session_give(s, NULL, buf_slice(&error));
    buf_release(&error);
    return true;
}

bool request_take(struct session *s, const struct request *r)
{
    bool heard = s->replies == REPLIES_ON && r->voice != VOICE_MUTED;
    return heard ? request_take_aloud(s, r) : mute_take(s, r);
}

bool request_take_aloud(struct session *s, const struct request *r)
{
    if (s->gate != GATE_FORWARD && client_auth_meets(s, r)) {
        return client_auth_take(s, r);
    }
    return request_take_admitted(s, r);
}

bool request_take_admitted(struct session *s, const struct request *r)
{
    if (s->reader && reader_refuses(s, r)) {
        return reader_refuse(s, r);
    }
    return r->command->may_block ? blocking_take(s, r) : request_send(s, r);
}

/* The node that a request goes to, where that is not the primary for certain: *replica. False: it
 * waits; or it was refused, and *refused says so. */
static bool find_node(struct session *s, const struct request *r, struct linkset **replica,
                      bool *refused)
{
    enum reads_way way = s->reader ? reader_way(s, r->command) : reads_way(s, r, replica);
    if (way == READS_WAY_WAIT) {
        session_start_waiting(s);
        return false;
    }
    *refused = way == READS_WAY_REFUSED && refuse_read(s);
    return !*refused;
}

/* Whatever is known of the client. */
static bool is_for_anybody(enum command_class cls)
{
    return cls == COMMAND_AUTH || cls == COMMAND_QUIT || cls == COMMAND_RESET ||
           cls == COMMAND_HTTP;
}

bool request_send(struct session *s, const struct request *r)
{
    struct linkset *replica = NULL;
    bool refused = false;
    if (s->reads != READS_PRIMARY && !find_node(s, r, &replica, &refused)) {
        return refused;
    }
    if (!is_for_anybody(r->command->cls) && !is_vetted(s, replica)) {
        return false;
    }
    for (;;) {
        struct aim a = replica != NULL ? aim_at_replica(s, r, replica) : aim_at(s, r);
        switch (decide(s, r, &a)) {
        case ROUTE_DRAIN: return false;
        case ROUTE_OPEN:
            if (want_link(s, &a)) {
                continue;
            }
            return false;
        case ROUTE_PARK: wait_for_primary(s, &a); return false;
        case ROUTE_LOCAL: local_answer(s, r->command, r->args); return true;
        case ROUTE_LINK: return submit(s, r, &a);
        }
        UNREACHABLE("route");
    }
}
