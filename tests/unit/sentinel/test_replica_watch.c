/* The rounds of a service, against nodes on the loop of the test. */
#include "tests/unit/sentinel/fake.h"
#include "tests/unit/sentinel/until.h"

#include "proxy/base/clock.h"
#include "sentinel/replica_watch.h"

#define PATIENCE 5000u
#define REPLICAS 2
#define INFO                                                                                       \
    "# Replication\r\nslave_priority:100\r\n"                                                      \
    "master_replid:0123456789abcdef0123456789abcdef01234567\r\n"

struct stage {
    struct loop *loop;
    struct config_service service;
    struct config_mappings map;
    struct probe_group group;
    struct names *names;
    struct rounds *rounds;
    struct fake primary, replica[REPLICAS];
    struct replica_watch *watch;
    struct topology_replicas *last;
    unsigned published;
    struct until until;
    uint64_t round;
};

/* What the primary's question was preceded by: as the fakes have no owner. */
static struct stage *playing;

static void on_names(void *owner)
{
    (void)owner;
}

static void on_told(void *owner, struct probe *p)
{
    (void)owner;
    (void)p;
}

static void on_changed(void *owner)
{
    struct stage *s = owner;
    topology_replicas_unref(&s->last);
    s->last = replica_watch_snapshot(s->watch);
    s->published++;
}

static bool run_until(struct stage *s, bool (*met)(struct stage *s), uint64_t ms)
{
    return until_run(&s->until, s->loop, s, met, ms);
}

static bool never(struct stage *s)
{
    (void)s;
    return false;
}

static void run_for(struct stage *s, uint64_t ms)
{
    assert_false(run_until(s, never, ms));
}

static bool follow(struct stage *s, uint64_t generation)
{
    struct sockaddr_any primary;
    struct replica_listed listed[REPLICAS];
    assert_true(addr_numeric(&s->primary.addr, &primary));
    for (size_t i = 0; i < REPLICAS; i++) {
        listed[i].name = s->replica[i].addr;
        assert_true(addr_numeric(&listed[i].name, &listed[i].at));
    }
    return replica_watch_follow(s->watch, generation, &primary, &s->primary.addr, listed, REPLICAS);
}

static void setup(struct stage *s)
{
    static char name[] = "mymaster";
    memset(s, 0, sizeof *s);
    playing = s;
    s->loop = loop_new(s, NULL);
    s->service = (struct config_service){.name = name,
                                         .connect_timeout_ms = 1000,
                                         .stall_timeout_ms = 250,
                                         .max_replica_lag_ms = 60000,
                                         .reads_during_failover = true};
    s->group = (struct probe_group){
        .loop = s->loop, .service = &s->service, .map = &s->map, .told = on_told, .owner = s};
    s->names = names_new(s->loop, on_names, s);
    s->rounds = rounds_new();
    s->primary = (struct fake){.role = "master", .info = INFO, .offset = 100};
    fake_open(&s->primary, s->loop);
    for (size_t i = 0; i < REPLICAS; i++) {
        s->replica[i] = (struct fake){
            .role = "slave", .role_master = s->primary.addr.port, .info = INFO, .offset = 100};
        fake_open(&s->replica[i], s->loop);
    }
    s->watch = replica_watch_new(&s->group, s->names, s->rounds, on_changed, s);
    s->last = replica_watch_snapshot(s->watch);
    assert_true(follow(s, 1));
    assert_false(follow(s, 1));
}

static void teardown(struct stage *s)
{
    replica_watch_free(&s->watch);
    fake_close(&s->primary);
    for (size_t i = 0; i < REPLICAS; i++) {
        fake_close(&s->replica[i]);
    }
    topology_replicas_unref(&s->last);
    names_free(&s->names);
    rounds_unref(&s->rounds);
    loop_free(&s->loop);
}

static bool all_fit(struct stage *s)
{
    return s->last->count == REPLICAS;
}

static bool one_fit(struct stage *s)
{
    return s->last->count == 1;
}

static bool none_fit(struct stage *s)
{
    return s->last->count == 0;
}

/* All that serve have caught up with s->round. */
static bool caught_up(struct stage *s)
{
    bool all = s->last->count > 0;
    for (uint32_t i = 0; i < s->last->count; i++) {
        all = all && s->last->replica[i].caught >= s->round;
    }
    return all;
}

static bool asked_again(struct stage *s)
{
    return s->primary.roles > s->round;
}

static void fit_by_rounds(void **state)
{
    struct stage s;
    (void)state;
    setup(&s);
    assert_string_equal(s.last->lack, "no primary is known");
    assert_true(run_until(&s, all_fit, PATIENCE));
    assert_true(s.primary.roles >= REPLICA_GOOD_ROUNDS);
    assert_int_equal(s.primary.accepted, 1);
    assert_int_equal(s.replica[0].accepted, 1);
    s.round = rounds_next(s.rounds) + 2;
    assert_true(run_until(&s, caught_up, PATIENCE));
    /* INFO is asked for now and then, ROLE each round, which is published once. */
    unsigned roles = s.replica[0].roles, informed = s.replica[0].informed, published = s.published;
    s.round = s.primary.roles + 10;
    assert_true(run_until(&s, asked_again, PATIENCE));
    assert_true(s.replica[0].roles >= roles + 8);
    assert_true(s.replica[0].informed <= informed + 2);
    assert_true(s.published >= published + 8 && s.published <= published + 16);
    teardown(&s);
}

/* The offset that the primary tells has all that was done before anybody saw the count rise. */
static void on_primary_asked(struct fake *f)
{
    uint64_t round = rounds_next(playing->rounds) - 1;
    assert_true(round > playing->round); /* it is counted, and not one that was asked before */
    playing->round = round;
    f->offset++;
    for (size_t i = 0; i < REPLICAS; i++) {
        playing->replica[i].offset = f->offset;
    }
}

static bool ten_rounds(struct stage *s)
{
    return s->primary.roles >= 10;
}

static void rounds_are_counted_before_they_are_asked(void **state)
{
    struct stage s;
    (void)state;
    setup(&s);
    s.primary.on_role = on_primary_asked;
    assert_true(run_until(&s, ten_rounds, PATIENCE));
    assert_true(run_until(&s, all_fit, PATIENCE));
    teardown(&s);
}

/* One that is behind is published as such; what it has caught up with stays. */
static void one_that_is_behind(void **state)
{
    struct stage s;
    (void)state;
    setup(&s);
    assert_true(run_until(&s, all_fit, PATIENCE));
    s.replica[1].role_master = 0; /* out of the way */
    assert_true(run_until(&s, one_fit, PATIENCE));
    uint64_t caught = s.last->replica[0].caught;
    s.primary.offset += 10;
    s.round = s.primary.roles + 3;
    assert_true(run_until(&s, asked_again, PATIENCE));
    assert_true(rounds_next(s.rounds) > caught + 2);
    uint64_t stays = s.last->replica[0].caught;
    assert_true(stays == caught || stays == caught + 1);
    s.replica[0].offset += 10;
    s.round = stays + 1;
    assert_true(run_until(&s, caught_up, PATIENCE));
    teardown(&s);
}

/* A session that waits has a round of its own at once, and the replicas are asked again while they
 * are a moment behind. */
static void on_replica_asked(struct fake *f)
{
    f->offset = f->roles % 3 == 0 ? playing->primary.offset : f->offset;
}

static void in_a_hurry(void **state)
{
    enum { TIMES = 20 };
    struct stage s;
    (void)state;
    setup(&s);
    assert_true(run_until(&s, all_fit, PATIENCE));
    for (size_t i = 0; i < REPLICAS; i++) {
        s.replica[i].on_role = on_replica_asked;
    }
    uint64_t begun = clock_ms();
    for (unsigned i = 0; i < TIMES; i++) {
        s.primary.offset++;
        s.round = rounds_next(s.rounds);
        replica_watch_hurry(s.watch);
        assert_true(run_until(&s, caught_up, PATIENCE));
    }
    assert_true(clock_ms() - begun < (uint64_t)TIMES * ROUND_MS);
    /* Many who are in a hurry are one. */
    unsigned roles = s.primary.roles;
    for (unsigned i = 0; i < 1000; i++) {
        replica_watch_hurry(s.watch);
    }
    s.round = rounds_next(s.rounds);
    assert_true(run_until(&s, caught_up, PATIENCE));
    assert_true(s.primary.roles <= roles + 2);
    teardown(&s);
}

static void silent_and_closed(void **state)
{
    struct stage s;
    (void)state;
    setup(&s);
    assert_true(run_until(&s, all_fit, PATIENCE));
    uint32_t id = s.last->replica[0].id;
    s.replica[0].mood = FAKE_SILENT;
    assert_true(run_until(&s, one_fit, PATIENCE));
    s.replica[0].mood = FAKE_WELL;
    assert_true(run_until(&s, all_fit, PATIENCE)); /* over a fresh connection, in the end */
    assert_int_not_equal(s.last->replica[0].id, id);
    fake_drop_conns(&s.replica[1]);
    assert_true(run_until(&s, one_fit, PATIENCE));
    assert_true(run_until(&s, all_fit, PATIENCE));
    fake_close(&s.replica[0]);
    fake_close(&s.replica[1]);
    assert_true(run_until(&s, none_fit, PATIENCE));
    assert_string_equal(s.last->lack, "no connection");
    unsigned published = s.published;
    run_for(&s, 300);
    assert_int_equal(s.published, published); /* there is nothing to tell */
    teardown(&s);
}

static void what_a_worker_tells(void **state)
{
    struct stage s;
    (void)state;
    setup(&s);
    assert_true(run_until(&s, all_fit, PATIENCE));
    uint32_t id = s.last->replica[0].id;
    replica_watch_failed(s.watch, id);
    assert_int_equal(s.last->count, 1); /* at once */
    replica_watch_failed(s.watch, id);
    assert_true(run_until(&s, all_fit, PATIENCE));
    assert_int_not_equal(s.last->replica[0].id, id);
    assert_int_equal(s.replica[0].accepted, 2); /* by a fresh connection */
    teardown(&s);
}

/* Without a primary that answers, replicas are asked all the same; and its late answer counts. */
static void a_silent_primary(void **state)
{
    struct stage s;
    (void)state;
    setup(&s);
    assert_true(run_until(&s, all_fit, PATIENCE));
    s.primary.mood = FAKE_SILENT;
    unsigned roles = s.replica[0].roles;
    run_for(&s, 400);
    assert_true(s.replica[0].roles > roles + 2);
    s.replica[0].cut_off = true;
    run_for(&s, 200);
    assert_int_equal(s.last->count, REPLICAS); /* that it has lost it says nothing */
    s.primary.mood = FAKE_WELL;
    assert_true(run_until(&s, one_fit, PATIENCE));
    s.replica[0].cut_off = false;
    assert_true(run_until(&s, all_fit, PATIENCE));
    teardown(&s);
}

static void what_is_refused(void **state)
{
    struct stage s;
    (void)state;
    setup(&s);
    s.primary.info = NULL;
    s.replica[0].info = NULL;
    assert_true(run_until(&s, all_fit, PATIENCE)); /* INFO is not needed */
    s.replica[0].role = NULL;
    assert_true(run_until(&s, one_fit, PATIENCE));
    s.replica[1].mood = FAKE_GARBAGE;
    assert_true(run_until(&s, none_fit, PATIENCE));
    teardown(&s);
}

static bool informed_again(struct stage *s)
{
    return s->replica[0].informed > s->round;
}

/* One that has a reason in its INFO is asked for it oftener. */
static void who_loads_is_asked_again_soon(void **state)
{
    struct stage s;
    (void)state;
    setup(&s);
    s.replica[0].info = INFO "loading:1\r\n";
    assert_true(run_until(&s, one_fit, PATIENCE));
    uint64_t begun = clock_ms();
    s.round = s.replica[0].informed + 4;
    assert_true(run_until(&s, informed_again, PATIENCE));
    assert_true(clock_ms() - begun < 4000);
    assert_true(one_fit(&s));
    s.replica[0].info = INFO;
    assert_true(run_until(&s, all_fit, PATIENCE));
    teardown(&s);
}

static void another_primary(void **state)
{
    struct stage s;
    (void)state;
    setup(&s);
    assert_true(run_until(&s, all_fit, PATIENCE));
    uint32_t last = s.last->replica[1].id;
    assert_true(follow(&s, 2));
    on_changed(&s); /* as the owner publishes it */
    assert_int_equal(s.last->count, 0);
    assert_true(run_until(&s, all_fit, PATIENCE));
    assert_true(s.last->replica[0].id > last && s.last->replica[1].id > last);
    assert_int_equal(s.primary.accepted, 2);
    teardown(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fit_by_rounds),
        cmocka_unit_test(rounds_are_counted_before_they_are_asked),
        cmocka_unit_test(one_that_is_behind),
        cmocka_unit_test(in_a_hurry),
        cmocka_unit_test(silent_and_closed),
        cmocka_unit_test(what_a_worker_tells),
        cmocka_unit_test(a_silent_primary),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(who_loads_is_asked_again_soon),
        cmocka_unit_test(another_primary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
