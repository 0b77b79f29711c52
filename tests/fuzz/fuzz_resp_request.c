/* Requests: what the scanner finds does not depend on where the stream is cut. The first byte of
 * the input chooses the cuts and the limits, the rest is the stream. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/limits.h"
#include "proxy/resp/scan.h"

#define FRAMES_MAX 64

/* Without padding: compared as bytes. */
struct found {
    uint64_t length, name_at;
    uint32_t argc, name_len;
    enum scan_result result;
    bool is_inline, empty, name_known, odd;
    char error[SCAN_ERROR_MAX];
};

_Static_assert(sizeof(struct found) == 16 + 8 + 4 + 4 + SCAN_ERROR_MAX, "no padding");

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void note(struct found *f, enum scan_result result, const struct request_scan *s)
{
    *f = (struct found){.length = s->length,
                        .name_at = s->name_at,
                        .argc = s->argc,
                        .name_len = s->name_len,
                        .result = result,
                        .is_inline = s->is_inline,
                        .empty = s->empty,
                        .name_known = s->name_known,
                        .odd = s->odd};
    if (result == SCAN_ERROR) {
        (void)request_scan_error(s, f->error);
        CHECK(memchr(f->error, '\0', SCAN_ERROR_MAX) != NULL);
        CHECK(strpbrk(f->error, "\r\n") == NULL);
    }
    CHECK(result == SCAN_MORE || !s->name_known || s->name_at + s->name_len <= s->length);
    CHECK(s->argc <= REQUEST_ARGS_MAX && (!s->is_inline || s->argc == 0));
    CHECK(!s->empty || result == SCAN_DONE);
}

/* Scans the stream in pieces of 1 to most bytes, drawn from seed; returns the frames found. */
static size_t scan(struct slice text, size_t most, uint32_t seed, bool limited, struct found *out)
{
    struct request_scan s = {.unauthenticated = limited};
    size_t frames = 0;
    enum scan_result result = SCAN_MORE;
    for (size_t at = 0, used; at < text.n && frames < FRAMES_MAX; at += used) {
        seed = seed * 1103515245u + 12345u;
        size_t n = 1 + (seed >> 8) % most;
        n = n < text.n - at ? n : text.n - at;
        result = request_scan_feed(&s, slice_of(text.p + at, n), &used);
        CHECK(used <= n && used > 0);
        CHECK(result != SCAN_MORE || used == n);
        if (result == SCAN_ERROR) {
            note(&out[frames++], result, &s);
            return frames;
        }
        if (result == SCAN_DONE) {
            note(&out[frames++], result, &s);
            request_scan_reset(&s);
        }
    }
    if (frames < FRAMES_MAX) {
        note(&out[frames++], SCAN_MORE, &s);
    }
    return frames;
}

/* What is taken at once is what the scanner takes. */
static void check_whole(struct slice text)
{
    struct request_scan s = {0};
    struct slice name;
    size_t used;
    const char *next = request_whole(text.p, text.p + text.n, &name);
    if (next == NULL) {
        return;
    }
    CHECK(request_scan_feed(&s, text, &used) == SCAN_DONE && used == (size_t)(next - text.p));
    CHECK(!s.empty && !s.odd && s.name_known && name.n == s.name_len);
    CHECK(name.p == text.p + s.name_at);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct found bytewise[FRAMES_MAX], cut[FRAMES_MAX];
    if (size < 2) {
        return 0;
    }
    struct slice text = slice_of((const char *)data + 1, size - 1);
    bool limited = (data[0] & 1) != 0;
    memset(bytewise, 0, sizeof bytewise);
    memset(cut, 0, sizeof cut);
    size_t frames = scan(text, 1, 0, limited, bytewise);
    CHECK(scan(text, (size_t)(data[0] >> 1) + 2, data[0], limited, cut) == frames);
    CHECK(memcmp(bytewise, cut, sizeof bytewise) == 0);
    memset(cut, 0, sizeof cut);
    CHECK(scan(text, SIZE_MAX, 1u << 31, limited, cut) == frames);
    CHECK(memcmp(bytewise, cut, sizeof bytewise) == 0);
    for (size_t i = 0, at = 0; i < frames && at < text.n; at += bytewise[i++].length) {
        check_whole(slice_of(text.p + at, text.n - at));
    }
    return 0;
}
