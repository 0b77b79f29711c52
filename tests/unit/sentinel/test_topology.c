/* The snapshot and its references. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <pthread.h>

#include <cmocka.h>

#include "sentinel/topology.h"

static void new_ones_are_empty(void **state)
{
    (void)state;
    struct topology *t = topology_new(2);
    assert_int_equal(t->service_count, 2);
    assert_int_equal(t->serial, 0);
    assert_int_equal(t->service[1].state, SERVICE_SEEKING);
    assert_int_equal(t->service[1].generation, 0);
    topology_unref(&t);
    assert_null(t);
    topology_unref(&t);
}

static void the_last_reference_frees(void **state)
{
    (void)state;
    struct topology *t = topology_new(0), *second = topology_ref(t);
    topology_unref(&t);
    assert_int_equal(second->service_count, 0); /* the sanitizer would tell */
    topology_unref(&second);
}

static void *refs_and_unrefs(void *arg)
{
    for (int i = 0; i < 10000; i++) {
        struct topology *t = topology_ref(arg);
        topology_unref(&t);
    }
    return NULL;
}

static void references_are_counted_across_threads(void **state)
{
    (void)state;
    struct topology *t = topology_new(1);
    pthread_t other;
    assert_int_equal(pthread_create(&other, NULL, refs_and_unrefs, t), 0);
    (void)refs_and_unrefs(t);
    assert_int_equal(pthread_join(other, NULL), 0);
    assert_int_equal(t->refs, 1);
    topology_unref(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_ones_are_empty),
        cmocka_unit_test(the_last_reference_frees),
        cmocka_unit_test(references_are_counted_across_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
