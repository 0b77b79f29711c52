/* Replies: what the scanner finds does not depend on where the stream is cut, and a reply it finds
 * whole is what a plain recursive reader makes of the same bytes. The first byte of the input
 * chooses the cuts, the rest is the stream. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/resp/scan.h"

#define REPLIES_MAX  64
#define ELEMENTS_MAX 1000
#define DEPTH_MAX    200

/* Without padding: compared as bytes. */
struct found {
    uint64_t length;
    enum scan_result result;
    int type;
};

_Static_assert(sizeof(struct found) == 16, "no padding");

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t scan(struct slice text, size_t most, uint32_t seed, struct found *out)
{
    struct reply_scan s;
    size_t replies = 0;
    enum scan_result result = SCAN_MORE;
    reply_scan_reset(&s, ELEMENTS_MAX);
    for (size_t at = 0, used; at < text.n && replies < REPLIES_MAX; at += used) {
        seed = seed * 1103515245u + 12345u;
        size_t n = 1 + (seed >> 8) % most;
        n = n < text.n - at ? n : text.n - at;
        result = reply_scan_feed(&s, slice_of(text.p + at, n), &used);
        CHECK(used <= n && used > 0);
        CHECK(result != SCAN_MORE || used == n);
        if (result != SCAN_MORE) {
            out[replies++] = (struct found){s.length, result, s.type};
            reply_scan_reset(&s, ELEMENTS_MAX);
        }
        if (result == SCAN_ERROR) {
            return replies;
        }
    }
    if (replies < REPLIES_MAX) {
        out[replies++] = (struct found){s.length, SCAN_MORE, s.type};
    }
    return replies;
}

static bool is_one_of(const char *set, char c)
{
    return c != '\0' && strchr(set, c) != NULL;
}

/* The byte behind the line at p, NULL when it has no end. */
static const char *line_end(const char *p, const char *end)
{
    const char *crlf = memmem(p, (size_t)(end - p), "\r\n", 2);
    return crlf == NULL ? NULL : crlf + 2;
}

/* The byte behind the value at p; NULL when it is not whole or deeper than DEPTH_MAX. */
static const char *read_value(const char *p, const char *end, int depth)
{
    const char *next = p < end && depth < DEPTH_MAX ? line_end(p, end) : NULL;
    if (next == NULL || is_one_of("+-:_,#(", *p)) {
        return next;
    }
    int64_t n;
    if (!slice_to_i64(slice_of(p + 1, (size_t)(next - p) - 3), -1, INT64_MAX / 4, &n)) {
        return NULL;
    }
    if (is_one_of("$!=", *p)) {
        if (n < 0) {
            return next;
        }
        return end - next >= n + 2 ? next + n + 2 : NULL;
    }
    bool pairs = *p == '%' || *p == '|';
    int64_t values = (pairs ? 2 * n : n) + (*p == '|' ? 1 : 0);
    for (int64_t i = 0; i < values && next != NULL; i++) {
        next = read_value(next, end, depth + 1);
    }
    return next;
}

static void check_against_reader(struct slice text, const struct found *found, size_t n)
{
    const char *p = text.p, *end = text.p + text.n;
    for (size_t i = 0; i < n && found[i].result == SCAN_DONE; i++) {
        const char *next = read_value(p, end, 0);
        if (next == NULL) {
            return; /* too deep for the reader */
        }
        CHECK((uint64_t)(next - p) == found[i].length);
        const char *at_once = reply_whole(p, end);
        CHECK(at_once == NULL || at_once == next);
        CHECK(at_once == NULL || (is_one_of("$+:_,#(", *p) && found[i].type == *p));
        p = next;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct found bytewise[REPLIES_MAX], cut[REPLIES_MAX];
    if (size < 2) {
        return 0;
    }
    struct slice text = slice_of((const char *)data + 1, size - 1);
    memset(bytewise, 0, sizeof bytewise);
    memset(cut, 0, sizeof cut);
    size_t replies = scan(text, 1, 0, bytewise);
    CHECK(scan(text, (size_t)data[0] + 2, data[0], cut) == replies);
    CHECK(memcmp(bytewise, cut, sizeof bytewise) == 0);
    memset(cut, 0, sizeof cut);
    CHECK(scan(text, SIZE_MAX, 1u << 31, cut) == replies);
    CHECK(memcmp(bytewise, cut, sizeof bytewise) == 0);
    check_against_reader(text, bytewise, replies);
    return 0;
}
