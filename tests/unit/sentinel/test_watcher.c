/* The watcher against fake Sentinels and nodes on its own loop. */
#include "tests/unit/sentinel/watcher_stage.h"

static void seeking_comes_first_then_the_primary(void **state)
{
    (void)state;
    struct stage s;
    stage_set(&s);
    stage_start(&s);
    assert_int_equal(s.published, 0); /* never out of a caller's call */
    assert_true(run_until(&s, serving, PATIENCE));
    assert_int_equal(s.topology->serial, s.published);
    assert_true(s.published >= 2);
    assert_primary(&s, &s.node[0], 1);
    assert_int_equal(service(&s)->hold_timeout_ms, 50000); /* 2 x 20 s + 10 s */
    stage_clear(&s);
}

static void without_anybody_it_seeks(void **state)
{
    (void)state;
    struct stage s;
    stage_set(&s);
    for (size_t i = 0; i < SENTINELS; i++) {
        fake_close(&s.sentinel[i]);
    }
    stage_start(&s);
    assert_false(run_until(&s, serving, 300));
    assert_true(is(&s, SERVICE_SEEKING));
    fake_open(&s.sentinel[1], s.loop);
    assert_true(run_until(&s, serving, PATIENCE));
    stage_clear(&s);
}

static void a_switch_is_published_as_soon_as_a_majority_tells_it(void **state)
{
    (void)state;
    struct stage s;
    stage_set(&s);
    s.group.poll_interval_fast_ms = 1000;
    stage_start(&s);
    assert_true(run_until(&s, all_subscribed, PATIENCE));
    s.node[1].role = "master";
    tell_switch(&s, 0);
    assert_false(run_until(&s, second_generation, 200)); /* one of three */
    uint64_t told = clock_ms();
    tell_switch(&s, 1);
    assert_true(run_until(&s, second_generation, PATIENCE));
    assert_true(clock_ms() - told < 500); /* sooner than any poll */
    assert_primary(&s, &s.node[1], 2);
    stage_clear(&s);
}

static void without_messages_polling_finds_the_switch(void **state)
{
    (void)state;
    struct stage s;
    stage_set(&s);
    for (size_t i = 0; i < SENTINELS; i++) {
        s.sentinel[i].forbidden = "+"; /* every channel */
    }
    stage_start(&s);
    assert_true(run_until(&s, serving, PATIENCE));
    s.node[1].role = "master";
    tell_switch(&s, 0);
    tell_switch(&s, 1);
    assert_true(run_until(&s, second_generation, PATIENCE));
    assert_int_equal(s.sentinel[0].subscribed, 0);
    stage_clear(&s);
}

static void a_limited_acl_leaves_one_channel(void **state)
{
    (void)state;
    struct stage s;
    stage_set(&s);
    for (size_t i = 0; i < SENTINELS; i++) {
        s.sentinel[i].forbidden = "+try-failover";
    }
    s.group.poll_interval_fast_ms = 1000;
    stage_start(&s);
    assert_true(run_until(&s, all_subscribed, PATIENCE));
    s.node[1].role = "master";
    tell_switch(&s, 0);
    tell_switch(&s, 1);
    uint64_t told = clock_ms();
    assert_true(run_until(&s, second_generation, PATIENCE));
    assert_true(clock_ms() - told < 500);
    stage_clear(&s);
}

static void the_leaders_event_holds_and_its_abort_releases(void **state)
{
    (void)state;
    struct stage s;
    stage_serving(&s);
    tell_primary(&s, 2, "+try-failover");
    assert_true(run_until(&s, holding, PATIENCE));
    tell_primary(&s, 2, "-failover-abort-not-elected");
    assert_true(run_until(&s, serving, PATIENCE));
    assert_primary(&s, &s.node[0], 1);
    stage_clear(&s);
}

static bool candidate_is_asked(struct stage *s)
{
    return s->node[1].roles > 0;
}

static void a_candidate_is_probed_before_it_is_named(void **state)
{
    (void)state;
    struct stage s;
    char text[128];
    stage_serving(&s);
    assert_int_equal(s.node[1].roles, 0);
    (void)snprintf(text, sizeof text, "slave x 127.0.0.1 %u @ mymaster 127.0.0.1 %u",
                   s.node[1].addr.port, s.node[0].addr.port);
    fake_publish(&s.sentinel[0], "+selected-slave", text);
    assert_true(run_until(&s, holding, PATIENCE));
    assert_true(run_until(&s, candidate_is_asked, PATIENCE));
    stage_clear(&s);
}

static void hints_make_suspect_and_a_live_primary_clears_it(void **state)
{
    (void)state;
    struct stage s;
    stage_serving(&s);
    watcher_hint(s.watcher, 0, 7, HINT_STALLED); /* of another generation */
    assert_false(run_until(&s, suspect, 50));
    unsigned published = s.published;
    watcher_hint(s.watcher, 0, 1, HINT_STALLED);
    assert_int_equal(s.published, published); /* never out of a caller's call */
    assert_true(run_until(&s, suspect, PATIENCE));
    assert_true(run_until(&s, serving, PATIENCE));
    assert_int_equal(service(&s)->generation, 1);
    stage_clear(&s);
}

static void a_silent_primary_stays_suspect(void **state)
{
    (void)state;
    struct stage s;
    stage_serving(&s);
    s.node[0].mood = FAKE_SILENT;
    watcher_hint(s.watcher, 0, 1, HINT_STALLED);
    assert_true(run_until(&s, suspect, PATIENCE));
    assert_false(run_until(&s, serving, 800));
    s.node[0].mood = FAKE_WELL;
    assert_true(run_until(&s, serving, PATIENCE));
    stage_clear(&s);
}

static void a_killed_connection_suspects_nobody(void **state)
{
    (void)state;
    struct stage s;
    stage_serving(&s);
    for (int i = 0; i < 5; i++) {
        fake_drop_conns(&s.node[0]);
        assert_false(run_until(&s, suspect, 30));
    }
    assert_true(s.node[0].accepted > 5);
    stage_clear(&s);
}

static void a_lost_primary_is_suspected(void **state)
{
    (void)state;
    struct stage s;
    stage_serving(&s);
    fake_close(&s.node[0]);
    assert_true(run_until(&s, suspect, PATIENCE));
    fake_open(&s.node[0], s.loop);
    assert_true(run_until(&s, serving, PATIENCE));
    assert_int_equal(service(&s)->generation, 1);
    stage_clear(&s);
}

/* Two Sentinels in a bad mood, one well: the well one is enough. */
static void bad_sentinels_are_passed_over(void **state)
{
    (void)state;
    for (int mood = FAKE_SILENT; mood <= FAKE_WIDE; mood++) {
        struct stage s;
        stage_set(&s);
        s.sentinel[0].mood = s.sentinel[2].mood = (enum fake_mood)mood;
        stage_start(&s);
        assert_true(run_until(&s, serving, PATIENCE));
        assert_primary(&s, &s.node[0], 1);
        s.sentinel[0].mood = s.sentinel[2].mood = FAKE_WELL;
        assert_true(run_until(&s, all_subscribed, PATIENCE)); /* they recover */
        stage_clear(&s);
    }
}

static void losing_all_sentinels_changes_nothing(void **state)
{
    (void)state;
    struct stage s;
    stage_serving(&s);
    (void)run_until(&s, never, 30);
    unsigned published = s.published;
    for (size_t i = 0; i < SENTINELS; i++) {
        fake_close(&s.sentinel[i]);
    }
    (void)run_until(&s, never, 1500);
    assert_int_equal(s.published, published);
    stage_clear(&s);
}

static void one_sentinel_by_two_addresses_has_one_vote(void **state)
{
    (void)state;
    struct stage s;
    stage_serving(&s);
    s.sentinel[1].id = s.sentinel[0].id;
    fake_drop_conns(&s.sentinel[1]);
    (void)run_until(&s, all_subscribed, PATIENCE);
    (void)run_until(&s, never, 100);
    s.node[1].role = "master";
    s.sentinel[2].primary = s.node[1].addr.port;
    s.sentinel[2].epoch = 6;
    tell_switch(&s, 2);
    assert_false(run_until(&s, second_generation, 300)); /* one of two */
    tell_switch(&s, 0);
    tell_switch(&s, 1);
    assert_true(run_until(&s, second_generation, PATIENCE));
    stage_clear(&s);
}

static bool both_serve(struct stage *s)
{
    return serving(s) && s->topology->service[1].state == SERVICE_SERVING;
}

/* Two groups that both call it mymaster; what the second tells is nothing to the first. */
static void groups_do_not_hear_of_each_other(void **state)
{
    (void)state;
    struct stage s;
    static char one[] = "one", other[] = "other", master[] = "mymaster";
    struct config_service services[2];
    struct config_sentinel groups[3];
    stage_set(&s);
    services[0] = services[1] = s.service;
    groups[0] = groups[1] = groups[2] = s.group;
    services[0].name = one;
    services[1].name = other;
    services[0].master = services[1].master = master;
    services[1].group = 2; /* nobody chose 1, whose addresses are never connected to */
    groups[0].address.count = 2;
    groups[1].address.v = &(struct addr){.host = "127.0.0.1", .port = s.node[1].addr.port};
    groups[1].address.count = 1;
    groups[2].address = (struct config_addrs){&s.address[2], 1};
    s.config.services = services;
    s.config.service_count = 2;
    s.config.groups = groups;
    s.config.group_count = ARRAY_LEN(groups);
    s.sentinel[2].primary = s.node[1].addr.port;
    s.sentinel[2].epoch = 100;
    s.node[1].role = "master";
    stage_start(&s);
    assert_true(run_until(&s, both_serve, PATIENCE));
    assert_primary(&s, &s.node[0], 1);
    assert_int_equal(s.topology->service[1].primary_name.port, s.node[1].addr.port);
    unsigned accepted = s.sentinel[2].accepted;
    assert_true(accepted <= 2); /* one set of connections: questions and messages */
    assert_true(run_until(&s, all_subscribed, PATIENCE));

    /* The one group's leader begins a failover: the other group's service serves on. */
    char payload[128];
    (void)snprintf(payload, sizeof payload, "master mymaster 127.0.0.1 %u", s.node[1].addr.port);
    s.sentinel[2].flags = "master,failover_in_progress";
    fake_publish(&s.sentinel[2], "+try-failover", payload);
    assert_false(run_until(&s, holding, 200));
    assert_int_equal(s.topology->service[1].state, SERVICE_HOLDING);
    assert_primary(&s, &s.node[0], 1);
    stage_clear(&s);
}

static bool third_is_asked(struct stage *s)
{
    return s->sentinel[2].asked > 0 && s->sentinel[2].subscribed > 0;
}

static void others_are_learnt(void **state)
{
    (void)state;
    struct stage s;
    stage_set(&s);
    s.group.address.count = 1;
    s.sentinel[0].peer = s.sentinel[2].addr.port;
    s.sentinel[0].peer_id = s.sentinel[2].id;
    stage_start(&s);
    assert_true(run_until(&s, third_is_asked, PATIENCE));
    assert_int_equal(s.sentinel[1].accepted, 0);
    stage_clear(&s);
}

static void an_old_sentinel_is_known_by_its_run_id(void **state)
{
    (void)state;
    struct stage s;
    stage_set(&s);
    for (size_t i = 0; i < SENTINELS; i++) {
        s.sentinel[i].no_myid = true;
    }
    stage_start(&s);
    assert_true(run_until(&s, all_subscribed, PATIENCE));
    stage_clear(&s);
}

static void passwords(void **state)
{
    (void)state;
    static char right[] = "right", wrong[] = "wrong";
    struct stage s;
    stage_set(&s);
    for (size_t i = 0; i < SENTINELS; i++) {
        s.sentinel[i].password = right;
    }
    s.group.password = secret_new(wrong);
    stage_start(&s);
    assert_false(run_until(&s, serving, 300));
    watcher_stop(&s.watcher);
    secret_free(&s.group.password);
    s.group.password = secret_new(right);
    s.node[0].password = right;
    s.service.password = secret_new(right);
    topology_unref(&s.topology);
    stage_start(&s);
    assert_true(run_until(&s, all_subscribed, PATIENCE));
    stage_clear(&s);
    secret_free(&s.group.password);
    secret_free(&s.service.password);
}

static struct secret *two_passwords(const char *first, const char *second)
{
    static const char path[] = "/tmp/vedette-test-watcher-passwords";
    char problem[SECRET_PROBLEM_MAX];
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fprintf(file, "%s\n%s\n", first, second) > 0);
    assert_int_equal(fclose(file), 0);
    struct secret *secret = secret_open(path, problem);
    assert_int_equal(remove(path), 0);
    assert_non_null(secret);
    return secret;
}

/* While one is being changed for the other either is good, at Sentinels and at nodes. */
static void either_of_two_passwords(void **state)
{
    (void)state;
    static char right[] = "right";
    for (int order = 0; order < 2; order++) {
        struct stage s;
        stage_set(&s);
        for (size_t i = 0; i < SENTINELS; i++) {
            s.sentinel[i].password = right;
        }
        s.node[0].password = right;
        s.group.password =
            order == 0 ? two_passwords("wrong", "right") : two_passwords("right", "wrong");
        s.service.password =
            order == 0 ? two_passwords("wrong", "right") : two_passwords("right", "wrong");
        stage_start(&s);
        assert_true(run_until(&s, all_subscribed, PATIENCE));
        assert_true(run_until(&s, serving, PATIENCE));
        stage_clear(&s);
        secret_free(&s.group.password);
        secret_free(&s.service.password);
    }
}

static void a_node_that_refuses_role_is_believed_with_a_majority(void **state)
{
    (void)state;
    struct stage s;
    stage_set(&s);
    s.node[0].role = NULL;
    stage_start(&s);
    assert_true(run_until(&s, serving, PATIENCE));
    stage_clear(&s);
}

static void a_hand_over_is_followed(void **state)
{
    (void)state;
    struct stage s;
    stage_set(&s);
    for (size_t i = 0; i < SENTINELS; i++) {
        s.sentinel[i].replica = s.node[1].addr.port;
    }
    stage_start(&s);
    assert_true(run_until(&s, all_subscribed, PATIENCE));
    s.node[1].role = "master";
    s.node[0].role = "slave";
    s.node[0].role_master = s.node[1].addr.port;
    watcher_hint(s.watcher, 0, 1, HINT_REFUSED);
    assert_true(run_until(&s, second_generation, PATIENCE));
    assert_primary(&s, &s.node[1], 2);
    stage_clear(&s);
}

static void names_are_resolved(void **state)
{
    (void)state;
    struct stage s;
    stage_set(&s);
    for (size_t i = 0; i < SENTINELS; i++) {
        (void)snprintf(s.address[i].host, sizeof s.address[i].host, "%s",
                       i == 0 ? "does-not-exist.invalid" : "localhost");
    }
    stage_start(&s);
    assert_true(run_until(&s, serving, PATIENCE));
    assert_int_equal(s.sentinel[0].accepted, 0);
    stage_clear(&s);
}

int main(void)
{
    log_set_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seeking_comes_first_then_the_primary),
        cmocka_unit_test(without_anybody_it_seeks),
        cmocka_unit_test(a_switch_is_published_as_soon_as_a_majority_tells_it),
        cmocka_unit_test(without_messages_polling_finds_the_switch),
        cmocka_unit_test(a_limited_acl_leaves_one_channel),
        cmocka_unit_test(the_leaders_event_holds_and_its_abort_releases),
        cmocka_unit_test(a_candidate_is_probed_before_it_is_named),
        cmocka_unit_test(hints_make_suspect_and_a_live_primary_clears_it),
        cmocka_unit_test(a_silent_primary_stays_suspect),
        cmocka_unit_test(a_killed_connection_suspects_nobody),
        cmocka_unit_test(a_lost_primary_is_suspected),
        cmocka_unit_test(bad_sentinels_are_passed_over),
        cmocka_unit_test(losing_all_sentinels_changes_nothing),
        cmocka_unit_test(one_sentinel_by_two_addresses_has_one_vote),
        cmocka_unit_test(groups_do_not_hear_of_each_other),
        cmocka_unit_test(others_are_learnt),
        cmocka_unit_test(an_old_sentinel_is_known_by_its_run_id),
        cmocka_unit_test(passwords),
        cmocka_unit_test(either_of_two_passwords),
        cmocka_unit_test(a_node_that_refuses_role_is_believed_with_a_majority),
        cmocka_unit_test(a_hand_over_is_followed),
        cmocka_unit_test(names_are_resolved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
