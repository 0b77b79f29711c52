/* Who is primary: by the highest epoch, by an operator's reset, or by following ROLE. */
#include <string.h>

#include "sentinel/judge_parts.h"

/* What a node said is known for so long, where it speaks against it. */
#define ROLE_KNOWN_MS 3000u

static bool known_role(const struct hearing *h, const struct sockaddr_any *at, enum node_role role)
{
    const struct judge_node *n = judge_node_at(h, at);
    return n != NULL && n->role == role && n->answered_ms + ROLE_KNOWN_MS >= h->facts->now_ms;
}

/* The current primary is known to be lost, or to be no master. */
static bool primary_gone(const struct hearing *h)
{
    const struct sockaddr_any *at = &h->j->primary;
    return h->j->generation == 0 || known_role(h, at, NODE_UNREACHABLE) ||
           known_role(h, at, NODE_REPLICA);
}

static void claim_clear(struct judge_claim *claim)
{
    memset(claim, 0, sizeof *claim);
}

/* Since when it has been standing without change. */
static uint64_t claim_note(struct judge_claim *claim, const struct sockaddr_any *at, int64_t epoch,
                           uint64_t now_ms)
{
    if (claim->at.len == 0 || claim->epoch != epoch || !sockaddr_eq(&claim->at, at)) {
        *claim = (struct judge_claim){.at = *at, .epoch = epoch, .since_ms = now_ms};
    }
    return claim->since_ms;
}

static void change_epoch(struct hearing *h, int64_t epoch, const char *reason)
{
    h->j->epoch = epoch;
    h->advice->change = JUDGE_EPOCH;
    h->advice->reason = reason;
    claim_clear(&h->j->disputed);
    claim_clear(&h->j->older);
}

static void switch_to(struct hearing *h, const struct candidate *to, int64_t epoch,
                      const char *reason)
{
    struct judge *j = h->j;
    uint64_t now = h->facts->now_ms;
    struct sockaddr_any at = to->at; /* `to` may be a part of j */
    struct addr name = to->name;
    h->advice->change = JUDGE_SWITCHED;
    h->advice->reason = reason;
    h->advice->votes = to->votes;
    h->advice->old_name = j->primary_name;
    h->advice->lasted_ms = now - j->since_ms;
    h->advice->waited_ms = j->state == SERVICE_SERVING   ? 0
                           : j->state == SERVICE_SEEKING ? h->advice->lasted_ms
                                                         : now - j->left_ms;
    h->advice->ask = true;
    j->primary = at;
    j->primary_name = name;
    j->epoch = epoch;
    j->generation++;
    j->state = SERVICE_SERVING;
    j->since_ms = now;
    j->alert_ms = now;
    j->following = false;
    j->hinted.len = 0;
    claim_clear(&j->disputed);
    claim_clear(&j->older);
}

/* A candidate that a majority names, if its own word allows it. */
static bool try_candidate(struct hearing *h, const struct candidate *c, int64_t epoch,
                          const char *reason)
{
    const struct judge_node *n = judge_node_at(h, &c->at);
    bool refused = judge_says(h, n, NODE_REFUSED);
    if (!refused && !judge_says(h, n, NODE_MASTER)) {
        return false;
    }
    switch_to(h, c, epoch, reason);
    h->advice->unverified = refused;
    return true;
}

bool judge_agreed_elsewhere(const struct hearing *h)
{
    const struct judge *j = h->j;
    return h->agreed.count > 0 && (j->generation == 0 || h->agreed.epoch >= j->epoch) &&
           !judge_is_ours(j, &h->agreed.by[0].at);
}

/* Without a majority only a node's own word decides, and only against a primary that is gone. Where
 * that leads nowhere, the highest epoch that has a majority does: one Sentinel that has lost its
 * wits must not keep the others from being heard. */
static bool try_disputed(struct hearing *h)
{
    struct judge *j = h->j;
    uint64_t since = claim_note(&j->disputed, &h->top.by[0].at, h->top.epoch, h->facts->now_ms);
    if (h->facts->now_ms - since < JUDGE_NO_MAJORITY_MS) {
        return false;
    }
    for (size_t i = 0; primary_gone(h) && i < h->top.count; i++) {
        const struct candidate *c = &h->top.by[i];
        if (!judge_is_ours(j, &c->at) && judge_says(h, judge_node_at(h, &c->at), NODE_MASTER)) {
            switch_to(h, c, h->top.epoch, "the highest epoch, without a majority");
            return true;
        }
    }
    return judge_agreed_elsewhere(h) &&
           try_candidate(h, &h->agreed.by[0], h->agreed.epoch,
                         "a majority of the Sentinels names it, the higher epoch has found none");
}

static bool consider_highest(struct hearing *h)
{
    struct judge *j = h->j;
    const struct candidate *first = &h->top.by[0];
    if (h->top.count == 0 || (j->generation > 0 && h->top.epoch < j->epoch)) {
        claim_clear(&j->disputed);
        return false;
    }
    if (h->majority && j->generation > 0 && sockaddr_eq(&first->at, &j->primary)) {
        claim_clear(&j->disputed);
        if (h->top.epoch > j->epoch || j->following) {
            j->following = false;
            change_epoch(h, h->top.epoch, "a majority of the Sentinels names the same primary");
            return true;
        }
        return false;
    }
    if (j->following && h->top.epoch == j->epoch && sockaddr_eq(&first->at, &j->named)) {
        claim_clear(&j->disputed);
        return false;
    }
    if (h->majority) {
        claim_clear(&j->disputed);
        return try_candidate(h, first, h->top.epoch, "a majority of the Sentinels names it");
    }
    return try_disputed(h);
}

/* An operator who removes and adds a service makes Sentinel count epochs from 0 again. */
static bool consider_older(struct hearing *h)
{
    struct judge *j = h->j;
    const struct candidate *c = &h->older.by[0];
    if (j->generation == 0 || h->older.count == 0 || c->votes * 2 <= h->facts->known) {
        claim_clear(&j->older);
        return false;
    }
    uint64_t since = claim_note(&j->older, &c->at, h->older.epoch, h->facts->now_ms);
    if (h->facts->now_ms - since <= JUDGE_RESET_MS) {
        return false;
    }
    if (judge_is_ours(j, &c->at)) {
        change_epoch(h, h->older.epoch, "a majority of all Sentinels counts epochs anew");
        return true;
    }
    return try_candidate(h, c, h->older.epoch, "a majority of all Sentinels counts epochs anew");
}

static bool is_replica(const struct hearing *h, const struct sockaddr_any *at)
{
    for (size_t i = 0; i < h->facts->replica_count; i++) {
        if (sockaddr_eq(&h->facts->replicas[i], at)) {
            return true;
        }
    }
    return false;
}

/* Whom the Sentinels name, and with which epoch: the node whose ROLE we may follow. */
static bool named_node(const struct hearing *h, struct candidate *out, int64_t *epoch)
{
    const struct judge *j = h->j;
    *epoch = j->epoch;
    if (h->majority && (j->generation == 0 || h->top.epoch > j->epoch) &&
        !judge_is_ours(j, &h->top.by[0].at)) {
        *out = h->top.by[0];
        *epoch = h->top.epoch;
        return true;
    }
    *out = (struct candidate){.at = j->following ? j->named : j->primary,
                              .name = j->following ? j->named_name : j->primary_name};
    return j->generation > 0;
}

/* The named node says that it is a replica of X: a hand-over behind the Sentinels' back. X's data
 * is a superset, and it takes the Sentinels half a minute to notice. */
static bool consider_role(struct hearing *h)
{
    struct judge *j = h->j;
    struct candidate named;
    int64_t epoch;
    if (!j->rules.follow_role || j->state == SERVICE_HOLDING || judge_failover_shown(h) ||
        !named_node(h, &named, &epoch)) {
        return false;
    }
    const struct judge_node *n = judge_node_at(h, &named.at);
    bool gone = primary_gone(h);
    if (j->following && sockaddr_eq(&named.at, &j->named) && gone &&
        judge_says(h, n, NODE_MASTER)) {
        switch_to(h, &named, epoch, "the node that Sentinels name is a master again");
        return true;
    }
    if (!gone || !known_role(h, &named.at, NODE_REPLICA) || n->master.len == 0 ||
        !is_replica(h, &n->master) || (j->generation > 0 && sockaddr_eq(&n->master, &j->primary)) ||
        !judge_says(h, judge_node_at(h, &n->master), NODE_MASTER)) {
        return false;
    }
    struct candidate to = {.at = n->master, .name = n->master_name};
    switch_to(h, &to, epoch, "the node that Sentinels name says it is its replica");
    h->advice->change = JUDGE_FOLLOWED;
    j->following = true;
    j->named = named.at;
    j->named_name = named.name;
    return true;
}

bool judge_consider_switch(struct hearing *h)
{
    return consider_highest(h) || consider_older(h) || consider_role(h);
}
