/* Names and what they resolve to, with a resolver that says what the test wants. */
#include "tests/unit/sentinel/fake.h"
#include "tests/unit/sentinel/until.h"

#include "sentinel/names.h"
#include "sentinel/watcher.h"

/* The resolver: every name has these addresses, or this error. */
static struct {
    const char *host[RESOLVE_MAX];
    size_t count;
    int err;
    unsigned asked;
} zone;

struct resolve {
    struct wheel_timer timer;
    struct loop *loop;
    struct addr name;
    void (*done)(void *owner, int err, const struct sockaddr_any *found, size_t count);
    void *owner;
};

static void answer(struct wheel_timer *timer)
{
    struct resolve *r = CONTAINER_OF(timer, struct resolve, timer);
    struct sockaddr_any found[RESOLVE_MAX];
    for (size_t i = 0; i < zone.count; i++) {
        struct addr a = {.port = r->name.port};
        (void)snprintf(a.host, sizeof a.host, "%s", zone.host[i]);
        assert_true(addr_numeric(&a, &found[i]));
    }
    r->done(r->owner, zone.err, found, zone.err == 0 ? zone.count : 0);
    free(r);
}

struct resolve *resolve_start(struct loop *loop, const struct addr *name,
                              void (*done)(void *owner, int err, const struct sockaddr_any *found,
                                           size_t count),
                              void *owner)
{
    struct resolve *r = calloc(1, sizeof *r);
    assert_non_null(r);
    *r = (struct resolve){.loop = loop, .name = *name, .done = done, .owner = owner};
    zone.asked++;
    loop_arm(loop, &r->timer, 1, answer);
    return r;
}

void resolve_cancel(struct resolve **where)
{
    struct resolve *r = *where;
    *where = NULL;
    if (r != NULL) {
        loop_disarm(r->loop, &r->timer);
        free(r);
    }
}

const char *resolve_error(int err)
{
    (void)err;
    return "no such name";
}

const char *resolve_now(const struct addr *name, struct sockaddr_any *out)
{
    return addr_numeric(name, out) ? NULL : "no such name";
}

static void zone_is(const char *one, const char *two, const char *three)
{
    memset(&zone, 0, sizeof zone);
    const char *hosts[] = {one, two, three};
    for (size_t i = 0; i < ARRAY_LEN(hosts) && hosts[i] != NULL; i++) {
        zone.host[zone.count++] = hosts[i];
    }
}

struct stage {
    struct loop *loop;
    struct names *names;
    unsigned changed;
    struct until until;
    struct fake sentinel[3], node;
    struct topology *topology;
};

static void on_changed(void *owner)
{
    struct stage *s = owner;
    s->changed++;
}

static bool run_until(struct stage *s, bool (*met)(struct stage *s), uint64_t ms)
{
    return until_run(&s->until, s->loop, s, met, ms);
}

static bool changed(struct stage *s)
{
    return s->changed > 0;
}

static bool asked_again(struct stage *s)
{
    (void)s;
    return zone.asked > 0;
}

static const struct addr name = {.host = "redis.example", .port = 6379};

static const char *one_of(struct stage *s)
{
    static struct addr a;
    struct sockaddr_any at;
    if (!names_one(s->names, &name, &at)) {
        return "none";
    }
    assert_true(sockaddr_to_addr(&at, &a));
    assert_int_equal(a.port, name.port);
    return a.host;
}

static void set(struct stage *s)
{
    memset(s, 0, sizeof *s);
    s->loop = loop_new(NULL, NULL);
    s->names = names_new(s->loop, on_changed, s);
}

static void clear(struct stage *s)
{
    names_free(&s->names);
    loop_free(&s->loop);
}

/* The address that is used. */
static struct sockaddr_any used(struct stage *s)
{
    struct sockaddr_any at;
    assert_true(names_one(s->names, &name, &at));
    return at;
}

static void all_addresses_of_a_name(void **state)
{
    struct stage s;
    struct sockaddr_any all[RESOLVE_MAX];
    (void)state;
    set(&s);
    zone_is("127.0.0.1", "::1", "127.0.0.3");
    assert_int_equal(names_all(s.names, &name, all), 0);
    assert_true(names_pending(s.names, &name));
    assert_true(run_until(&s, changed, 1000));
    assert_false(names_pending(s.names, &name));
    assert_int_equal(names_all(s.names, &name, all), 3);
    assert_int_equal(all[1].ss.ss_family, AF_INET6);
    assert_string_equal(one_of(&s), "127.0.0.1");
    clear(&s);
}

static void one_that_never_worked_is_left_for_the_next(void **state)
{
    struct stage s;
    struct sockaddr_any at;
    (void)state;
    set(&s);
    zone_is("127.0.0.1", "127.0.0.2", NULL);
    (void)names_pending(s.names, &name);
    assert_true(run_until(&s, changed, 1000));
    at = used(&s);
    names_failed(s.names, &at);
    assert_string_equal(one_of(&s), "127.0.0.2");
    at = used(&s);
    names_worked(s.names, &at);
    names_failed(s.names, &at); /* what worked is not left for one that did not */
    assert_string_equal(one_of(&s), "127.0.0.2");
    clear(&s);
}

static void a_failure_has_it_looked_up_again(void **state)
{
    struct stage s;
    struct sockaddr_any at;
    (void)state;
    set(&s);
    zone_is("127.0.0.1", NULL, NULL);
    (void)names_pending(s.names, &name);
    assert_true(run_until(&s, changed, 1000));
    at = used(&s);
    names_worked(s.names, &at);

    /* A resolver that fails takes nothing away. */
    zone.asked = 0;
    zone.err = -3008;
    names_failed(s.names, &at);
    assert_true(run_until(&s, asked_again, 3000));
    assert_string_equal(one_of(&s), "127.0.0.1");

    /* One that knows better is believed at once. */
    zone_is("127.0.0.9", NULL, NULL);
    s.changed = 0;
    assert_true(run_until(&s, changed, 3000));
    assert_string_equal(one_of(&s), "127.0.0.9");
    clear(&s);
}

static void a_unix_socket_is_no_name(void **state)
{
    static const struct addr path = {.host = "/run/redis.sock"};
    struct stage s;
    struct sockaddr_any at[RESOLVE_MAX];
    (void)state;
    set(&s);
    zone_is(NULL, NULL, NULL);
    assert_int_equal(names_all(s.names, &path, at), 1);
    assert_int_equal(at[0].ss.ss_family, AF_UNIX);
    assert_false(names_pending(s.names, &path));
    assert_int_equal(zone.asked, 0);
    clear(&s);
}

/* Several Sentinels behind one name. */

static void on_publish(void *owner, struct topology *t)
{
    struct stage *s = owner;
    topology_unref(&s->topology);
    s->topology = t;
}

static bool serving(struct stage *s)
{
    return s->topology != NULL && s->topology->service[0].state == SERVICE_SERVING;
}

static bool all_asked(struct stage *s)
{
    return serving(s) && s->sentinel[0].subscribed > 0 && s->sentinel[1].subscribed > 0 &&
           s->sentinel[2].subscribed > 0;
}

/* Three Sentinels on one port of three addresses, that name the node. */
static void sentinels_open(struct stage *s)
{
    static const char *const hosts[] = {"127.0.0.1", "127.0.0.2", "127.0.0.3"};
    static const char *const ids[] = {"one", "two", "three"};
    s->node.role = "master";
    fake_open(&s->node, s->loop);
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        s->sentinel[i] = (struct fake){.host = hosts[i],
                                       .id = ids[i],
                                       .epoch = 1,
                                       .primary = s->node.addr.port,
                                       .addr = {.port = i == 0 ? 0 : s->sentinel[0].addr.port}};
        fake_open(&s->sentinel[i], s->loop);
    }
}

/* All three have to agree: with a name of two of them nothing is served. */
static void watch_them(bool third)
{
    static char service_name[] = "mymaster";
    struct stage s;
    memset(&s, 0, sizeof s);
    s.loop = loop_new(NULL, NULL);
    zone_is("127.0.0.1", "127.0.0.2", third ? "127.0.0.3" : NULL);
    sentinels_open(&s);
    struct addr address = {.host = "sentinels.example", .port = s.sentinel[0].addr.port};
    struct config_service service = {.name = service_name, .connect_timeout_ms = 300};
    struct config_sentinel group = {.address = {&address, 1},
                                    .connect_timeout_ms = 200,
                                    .poll_interval_ms = 1000,
                                    .poll_interval_fast_ms = 50,
                                    .min_agree = 3};
    struct config config = {
        .groups = &group, .group_count = 1, .services = &service, .service_count = 1};
    struct watcher *w = watcher_start(s.loop, &config, NULL, on_publish, &s);
    assert_int_equal(run_until(&s, all_asked, third ? 5000 : 500), third);
    assert_int_equal(serving(&s), third);
    assert_true(s.sentinel[0].asked > 0 && s.sentinel[1].asked > 0);
    for (size_t i = 0; i < ARRAY_LEN(s.sentinel); i++) {
        /* One connection for questions and one for messages, and no more. */
        assert_int_equal(s.sentinel[i].accepted, i < 2 || third ? 2 : 0);
    }
    watcher_stop(&w);
    topology_unref(&s.topology);
    for (size_t i = 0; i < ARRAY_LEN(s.sentinel); i++) {
        fake_close(&s.sentinel[i]);
    }
    fake_close(&s.node);
    loop_free(&s.loop);
}

static void each_sentinel_behind_a_name_counts(void **state)
{
    (void)state;
    watch_them(true);
    watch_them(false);
}

static bool third_asked(struct stage *s)
{
    return s->sentinel[2].asked > 0;
}

/* All of them are gone, and the name leads to others: that is found out at once, not at the next
 * look-up that would have been due. */
static void sentinels_that_moved_behind_a_name(void **state)
{
    static char service_name[] = "mymaster";
    struct stage s;
    (void)state;
    memset(&s, 0, sizeof s);
    s.loop = loop_new(NULL, NULL);
    zone_is("127.0.0.1", "127.0.0.2", NULL);
    sentinels_open(&s);
    struct addr address = {.host = "sentinels.example", .port = s.sentinel[0].addr.port};
    struct config_service service = {.name = service_name, .connect_timeout_ms = 300};
    struct config_sentinel group = {.address = {&address, 1},
                                    .connect_timeout_ms = 200,
                                    .poll_interval_ms = 1000,
                                    .poll_interval_fast_ms = 50};
    struct config config = {
        .groups = &group, .group_count = 1, .services = &service, .service_count = 1};
    struct watcher *w = watcher_start(s.loop, &config, NULL, on_publish, &s);
    assert_true(run_until(&s, serving, 5000));
    zone_is("127.0.0.3", NULL, NULL);
    fake_close(&s.sentinel[0]);
    fake_close(&s.sentinel[1]);
    assert_true(run_until(&s, third_asked, NAMES_REFRESH_MS / 3));
    watcher_stop(&w);
    topology_unref(&s.topology);
    fake_close(&s.sentinel[2]);
    fake_close(&s.node);
    loop_free(&s.loop);
}

int main(void)
{
    log_set_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_addresses_of_a_name),
        cmocka_unit_test(one_that_never_worked_is_left_for_the_next),
        cmocka_unit_test(a_failure_has_it_looked_up_again),
        cmocka_unit_test(a_unix_socket_is_no_name),
        cmocka_unit_test(each_sentinel_behind_a_name_counts),
        cmocka_unit_test(sentinels_that_moved_behind_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
