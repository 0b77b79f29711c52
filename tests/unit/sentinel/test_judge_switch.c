/* Who is primary: epochs, majorities, resets, and following ROLE. */
#include "tests/unit/sentinel/judge_test.h"

static void seeking_needs_a_majority_and_the_nodes_own_word(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, &usual);
    all_say(&w, 'A', 0);
    assert_int_equal(decide(&w), JUDGE_SAME);
    assert_non_null(wanted(&w, 'A'));
    assert_true(w.advice.fast);
    (void)node_is(&w, 'A', NODE_UNREACHABLE);
    assert_int_equal(decide(&w), JUDGE_SAME);
    (void)node_is(&w, 'A', NODE_REPLICA);
    assert_int_equal(decide(&w), JUDGE_SAME);
    (void)node_is(&w, 'A', NODE_MASTER);
    assert_int_equal(decide(&w), JUDGE_SWITCHED);
    assert_primary(&w, 'A', 1);
    assert_int_equal(w.judge.state, SERVICE_SERVING);
    assert_int_equal(w.advice.votes, 3);
}

static void sentinels_not_reached_yet_count_against(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, &usual);
    (void)says(&w, "s1", 'A', 0);
    (void)node_is(&w, 'A', NODE_MASTER);
    w.pending = 2;
    assert_int_equal(decide(&w), JUDGE_SAME);
    w.pending = 0; /* they can't be reached */
    assert_int_equal(decide(&w), JUDGE_SWITCHED);
}

static void the_highest_epoch_wins_with_a_majority(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    (void)node_is(&w, 'B', NODE_MASTER);
    (void)says(&w, "s1", 'B', 6);
    assert_int_equal(decide(&w), JUDGE_SAME); /* one of three */
    assert_true(w.advice.fast);
    assert_non_null(wanted(&w, 'B'));
    (void)says(&w, "s2", 'B', 6);
    assert_int_equal(decide(&w), JUDGE_SWITCHED); /* at once, whatever the old one says */
    assert_primary(&w, 'B', 2);
    assert_int_equal(w.judge.epoch, 6);
    assert_int_equal(w.advice.votes, 2);
    assert_int_equal(w.advice.reachable, 3);
}

static void a_majority_of_an_epoch_below_the_highest_is_none(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    (void)says(&w, "s1", 'B', 6);
    (void)says(&w, "s2", 'B', 6);
    (void)says(&w, "s3", 'C', 7);
    (void)node_is(&w, 'B', NODE_MASTER);
    (void)node_is(&w, 'C', NODE_MASTER);
    assert_int_equal(decide(&w), JUDGE_SAME);
}

static void without_a_majority_a_live_primary_stays(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    (void)says(&w, "s1", 'B', 6);
    (void)node_is(&w, 'B', NODE_MASTER);
    for (int i = 0; i < 100; i++) {
        pass(&w, 100);
        assert_int_equal(decide(&w), JUDGE_SAME);
    }
    assert_primary(&w, 'A', 1);
}

static void without_a_majority_for_two_seconds_a_lost_primary_goes(void **state)
{
    (void)state;
    static const enum node_role lost[] = {NODE_UNREACHABLE, NODE_REPLICA};
    for (size_t i = 0; i < 2; i++) {
        struct world w;
        serving(&w, &usual);
        (void)says(&w, "s1", 'B', 6);
        (void)node_is(&w, 'A', lost[i]);
        (void)node_is(&w, 'B', NODE_MASTER);
        assert_int_equal(decide(&w), JUDGE_SUSPECTED);
        pass(&w, 1900);
        assert_int_equal(decide(&w), JUDGE_SAME);
        pass(&w, 100);
        assert_int_equal(decide(&w), JUDGE_SWITCHED);
        assert_primary(&w, 'B', 2);
        assert_int_equal(w.advice.waited_ms, 2000);
    }
}

static void without_a_majority_the_candidate_must_say_master(void **state)
{
    (void)state;
    static const enum node_role no[] = {NODE_UNREACHABLE, NODE_REPLICA, NODE_REFUSED};
    for (size_t i = 0; i < 3; i++) {
        struct world w;
        serving(&w, &usual);
        (void)says(&w, "s1", 'B', 6);
        (void)node_is(&w, 'A', NODE_UNREACHABLE);
        (void)node_is(&w, 'B', no[i]);
        for (int k = 0; k < 50; k++) {
            (void)decide(&w);
            pass(&w, 100);
        }
        assert_primary(&w, 'A', 1);
    }
}

static void seeking_ends_without_a_majority_too(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, &usual);
    (void)says(&w, "s1", 'A', 3);
    (void)says(&w, "s2", 'B', 3);
    (void)node_is(&w, 'A', NODE_UNREACHABLE);
    (void)node_is(&w, 'B', NODE_MASTER);
    assert_int_equal(decide(&w), JUDGE_SAME);
    pass(&w, 2000);
    assert_int_equal(decide(&w), JUDGE_SWITCHED);
    assert_primary(&w, 'B', 1);
}

static void min_agree_overrides_the_majority(void **state)
{
    (void)state;
    struct judge_rules rules = usual;
    struct world w;
    rules.min_agree = 1;
    serving(&w, &rules);
    (void)says(&w, "s1", 'B', 6);
    (void)node_is(&w, 'B', NODE_MASTER);
    assert_int_equal(decide(&w), JUDGE_SWITCHED);
    rules.min_agree = 3;
    serving(&w, &rules);
    (void)says(&w, "s1", 'B', 6);
    (void)says(&w, "s2", 'B', 6);
    (void)node_is(&w, 'B', NODE_MASTER);
    assert_int_equal(decide(&w), JUDGE_SAME);
    (void)says(&w, "s3", 'B', 6);
    assert_int_equal(decide(&w), JUDGE_SWITCHED);
}

static void two_connections_to_one_sentinel_are_one_view(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    (void)says(&w, "s1", 'B', 6);
    w.view[w.view_count] = w.view[0];
    w.view[w.view_count++].primary_name.port = 1; /* another name, the same id */
    (void)node_is(&w, 'B', NODE_MASTER);
    assert_int_equal(decide(&w), JUDGE_SAME);
    assert_int_equal(w.advice.reachable, 3);
}

static void of_two_views_of_one_sentinel_the_newer_counts(void **state)
{
    (void)state;
    for (size_t older = 0; older < 2; older++) {
        struct world w;
        serving(&w, &usual);
        w.view[w.view_count] = *says(&w, "s1", 'B', 6); /* s1 by two connections */
        w.view_count++;
        w.view[older == 0 ? 0 : 3].primary = at('A');
        w.view[older == 0 ? 0 : 3].epoch = 5;
        w.view[older == 0 ? 0 : 3].asked_ms -= 10;
        (void)says(&w, "s2", 'B', 6);
        (void)node_is(&w, 'B', NODE_MASTER);
        assert_int_equal(decide(&w), JUDGE_SWITCHED);
    }
}

static void a_view_without_an_id_does_not_count(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, &usual);
    (void)says(&w, "", 'A', 0);
    (void)node_is(&w, 'A', NODE_MASTER);
    assert_int_equal(decide(&w), JUDGE_SAME);
}

static void an_old_view_does_not_count(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    w.now += JUDGE_VIEW_MAX_AGE_MS;
    (void)says(&w, "s1", 'B', 6);
    (void)node_is(&w, 'A', NODE_MASTER);
    (void)node_is(&w, 'B', NODE_MASTER);
    assert_int_equal(decide(&w), JUDGE_SAME); /* the others said A just within 3 s */
    w.now += 1;
    assert_int_equal(decide(&w), JUDGE_SWITCHED); /* one of one */
}

static void no_opinion_is_not_a_vote(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    (void)says(&w, "s1", 'B', 6);
    (void)says(&w, "s2", 0, 0);
    (void)says(&w, "s3", 0, 0);
    (void)node_is(&w, 'B', NODE_MASTER);
    assert_int_equal(decide(&w), JUDGE_SWITCHED);
    all_say(&w, 0, 0); /* nor a word against */
    for (int i = 0; i < 200; i++) {
        pass(&w, 100);
        assert_int_equal(decide(&w), JUDGE_SAME);
    }
    assert_primary(&w, 'B', 2);
}

static void losing_every_sentinel_changes_nothing(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    w.view_count = 0;
    for (int i = 0; i < 200; i++) {
        pass(&w, 100);
        assert_int_equal(decide(&w), JUDGE_SAME);
    }
    assert_int_equal(w.judge.state, SERVICE_SERVING);
}

static void an_older_epoch_in_a_minority_never_drags_back(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    (void)says(&w, "s3", 'B', 4);
    (void)node_is(&w, 'B', NODE_MASTER);
    for (int i = 0; i < 300; i++) {
        pass(&w, 100);
        assert_int_equal(decide(&w), JUDGE_SAME);
    }
    assert_primary(&w, 'A', 1);
}

static void a_majority_of_all_resets_the_epoch_after_ten_seconds(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    (void)says(&w, "s1", 'B', 0);
    (void)says(&w, "s2", 'B', 0);
    (void)node_is(&w, 'B', NODE_MASTER);
    assert_int_equal(decide(&w), JUDGE_SAME);
    for (int i = 0; i < 100; i++) {
        pass(&w, 100);
        assert_int_equal(decide(&w), JUDGE_SAME);
    }
    pass(&w, 1);
    assert_int_equal(decide(&w), JUDGE_SWITCHED);
    assert_primary(&w, 'B', 2);
    assert_int_equal(w.judge.epoch, 0);
}

static void the_reset_needs_the_nodes_own_word(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    all_say(&w, 'B', 0);
    (void)node_is(&w, 'B', NODE_UNREACHABLE);
    for (int i = 0; i < 300; i++) {
        pass(&w, 100);
        assert_int_equal(decide(&w), JUDGE_SAME);
    }
    assert_non_null(wanted(&w, 'B'));
    (void)node_is(&w, 'B', NODE_MASTER);
    assert_int_equal(decide(&w), JUDGE_SWITCHED);
}

static void the_reset_needs_a_majority_of_all_that_are_known(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    w.known = 4;
    gone(&w, "s3");
    (void)says(&w, "s1", 'B', 0);
    (void)says(&w, "s2", 'B', 0);
    (void)node_is(&w, 'B', NODE_MASTER);
    for (int i = 0; i < 300; i++) {
        pass(&w, 100);
        assert_int_equal(decide(&w), JUDGE_SAME);
    }
}

static void the_reset_must_stand_without_a_break(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    (void)node_is(&w, 'B', NODE_MASTER);
    for (int round = 0; round < 3; round++) {
        all_say(&w, 'B', 0);
        for (int i = 0; i < 90; i++) {
            assert_int_equal(decide(&w), JUDGE_SAME);
            pass(&w, 100);
        }
        all_say(&w, 'A', 5);
        assert_int_equal(decide(&w), JUDGE_SAME);
    }
}

static void the_same_primary_with_a_lower_epoch_rebases_it(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    all_say(&w, 'A', 0);
    assert_int_equal(decide(&w), JUDGE_SAME);
    for (int i = 0; i < 100; i++) {
        pass(&w, 100);
        assert_int_equal(decide(&w), JUDGE_SAME);
    }
    pass(&w, 100);
    assert_int_equal(decide(&w), JUDGE_EPOCH);
    assert_primary(&w, 'A', 1);
    all_say(&w, 'B', 1); /* the next failover counts from there */
    (void)node_is(&w, 'B', NODE_MASTER);
    assert_int_equal(decide(&w), JUDGE_SWITCHED);
}

static void the_same_primary_with_a_higher_epoch_is_no_switch(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    (void)says(&w, "s1", 'A', 6);
    assert_int_equal(decide(&w), JUDGE_SAME);
    (void)says(&w, "s2", 'A', 6);
    assert_int_equal(decide(&w), JUDGE_EPOCH);
    assert_int_equal(w.judge.epoch, 6);
    assert_primary(&w, 'A', 1);
}

static void the_same_epoch_with_another_address_needs_a_majority(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    (void)node_is(&w, 'B', NODE_MASTER);
    gone(&w, "s3");
    (void)says(&w, "s1", 'B', 5);
    assert_int_equal(decide(&w), JUDGE_SAME); /* a tie keeps what is */
    (void)says(&w, "s2", 'B', 5);
    assert_int_equal(decide(&w), JUDGE_SWITCHED); /* the name leads elsewhere now */
}

static void role_alone_proves_nothing(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    struct sockaddr_any b = at('B');
    judge_candidate(&w.judge, &b, w.now);
    lists_replica(&w, 'B');
    (void)node_is(&w, 'A', NODE_UNREACHABLE);
    (void)node_is(&w, 'B', NODE_MASTER);
    (void)decide(&w);
    assert_non_null(wanted(&w, 'B'));
    for (int i = 0; i < 300; i++) {
        pass(&w, 100);
        assert_int_equal(decide(&w), JUDGE_SAME);
    }
    assert_primary(&w, 'A', 1);
    assert_int_equal(w.judge.state, SERVICE_SUSPECT);
}

static void where_role_is_refused_a_majority_suffices(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    (void)says(&w, "s1", 'B', 6);
    (void)says(&w, "s2", 'B', 6);
    (void)node_is(&w, 'B', NODE_REFUSED);
    assert_int_equal(decide(&w), JUDGE_SWITCHED);
    assert_true(w.advice.unverified);
}

static void an_old_word_of_the_candidate_does_not_count(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    (void)node_is(&w, 'B', NODE_MASTER);
    w.now += JUDGE_ROLE_MAX_AGE_MS + 1;
    all_say(&w, 'B', 6);
    assert_int_equal(decide(&w), JUDGE_SAME);
    (void)node_is(&w, 'B', NODE_MASTER);
    assert_int_equal(decide(&w), JUDGE_SWITCHED);
}

static void a_failed_candidate_never_replaces_a_primary(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    all_say(&w, 'B', 6);
    (void)node_is(&w, 'B', NODE_UNREACHABLE);
    for (int i = 0; i < 300; i++) {
        pass(&w, 100);
        assert_int_equal(decide(&w), JUDGE_SAME);
    }
    assert_primary(&w, 'A', 1);
    assert_int_equal(w.judge.state, SERVICE_SERVING);
}

/* A hand-over by FAILOVER or REPLICAOF: A follows B, the Sentinels still name A. */
static void hand_over(struct world *w, const struct judge_rules *rules)
{
    serving(w, rules);
    lists_replica(w, 'B');
    node_follows(w, 'A', 'B');
    assert_int_equal(decide(w), JUDGE_SUSPECTED);
    assert_non_null(wanted(w, 'B'));
    (void)node_is(w, 'B', NODE_MASTER);
}

static void role_is_followed(void **state)
{
    (void)state;
    struct world w;
    hand_over(&w, &usual);
    assert_int_equal(decide(&w), JUDGE_FOLLOWED);
    assert_primary(&w, 'B', 2);
    assert_int_equal(w.judge.state, SERVICE_SERVING);
    for (int i = 0; i < 300; i++) { /* the Sentinels go on naming A */
        pass(&w, 100);
        assert_int_equal(decide(&w), JUDGE_SAME);
    }
    assert_non_null(wanted(&w, 'A'));
    view(&w, "s1")->s_down = true; /* nor what they think of A */
    judge_hint(&w.judge, HINT_STALLED, w.now);
    assert_int_equal(decide(&w), JUDGE_CLEARED);
}

static void following_goes_on_to_the_next_when_the_followed_is_gone(void **state)
{
    (void)state;
    struct world w;
    hand_over(&w, &usual);
    assert_int_equal(decide(&w), JUDGE_FOLLOWED);
    lists_replica(&w, 'C');
    node_follows(&w, 'A', 'C');
    (void)node_is(&w, 'C', NODE_MASTER);
    assert_int_equal(decide(&w), JUDGE_SAME); /* B is a master still */
    node_follows(&w, 'B', 'C');
    assert_int_equal(decide(&w), JUDGE_FOLLOWED);
    assert_primary(&w, 'C', 3);
}

static void role_is_followed_only_when_all_agrees(void **state)
{
    (void)state;
    struct judge_rules rules = usual;
    struct world w;
    rules.follow_role = false;
    serving(&w, &rules);
    lists_replica(&w, 'B');
    node_follows(&w, 'A', 'B');
    (void)node_is(&w, 'B', NODE_MASTER);
    (void)decide(&w);
    assert_primary(&w, 'A', 1); /* switched off */
    hand_over(&w, &usual);
    w.replica_count = 0;
    assert_int_equal(decide(&w), JUDGE_SAME); /* B is not a known replica */
    hand_over(&w, &usual);
    node_follows(&w, 'B', 'C');
    assert_int_equal(decide(&w), JUDGE_SAME); /* B is no master */
    hand_over(&w, &usual);
    view(&w, "s2")->failover = true;
    (void)decide(&w);
    assert_primary(&w, 'A', 1); /* a failover is under way */
    assert_int_equal(w.judge.state, SERVICE_HOLDING);
}

static void following_ends_when_the_epoch_rises(void **state)
{
    (void)state;
    struct world w;
    hand_over(&w, &usual);
    assert_int_equal(decide(&w), JUDGE_FOLLOWED);
    all_say(&w, 'B', 6);
    assert_int_equal(decide(&w), JUDGE_EPOCH);
    assert_false(w.judge.following);
    assert_primary(&w, 'B', 2);
    hand_over(&w, &usual);
    assert_int_equal(decide(&w), JUDGE_FOLLOWED);
    all_say(&w, 'C', 6);
    (void)node_is(&w, 'C', NODE_MASTER);
    assert_int_equal(decide(&w), JUDGE_SWITCHED);
    assert_primary(&w, 'C', 3);
    assert_false(w.judge.following);
}

static void following_ends_when_the_named_node_is_the_only_master(void **state)
{
    (void)state;
    struct world w;
    hand_over(&w, &usual);
    assert_int_equal(decide(&w), JUDGE_FOLLOWED);
    (void)node_is(&w, 'A', NODE_MASTER);
    assert_int_equal(decide(&w), JUDGE_SAME); /* B is one too */
    node_follows(&w, 'B', 'A');
    assert_int_equal(decide(&w), JUDGE_SWITCHED);
    assert_primary(&w, 'A', 3);
    assert_false(w.judge.following);
}

static void a_failover_is_held_for_while_following(void **state)
{
    (void)state;
    struct world w;
    hand_over(&w, &usual);
    assert_int_equal(decide(&w), JUDGE_FOLLOWED);
    struct sockaddr_any a = at('A');
    judge_failover_begins(&w.judge, &a, w.now);
    assert_int_equal(decide(&w), JUDGE_HELD);
}

static void role_is_followed_from_the_start(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, &usual);
    lists_replica(&w, 'B');
    all_say(&w, 'A', 5);
    node_follows(&w, 'A', 'B');
    (void)node_is(&w, 'B', NODE_MASTER);
    assert_int_equal(decide(&w), JUDGE_FOLLOWED);
    assert_primary(&w, 'B', 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seeking_needs_a_majority_and_the_nodes_own_word),
        cmocka_unit_test(sentinels_not_reached_yet_count_against),
        cmocka_unit_test(the_highest_epoch_wins_with_a_majority),
        cmocka_unit_test(a_majority_of_an_epoch_below_the_highest_is_none),
        cmocka_unit_test(without_a_majority_a_live_primary_stays),
        cmocka_unit_test(without_a_majority_for_two_seconds_a_lost_primary_goes),
        cmocka_unit_test(without_a_majority_the_candidate_must_say_master),
        cmocka_unit_test(seeking_ends_without_a_majority_too),
        cmocka_unit_test(min_agree_overrides_the_majority),
        cmocka_unit_test(two_connections_to_one_sentinel_are_one_view),
        cmocka_unit_test(of_two_views_of_one_sentinel_the_newer_counts),
        cmocka_unit_test(a_view_without_an_id_does_not_count),
        cmocka_unit_test(an_old_view_does_not_count),
        cmocka_unit_test(no_opinion_is_not_a_vote),
        cmocka_unit_test(losing_every_sentinel_changes_nothing),
        cmocka_unit_test(an_older_epoch_in_a_minority_never_drags_back),
        cmocka_unit_test(a_majority_of_all_resets_the_epoch_after_ten_seconds),
        cmocka_unit_test(the_reset_needs_the_nodes_own_word),
        cmocka_unit_test(the_reset_needs_a_majority_of_all_that_are_known),
        cmocka_unit_test(the_reset_must_stand_without_a_break),
        cmocka_unit_test(the_same_primary_with_a_lower_epoch_rebases_it),
        cmocka_unit_test(the_same_primary_with_a_higher_epoch_is_no_switch),
        cmocka_unit_test(the_same_epoch_with_another_address_needs_a_majority),
        cmocka_unit_test(role_alone_proves_nothing),
        cmocka_unit_test(where_role_is_refused_a_majority_suffices),
        cmocka_unit_test(an_old_word_of_the_candidate_does_not_count),
        cmocka_unit_test(a_failed_candidate_never_replaces_a_primary),
        cmocka_unit_test(role_is_followed),
        cmocka_unit_test(following_goes_on_to_the_next_when_the_followed_is_gone),
        cmocka_unit_test(role_is_followed_only_when_all_agrees),
        cmocka_unit_test(following_ends_when_the_epoch_rises),
        cmocka_unit_test(following_ends_when_the_named_node_is_the_only_master),
        cmocka_unit_test(a_failover_is_held_for_while_following),
        cmocka_unit_test(role_is_followed_from_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
