/* What becomes of announced addresses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "sentinel/address_map.h"

struct row {
    const char *announced, *comes_out;
};

static struct addr addr_of(const char *text)
{
    struct addr a;
    assert_null(addr_parse_loose(slice_str(text), &a));
    return a;
}

static void applies(void **state)
{
    static const char *const entries[][2] = {
        {"172.17.0.2", "10.0.0.5"},     {"172.17.0.2:6379", "10.0.0.5:16379"},
        {"redis-1", "redis.example"},   {"10.0.0.5", "10.9.9.9"},
        {"[fd00::2]:6379", "[::1]"},    {"a:1", "b:2"},
        {"redis-2:6379", "10.0.0.6:1"}, {"redis-3:6379", "unix:/run/redis.sock"},
    };
    static const struct row rows[] = {
        {"172.17.0.2:6379", "10.0.0.5:16379"},  /* host and port come first */
        {"172.17.0.2:6380", "10.0.0.5:6380"},   /* the port stays */
        {"REDIS-1:7000", "redis.example:7000"}, /* names have no case */
        {"[fd00:0::2]:6379", "[::1]:6379"},     /* one address, however it is written */
        {"[fd00::2]:6380", "[fd00::2]:6380"},   /* another port */
        {"redis-2:6380", "redis-2:6380"},       /* the same */
        {"redis-10:6379", "redis-10:6379"},     /* not the beginning of a name */
        {"10.0.0.5:6379", "10.9.9.9:6379"},     /* announced, not mapped before */
        {"a:1", "b:2"},
        {"redis-3:6379", "unix:/run/redis.sock"},
        {"192.168.0.1:6379", "192.168.0.1:6379"},
    };
    struct config_mapping v[ARRAY_LEN(entries)];
    struct config_mappings map = {v, ARRAY_LEN(entries)};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(entries); i++) {
        v[i] = (struct config_mapping){addr_of(entries[i][0]), addr_of(entries[i][1])};
    }
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[ADDR_TEXT_MAX];
        struct addr a = addr_of(rows[i].announced);
        address_map_apply(&map, &a);
        assert_string_equal(addr_text(&a, text), rows[i].comes_out);
    }
}

/* An address that was not told stays that, and without a map nothing is touched. */
static void leaves_the_rest(void **state)
{
    struct config_mapping v[] = {{addr_of("a"), addr_of("b")}};
    const struct config_mappings map = {v, 1}, none = {0};
    struct addr a = {0}, odd = addr_of("[0:0::1]:1");
    (void)state;
    address_map_apply(&map, &a);
    assert_string_equal(a.host, "");
    assert_int_equal(a.port, 0);
    address_map_apply(&none, &odd);
    assert_string_equal(odd.host, "0:0::1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(applies),
        cmocka_unit_test(leaves_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
