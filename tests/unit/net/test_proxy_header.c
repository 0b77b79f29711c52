/* PROXY headers, as proxy-protocol.txt of haproxy.org has them: each whole and cut at every byte,
 * with a request behind it that is left alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/base/buf.h"
#include "proxy/base/limits.h"
#include "proxy/net/proxy_header.h"

#define BEHIND "*1\r\n$4\r\nPING\r\n"
#define SIG    "\r\n\r\n\0\r\nQUIT\n"
#define V4     "\xc0\x00\x02\x01\xc0\x00\x02\x02\x9c\x40\x18\xeb" /* 192.0.2.1:40000 */
#define V6_ONE "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
#define MAPPED "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\x00\x02\x01"
#define PORTS  "\x9c\x40\x18\xeb"
#define ZEROS9 "\0\0\0\0\0\0\0\0\0"
#define PATHS  ZEROS9 ZEROS9 ZEROS9 ZEROS9 ZEROS9 ZEROS9 ZEROS9 ZEROS9 /* 72 of them */

struct header_case {
    const char *text;
    size_t n;
    const char *said; /* the address, "" for none, or the fault behind '!' */
};

#define CASE(text, said)                                                                           \
    {                                                                                              \
        text, sizeof(text) - 1, said                                                               \
    }

static const struct header_case cases[] = {
    CASE("PROXY TCP4 192.0.2.1 192.0.2.2 40000 6379\r\n", "192.0.2.1:40000"),
    CASE("PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n", "255.255.255.255:65535"),
    CASE("PROXY TCP6 2001:db8::1 ::1 1 6379\r\n", "[2001:db8::1]:1"),
    CASE("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
    CASE("PROXY TCP6 ::ffff:192.0.2.1 ::1 40000 6379\r\n", "192.0.2.1:40000"),
    CASE("PROXY UNKNOWN\r\n", ""),
    CASE("PROXY UNKNOWN ffff::1 whatever 1 2\r\n", ""),
    CASE("PROXY TCP4 192.0.2.1 192.0.2.2 40000 6379\n", "!its line has no CR at its end"),
    CASE("PROXY TCP4 192.0.2.1 192.0.2.2 65536 6379\r\n", "!a port in its line is none"),
    CASE("PROXY TCP4 192.0.2.1 192.0.2.2 040 6379\r\n", "!a port in its line is none"),
    CASE("PROXY TCP4 192.0.2.1 192.0.2.2 -1 6379\r\n", "!a port in its line is none"),
    CASE("PROXY TCP4 192.0.2.1 192.0.2.2 1 6379 \r\n", "!a port in its line is none"),
    CASE("PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", "!a port in its line is none"),
    CASE("PROXY TCP4 192.0.2.1 192.0.2.2 1 \r\n", "!a port in its line is none"),
    CASE("PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n", "!an address in its line is none"),
    CASE("PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n", "!an address in its line is none"),
    CASE("PROXY TCP4 2001:db8::1 ::1 1 2\r\n", "!an address in its line is none"),
    CASE("PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", "!an address in its line is none"),
    CASE("PROXY TCP4 192.0.2.1\0 192.0.2.2 1 2\r\n", "!an address in its line is none"),
    CASE("PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
         "!neither TCP4, TCP6 nor UNKNOWN stands behind PROXY"),
    CASE("PROXY \r\n", "!neither TCP4, TCP6 nor UNKNOWN stands behind PROXY"),
    CASE("PROXY UNKNOWN 0123456789012345678901234567890123456789012345678901234567890123456789012"
         "345678901234567890\r\n",
         ""), /* 107 bytes */
    CASE("PROXY UNKNOWN 0123456789012345678901234567890123456789012345678901234567890123456789012"
         "3456789012345678901\r\n",
         "!its line is too long"),
    CASE("PROXIED", "!the connection begins with something else"),
    CASE("proxy TCP4", "!the connection begins with something else"),
    CASE("PING\r\n", "!the connection begins with something else"),
    CASE("*1\r\n$4\r\nPING\r\n", "!the connection begins with something else"),
    CASE("\x16\x03\x01", "!the connection begins with something else"),
    CASE("\r\n\r\n*1\r\n", "!the connection begins with something else"),
    CASE(SIG "\x21\x11\0\x0c" V4, "192.0.2.1:40000"),
    CASE(SIG "\x21\x21\0\x24" V6_ONE MAPPED PORTS, "[2001:db8::1]:40000"),
    CASE(SIG "\x21\x21\0\x24" MAPPED V6_ONE PORTS, "192.0.2.1:40000"),
    CASE(SIG "\x21\x11\0\x13" V4 "\x04\0\x04quit", "192.0.2.1:40000"), /* a TLV */
    CASE(SIG "\x21\x31\0\xd8" PATHS PATHS PATHS, ""),
    CASE(SIG "\x21\x12\0\x0c" V4, ""), /* a datagram */
    CASE(SIG "\x21\0\0\0", ""),
    CASE(SIG "\x21\0\0\x03xyz", ""),
    CASE(SIG "\x20\x11\0\x0c" V4, ""), /* LOCAL: a check of the proxy's own */
    CASE(SIG "\x20\0\0\0", ""),
    CASE(SIG "\x20\x11\0\x03"
             "abc",
         ""), /* of which the addresses are ignored */
    CASE(SIG "\x11\x11\0\x0c" V4, "!its version is not 2"),
    CASE(SIG "\x31\x11\0\x0c" V4, "!its version is not 2"),
    CASE(SIG "\x22\x11\0\x0c" V4, "!its command is neither LOCAL nor PROXY"),
    CASE(SIG "\x21\x41\0\x0c" V4, "!its family is not known"),
    CASE(SIG "\x21\x13\0\x0c" V4, "!its family is not known"),
    CASE(SIG "\x21\x11\0\x0b", "!it is too short for its addresses"),
    CASE(SIG "\x21\x21\0\x23", "!it is too short for its addresses"),
    CASE(SIG "\x21\x31\0\xd7", "!it is too short for its addresses"),
    CASE(SIG "\x21\x11\xff\xff", "!it is too long"),
    CASE(SIG "\x21\x11\x0f\xf1", "!it is too long"),
};

/* What a header says that comes in pieces of n bytes. */
static void read_header(struct slice text, size_t n, char *said, size_t *used)
{
    struct proxy_header h = {0};
    enum proxy_header_result result = PROXY_HEADER_MORE;
    struct addr from;
    size_t here;
    *used = 0;
    while (result == PROXY_HEADER_MORE && *used < text.n) {
        size_t left = text.n - *used;
        result = proxy_header_feed(&h, slice_of(text.p + *used, n < left ? n : left), &here);
        *used += here;
        assert_true(result != PROXY_HEADER_MORE || here == n || *used == text.n);
    }
    said[0] = '\0';
    if (result == PROXY_HEADER_BAD) {
        (void)snprintf(said, ADDR_TEXT_MAX, "!%s", h.fault);
    } else if (result == PROXY_HEADER_MORE) {
        (void)snprintf(said, ADDR_TEXT_MAX, "more");
    } else if (h.from.len > 0) {
        assert_true(sockaddr_to_addr(&h.from, &from));
        (void)addr_text(&from, said);
    }
}

static void test_headers(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf text = {0};
        char said[ADDR_TEXT_MAX];
        size_t used;
        buf_append(&text, slice_of(cases[i].text, cases[i].n));
        buf_append_str(&text, BEHIND);
        for (size_t n = 1; n <= buf_len(&text); n++) {
            read_header(buf_slice(&text), n, said, &used);
            assert_string_equal(said, cases[i].said);
            assert_true(cases[i].said[0] == '!' || used == cases[i].n);
        }
        buf_release(&text);
    }
}

/* None is taken for whole before its last byte. */
static void test_incomplete(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (size_t n = 1; n < cases[i].n && cases[i].said[0] != '!'; n++) {
            char said[ADDR_TEXT_MAX];
            size_t used;
            read_header(slice_of(cases[i].text, n), n, said, &used);
            assert_string_equal(said, "more");
        }
    }
}

/* limit: PROXY_HEADER_MAX */
static void test_longest(void **state)
{
    struct buf text = {0};
    char said[ADDR_TEXT_MAX];
    size_t used;
    (void)state;
    buf_append(&text, slice_of(SIG "\x21\x11\x0f\xf0" V4, PROXY_V2_FIXED + 12));
    while (buf_len(&text) < PROXY_HEADER_MAX) {
        buf_append_str(&text, "*");
    }
    buf_append_str(&text, BEHIND);
    for (size_t n = 1; n <= buf_len(&text); n += n < 100 ? 1 : 499) {
        read_header(buf_slice(&text), n, said, &used);
        assert_string_equal(said, "192.0.2.1:40000");
        assert_int_equal(used, PROXY_HEADER_MAX);
    }
    buf_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_incomplete),
        cmocka_unit_test(test_longest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
