/* A world of five Sentinels and four nodes that says and does anything at all: whatever comes, the
 * judge must keep its rules. Two bytes of the input are one thing that happens. */
#include <stdio.h>
#include <string.h>

#include "sentinel/judge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SENTINELS 5
#define NODES     4

struct world {
    struct judge judge;
    uint64_t now;
    struct judge_view view[SENTINELS];
    struct judge_node node[NODES];
    bool view_known[SENTINELS];
    bool replica[NODES];
};

static struct sockaddr_any node_at(unsigned node)
{
    struct addr a = {.port = 6379};
    struct sockaddr_any sa;
    (void)snprintf(a.host, sizeof a.host, "10.0.0.%u", node + 1);
    CHECK(addr_numeric(&a, &sa));
    return sa;
}

static void sentinel_says(struct world *w, unsigned how, unsigned what)
{
    struct judge_view *v = &w->view[how % SENTINELS];
    (void)snprintf(v->id, sizeof v->id, "s%u", how % SENTINELS);
    v->asked_ms = v->answered_ms = w->now;
    v->primary = node_at(what % NODES);
    v->flagged = node_at(what / 4 % NODES);
    v->epoch = what / 16 % 4;
    v->s_down = (what & 64) != 0;
    v->failover = (what & 128) != 0;
    w->view_known[how % SENTINELS] = true;
}

static void node_says(struct world *w, unsigned how, unsigned what)
{
    struct judge_node *n = &w->node[how % NODES];
    n->role = (enum node_role)(what % (NODE_UNREACHABLE + 1));
    n->master = node_at(what / 8 % NODES);
    n->opened_ms = (what & 128) != 0 && n->opened_ms != 0 ? n->opened_ms : w->now;
    n->answered_ms = w->now;
    w->replica[how % NODES] = (what & 64) != 0;
}

static void event(struct world *w, unsigned what)
{
    struct sockaddr_any node = node_at(what / 8 % NODES);
    switch (what % 6) {
    case 0: judge_failover_begins(&w->judge, &node, w->now); return;
    case 1: judge_failover_aborted(&w->judge, &node, w->now); return;
    case 2: judge_candidate(&w->judge, &node, w->now); return;
    case 3: judge_alert(&w->judge, w->now); return;
    case 4: judge_hint(&w->judge, (enum hint)(what / 8 % HINT_KINDS), w->now); return;
    case 5: w->view_known[what / 8 % SENTINELS] = false; return;
    default: return;
    }
}

static void happens(struct world *w, uint8_t how, uint8_t what)
{
    switch (how % 4) {
    case 0: w->now += (uint64_t)what * (how / 4 % 8 == 0 ? 100 : 1); return;
    case 1: sentinel_says(w, how / 4, what); return;
    case 2: node_says(w, how / 4, what); return;
    case 3: event(w, what); return;
    default: return;
    }
}

static size_t names(const struct judge_facts *facts, const struct sockaddr_any *at, int64_t epoch)
{
    size_t count = 0;
    for (size_t i = 0; i < facts->view_count; i++) {
        const struct judge_view *v = &facts->views[i];
        count += v->answered_ms + JUDGE_VIEW_MAX_AGE_MS >= facts->now_ms && v->epoch == epoch &&
                         sockaddr_eq(&v->primary, at)
                     ? 1
                     : 0;
    }
    return count;
}

static const struct judge_node *answered(const struct judge_facts *facts,
                                         const struct sockaddr_any *at)
{
    for (size_t i = 0; i < facts->node_count; i++) {
        const struct judge_node *n = &facts->nodes[i];
        if (sockaddr_eq(&n->at, at) && n->role != NODE_UNKNOWN &&
            n->answered_ms + JUDGE_ROLE_MAX_AGE_MS >= facts->now_ms) {
            return n;
        }
    }
    return NULL;
}

static void check_change(const struct judge *before, const struct judge *after,
                         const struct judge_facts *facts, const struct judge_advice *advice)
{
    const struct judge_node *n = answered(facts, &after->primary);
    bool switched = advice->change == JUDGE_SWITCHED || advice->change == JUDGE_FOLLOWED;
    CHECK(after->generation == before->generation + (switched ? 1 : 0));
    CHECK((after->state == SERVICE_SEEKING) == (after->generation == 0));
    CHECK(advice->want_count <= JUDGE_WANTS_MAX);
    if (switched) {
        CHECK(after->state == SERVICE_SERVING);
        CHECK(n != NULL && (n->role == NODE_MASTER || n->role == NODE_REFUSED));
        CHECK(advice->unverified == (n->role == NODE_REFUSED));
        CHECK(before->generation == 0 || !sockaddr_eq(&before->primary, &after->primary));
    }
    if (advice->change == JUDGE_SWITCHED && !before->following) {
        CHECK(names(facts, &after->primary, after->epoch) > 0);
    }
    if (advice->change == JUDGE_FOLLOWED) {
        CHECK(n->role == NODE_MASTER && after->following);
    }
    if (before->generation > 0 && after->epoch < before->epoch) {
        CHECK(facts->now_ms > JUDGE_RESET_MS);
        CHECK(names(facts, after->following ? &after->named : &after->primary, after->epoch) * 2 >
              facts->known);
    }
    if (advice->change == JUDGE_CLEARED || advice->change == JUDGE_RELEASED) {
        CHECK(n != NULL && (n->role == NODE_MASTER || n->role == NODE_REFUSED));
        CHECK(n->opened_ms >= before->since_ms);
    }
}

static void decide(struct world *w)
{
    struct judge_view views[SENTINELS];
    struct sockaddr_any replicas[NODES];
    struct judge_facts facts = {.now_ms = w->now, .known = SENTINELS, .views = views};
    for (unsigned i = 0; i < SENTINELS; i++) {
        if (w->view_known[i]) {
            views[facts.view_count++] = w->view[i];
        }
    }
    for (unsigned i = 0; i < NODES; i++) {
        if (w->replica[i]) {
            replicas[facts.replica_count++] = node_at(i);
        }
    }
    facts.replicas = replicas;
    facts.nodes = w->node;
    facts.node_count = NODES;
    struct judge_advice advice = {.change = JUDGE_SWITCHED};
    for (int i = 0; i < 4 && advice.change != JUDGE_SAME; i++) {
        struct judge before = w->judge;
        judge_decide(&w->judge, &facts, &advice);
        check_change(&before, &w->judge, &facts, &advice);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world w;
    struct judge_rules rules = {.hold_on_failover = true, .follow_role = true};
    memset(&w, 0, sizeof w);
    w.now = 1000;
    if (size > 0) {
        rules.min_agree = data[0] % 4;
        rules.hold_on_failover = (data[0] & 16) == 0;
    }
    judge_init(&w.judge, &rules);
    for (unsigned i = 0; i < NODES; i++) {
        w.node[i].at = node_at(i);
    }
    for (size_t i = 1; i + 1 < size; i += 2) {
        happens(&w, data[i], data[i + 1]);
        decide(&w);
    }
    return 0;
}
