#include "sentinel/judge.h"

#include <string.h>

#include "sentinel/judge_parts.h"

void judge_init(struct judge *j, const struct judge_rules *rules)
{
    memset(j, 0, sizeof *j);
    j->rules = *rules;
    j->state = SERVICE_SEEKING;
}

bool judge_is_ours(const struct judge *j, const struct sockaddr_any *at)
{
    return j->generation > 0 &&
           (sockaddr_eq(at, &j->primary) || (j->following && sockaddr_eq(at, &j->named)));
}

const struct judge_node *judge_node_at(const struct hearing *h, const struct sockaddr_any *at)
{
    for (size_t i = 0; i < h->facts->node_count; i++) {
        if (sockaddr_eq(&h->facts->nodes[i].at, at)) {
            return &h->facts->nodes[i];
        }
    }
    return NULL;
}

bool judge_says(const struct hearing *h, const struct judge_node *n, enum node_role role)
{
    return n != NULL && n->role == role &&
           n->answered_ms + JUDGE_ROLE_MAX_AGE_MS >= h->facts->now_ms;
}

bool judge_speaks_of_us(const struct judge *j, const struct judge_view *v)
{
    return judge_is_ours(j, &v->flagged) && (v->epoch >= j->epoch || judge_is_ours(j, &v->primary));
}

bool judge_failover_shown(const struct hearing *h)
{
    for (size_t i = 0; i < h->ballots.count; i++) {
        if (h->ballots.view[i]->failover && judge_speaks_of_us(h->j, h->ballots.view[i])) {
            return true;
        }
    }
    return false;
}

/* Signs from outside. */

void judge_hint(struct judge *j, enum hint hint, uint64_t now_ms)
{
    if (j->state == SERVICE_SERVING) {
        j->told_suspicion = true;
        j->hint = hint;
    }
    judge_alert(j, now_ms);
}

void judge_failover_begins(struct judge *j, const struct sockaddr_any *primary, uint64_t now_ms)
{
    if (judge_is_ours(j, primary)) {
        j->told_failover = j->rules.hold_on_failover;
        judge_alert(j, now_ms);
    }
}

void judge_failover_aborted(struct judge *j, const struct sockaddr_any *primary, uint64_t now_ms)
{
    if (judge_is_ours(j, primary)) {
        j->told_failover = false;
        j->aborted_ms = now_ms;
    }
}

void judge_candidate(struct judge *j, const struct sockaddr_any *node, uint64_t now_ms)
{
    if (!judge_is_ours(j, node)) {
        j->hinted = *node;
        j->hinted_ms = now_ms;
    }
}

void judge_alert(struct judge *j, uint64_t now_ms)
{
    if (now_ms >= j->alert_ms + JUDGE_ALERT_GAP_MS) {
        j->alert_ms = now_ms;
    }
}

/* The state of the service. */

static void change_state(struct hearing *h, enum service_state to, enum judge_change change,
                         const char *reason)
{
    struct judge *j = h->j;
    uint64_t now = h->facts->now_ms;
    h->advice->change = change;
    h->advice->reason = reason;
    h->advice->lasted_ms = now - j->since_ms;
    if (j->state == SERVICE_SERVING) {
        j->left_ms = now;
    }
    h->advice->waited_ms = now - j->left_ms;
    h->advice->ask = true;
    j->state = to;
    j->since_ms = now;
}

static void hold(struct hearing *h, const char *reason)
{
    struct judge *j = h->j;
    change_state(h, SERVICE_HOLDING, JUDGE_HELD, reason);
    j->hold_ms = j->shown_ms = h->facts->now_ms;
    j->aborted_ms = j->hold_end_ms = 0;
}

static bool consider_hold(struct hearing *h)
{
    if (h->j->told_failover) {
        hold(h, "the leader of a failover announced it");
    } else if (h->j->rules.hold_on_failover && judge_failover_shown(h)) {
        hold(h, "a Sentinel shows a failover in progress");
    } else {
        return false;
    }
    return true;
}

static const char *hint_reason(enum hint hint)
{
    switch (hint) {
    case HINT_CONNECT_FAILED: return "a fresh connection to the primary failed";
    case HINT_NOT_PRIMARY: return "the primary said in a greeting that it is no master";
    case HINT_REFUSED: return "the primary refused a request as only a replica does";
    case HINT_STALLED: return "the primary does not answer";
    case HINT_KINDS: break;
    }
    UNREACHABLE("hint");
}

static void while_serving(struct hearing *h)
{
    struct judge *j = h->j;
    if (consider_hold(h)) {
        return;
    }
    const struct judge_node *n = judge_node_at(h, &j->primary);
    if (j->told_suspicion) {
        change_state(h, SERVICE_SUSPECT, JUDGE_SUSPECTED, hint_reason(j->hint));
    } else if (n != NULL && n->role == NODE_REPLICA) {
        j->hint = HINT_NOT_PRIMARY;
        change_state(h, SERVICE_SUSPECT, JUDGE_SUSPECTED, "the primary says that it is a replica");
    } else if (n != NULL && n->role == NODE_UNREACHABLE) {
        j->hint = HINT_CONNECT_FAILED;
        change_state(h, SERVICE_SUSPECT, JUDGE_SUSPECTED, "the primary does not answer ROLE");
    }
}

enum answer { NO, YES, NOT_YET };

/* Whether an objection that a majority does not share counts: it may have heard of something first.
 * Once it has stood for long without winning the others it is a stray one, and must not stop a
 * service whose primary is well. */
static bool minority_is_heard(const struct hearing *h)
{
    const struct judge *j = h->j;
    bool disputed = j->disputed.at.len > 0 && !judge_is_ours(j, &j->disputed.at);
    uint64_t since = disputed ? j->disputed.since_ms : j->since_ms;
    return h->facts->now_ms - since <= JUDGE_RESET_MS;
}

/* Whether a Sentinel that can be reached, asked since from_ms, speaks against the primary: it names
 * another one, or knows of a failover or of a quorum that has given the primary up. That a minority
 * alone can't reach the primary is no objection: one Sentinel with a broken network must not stop a
 * service whose primary is well. */
static enum answer objection(const struct hearing *h, uint64_t from_ms)
{
    const struct judge *j = h->j;
    enum answer answer = NO;
    size_t missing = 0, objecting = 0;
    for (size_t i = 0; i < h->ballots.count; i++) {
        const struct judge_view *v = h->ballots.view[i];
        bool other = v->primary.len > 0 && !judge_is_ours(j, &v->primary) && v->epoch >= j->epoch;
        bool ours = sockaddr_eq(&v->flagged, &j->primary) && judge_speaks_of_us(j, v);
        bool failing = (v->o_down && ours) || (v->failover && judge_speaks_of_us(j, v));
        if (v->asked_ms < from_ms) {
            answer = NOT_YET;
        } else if (other || failing) {
            objecting++;
        } else if (v->s_down && ours) {
            missing++;
        }
    }
    bool majority = (missing + objecting) * 2 > h->ballots.count;
    return majority || (objecting > 0 && minority_is_heard(h)) ? YES : answer;
}

static bool named_by_somebody(const struct hearing *h)
{
    for (size_t i = 0; i < h->ballots.count; i++) {
        if (judge_is_ours(h->j, &h->ballots.view[i]->primary)) {
            return true;
        }
    }
    return false;
}

/* Whether the primary says over a connection opened since from_ms that it is a master. Where ROLE
 * is refused to us, to live and to be named must do; without any Sentinel, only against a suspicion
 * that was about the connection. */
static enum answer vouches(const struct hearing *h, uint64_t from_ms)
{
    const struct judge_node *n = judge_node_at(h, &h->j->primary);
    if (n == NULL || n->opened_ms < from_ms || n->answered_ms < from_ms ||
        n->role == NODE_UNKNOWN) {
        return NOT_YET;
    }
    if (n->role == NODE_UNREACHABLE || n->role == NODE_REPLICA) {
        return NO;
    }
    if (!judge_says(h, n, n->role)) {
        return NOT_YET;
    }
    enum hint hint = h->j->hint;
    bool about_connection = hint == HINT_CONNECT_FAILED || hint == HINT_STALLED;
    return n->role == NODE_MASTER || named_by_somebody(h) || about_connection ? YES : NO;
}

static void while_suspect(struct hearing *h)
{
    struct judge *j = h->j;
    if (!consider_hold(h) && vouches(h, j->since_ms) == YES && objection(h, j->since_ms) == NO) {
        change_state(h, SERVICE_SERVING, JUDGE_CLEARED,
                     "the primary says master, and no Sentinel objects");
    }
}

/* Whether the failover is over, so that only the primary must be asked; sets hold_end_ms. */
static bool hold_is_over(struct hearing *h)
{
    struct judge *j = h->j;
    uint64_t now = h->facts->now_ms;
    if (j->told_failover) {
        j->hold_ms = now;
        j->aborted_ms = j->hold_end_ms = 0;
    }
    if (judge_failover_shown(h)) {
        j->shown_ms = now;
        j->hold_end_ms = 0;
        return false;
    }
    bool quiet = now - j->hold_ms >= JUDGE_HOLD_MIN_MS && now - j->shown_ms >= JUDGE_HOLD_QUIET_MS;
    if (j->hold_end_ms == 0 && (quiet || j->aborted_ms != 0)) {
        j->hold_end_ms = j->aborted_ms != 0 ? j->aborted_ms : now;
        h->advice->ask = true;
    }
    return j->hold_end_ms != 0;
}

static void while_holding(struct hearing *h)
{
    struct judge *j = h->j;
    if (!hold_is_over(h)) {
        return;
    }
    const char *why = j->aborted_ms != 0 ? "the failover was aborted, the primary says master"
                                         : "no failover is seen any more, the primary says master";
    enum answer against = objection(h, j->hold_end_ms);
    enum answer vouched = vouches(h, j->hold_end_ms);
    if (vouched == YES && against == NO) {
        change_state(h, SERVICE_SERVING, JUDGE_RELEASED, why);
    } else if (vouched == NO || (vouched == YES && against == YES)) {
        j->hint = HINT_CONNECT_FAILED;
        change_state(h, SERVICE_SUSPECT, JUDGE_SUSPECTED, "the failover ended without a primary");
    }
}

static void consider_state(struct hearing *h)
{
    switch (h->j->state) {
    case SERVICE_SEEKING: return;
    case SERVICE_SERVING: while_serving(h); return;
    case SERVICE_SUSPECT: while_suspect(h); return;
    case SERVICE_HOLDING: while_holding(h); return;
    }
    UNREACHABLE("service state");
}

/* What to look at next. */

/* Nodes named by the highest epoch that are asked while it is disputed, those with most votes
 * first. */
#define DISPUTED_WANTS_MAX 3

static void want(struct hearing *h, const struct sockaddr_any *at, uint64_t fresh_from_ms)
{
    struct judge_advice *advice = h->advice;
    if (at->len == 0 || advice->want_count == JUDGE_WANTS_MAX) {
        return;
    }
    for (size_t i = 0; i < advice->want_count; i++) {
        if (sockaddr_eq(&advice->want[i].at, at)) {
            return;
        }
    }
    advice->want[advice->want_count++] =
        (struct judge_want){.at = *at, .fast = advice->fast, .fresh_from_ms = fresh_from_ms};
}

/* The primary that a node says it follows: it may have to be followed. */
static void want_master_of(struct hearing *h, const struct sockaddr_any *at)
{
    const struct judge_node *n = judge_node_at(h, at);
    if (h->j->rules.follow_role && n != NULL && n->role == NODE_REPLICA) {
        want(h, &n->master, 0);
    }
}

static void say_what_next(struct hearing *h)
{
    struct judge *j = h->j;
    uint64_t now = h->facts->now_ms;
    bool hinted = j->hinted.len > 0 && now < j->hinted_ms + JUDGE_HINTED_MS;
    bool alert = j->alert_ms != 0 && now < j->alert_ms + JUDGE_ALERT_MS;
    bool disputed =
        h->top.count > 0 && (j->generation == 0 || h->top.epoch >= j->epoch) &&
        (!judge_is_ours(j, &h->top.by[0].at) || h->top.count > 1 || judge_agreed_elsewhere(h));
    h->advice->fast = j->state != SERVICE_SERVING || alert || disputed || hinted;
    if (j->generation > 0) {
        uint64_t fresh_from = j->state == SERVICE_SUSPECT   ? j->since_ms
                              : j->state == SERVICE_HOLDING ? j->hold_end_ms
                                                            : j->alert_ms;
        want(h, &j->primary, fresh_from);
        want_master_of(h, &j->primary);
    }
    if (disputed && judge_agreed_elsewhere(h)) {
        want(h, &h->agreed.by[0].at, 0);
    }
    for (size_t i = 0; disputed && i < h->top.count && i < DISPUTED_WANTS_MAX; i++) {
        want(h, &h->top.by[i].at, 0);
    }
    if (disputed) {
        want_master_of(h, &h->top.by[0].at);
    }
    if (j->following) {
        want(h, &j->named, 0);
        want_master_of(h, &j->named);
    }
    if (hinted) {
        want(h, &j->hinted, 0);
    }
    if (j->older.at.len > 0) {
        want(h, &j->older.at, 0);
    }
}

/* A higher epoch of a few for the node that a majority names disputes nothing, and must not become
 * ours: it would be beyond what the others may ever count to. */
static bool agree_on_node(const struct hearing *h)
{
    return h->agreed.count > 0 && (h->j->generation == 0 || h->agreed.epoch >= h->j->epoch) &&
           sockaddr_eq(&h->agreed.by[0].at, &h->top.by[0].at);
}

void judge_decide(struct judge *j, const struct judge_facts *facts, struct judge_advice *advice)
{
    memset(advice, 0, sizeof *advice);
    struct hearing h = {.j = j, .facts = facts, .advice = advice};
    vote_collect(facts, &h.ballots);
    const struct sockaddr_any *favourite = j->generation > 0 ? &j->primary : NULL;
    size_t need =
        j->rules.min_agree > 0 ? j->rules.min_agree : (h.ballots.opinions + facts->pending) / 2 + 1;
    vote_highest(&h.ballots, favourite, &h.top);
    vote_agreed(&h.ballots, favourite, need, &h.agreed);
    vote_older(&h.ballots, j->epoch, &h.older);
    if (h.agreed.epoch < h.top.epoch && agree_on_node(&h)) {
        h.top = h.agreed;
    }
    h.majority = h.top.count > 0 && h.top.by[0].votes >= need;
    advice->from = j->state;
    advice->reachable = h.ballots.count;
    if (!judge_consider_switch(&h)) {
        consider_state(&h);
    }
    j->told_failover = j->told_suspicion = false;
    say_what_next(&h);
}
