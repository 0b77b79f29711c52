/* What the watcher asks of the nodes that serve: their commands, and how far replicas have come. */
#include "tests/unit/sentinel/watcher_stage.h"

static bool told_commands(struct stage *s)
{
    return serving(s) && service(s)->commands != NULL;
}

static bool refused_commands(struct stage *s)
{
    return second_generation(s) && s->node[1].commanded > 0 && service(s)->commands == NULL;
}

/* What one primary said serves until the next one says otherwise, or that it does not tell. */
static void each_primary_tells_its_commands(void **state)
{
    struct stage s;
    (void)state;
    stage_set(&s);
    s.node[0].commands = "*1\r\n*3\r\n$3\r\nfoo\r\n:1\r\n*1\r\n+readonly\r\n";
    stage_start(&s);
    assert_true(run_until(&s, all_subscribed, PATIENCE));
    assert_true(run_until(&s, told_commands, PATIENCE));
    assert_int_equal(command_list_flags(service(&s)->commands, "foo"), LISTED_READONLY);
    assert_int_equal(s.node[0].commanded, 1);
    s.node[1].role = "master";
    for (size_t i = 0; i < SENTINELS; i++) {
        tell_switch(&s, i);
    }
    assert_true(run_until(&s, second_generation, PATIENCE));
    assert_non_null(service(&s)->commands);
    assert_true(run_until(&s, refused_commands, PATIENCE));
    s.node[1].commands = "*1\r\n*3\r\n$3\r\nfoo\r\n:1\r\n*1\r\n+write\r\n";
    assert_true(run_until(&s, told_commands, PATIENCE));
    assert_int_equal(command_list_flags(service(&s)->commands, "foo"), LISTED_WRITE);
    assert_int_equal(s.node[0].commanded, 1);
    assert_int_equal(s.node[1].commanded, 2);
    stage_clear(&s);
}

static bool one_listed(struct stage *s)
{
    return serving(s) && service(s)->listed == 1;
}

static bool one_fit(struct stage *s)
{
    const struct topology_replicas *replicas = service(s)->replicas;
    return serving(s) && replicas != NULL && replicas->count == 1;
}

static bool none_fit(struct stage *s)
{
    return service(s)->replicas != NULL && service(s)->replicas->count == 0;
}

static bool ten_rounds(struct stage *s)
{
    return rounds_next(service(s)->rounds) > 10;
}

static void stage_with_replica(struct stage *s)
{
    stage_set(s);
    s->service.stall_timeout_ms = 250;
    s->service.max_replica_lag_ms = 60000;
    for (size_t i = 0; i < SENTINELS; i++) {
        s->sentinel[i].replica = s->node[1].addr.port;
    }
}

static void replicas_are_asked_for_who_wants_them(void **state)
{
    (void)state;
    struct stage s;
    stage_with_replica(&s);
    stage_start(&s);
    assert_true(run_until(&s, one_listed, PATIENCE));
    assert_false(run_until(&s, never, 200));
    assert_null(service(&s)->replicas);
    assert_int_equal(s.node[1].accepted, 0);
    assert_int_equal(rounds_next(service(&s)->rounds), 1);
    watcher_hint_replica(s.watcher, 0, HINT_REPLICA_FAILED, 1); /* of which there is none */
    watcher_hint_replica(s.watcher, 0, HINT_REPLICAS_WANTED, 0);
    assert_true(run_until(&s, one_fit, PATIENCE));
    assert_int_equal(service(&s)->replicas->replica[0].name.port, s.node[1].addr.port);
    assert_true(run_until(&s, ten_rounds, PATIENCE));
    uint32_t id = service(&s)->replicas->replica[0].id;
    uint64_t begun = rounds_next(service(&s)->rounds);
    watcher_hint_replica(s.watcher, 0, HINT_ROUND_WANTED, 0);
    assert_false(run_until(&s, never, ROUND_MS / 4));
    assert_true(rounds_next(service(&s)->rounds) > begun);
    watcher_hint_replica(s.watcher, 0, HINT_REPLICA_FAILED, id);
    assert_true(none_fit(&s)); /* at once */
    assert_true(run_until(&s, one_fit, PATIENCE));
    assert_true(service(&s)->replicas->replica[0].id > id);
    stage_clear(&s);
}

static bool second_generation_fit(struct stage *s)
{
    return second_generation(s) && one_fit(s);
}

static bool old_ids_gone(struct stage *s)
{
    return second_generation(s) && none_fit(s);
}

static void replicas_follow_the_primary(void **state)
{
    (void)state;
    struct stage s;
    stage_with_replica(&s);
    s.service.read_policy = READS_REPLICA;
    stage_start(&s);
    assert_true(run_until(&s, one_fit, PATIENCE)); /* by what the configuration says */
    uint32_t id = service(&s)->replicas->replica[0].id;
    uint64_t next = rounds_next(service(&s)->rounds);
    for (size_t i = 0; i < SENTINELS; i++) {
        s.sentinel[i].replica = s.node[0].addr.port;
        tell_switch(&s, i);
    }
    s.node[1].role = "master";
    s.node[0].role = "slave";
    s.node[0].role_master = s.node[1].addr.port;
    /* The snapshot that names the new primary names no replica of the old one. */
    assert_true(run_until(&s, old_ids_gone, PATIENCE));
    assert_true(run_until(&s, second_generation_fit, PATIENCE));
    const struct topology_replica *now = &service(&s)->replicas->replica[0];
    assert_int_equal(now->name.port, s.node[0].addr.port);
    assert_true(now->id > id && now->caught >= next);
    stage_clear(&s);
}

/* loop_free checks that nothing stays open, the sanitizer that nothing is used after. */
static void it_can_be_stopped_at_any_time(void **state)
{
    (void)state;
    for (uint64_t ms = 0; ms < 12; ms++) {
        struct stage s;
        stage_with_replica(&s);
        s.service.read_policy = READS_ANY;
        s.sentinel[1].mood = FAKE_HALF;
        (void)snprintf(s.address[2].host, sizeof s.address[2].host, "localhost");
        stage_start(&s);
        if (ms > 0) {
            (void)run_until(&s, never, ms - 1);
        }
        stage_clear(&s);
    }
}

int main(void)
{
    log_set_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_primary_tells_its_commands),
        cmocka_unit_test(replicas_are_asked_for_who_wants_them),
        cmocka_unit_test(replicas_follow_the_primary),
        cmocka_unit_test(it_can_be_stopped_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
