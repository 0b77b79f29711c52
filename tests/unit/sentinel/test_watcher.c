/* The watcher against fake Sentinels and nodes on its own loop. */
#include "tests/unit/sentinel/fake.h"
#include "tests/unit/sentinel/until.h"

#include "proxy/base/clock.h"
#include "sentinel/replica_watch.h"
#include "sentinel/watcher.h"

#define SENTINELS 3
#define NODES     2
#define PATIENCE  5000u

struct stage {
    struct loop *loop;
    struct fake sentinel[SENTINELS];
    struct fake node[NODES];
    struct addr address[SENTINELS];
    struct config_service service;
    struct config_sentinel group;
    struct config config;
    struct watcher *watcher;
    struct topology *topology; /* the last one published */
    unsigned published;
    struct until until;
};

static void on_publish(void *owner, struct topology *t)
{
    struct stage *s = owner;
    assert_true(s->topology == NULL || t->serial > s->topology->serial);
    topology_unref(&s->topology);
    s->topology = t;
    s->published++;
    until_look(&s->until);
}

static bool never(struct stage *s)
{
    (void)s;
    return false;
}

static bool run_until(struct stage *s, bool (*met)(struct stage *s), uint64_t ms)
{
    return until_run(&s->until, s->loop, s, met, ms);
}

static const struct topology_service *service(const struct stage *s)
{
    return &s->topology->service[0];
}

static void assert_primary(const struct stage *s, const struct fake *node, uint64_t generation)
{
    assert_int_equal(service(s)->primary_name.port, node->addr.port);
    assert_int_equal(service(s)->generation, generation);
}

static bool is(const struct stage *s, enum service_state state)
{
    return s->topology != NULL && service(s)->state == state;
}

static bool serving(struct stage *s)
{
    return is(s, SERVICE_SERVING);
}

static bool suspect(struct stage *s)
{
    return is(s, SERVICE_SUSPECT);
}

static bool holding(struct stage *s)
{
    return is(s, SERVICE_HOLDING);
}

static bool second_generation(struct stage *s)
{
    return serving(s) && service(s)->generation == 2;
}

static bool told_commands(struct stage *s)
{
    return serving(s) && service(s)->commands != NULL;
}

static bool refused_commands(struct stage *s)
{
    return second_generation(s) && s->node[1].commanded > 0 && service(s)->commands == NULL;
}

static bool all_subscribed(struct stage *s)
{
    bool all = serving(s);
    for (size_t i = 0; i < SENTINELS; i++) {
        all = all && s->sentinel[i].subscribed > 0;
    }
    return all;
}

/* Three Sentinels that name node 0, a master; node 1 follows it. */
static void stage_set(struct stage *s)
{
    static const char *const ids[SENTINELS] = {"id-one", "id-two", "id-three"};
    memset(s, 0, sizeof *s);
    s->loop = loop_new(NULL, NULL);
    for (size_t i = 0; i < NODES; i++) {
        fake_open(&s->node[i], s->loop);
    }
    s->node[0].role = "master";
    s->node[1].role = "slave";
    s->node[1].role_master = s->node[0].addr.port;
    for (size_t i = 0; i < SENTINELS; i++) {
        s->sentinel[i].id = ids[i];
        s->sentinel[i].primary = s->node[0].addr.port;
        s->sentinel[i].epoch = 5;
        fake_open(&s->sentinel[i], s->loop);
        s->address[i] = s->sentinel[i].addr;
    }
    static char name[] = "mymaster";
    s->service = (struct config_service){
        .name = name, .hold_on_failover = true, .follow_role = true, .connect_timeout_ms = 300};
    s->config.services = &s->service;
    s->config.service_count = 1;
    s->group = (struct config_sentinel){.address = {s->address, SENTINELS},
                                        .connect_timeout_ms = 200,
                                        .poll_interval_ms = 1000,
                                        .poll_interval_fast_ms = 50};
    s->config.groups = &s->group;
    s->config.group_count = 1;
}

static void stage_start(struct stage *s)
{
    s->watcher = watcher_start(s->loop, &s->config, on_publish, s);
}

static void stage_clear(struct stage *s)
{
    if (s->watcher != NULL) {
        watcher_stop(&s->watcher);
    }
    assert_null(s->watcher);
    for (size_t i = 0; i < SENTINELS; i++) {
        fake_close(&s->sentinel[i]);
    }
    for (size_t i = 0; i < NODES; i++) {
        fake_close(&s->node[i]);
    }
    loop_free(&s->loop);
    topology_unref(&s->topology);
}

static void stage_serving(struct stage *s)
{
    stage_set(s);
    stage_start(s);
    assert_true(run_until(s, all_subscribed, PATIENCE));
}

/* What a Sentinel that has learnt of the failover says. */
static void tell_switch(struct stage *s, size_t sentinel)
{
    char text[64];
    struct fake *f = &s->sentinel[sentinel];
    f->primary = s->node[1].addr.port;
    f->epoch = 6;
    (void)snprintf(text, sizeof text, "mymaster 127.0.0.1 %u 127.0.0.1 %u", s->node[0].addr.port,
                   s->node[1].addr.port);
    fake_publish(f, "+switch-master", text);
}

static void tell_primary(struct stage *s, size_t sentinel, const char *channel)
{
    char text[64];
    (void)snprintf(text, sizeof text, "master mymaster 127.0.0.1 %u", s->node[0].addr.port);
    fake_publish(&s->sentinel[sentinel], channel, text);
}

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
    s.group.password = wrong;
    stage_start(&s);
    assert_false(run_until(&s, serving, 300));
    watcher_stop(&s.watcher);
    s.group.password = right;
    s.node[0].password = right;
    s.service.password = right;
    topology_unref(&s.topology);
    stage_start(&s);
    assert_true(run_until(&s, all_subscribed, PATIENCE));
    stage_clear(&s);
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

/* loop_free checks that nothing stays open, the sanitizer that nothing is used after. */
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
        cmocka_unit_test(a_node_that_refuses_role_is_believed_with_a_majority),
        cmocka_unit_test(a_hand_over_is_followed),
        cmocka_unit_test(names_are_resolved),
        cmocka_unit_test(each_primary_tells_its_commands),
        cmocka_unit_test(replicas_are_asked_for_who_wants_them),
        cmocka_unit_test(replicas_follow_the_primary),
        cmocka_unit_test(it_can_be_stopped_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
