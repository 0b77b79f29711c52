/* Sentinels that have lost their wits, and a majority that has not. */
#include "judge_test.h"

/* The liar names Z with an epoch beyond all others. */
static void lies(struct world *w)
{
    (void)says(w, "s3", 'Z', 99);
}

/* All that was said before does not count any more. */
static void suspect(struct world *w)
{
    w->now += 10;
    judge_hint(&w->judge, HINT_STALLED, w->now);
    assert_int_equal(decide(w), JUDGE_SUSPECTED);
}

static void a_higher_epoch_of_one_does_not_silence_the_others(void **state)
{
    (void)state;
    static const enum node_role old[] = {NODE_MASTER, NODE_UNREACHABLE, NODE_REPLICA};
    static const enum node_role false_one[] = {NODE_UNREACHABLE, NODE_REPLICA, NODE_REFUSED};
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; k < 3; k++) {
            struct world w;
            serving(&w, &usual);
            lies(&w);
            (void)says(&w, "s1", 'B', 6);
            (void)says(&w, "s2", 'B', 6);
            (void)node_is(&w, 'A', old[i]);
            (void)node_is(&w, 'B', NODE_MASTER);
            (void)node_is(&w, 'Z', false_one[k]);
            (void)decide(&w);
            assert_primary(&w, 'A', 1);
            assert_non_null(wanted(&w, 'B'));
            pass(&w, JUDGE_NO_MAJORITY_MS - 100);
            (void)decide(&w);
            assert_primary(&w, 'A', 1); /* it may be the first of many */
            pass(&w, 100);
            assert_int_equal(decide(&w), JUDGE_SWITCHED);
            assert_primary(&w, 'B', 2);
            assert_int_equal(w.judge.epoch, 6);
        }
    }
}

static void what_the_others_name_must_say_master(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    lies(&w);
    (void)says(&w, "s1", 'B', 6);
    (void)says(&w, "s2", 'B', 6);
    (void)node_is(&w, 'B', NODE_REPLICA);
    for (int i = 0; i < 50; i++) {
        (void)decide(&w);
        pass(&w, 100);
    }
    assert_primary(&w, 'A', 1);
    (void)node_is(&w, 'B', NODE_MASTER);
    assert_int_equal(decide(&w), JUDGE_SWITCHED);
    assert_primary(&w, 'B', 2);
}

static void the_others_never_drag_back(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    lies(&w);
    (void)says(&w, "s1", 'B', 4);
    (void)says(&w, "s2", 'B', 4);
    (void)node_is(&w, 'A', NODE_UNREACHABLE);
    (void)node_is(&w, 'B', NODE_MASTER);
    for (int i = 0; i < 50; i++) {
        (void)decide(&w);
        pass(&w, 100);
    }
    assert_primary(&w, 'A', 1);
}

static void a_start_beside_a_liar(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, &usual);
    all_say(&w, 'A', 5);
    lies(&w);
    (void)node_is(&w, 'A', NODE_MASTER);
    (void)node_is(&w, 'Z', NODE_UNREACHABLE);
    assert_int_equal(decide(&w), JUDGE_SAME);
    pass(&w, JUDGE_NO_MAJORITY_MS);
    assert_int_equal(decide(&w), JUDGE_SWITCHED);
    assert_primary(&w, 'A', 1);
}

/* The liar's epoch is not taken over, or no real one would ever reach it. */
static void a_higher_epoch_for_the_same_node_disputes_nothing(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, &usual);
    all_say(&w, 'A', 5);
    (void)says(&w, "s3", 'A', 99);
    (void)node_is(&w, 'A', NODE_MASTER);
    assert_int_equal(decide(&w), JUDGE_SWITCHED);
    assert_primary(&w, 'A', 1);
    assert_int_equal(w.judge.epoch, 5);
    assert_int_equal(w.advice.votes, 2);
    pass(&w, 5000);
    assert_int_equal(decide(&w), JUDGE_SAME);
    assert_false(w.advice.fast);

    (void)says(&w, "s1", 'B', 6);
    (void)says(&w, "s2", 'B', 6);
    (void)node_is(&w, 'A', NODE_UNREACHABLE);
    (void)node_is(&w, 'B', NODE_MASTER);
    (void)decide(&w);
    pass(&w, JUDGE_NO_MAJORITY_MS);
    assert_int_equal(decide(&w), JUDGE_SWITCHED);
    assert_primary(&w, 'B', 2);

    /* Nor does a majority that has missed our epoch make an older one of ours. */
    all_say(&w, 'B', 4);
    (void)says(&w, "s3", 'B', 7);
    pass(&w, 100);
    assert_int_equal(decide(&w), JUDGE_SAME);
    assert_int_equal(w.judge.epoch, 6);
}

/* The same epoch for two nodes, one vote each, and the primary is the one that is gone. */
static void a_tie_is_no_reason_to_stay_with_the_dead(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    gone(&w, "s3");
    (void)says(&w, "s2", 'B', 5);
    (void)node_is(&w, 'B', NODE_MASTER);
    for (int i = 0; i < 50; i++) {
        pass(&w, 100);
        (void)decide(&w);
    }
    assert_primary(&w, 'A', 1);
    assert_non_null(wanted(&w, 'B'));
    (void)node_is(&w, 'A', NODE_UNREACHABLE);
    assert_int_equal(decide(&w), JUDGE_SWITCHED);
    assert_primary(&w, 'B', 2);
}

/* More false names with one epoch than anybody would want to probe. */
static void many_names_do_not_crowd_out_the_majority(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    w.view_count = 0;
    for (char i = 0; i < 5; i++) {
        char liar[] = {'x', (char)('0' + i), '\0'};
        (void)says(&w, liar, (char)('P' + i), 6);
    }
    for (char i = 0; i < 6; i++) {
        char honest[] = {'s', (char)('0' + i), '\0'};
        (void)says(&w, honest, 'B', 6);
    }
    (void)decide(&w);
    assert_non_null(wanted(&w, 'B'));
    (void)node_is(&w, 'B', NODE_MASTER);
    assert_int_equal(decide(&w), JUDGE_SWITCHED);
    assert_primary(&w, 'B', 2);
    assert_int_equal(w.advice.votes, 6);
}

/* It has stood for long when a suspicion comes: the suspicion ends as if it were not there. */
static void an_old_dispute_does_not_keep_up_a_suspicion(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    lies(&w);
    (void)node_is(&w, 'Z', NODE_MASTER);
    assert_int_equal(decide(&w), JUDGE_SAME);
    pass(&w, JUDGE_RESET_MS + 100);
    assert_int_equal(decide(&w), JUDGE_SAME);
    suspect(&w);
    pass(&w, 10);
    assert_int_equal(decide(&w), JUDGE_CLEARED);
    assert_primary(&w, 'A', 1);
}

/* Of a fresh one nobody knows whether it is a lie. */
static void a_minority_is_heard_for_ten_seconds(void **state)
{
    (void)state;
    for (int flag = 0; flag < 2; flag++) {
        struct world w;
        serving(&w, &usual);
        suspect(&w);
        if (flag != 0) {
            says(&w, "s3", 'A', 5)->o_down = true;
        } else {
            lies(&w);
        }
        (void)decide(&w);
        pass(&w, JUDGE_RESET_MS);
        assert_int_equal(decide(&w), JUDGE_SAME);
        pass(&w, 100);
        assert_int_equal(decide(&w), JUDGE_CLEARED);
    }
}

static void a_majority_is_heard_for_ever(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    suspect(&w);
    says(&w, "s2", 'A', 5)->o_down = true;
    says(&w, "s3", 'A', 5)->s_down = true;
    for (int i = 0; i < 300; i++) {
        pass(&w, 100);
        assert_int_equal(decide(&w), JUDGE_SAME);
    }
    assert_int_equal(w.judge.state, SERVICE_SUSPECT);
}

/* A poll that was answered before the switch, or by one that has not heard of it, drags nobody
 * back, and is no objection to the new primary. */
static void an_older_answer_after_the_switch_is_nothing(void **state)
{
    (void)state;
    struct world w;
    serving(&w, &usual);
    all_say(&w, 'B', 6);
    (void)node_is(&w, 'B', NODE_MASTER);
    assert_int_equal(decide(&w), JUDGE_SWITCHED);
    for (int i = 0; i < 50; i++) {
        pass(&w, 100);
        (void)says(&w, "s1", 'A', 5);
        (void)says(&w, "s2", 'A', 5);
        assert_int_equal(decide(&w), JUDGE_SAME);
    }
    suspect(&w);
    pass(&w, 10);
    assert_int_equal(decide(&w), JUDGE_CLEARED);
    assert_primary(&w, 'B', 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_higher_epoch_of_one_does_not_silence_the_others),
        cmocka_unit_test(what_the_others_name_must_say_master),
        cmocka_unit_test(the_others_never_drag_back),
        cmocka_unit_test(a_start_beside_a_liar),
        cmocka_unit_test(a_higher_epoch_for_the_same_node_disputes_nothing),
        cmocka_unit_test(a_tie_is_no_reason_to_stay_with_the_dead),
        cmocka_unit_test(many_names_do_not_crowd_out_the_majority),
        cmocka_unit_test(an_old_dispute_does_not_keep_up_a_suspicion),
        cmocka_unit_test(a_minority_is_heard_for_ten_seconds),
        cmocka_unit_test(a_majority_is_heard_for_ever),
        cmocka_unit_test(an_older_answer_after_the_switch_is_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
