/* The state of a service: when its requests wait, and when they go on. */
#include "tests/unit/sentinel/judge_test.h"

static void each_hint_makes_suspect(void **state)
{
    (void)state;
    for (int hint = 0; hint < HINT_KINDS; hint++) {
        struct world w;
        serving(&w, &usual);
        judge_hint(&w.judge, (enum hint)hint, w.now);
        w.now += 1;
        assert_int_equal(decide(&w), JUDGE_SUSPECTED);
        assert_true(w.advice.ask && w.advice.fast);
        assert_int_equal(wanted(&w, 'A')->fresh_from_ms, w.now);
        assert_primary(&w, 'A', 1);
    }
}

static void what_the_primary_says_makes_suspect(void **state)
{
    (void)state;
    static const struct {
        enum node_role role;
        enum judge_change change;
    } rows[] = {{NODE_MASTER, JUDGE_SAME},
                {NODE_UNKNOWN, JUDGE_SAME},
                {NODE_REFUSED, JUDGE_SAME},
                {NODE_REPLICA, JUDGE_SUSPECTED},
                {NODE_UNREACHABLE, JUDGE_SUSPECTED}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct world w;
        serving(&w, &usual);
        (void)node_is(&w, 'A', rows[i].role);
        assert_int_equal(decide(&w), rows[i].change);
    }
}

static void without_a_primary_there_is_nothing_to_suspect(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, &usual);
    struct sockaddr_any none = {0};
    judge_hint(&w.judge, HINT_CONNECT_FAILED, w.now);
    judge_failover_begins(&w.judge, &none, w.now);
    judge_failover_aborted(&w.judge, &none, w.now);
    assert_int_equal(decide(&w), JUDGE_SAME);
    assert_int_equal(w.judge.state, SERVICE_SEEKING);
}

/* SUSPECT since one millisecond ago, nothing answered since. */
static void suspect_by(struct world *w, const struct judge_rules *rules, enum hint hint)
{
    serving(w, rules);
    judge_hint(&w->judge, hint, w->now);
    w->now += 10;
    assert_int_equal(decide(w), JUDGE_SUSPECTED);
    w->now += 1;
}

static void suspicion_ends_by_a_fresh_word_and_no_objection(void **state)
{
    (void)state;
    struct world w;
    suspect_by(&w, &usual, HINT_STALLED);
    assert_int_equal(decide(&w), JUDGE_SAME);
    (void)node_is(&w, 'A', NODE_MASTER);
    assert_int_equal(decide(&w), JUDGE_SAME); /* the Sentinels were asked before it began */
    (void)says(&w, "s1", 'A', 5);
    (void)says(&w, "s2", 'A', 5);
    assert_int_equal(decide(&w), JUDGE_SAME);
    (void)says(&w, "s3", 'A', 5);
    assert_int_equal(decide(&w), JUDGE_CLEARED);
    assert_primary(&w, 'A', 1); /* the same generation */
}

static void a_connection_from_before_proves_nothing(void **state)
{
    (void)state;
    struct world w;
    suspect_by(&w, &usual, HINT_CONNECT_FAILED);
    all_say(&w, 'A', 5);
    node_is(&w, 'A', NODE_MASTER)->opened_ms = w.judge.since_ms - 1;
    assert_int_equal(decide(&w), JUDGE_SAME);
    (void)node_is(&w, 'A', NODE_MASTER);
    assert_int_equal(decide(&w), JUDGE_CLEARED);
}

static void no_answer_keeps_the_suspicion(void **state)
{
    (void)state;
    static const enum node_role no[] = {NODE_UNREACHABLE, NODE_REPLICA};
    for (size_t i = 0; i < 2; i++) {
        struct world w;
        suspect_by(&w, &usual, HINT_STALLED);
        (void)node_is(&w, 'A', no[i]);
        for (int k = 0; k < 300; k++) {
            pass(&w, 100);
            assert_int_equal(decide(&w), JUDGE_SAME);
        }
    }
}

/* What one Sentinel of three may say while the primary says master. */
static void objections(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        int64_t epoch;
        char primary, flagged;
        bool s_down, o_down, failover, objects;
    } rows[] = {
        {"agrees", 5, 'A', 'A', false, false, false, false},
        {"no opinion", 0, 0, 0, false, false, false, false},
        {"s_down, a minority", 5, 'A', 'A', true, false, false, false},
        {"o_down", 5, 'A', 'A', false, true, false, true},
        {"failover", 5, 'A', 'A', false, false, true, true},
        {"another address", 5, 'B', 'B', false, false, false, true},
        {"another address, newer", 6, 'B', 'B', false, false, false, true},
        {"another address, older", 4, 'B', 'B', false, false, false, false},
        {"flags of another node, older", 4, 'B', 'B', true, true, true, false},
        {"flags of the primary before, at the end of its failover", 5, 'A', 'B', true, true, true,
         false},
        {"flags of this address from an older reign", 4, 'B', 'A', true, true, true, false},
        {"counts anew and objects", 0, 'A', 'A', false, true, false, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct judge_rules rules = usual;
        struct world w;
        rules.hold_on_failover = false; /* else the failover is held for */
        suspect_by(&w, &rules, HINT_CONNECT_FAILED);
        all_say(&w, 'A', 5);
        struct judge_view *v = says(&w, "s2", rows[i].primary, rows[i].epoch);
        if (rows[i].flagged != 0) {
            v->flagged = at(rows[i].flagged);
        }
        v->s_down = rows[i].s_down;
        v->o_down = rows[i].o_down;
        v->failover = rows[i].failover;
        (void)node_is(&w, 'A', NODE_MASTER);
        print_message("%s\n", rows[i].what);
        assert_int_equal(decide(&w), rows[i].objects ? JUDGE_SAME : JUDGE_CLEARED);
    }
}

static void a_majority_that_misses_the_primary_objects(void **state)
{
    (void)state;
    for (int missing = 0; missing <= 3; missing++) {
        static const char *const ids[] = {"s1", "s2", "s3"};
        struct world w;
        suspect_by(&w, &usual, HINT_STALLED);
        all_say(&w, 'A', 5);
        for (int i = 0; i < missing; i++) {
            struct judge_view *v = says(&w, ids[i], 'A', 5);
            v->flagged = at('A');
            v->s_down = true;
        }
        (void)node_is(&w, 'A', NODE_MASTER);
        assert_int_equal(decide(&w), missing >= 2 ? JUDGE_SAME : JUDGE_CLEARED);
    }
}

static void with_no_sentinel_role_suffices(void **state)
{
    (void)state;
    struct world w;
    suspect_by(&w, &usual, HINT_REFUSED);
    w.view_count = 0;
    assert_int_equal(decide(&w), JUDGE_SAME);
    (void)node_is(&w, 'A', NODE_MASTER);
    assert_int_equal(decide(&w), JUDGE_CLEARED);
}

static void a_silent_sentinel_is_waited_for_as_long_as_it_counts(void **state)
{
    (void)state;
    struct world w;
    suspect_by(&w, &usual, HINT_STALLED);
    uint64_t began = w.now;
    while (w.now < began + JUDGE_VIEW_MAX_AGE_MS - 100) {
        w.now += 50;
        (void)says(&w, "s1", 'A', 5);
        (void)says(&w, "s2", 'A', 5);
        (void)node_is(&w, 'A', NODE_MASTER);
        assert_int_equal(decide(&w), JUDGE_SAME);
    }
    w.now += 200;
    (void)node_is(&w, 'A', NODE_MASTER);
    assert_int_equal(decide(&w), JUDGE_CLEARED);
}

static void where_role_is_refused_being_alive_and_named_suffices(void **state)
{
    (void)state;
    static const struct {
        enum hint hint;
        bool sentinels;
        enum judge_change change;
    } rows[] = {
        {HINT_CONNECT_FAILED, true, JUDGE_CLEARED}, {HINT_CONNECT_FAILED, false, JUDGE_CLEARED},
        {HINT_STALLED, true, JUDGE_CLEARED},        {HINT_STALLED, false, JUDGE_CLEARED},
        {HINT_REFUSED, true, JUDGE_CLEARED},        {HINT_REFUSED, false, JUDGE_SAME},
        {HINT_NOT_PRIMARY, true, JUDGE_CLEARED},    {HINT_NOT_PRIMARY, false, JUDGE_SAME},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct world w;
        suspect_by(&w, &usual, rows[i].hint);
        all_say(&w, 'A', 5);
        w.view_count = rows[i].sentinels ? w.view_count : 0;
        (void)node_is(&w, 'A', NODE_REFUSED);
        assert_int_equal(decide(&w), rows[i].change);
    }
}

/* Holding. */

static void begins(struct world *w, char primary)
{
    struct sockaddr_any sa = at(primary);
    judge_failover_begins(&w->judge, &sa, w->now);
}

static void aborted(struct world *w, char primary)
{
    struct sockaddr_any sa = at(primary);
    judge_failover_aborted(&w->judge, &sa, w->now);
}

static void the_leaders_event_holds(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    begins(&w, 'A');
    assert_int_equal(decide(&w), JUDGE_HELD);
    assert_true(w.advice.ask && w.advice.fast);
    suspect_by(&w, &usual, HINT_CONNECT_FAILED); /* also out of a suspicion */
    begins(&w, 'A');
    assert_int_equal(decide(&w), JUDGE_HELD);
}

static void what_a_poll_shows_holds(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    view(&w, "s3")->failover = true;
    assert_int_equal(decide(&w), JUDGE_HELD);
}

static void only_a_failover_of_our_primary_holds(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    begins(&w, 'B');
    assert_int_equal(decide(&w), JUDGE_SAME);
    struct judge_view *v = says(&w, "s3", 'B', 4);
    v->failover = true;
    assert_int_equal(decide(&w), JUDGE_SAME);
}

static void holding_can_be_switched_off(void **state)
{
    (void)state;
    struct judge_rules rules = usual;
    struct world w;
    rules.hold_on_failover = false;
    serving(&w, &rules);
    begins(&w, 'A');
    view(&w, "s3")->failover = true;
    assert_int_equal(decide(&w), JUDGE_SAME);
    assert_true(w.advice.fast); /* but it is watched */
}

static void a_hint_does_not_end_a_hold(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    begins(&w, 'A');
    assert_int_equal(decide(&w), JUDGE_HELD);
    judge_hint(&w.judge, HINT_CONNECT_FAILED, w.now);
    assert_int_equal(decide(&w), JUDGE_SAME);
}

static void a_hold_ends_by_the_switch(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    begins(&w, 'A');
    assert_int_equal(decide(&w), JUDGE_HELD);
    struct sockaddr_any b = at('B');
    judge_candidate(&w.judge, &b, w.now);
    (void)decide(&w);
    assert_non_null(wanted(&w, 'B')); /* probed before any Sentinel announces it */
    pass(&w, 900);
    (void)node_is(&w, 'B', NODE_MASTER);
    (void)says(&w, "s1", 'B', 6);
    (void)says(&w, "s2", 'B', 6);
    assert_int_equal(decide(&w), JUDGE_SWITCHED);
    assert_int_equal(w.advice.from, SERVICE_HOLDING);
    assert_int_equal(w.advice.waited_ms, 900);
}

/* B is published; the leader goes on with the same failover for a while. */
static void what_is_left_of_a_finished_failover_does_not_hold(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    begins(&w, 'A');
    (void)decide(&w);
    (void)node_is(&w, 'B', NODE_MASTER);
    all_say(&w, 'B', 6);
    struct judge_view *leader = says(&w, "s1", 'B', 6);
    leader->flagged = at('A'); /* SENTINEL MASTER still shows the failed one */
    leader->s_down = leader->o_down = leader->failover = true;
    assert_int_equal(decide(&w), JUDGE_SWITCHED);
    for (int i = 0; i < 100; i++) {
        pass(&w, 100);
        begins(&w, 'A');
        assert_int_equal(decide(&w), JUDGE_SAME);
    }
    assert_int_equal(w.judge.state, SERVICE_SERVING);
    judge_hint(&w.judge, HINT_CONNECT_FAILED, w.now); /* and is no objection either */
    assert_int_equal(decide(&w), JUDGE_CLEARED);
    begins(&w, 'B'); /* the next one */
    assert_int_equal(decide(&w), JUDGE_HELD);
}

static void a_hold_ends_when_it_is_aborted(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    view(&w, "s1")->failover = true;
    assert_int_equal(decide(&w), JUDGE_HELD);
    pass(&w, 300);
    aborted(&w, 'A');
    assert_int_equal(decide(&w), JUDGE_SAME); /* s1 has not been asked again */
    w.now += 1;
    all_say(&w, 'A', 5);
    assert_int_equal(decide(&w), JUDGE_RELEASED); /* node A answered when it was aborted */
    assert_primary(&w, 'A', 1);
}

static void an_aborted_failover_of_a_dead_primary_leaves_a_suspicion(void **state)
{
    (void)state;
    static const enum node_role no[] = {NODE_UNREACHABLE, NODE_REPLICA};
    for (size_t i = 0; i < 2; i++) {
        struct world w;
        serving(&w, &usual);
        begins(&w, 'A');
        assert_int_equal(decide(&w), JUDGE_HELD);
        w.now += 100;
        aborted(&w, 'A');
        all_say(&w, 'A', 5);
        assert_int_equal(decide(&w), JUDGE_SAME); /* A was not asked since */
        (void)node_is(&w, 'A', no[i]);
        assert_int_equal(decide(&w), JUDGE_SUSPECTED);
    }
}

static void an_objection_at_the_end_of_a_hold_leaves_a_suspicion(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    begins(&w, 'A');
    (void)decide(&w);
    w.now += 100;
    aborted(&w, 'A');
    all_say(&w, 'A', 5);
    view(&w, "s2")->o_down = true;
    (void)node_is(&w, 'A', NODE_MASTER);
    assert_int_equal(decide(&w), JUDGE_SUSPECTED);
}

static void another_leader_that_goes_on_keeps_the_hold(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    begins(&w, 'A');
    (void)decide(&w);
    view(&w, "s2")->failover = true;
    for (int i = 0; i < 50; i++) {
        pass(&w, 100);
        aborted(&w, 'A');
        assert_int_equal(decide(&w), JUDGE_SAME);
    }
    assert_int_equal(w.judge.state, SERVICE_HOLDING);
}

static void a_failover_begun_after_an_abort_keeps_the_hold(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    begins(&w, 'A');
    (void)decide(&w);
    aborted(&w, 'A');
    begins(&w, 'A');
    pass(&w, 100);
    assert_int_equal(decide(&w), JUDGE_SAME);
    pass(&w, 1800);
    assert_int_equal(decide(&w), JUDGE_SAME);
}

static void a_hold_ends_when_no_failover_is_seen(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    begins(&w, 'A');
    assert_int_equal(decide(&w), JUDGE_HELD);
    pass(&w, 1900);
    assert_int_equal(decide(&w), JUDGE_SAME); /* at least two seconds */
    pass(&w, 100);
    assert_int_equal(decide(&w), JUDGE_RELEASED);
}

static void a_hold_lasts_a_second_longer_than_the_failover_is_seen(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    view(&w, "s1")->failover = true;
    assert_int_equal(decide(&w), JUDGE_HELD);
    for (int i = 0; i < 100; i++) {
        pass(&w, 100);
        assert_int_equal(decide(&w), JUDGE_SAME);
    }
    view(&w, "s1")->failover = false;
    for (int i = 0; i < 9; i++) {
        pass(&w, 100);
        assert_int_equal(decide(&w), JUDGE_SAME);
    }
    pass(&w, 100);
    assert_int_equal(decide(&w), JUDGE_RELEASED);
}

static void a_hold_needs_a_fresh_word_to_end(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    begins(&w, 'A');
    (void)decide(&w);
    uint64_t opened = w.now;
    pass(&w, 2000);
    node_is(&w, 'A', NODE_MASTER)->opened_ms = opened;
    assert_int_equal(decide(&w), JUDGE_SAME);
    assert_int_equal(wanted(&w, 'A')->fresh_from_ms, w.now);
    (void)node_is(&w, 'A', NODE_MASTER);
    assert_int_equal(decide(&w), JUDGE_RELEASED);
}

static void with_no_sentinel_a_hold_ends_by_role(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    begins(&w, 'A');
    (void)decide(&w);
    w.view_count = 0;
    pass(&w, 2000);
    assert_int_equal(decide(&w), JUDGE_RELEASED);
}

/* Watching. */

static void an_alert_asks_the_primary_afresh(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    pass(&w, 10000);
    (void)decide(&w);
    assert_false(w.advice.fast);
    judge_alert(&w.judge, w.now);
    (void)decide(&w);
    assert_true(w.advice.fast);
    assert_int_equal(wanted(&w, 'A')->fresh_from_ms, w.now);
    uint64_t first = w.now;
    w.now += 10;
    judge_alert(&w.judge, w.now); /* a burst of events is one alert */
    (void)decide(&w);
    assert_int_equal(wanted(&w, 'A')->fresh_from_ms, first);
    pass(&w, JUDGE_ALERT_MS);
    (void)decide(&w);
    assert_false(w.advice.fast);
}

static void a_named_replica_is_probed_for_a_while(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    struct sockaddr_any b = at('B'), a = at('A');
    judge_candidate(&w.judge, &a, w.now); /* not news */
    judge_candidate(&w.judge, &b, w.now);
    (void)decide(&w);
    assert_true(wanted(&w, 'B')->fast);
    pass(&w, JUDGE_HINTED_MS);
    (void)decide(&w);
    assert_null(wanted(&w, 'B'));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_hint_makes_suspect),
        cmocka_unit_test(what_the_primary_says_makes_suspect),
        cmocka_unit_test(without_a_primary_there_is_nothing_to_suspect),
        cmocka_unit_test(suspicion_ends_by_a_fresh_word_and_no_objection),
        cmocka_unit_test(a_connection_from_before_proves_nothing),
        cmocka_unit_test(no_answer_keeps_the_suspicion),
        cmocka_unit_test(objections),
        cmocka_unit_test(a_majority_that_misses_the_primary_objects),
        cmocka_unit_test(with_no_sentinel_role_suffices),
        cmocka_unit_test(a_silent_sentinel_is_waited_for_as_long_as_it_counts),
        cmocka_unit_test(where_role_is_refused_being_alive_and_named_suffices),
        cmocka_unit_test(the_leaders_event_holds),
        cmocka_unit_test(what_a_poll_shows_holds),
        cmocka_unit_test(only_a_failover_of_our_primary_holds),
        cmocka_unit_test(holding_can_be_switched_off),
        cmocka_unit_test(a_hint_does_not_end_a_hold),
        cmocka_unit_test(a_hold_ends_by_the_switch),
        cmocka_unit_test(what_is_left_of_a_finished_failover_does_not_hold),
        cmocka_unit_test(a_hold_ends_when_it_is_aborted),
        cmocka_unit_test(an_aborted_failover_of_a_dead_primary_leaves_a_suspicion),
        cmocka_unit_test(an_objection_at_the_end_of_a_hold_leaves_a_suspicion),
        cmocka_unit_test(another_leader_that_goes_on_keeps_the_hold),
        cmocka_unit_test(a_failover_begun_after_an_abort_keeps_the_hold),
        cmocka_unit_test(a_hold_ends_when_no_failover_is_seen),
        cmocka_unit_test(a_hold_lasts_a_second_longer_than_the_failover_is_seen),
        cmocka_unit_test(a_hold_needs_a_fresh_word_to_end),
        cmocka_unit_test(with_no_sentinel_a_hold_ends_by_role),
        cmocka_unit_test(an_alert_asks_the_primary_afresh),
        cmocka_unit_test(a_named_replica_is_probed_for_a_while),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
