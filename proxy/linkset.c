#include "proxy/linkset.h"

#include <stdlib.h>

#include "proxy/base/log.h"
#include "proxy/resp/emit.h"
#include "proxy/session.h"
#include "proxy/session_restore.h"
#include "proxy/unblock.h"
#include "proxy/worker.h"

static struct list *bucket(struct worker_service *ws, const struct profile *profile)
{
    return &ws->sets[profile_hash(profile) % LINKSET_BUCKETS];
}

struct linkset *linkset_find(struct worker_service *ws, const struct profile *profile,
                             uint32_t replica)
{
    for (struct list_node *n = bucket(ws, profile)->first; n != NULL; n = n->next) {
        struct linkset *set = CONTAINER_OF(n, struct linkset, in_service);
        if (set->replica == replica && profile_same(&set->profile, profile)) {
            return set;
        }
    }
    return NULL;
}

struct linkset *linkset_use(struct linkset *set)
{
    set->users++;
    return set;
}

struct linkset *linkset_get(struct worker_service *ws, const struct profile *profile,
                            uint32_t replica)
{
    struct linkset *set = linkset_find(ws, profile, replica);
    if (set == NULL) {
        set = xcalloc(1, sizeof *set);
        set->service = ws;
        set->replica = replica;
        set->refused = GREET_STEPS;
        profile_init(&set->profile);
        profile_copy(&set->profile, profile);
        list_append(bucket(ws, profile), &set->in_service);
    }
    return linkset_use(set);
}

void linkset_drop(struct linkset **where)
{
    struct linkset *set = *where;
    *where = NULL;
    if (set == NULL || --set->users > 0) {
        return;
    }
    CHECK(set->warm.count == 0 && set->waiting.count == 0 && set->check == NULL &&
          set->control == NULL);
    list_remove(&set->in_service);
    loop_disarm(set->service->worker->loop, &set->retry_timer);
    profile_clear(&set->profile);
    buf_release(&set->refused_words);
    free(set);
}

bool linkset_serving(const struct linkset *set)
{
    return set->replica == 0 ? service_serving(set->service)
                             : nodes_find(set->service, set->replica) != NULL;
}

bool linkset_may_open(const struct linkset *set)
{
    return set->replica == 0 ? service_may_open(set->service) && !linkset_rests(set)
                             : nodes_may_open(set->service, set->replica);
}

bool linkset_rests(const struct linkset *set)
{
    return service_may_open(set->service) &&
           loop_now_ms(set->service->worker->loop) < set->retry_at_ms;
}

static void on_rested(struct wheel_timer *timer)
{
    linkset_release(CONTAINER_OF(timer, struct linkset, retry_timer));
}

void linkset_rest(struct linkset *set)
{
    struct loop *loop = set->service->worker->loop;
    if (loop_now_ms(loop) >= set->retry_at_ms) { /* else one of many that were under way together */
        uint64_t delay = service_next_delay(set->service, &set->retry_delay_ms);
        set->retry_at_ms = loop_now_ms(loop) + delay;
        loop_arm(loop, &set->retry_timer, delay, on_rested);
    }
}

static uint32_t place_of(const struct linkset *set, uint32_t number)
{
    return number % set->service->config->links_per_profile;
}

struct link *linkset_link(const struct linkset *set, uint32_t number)
{
    return set->shared[place_of(set, number)];
}

void linkset_open(struct linkset *set, uint32_t number)
{
    uint32_t place = place_of(set, number);
    CHECK(set->shared[place] == NULL);
    set->shared[place] = link_open(set, LINK_SHARED, NULL, GREET_STEPS);
}

bool linkset_takes(const struct link *l)
{
    return link_sendable(l) && link_has_room(l);
}

void linkset_wait(struct linkset *set, struct session *s)
{
    if (!list_on(&s->waiting)) {
        list_append(&set->waiting, &s->waiting);
    }
}

void linkset_release(struct linkset *set)
{
    if (set->waiting.count == 0) {
        return;
    }
    struct worker *w = set->service->worker;
    for (struct list_node *n = list_pop(&set->waiting); n != NULL; n = list_pop(&set->waiting)) {
        if (set->replica == 0) {
            list_append(&set->service->waiting, n);
        } else {
            worker_pump(w, CONTAINER_OF(n, struct session, waiting)); /* whatever the primary is */
        }
    }
    loop_again(w->loop);
}

/* Names are of no account to the server, so that its answer is not waited for. */
static void rename_link(struct link *l, struct slice name)
{
    struct buf out = {0};
    emit_command(&out, (struct slice[]){slice_str("CLIENT"), slice_str("SETNAME"), name}, 3);
    link_ask(l, command_lookup_name(slice_str("ping")), ASKER_NOBODY, buf_slice(&out));
    buf_release(&out);
    l->named = name.n > 0;
}

struct link *linkset_lease(struct linkset *set, struct session *s)
{
    struct list_node *n = list_pop(&set->warm);
    if (n == NULL) {
        return NULL;
    }
    struct link *l = CONTAINER_OF(n, struct link, in_set);
    set->service->worker->warm_links--;
    l->kind = LINK_EXCLUSIVE;
    l->session = s;
    if (buf_len(&s->name) > 0 || l->named) {
        rename_link(l, buf_slice(&s->name));
    }
    return l;
}

static bool keep_warm(struct link *l)
{
    struct worker *w = l->service->worker;
    /* Where links are not shared each session comes back for one, from node to node. */
    bool enough = l->set->warm.count >= WARM_LINKS_PER_SET || w->warm_links >= WARM_LINKS_MAX;
    if (enough && service_shares(l->service)) {
        return false;
    }
    l->kind = LINK_WARM;
    l->session = NULL;
    w->warm_links++;
    list_append(&l->set->warm, &l->in_set);
    return true;
}

/* True if it was put where a shared link was missing. One that the server knows nobody on would not
 * be read by the rules that hold for others (Redis 7.0: 10 arguments, 16 KiB). */
static bool share(struct link *l)
{
    if (l->needs_auth || !service_shares(l->service)) {
        return false;
    }
    for (uint32_t i = 0; i < l->service->config->links_per_profile; i++) {
        if (l->set->shared[i] == NULL) {
            l->set->shared[i] = l;
            l->kind = LINK_SHARED;
            l->session = NULL;
            if (l->named) {
                rename_link(l, slice_str(""));
            }
            linkset_release(l->set);
            return true;
        }
    }
    return false;
}

void linkset_give_back(struct session *s)
{
    struct link *l = s->link;
    CHECK(l != NULL && l->kind == LINK_EXCLUSIVE && s->outstanding == 0);
    if (link_is_clean(l) && !session_marks_link(s) &&
        (l->replica != 0 || l->generation == l->service->now->generation) &&
        (share(l) || keep_warm(l))) {
        s->link = NULL;
    } else {
        link_close(&s->link, LINK_END_SESSION);
    }
}

void linkset_forget(struct link *l)
{
    struct linkset *set = l->set;
    for (uint32_t i = 0; i < LINKS_PER_PROFILE_MAX; i++) {
        if (set->shared[i] == l) {
            set->shared[i] = NULL;
            linkset_release(set);
        }
    }
    if (list_on(&l->in_set)) {
        list_remove(&l->in_set);
        set->service->worker->warm_links--;
    }
    if (set->check == l) {
        set->check = NULL;
    }
    if (set->control == l) {
        set->control = NULL;
    }
}

/* All sets without credentials of their own that lead to the primary are looked up no more: their
 * sessions keep them, new sessions find new ones. */
static void begin_era(struct worker_service *ws)
{
    for (uint32_t i = 0; i < LINKSET_BUCKETS; i++) {
        for (struct list_node *n = ws->sets[i].first, *next; n != NULL; n = next) {
            next = n->next;
            const struct linkset *set = CONTAINER_OF(n, struct linkset, in_service);
            if (!set->profile.authenticated && set->replica == 0) {
                list_remove(n);
            }
        }
    }
}

/* A fresh link of a set without credentials has told whether the server asks for some. */
static void checked(struct linkset *set, const struct link *l)
{
    struct worker_service *ws = set->service;
    bool first = set->checked_ms == 0;
    set->checked_ms = loop_now_ms(ws->worker->loop);
    if (set->replica != 0) { /* there are others for those that it does not let in */
        set->needs_auth = l->needs_auth;
        if (set->needs_auth) {
            linkset_keep_refused(set);
        }
        return;
    }
    if ((l->kind == LINK_CHECK || (l->kind == LINK_EXCLUSIVE && !first)) && l->needs_auth &&
        !set->needs_auth) {
        if (list_on(&set->in_service)) {
            log_notice("default-user-closed", "service=%s action=\"new clients have to AUTH\"",
                       ws->config->name);
            begin_era(ws); /* who was let in stays in, as on a connection of its own */
        }
    } else if (l->kind != LINK_EXCLUSIVE || first || !l->needs_auth) {
        set->needs_auth = l->needs_auth;
    }
}

void linkset_ready(struct link *l)
{
    if (l->kind == LINK_CONTROL) {
        unblock_ready(l);
        return;
    }
    struct linkset *set = linkset_use(l->set);
    set->retry_at_ms = set->retry_delay_ms = 0;
    if (!set->profile.authenticated) {
        checked(set, l);
    }
    if (l->needs_auth && l->service->config->client_auth != CLIENT_AUTH_FORWARD) {
        log_limited(
            LOG_ERROR, "link-refused",
            "service=%s user=default what=credentials error=\"it asks for a password, and the "
            "service has none\" action=\"give it one: password-file\"",
            l->service->config->name);
    }
    if (l->needs_auth && l->kind != LINK_EXCLUSIVE) {
        link_close(&l, LINK_END_GREETING);
    } else if (l->kind == LINK_CHECK) {
        set->check = NULL;
        if (!keep_warm(l)) {
            link_close(&l, LINK_END_SESSION);
        }
    }
    linkset_release(set);
    linkset_drop(&set);
}

bool linkset_check(struct linkset *set)
{
    struct worker_service *ws = set->service;
    if (profile_has_password(&set->profile, ws->config) || set->checked_ms == 0 ||
        loop_now_ms(ws->worker->loop) < set->checked_ms + CHECK_INTERVAL_MS) {
        return true;
    }
    if (set->check == NULL && linkset_may_open(set)) {
        set->check = link_open(set, LINK_CHECK, NULL, GREET_STEPS);
    }
    return false;
}

void linkset_renew(struct linkset *set)
{
    set->refused = GREET_STEPS;
    set->checked_ms = set->retry_at_ms = set->retry_delay_ms = 0;
    set->needs_auth = false;
}

void linkset_keep_refused(struct linkset *set)
{
    set->service->nodes.refuse = true;
    if (!set->kept) {
        set->kept = true;
        (void)linkset_use(set);
    }
}

void linkset_forget_refused(struct worker_service *ws, bool all)
{
    bool left = false;
    for (uint32_t i = 0; i < LINKSET_BUCKETS && ws->nodes.refuse; i++) {
        for (struct list_node *n = ws->sets[i].first, *next; n != NULL; n = next) {
            next = n->next;
            struct linkset *set = CONTAINER_OF(n, struct linkset, in_service);
            if (set->kept && (all || nodes_find(ws, set->replica) == NULL)) {
                linkset_renew(set);
                set->kept = false;
                linkset_drop(&set);
            } else {
                left = left || set->kept;
            }
        }
    }
    ws->nodes.refuse = left;
}

/* Copies the requests of a link from this one on, but a first one whose answer was begun, to
 * journals of their sessions. Returns these, in order; the caller frees the array. */
static struct session **sort_out(struct link *l, uint32_t from, uint32_t *count)
{
    struct worker *w = l->service->worker;
    const struct journal *j = &l->journal;
    struct session **askers = xcalloc(j->count + 1u, sizeof(struct session *));
    *count = 0;
    for (uint32_t i = from; i < j->count; i++) {
        const struct record *r = journal_at(j, i);
        struct session *s = worker_asker(w, r->asker);
        if (s == NULL) {
            continue;
        }
        CHECK(s->link == l);
        if (s->lost == NULL) {
            s->lost = xcalloc(1, sizeof *s->lost);
            askers[(*count)++] = s;
        }
        if (i > 0 || !link_answer_begun(l)) {
            journal_adopt(s->lost, &w->pool, j, r);
        }
    }
    return askers;
}

void linkset_lost(struct link *l, enum link_end end)
{
    if (l->kind == LINK_CONTROL) {
        unblock_lost(l);
        return;
    }
    uint32_t count;
    link_settle(l);
    struct session **askers = sort_out(l, 0, &count);
    struct session *begun =
        link_answer_begun(l) ? worker_asker(l->service->worker, journal_at(&l->journal, 0)->asker)
                             : NULL;
    bool retires = begun != NULL && link_may_retire(l, end);
    bool harmless = l->replica != 0;
    linkset_forget(l);
    if (retires) {
        link_retire(l);
    } else {
        link_close(&l, end);
    }
    for (uint32_t i = 0; i < count; i++) {
        struct session *s = askers[i];
        s->link = retires && s == begun ? l : NULL;
        s->outstanding = s->link != NULL ? 1 : 0;
        session_requests_lost(s, s == begun && !retires, harmless);
        session_pump(s);
    }
    free(askers);
}

/* Where a refusal is judged by answers that are still to come, all stays where it is. Returns how
 * many are left. */
static uint32_t leave_those_judging(struct session **askers, uint32_t count)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct session *s = askers[i];
        if (s->tentative == NULL || s->lost->count == s->outstanding) {
            askers[left++] = s;
        } else {
            journal_clear(s->lost);
            free(s->lost);
            s->lost = NULL;
        }
    }
    return left;
}

void linkset_take_unsent(struct link *l, uint32_t from)
{
    static const struct asker taken = {.slot = INT32_MAX};
    struct worker *w = l->service->worker;
    struct journal *j = &l->journal;
    uint32_t count;
    struct session **askers = sort_out(l, from, &count);
    count = leave_those_judging(askers, count);
    for (uint32_t i = from; i < j->count; i++) {
        struct record *r = journal_at(j, i);
        const struct session *s = worker_asker(w, r->asker);
        if (s != NULL && s->lost != NULL) {
            r->asker = taken;
        }
    }
    (void)journal_drop_unsent(j, taken);
    for (uint32_t i = 0; i < count; i++) {
        struct session *s = askers[i];
        s->outstanding -= s->lost->count;
        s->link = s->outstanding > 0 ? l : NULL;
        session_requests_lost(s, false, true);
        session_pump(s);
    }
    free(askers);
}

void linkset_reclaim(struct session *s)
{
    struct worker *w = s->service->worker;
    const struct journal *j = &s->link->journal;
    CHECK(s->link->kind == LINK_SHARED && s->lost == NULL);
    bool begun = link_answer_begun(s->link) && worker_asker(w, journal_at(j, 0)->asker) == s;
    s->lost = xcalloc(1, sizeof *s->lost);
    for (uint32_t i = begun ? 1 : 0; i < j->count; i++) {
        if (worker_asker(w, journal_at(j, i)->asker) == s) {
            journal_adopt(s->lost, &w->pool, j, journal_at(j, i));
        }
    }
    (void)journal_drop_unsent(&s->link->journal, s->asker);
    journal_finish_partial(s->lost); /* that link goes on, and sends the rest of it */
    worker_leave_slot(w, s);
    worker_take_slot(w, s); /* what it asked has no asker now */
    bool harmless = s->link->replica != 0;
    s->link = NULL;
    s->outstanding = 0;
    session_requests_lost(s, begun, harmless);
}
