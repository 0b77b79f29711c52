#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cmocka.h>

#include "proxy/base/addr.h"

static struct addr parsed(const char *text, uint16_t default_port)
{
    struct addr a;
    const char *problem = addr_parse(slice_str(text), default_port, &a);
    if (problem != NULL) {
        fail_msg("%s: %s", text, problem);
    }
    return a;
}

static void check(const char *text, uint16_t default_port, const char *host, uint16_t port)
{
    struct addr a = parsed(text, default_port);
    assert_string_equal(a.host, host);
    assert_int_equal(a.port, port);
}

static void parses(void **state)
{
    char long_host[ADDR_HOST_MAX + 8];
    (void)state;
    check("127.0.0.1:6379", 0, "127.0.0.1", 6379);
    check("s1.example:26379", 26379, "s1.example", 26379);
    check("s1.example", 26379, "s1.example", 26379);
    check("[::1]:1", 0, "::1", 1);
    check("[fe80::1%eth0]:65535", 0, "fe80::1%eth0", 65535);
    check("[::1]", 6379, "::1", 6379);
    check("h:1", 2, "h", 1);
    memset(long_host, 'h', ADDR_HOST_MAX);
    (void)snprintf(long_host + ADDR_HOST_MAX, 3, ":1");
    assert_int_equal(strlen(parsed(long_host, 0).host), ADDR_HOST_MAX);
}

static void refuses(void **state)
{
    static const struct {
        const char *text;
        uint16_t default_port;
        const char *says;
    } rows[] = {
        {"", 0, "port is missing"},      {"", 1, "host is missing"},
        {"host", 0, "port is missing"},  {":6379", 0, "host is missing"},
        {"[]:1", 0, "host is missing"},  {"host:", 1, "port ''"},
        {"host:0", 0, "port '0'"},       {"host:65536", 0, "port '65536'"},
        {"host:-1", 0, "port '-1'"},     {"host:+1", 0, "port '+1'"},
        {"host:01", 0, "port '01'"},     {"host: 1", 0, "port ' 1'"},
        {"host:1x", 0, "port '1x'"},     {"::1", 6379, "brackets"},
        {"::1:6379", 0, "brackets"},     {"a:b:1", 0, "brackets"},
        {"[::1", 1, "without ']'"},      {"[::1]6379", 1, "expected ':'"},
        {"[::1] :1", 1, "expected ':'"}, {"[::1]:", 1, "port ''"},
        {"[[::1]:1", 0, "character"},    {"ho st:1", 0, "character"},
        {"host\n:1", 0, "character"},    {"tcp//host:1", 0, "character"},
        {"ho]st:1", 0, "character"},     {"\x7f:1", 0, "character"},
    };
    char long_host[ADDR_HOST_MAX + 9];
    struct addr untouched, a;
    (void)state;
    memset(&untouched, 0x5a, sizeof untouched);
    a = untouched;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *says = addr_parse(slice_str(rows[i].text), rows[i].default_port, &a);
        if (says == NULL || strstr(says, rows[i].says) == NULL) {
            fail_msg("'%s': %s", rows[i].text, says == NULL ? "taken" : says);
        }
        assert_memory_equal(&a, &untouched, sizeof a);
    }
    memset(long_host, 'h', ADDR_HOST_MAX + 1);
    (void)snprintf(long_host + ADDR_HOST_MAX + 1, 3, ":1");
    assert_non_null(strstr(addr_parse(slice_str(long_host), 0, &a), "longer"));
    assert_non_null(strstr(addr_parse(slice_of("a\0b:1", 5), 0, &a), "character"));
    assert_non_null(addr_parse((struct slice){0}, 1, &a));
}

static void texts(void **state)
{
    char text[ADDR_TEXT_MAX], long_host[ADDR_HOST_MAX + 3];
    struct addr a = parsed("host:1", 0);
    (void)state;
    assert_string_equal(addr_text(&a, text), "host:1");
    a = parsed("[::1]:65535", 0);
    assert_string_equal(addr_text(&a, text), "[::1]:65535");
    /* The longest one fits. */
    memset(long_host, ':', sizeof long_host);
    long_host[0] = '[';
    long_host[ADDR_HOST_MAX + 1] = ']';
    long_host[ADDR_HOST_MAX + 2] = '\0';
    a = parsed(long_host, 65535);
    assert_int_equal(strlen(addr_text(&a, text)), ADDR_HOST_MAX + 8);
}

static void compares(void **state)
{
    struct addr a = parsed("Host:1", 0), b = parsed("hOST:1", 0), c = parsed("host:2", 0);
    (void)state;
    assert_true(addr_eq(&a, &b));
    assert_false(addr_eq(&a, &c));
    c = parsed("host2:1", 0);
    assert_false(addr_eq(&a, &c));
}

static void a_port_may_be_left_out(void **state)
{
    static const struct {
        const char *text, *host, *again;
        uint16_t port;
    } rows[] = {
        {"redis-1", "redis-1", "redis-1", 0},
        {"redis-1:6379", "redis-1", "redis-1:6379", 6379},
        {"[0:0::1]", "::1", "[::1]", 0},
        {"[2001:DB8::7]:1", "2001:db8::7", "[2001:db8::7]:1", 1},
        {"10.0.0.1", "10.0.0.1", "10.0.0.1", 0},
    };
    struct addr a;
    char text[ADDR_TEXT_MAX];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_null(addr_parse_loose(slice_str(rows[i].text), &a));
        assert_int_equal(a.port, rows[i].port);
        addr_normalize(&a);
        assert_string_equal(a.host, rows[i].host);
        assert_int_equal(a.port, rows[i].port);
        assert_string_equal(addr_text(&a, text), rows[i].again);
    }
    assert_non_null(addr_parse_loose(slice_str(""), &a));
    assert_non_null(addr_parse_loose(slice_str("h:"), &a));
    assert_non_null(addr_parse_loose(slice_str("::1"), &a));
}

static void unix_sockets(void **state)
{
    static const char *const bad[] = {"unix:",     "unix:a",    "unix:run/s", "unix:/",
                                      "unix:/a b", "unix:/a\n", "unix:@a",    "unix:/a\x7f"};
    char text[ADDR_TEXT_MAX], path[ADDR_PATH_MAX + 16] = "unix:/";
    struct addr a = parsed("unix:/run/Redis.sock", 26379), b = parsed("unix:/run/redis.sock", 0);
    struct sockaddr_any at, other;
    struct addr back;
    (void)state;
    assert_string_equal(a.host, "/run/Redis.sock");
    assert_int_equal(a.port, 0);
    assert_true(addr_is_unix(&a) && addr_is_set(&a));
    assert_string_equal(addr_text(&a, text), "unix:/run/Redis.sock");
    assert_false(addr_eq(&a, &b)); /* a path has case */
    assert_null(addr_parse_loose(slice_str("unix:/run/redis.sock"), &back));
    assert_true(addr_eq(&b, &back));
    assert_true(addr_numeric(&a, &at));
    assert_int_equal(at.ss.ss_family, AF_UNIX);
    assert_true(sockaddr_to_addr(&at, &back));
    assert_true(addr_eq(&a, &back));
    assert_true(addr_numeric(&b, &other));
    assert_true(sockaddr_eq(&at, &at));
    assert_false(sockaddr_eq(&at, &other));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_non_null(addr_parse(slice_str(bad[i]), 1, &a));
    }
    memset(path + 6, 'x', ADDR_PATH_MAX);
    path[5 + ADDR_PATH_MAX] = '\0';
    a = parsed(path, 0);
    assert_int_equal(strlen(a.host), ADDR_PATH_MAX);
    assert_true(addr_numeric(&a, &at));
    assert_true(sockaddr_to_addr(&at, &back));
    assert_true(addr_eq(&a, &back));
    path[5 + ADDR_PATH_MAX] = 'x';
    assert_non_null(strstr(addr_parse(slice_str(path), 0, &a), "longer than 107"));
}

static struct sockaddr_any numeric(const char *text)
{
    struct addr a = parsed(text, 0);
    struct sockaddr_any sa;
    assert_true(addr_numeric(&a, &sa));
    return sa;
}

static void socket_addresses(void **state)
{
    static const char *const same[] = {"127.0.0.1:6379", "255.255.255.255:1", "[::1]:6379",
                                       "[2001:db8::7]:65535"};
    static const char *const names[] = {"localhost:1", "127.0.0:1", "127.0.0.1.1:1", "[::g]:1",
                                        "0x7f000001:1"};
    struct addr a, back;
    struct sockaddr_any sa;
    char text[ADDR_TEXT_MAX];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(same); i++) {
        sa = numeric(same[i]);
        assert_true(sockaddr_to_addr(&sa, &back));
        assert_string_equal(addr_text(&back, text), same[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        a = parsed(names[i], 0);
        assert_false(addr_numeric(&a, &sa));
    }
    sa = numeric("127.0.0.1:6379");
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)&sa.ss;
    assert_int_equal(v4->sin_port, htons(6379));
    assert_int_equal(v4->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    assert_int_equal(sa.len, sizeof *v4);
}

static void socket_addresses_compare(void **state)
{
    struct sockaddr_any a = numeric("127.0.0.1:1"), b = numeric("127.0.0.1:1"), none = {0};
    struct addr out;
    (void)state;
    assert_true(sockaddr_eq(&a, &b));
    b = numeric("127.0.0.1:2");
    assert_false(sockaddr_eq(&a, &b));
    b = numeric("127.0.0.2:1");
    assert_false(sockaddr_eq(&a, &b));
    b = numeric("[::ffff:127.0.0.1]:1");
    assert_false(sockaddr_eq(&a, &b));
    a = numeric("[::0001]:1");
    b = numeric("[::1]:1");
    assert_true(sockaddr_eq(&a, &b));
    assert_false(sockaddr_eq(&none, &none));
    assert_false(sockaddr_to_addr(&none, &out));
    none.len = sizeof(struct sockaddr_un);
    none.ss.ss_family = AF_UNIX;
    assert_false(sockaddr_to_addr(&none, &out));
}

static struct addr_net net(const char *text)
{
    struct addr_net n;
    const char *problem = addr_net_parse(slice_str(text), &n);
    if (problem != NULL) {
        fail_msg("%s: %s", text, problem);
    }
    return n;
}

static void networks(void **state)
{
    static const struct {
        const char *text, *again;
        const char *in[2], *out[3];
    } rows[] = {
        {"10.1.0.0/16", "10.1.0.0/16", {"10.1.0.0", "10.1.255.255"}, {"10.2.0.0", "10.0.255.255"}},
        {"10.1.2.128/25", "10.1.2.128/25", {"10.1.2.128", "10.1.2.255"}, {"10.1.2.127"}},
        {"10.1.2.3", "10.1.2.3", {"10.1.2.3"}, {"10.1.2.2", "[a01:203::]"}},
        {"10.1.2.3/32", "10.1.2.3", {"10.1.2.3"}, {"10.1.2.2"}},
        {"0.0.0.0/0", "0.0.0.0/0", {"1.2.3.4", "255.255.255.255"}, {"[::1]"}},
        {"fd00::/8",
         "fd00::/8",
         {"[fd12::1]", "[fdff::]"},
         {"[fe00::1]", "[fc00::1]", "253.0.0.0"}},
        {"::1", "::1", {"[::1]"}, {"[::2]", "0.0.0.1"}},
        {"::/0", "::/0", {"[fd12::1]", "[::]"}, {"1.2.3.4", "unix:/run/redis.sock"}},
        {"::fffe:0:0/96", "::fffe:0:0/96", {"[::fffe:0:1]"}, {"0.0.0.1"}},
    };
    char text[ADDR_NET_TEXT_MAX];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct addr_net n = net(rows[i].text);
        assert_string_equal(addr_net_text(&n, text), rows[i].again);
        for (size_t k = 0; k < ARRAY_LEN(rows[i].in) && rows[i].in[k] != NULL; k++) {
            struct addr a = parsed(rows[i].in[k], 1);
            struct sockaddr_any at;
            assert_true(addr_numeric(&a, &at));
            assert_true(addr_net_has(&n, &at));
        }
        for (size_t k = 0; k < ARRAY_LEN(rows[i].out) && rows[i].out[k] != NULL; k++) {
            struct addr a = parsed(rows[i].out[k], 1);
            struct sockaddr_any at;
            assert_true(addr_numeric(&a, &at));
            assert_false(addr_net_has(&n, &at));
        }
    }
    struct addr_net all = net("0.0.0.0/0");
    assert_false(addr_net_has(&all, &(struct sockaddr_any){0}));
}

static void no_networks(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"", "write a.b.c.d/n"},
        {"host", "write a.b.c.d/n"},
        {"10.1/16", "write a.b.c.d/n"},
        {"[::1]/128", "write a.b.c.d/n"},
        {"10.0.0.0:6379", "write a.b.c.d/n"},
        {"1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb", "write a.b.c.d/n"},
        {"10.0.0.0/", "0..32"},
        {"10.0.0.0/33", "0..32"},
        {"10.0.0.0/-1", "0..32"},
        {"10.0.0.0/8/8", "0..32"},
        {"fd00::/129", "0..128"},
        {"10.0.0.1/8", "beyond the first 8: write 10.0.0.0/8"},
        {"10.1.2.3/31", "beyond the first 31: write 10.1.2.2/31"},
        {"fd00::1/64", "beyond the first 64: write fd00::/64"},
        /* No client's address is such a one. */
        {"::ffff:10.1.0.0/112", "IPv4 in IPv6: write 10.1.0.0/16"},
        {"::ffff:0.0.0.0/96", "IPv4 in IPv6: write 0.0.0.0/0"},
        {"::FFFF:a01:203", "IPv4 in IPv6: write 10.1.2.3"},
    };
    struct addr_net n;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *says = addr_net_parse(slice_str(rows[i].text), &n);
        if (says == NULL || strstr(says, rows[i].says) == NULL) {
            fail_msg("%s: %s", rows[i].text, says == NULL ? "good" : says);
        }
    }
    assert_non_null(addr_net_parse(slice_of("::1\0", 4), &n));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses),
        cmocka_unit_test(refuses),
        cmocka_unit_test(texts),
        cmocka_unit_test(compares),
        cmocka_unit_test(a_port_may_be_left_out),
        cmocka_unit_test(unix_sockets),
        cmocka_unit_test(socket_addresses),
        cmocka_unit_test(socket_addresses_compare),
        cmocka_unit_test(networks),
        cmocka_unit_test(no_networks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
