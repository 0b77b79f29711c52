/* What Sentinel publishes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sentinel/event.h"

static void messages(void **state)
{
    (void)state;
    static const struct {
        const char *channel, *payload;
        enum event_kind kind;
        const char *primary, *node; /* as text; "" for none */
    } rows[] = {
        {"+switch-master", "mymaster 10.0.0.1 6379 10.0.0.2 6380", EVENT_SWITCHED, "10.0.0.1:6379",
         "10.0.0.2:6380"},
        {"+switch-master", "mymaster fd00::1 6379 redis-1.local 6380", EVENT_SWITCHED,
         "[fd00::1]:6379", "redis-1.local:6380"},
        {"+switch-master", "mymaster ? 0 10.0.0.2 6380", EVENT_SWITCHED, "", "10.0.0.2:6380"},
        {"+try-failover", "master mymaster 10.0.0.1 6379", EVENT_FAILOVER, "10.0.0.1:6379", ""},
        {"+elected-leader", "master mymaster 10.0.0.1 6379", EVENT_FAILOVER, "10.0.0.1:6379", ""},
        {"+selected-slave", "slave 10.0.0.2:6380 10.0.0.2 6380 @ mymaster 10.0.0.1 6379",
         EVENT_FAILOVER, "10.0.0.1:6379", "10.0.0.2:6380"},
        {"+failover-state-wait-promotion",
         "slave [fd00::2]:6380 fd00::2 6380 @ mymaster fd00::1 6379", EVENT_FAILOVER,
         "[fd00::1]:6379", "[fd00::2]:6380"},
        {"+promoted-slave", "slave 10.0.0.2:6380 10.0.0.2 6380 @ mymaster 10.0.0.1 6379",
         EVENT_SWITCHED, "10.0.0.1:6379", "10.0.0.2:6380"},
        {"+failover-state-reconf-slaves", "master mymaster 10.0.0.1 6379", EVENT_SWITCHED,
         "10.0.0.1:6379", ""},
        {"-failover-abort-not-elected", "master mymaster 10.0.0.1 6379", EVENT_ABORTED,
         "10.0.0.1:6379", ""},
        {"+odown", "master mymaster 10.0.0.1 6379 #quorum 2/2", EVENT_SUSPICION, "10.0.0.1:6379",
         ""},
        {"-role-change",
         "slave 10.0.0.2:6380 10.0.0.2 6380 @ mymaster 10.0.0.1 6379 new reported role is master",
         EVENT_ROLE, "10.0.0.1:6379", "10.0.0.2:6380"},
        {"+config-update-from", "sentinel abc 10.0.0.9 26379 @ mymaster 10.0.0.1 6379",
         EVENT_SUSPICION, "10.0.0.1:6379", ""},
        {"+sentinel", "sentinel abc 10.0.0.9 26379 @ mymaster 10.0.0.1 6379", EVENT_PEERS,
         "10.0.0.1:6379", ""},
        /* Nothing that concerns us. */
        {"+sdown", "slave 10.0.0.2:6380 10.0.0.2 6380 @ mymaster 10.0.0.1 6379", EVENT_NONE, "",
         ""},
        {"+new-epoch", "7", EVENT_NONE, "", ""},
        {"+tilt", "#tilt mode entered", EVENT_NONE, "", ""},
        /* Not understood. */
        {"+try-failover", "", EVENT_NONE, "", ""},
        {"+try-failover", "master mymaster 10.0.0.1", EVENT_NONE, "", ""},
        {"+try-failover", "master mymaster 10.0.0.1 0", EVENT_NONE, "", ""},
        {"+try-failover", "master mymaster 0.0.0.0 6379", EVENT_NONE, "", ""},
        {"+try-failover", "master mymaster 10.0.0.1 99999999999999999999", EVENT_NONE, "", ""},
        {"+try-failover", "master  mymaster 10.0.0.1 6379", EVENT_NONE, "", ""},
        {"+selected-slave", "slave x 10.0.0.2 6380", EVENT_NONE, "", ""},
        {"+selected-slave", "slave x 10.0.0.2 6380 @ mymaster 10.0.0.1", EVENT_NONE, "", ""},
        {"+selected-slave", "slave x 10.0.0.2 6380 # mymaster 10.0.0.1 6379", EVENT_NONE, "", ""},
        {"+switch-master", "mymaster 10.0.0.1 6379 10.0.0.2", EVENT_NONE, "", ""},
        {"+switch-master", "mymaster 10.0.0.1 6379 10.0.0.2 70000", EVENT_NONE, "", ""},
        {"+switch-mast", "mymaster 10.0.0.1 6379 10.0.0.2 6380", EVENT_NONE, "", ""},
        {"", "mymaster 10.0.0.1 6379 10.0.0.2 6380", EVENT_NONE, "", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct event e = event_parse(slice_str(rows[i].channel), slice_str(rows[i].payload));
        char text[ADDR_TEXT_MAX];
        assert_int_equal(e.kind, rows[i].kind);
        assert_string_equal(e.primary.port == 0 ? "" : addr_text(&e.primary, text),
                            rows[i].primary);
        assert_string_equal(e.node.port == 0 ? "" : addr_text(&e.node, text), rows[i].node);
        assert_true(e.kind == EVENT_NONE || slice_eq(e.service, slice_str("mymaster")));
    }
}

static void the_leaders_steps_are_all_listened_to(void **state)
{
    (void)state;
    static const char *const must[] = {"+try-failover",
                                       "+elected-leader",
                                       "+failover-state-select-slave",
                                       "+selected-slave",
                                       "+failover-state-send-slaveof-noone",
                                       "+failover-state-wait-promotion",
                                       "+promoted-slave",
                                       EVENT_FALLBACK_CHANNEL,
                                       "-failover-abort-not-elected",
                                       "-failover-abort-no-good-slave",
                                       "-failover-abort-slave-timeout",
                                       "+sdown",
                                       "+odown",
                                       "-role-change",
                                       "+slave",
                                       "+sentinel"};
    for (size_t i = 0; i < sizeof must / sizeof must[0]; i++) {
        size_t k = 0;
        while (k < event_channel_count() && strcmp(event_channel(k), must[i]) != 0) {
            k++;
        }
        assert_true(k < event_channel_count());
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages),
        cmocka_unit_test(the_leaders_steps_are_all_listened_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
