/* Who may connect, by address, and how many from one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include <cmocka.h>

#include "proxy/admission.h"

static struct sockaddr_any at(const char *text)
{
    struct addr addr;
    struct sockaddr_any out;
    assert_null(addr_parse(slice_str(text), 1, &addr));
    assert_true(addr_numeric(&addr, &out));
    return out;
}

static struct config_nets nets_of(struct addr_net *room, const char *const *texts)
{
    struct config_nets nets = {.v = room};
    while (texts[nets.count] != NULL) {
        assert_null(addr_net_parse(slice_str(texts[nets.count]), &room[nets.count]));
        nets.count++;
    }
    return nets;
}

static void test_allow(void **state)
{
    static const char *const texts[] = {"10.1.0.0/16", "192.0.2.7", "2001:db8::/32", NULL};
    static const struct {
        const char *from;
        bool allowed;
    } cases[] = {
        {"10.1.0.0:1", true},      {"10.1.255.255:1", true},       {"10.2.0.0:1", false},
        {"10.0.255.255:1", false}, {"192.0.2.7:9", true},          {"192.0.2.8:9", false},
        {"[2001:db8::1]:1", true}, {"[2001:db9::1]:1", false},     {"[::1]:1", false},
        {"unix:/a/b", true},       {"[::ffff:10.1.0.1]:1", false}, /* nothing connects by it */
    };
    struct addr_net room[3];
    struct config_access access = {.allow = nets_of(room, texts)}, open = {0};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sockaddr_any from = at(cases[i].from);
        assert_int_equal(admission_allows(&access, &from), cases[i].allowed);
        assert_true(admission_allows(&open, &from));
    }
    struct sockaddr_any nobody = {0};
    assert_false(admission_allows(&access, &nobody));
}

static void test_ways(void **state)
{
    static const char *const texts[] = {"10.1.0.0/16", NULL}, *const none[] = {NULL};
    static const struct {
        enum config_proxied proxied;
        bool listed;
        enum admission_way ways[3]; /* of 10.1.0.1, of 10.2.0.1, of a unix socket */
    } cases[] = {
        {CONFIG_PROXIED_NO, true, {ADMISSION_PLAIN, ADMISSION_PLAIN, ADMISSION_PLAIN}},
        {CONFIG_PROXIED_YES, true, {ADMISSION_HEADER, ADMISSION_REFUSED, ADMISSION_PLAIN}},
        {CONFIG_PROXIED_YES, false, {ADMISSION_HEADER, ADMISSION_HEADER, ADMISSION_PLAIN}},
        {CONFIG_PROXIED_OPTIONAL, true, {ADMISSION_HEADER, ADMISSION_PLAIN, ADMISSION_PLAIN}},
    };
    static const char *const peers[] = {"10.1.0.1:1", "10.2.0.1:1", "unix:/a"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct addr_net room[1];
        struct config_access access = {.proxied = cases[i].proxied,
                                       .proxied_from =
                                           nets_of(room, cases[i].listed ? texts : none)};
        for (size_t k = 0; k < ARRAY_LEN(peers); k++) {
            struct sockaddr_any peer = at(peers[k]);
            assert_int_equal(admission_way(&access, &peer), cases[i].ways[k]);
        }
    }
}

static void test_as_many_as_may_be(void **state)
{
    struct config_proxy config = {.max_clients = 100, .max_clients_per_address = 2};
    struct admission *a = admission_new(&config);
    struct guest *guests[2 * 300];
    size_t count = 0;
    (void)state;
    for (unsigned i = 0; i < 300; i++) {
        char text[32];
        (void)snprintf(text, sizeof text, i % 2 == 0 ? "10.0.%u.%u:1" : "[fd00::%u:%u]:1", i / 200,
                       i % 200);
        struct sockaddr_any from = at(text);
        struct guest *third;
        assert_true(admission_enter(a, &from, false, &guests[count++]));
        assert_true(admission_enter(a, &from, i % 3 == 0, &guests[count++]));
        assert_false(admission_enter(a, &from, false, &third));
        assert_null(third);
        admission_leave(&guests[count - 1]); /* then there is a place */
        assert_null(guests[count - 1]);
        assert_true(admission_enter(a, &from, false, &guests[count - 1]));
    }
    struct sockaddr_any file = at("unix:/a");
    for (unsigned i = 0; i < 5; i++) {
        struct guest *guest;
        assert_true(admission_enter(a, &file, false, &guest));
        assert_null(guest);
    }
    while (count > 0) {
        admission_leave(&guests[--count]);
    }
    admission_free(&a); /* checks that nobody is left */
    assert_null(a);
}

static void test_what_is_remembered(void **state)
{
    struct config_proxy config = {.max_clients = 100};
    struct admission *a = admission_new(&config);
    struct sockaddr_any v4 = at("192.0.2.1:40000"), v6 = at("[2001:db8::1]:7");
    struct guest *guest;
    struct addr addr;
    char text[ADDR_TEXT_MAX];
    (void)state;
    assert_true(admission_enter(a, &v4, false, &guest));
    assert_null(guest); /* its socket tells all there is */
    assert_false(guest_address(guest, &addr));
    assert_true(admission_enter(a, &v4, true, &guest));
    assert_true(guest_address(guest, &addr));
    assert_string_equal(addr_text(&addr, text), "192.0.2.1:40000");
    admission_leave(&guest);
    assert_true(admission_enter(a, &v6, true, &guest));
    assert_true(guest_address(guest, &addr));
    assert_string_equal(addr_text(&addr, text), "[2001:db8::1]:7");
    admission_leave(&guest);
    admission_leave(&guest);
    admission_free(&a);
    admission_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allow),
        cmocka_unit_test(test_ways),
        cmocka_unit_test(test_as_many_as_may_be),
        cmocka_unit_test(test_what_is_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
