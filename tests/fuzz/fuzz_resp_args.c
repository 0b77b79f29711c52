/* Arguments of frames that the scanner finds whole: as many as promised, each within its frame or
 * the words' own storage, and the first one the name that the scanner told. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/resp/args.h"
#include "proxy/resp/scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool within(struct slice inner, const char *p, size_t n)
{
    return inner.p >= p && inner.p <= p + n && inner.n <= (size_t)(p + n - inner.p);
}

static void check_multibulk(const struct args *a, const struct request_scan *s, struct slice frame)
{
    CHECK(a->count == s->argc && a->storage == NULL && s->name_known);
    CHECK(a->v[0].p == frame.p + s->name_at && a->v[0].n == s->name_len);
    for (uint32_t i = 0; i < a->kept; i++) {
        CHECK(within(a->v[i], frame.p, frame.n));
        CHECK(i == 0 || a->v[i].p > a->v[i - 1].p);
    }
}

/* A plain line is split alike by looking for its spaces. */
static void check_plain(const struct args *a, struct slice frame)
{
    const char *p = frame.p, *end = frame.p + frame.n - 2;
    for (uint32_t i = 0; i < a->kept; i++) {
        const char *space = memchr(p, ' ', (size_t)(end - p));
        const char *stop = space == NULL ? end : space;
        CHECK(slice_eq(a->v[i], slice_of(p, (size_t)(stop - p))));
        p = stop + 1;
    }
    CHECK(a->count > a->kept || p == end + 1);
}

static void check_frame(const struct request_scan *s, const uint8_t *data)
{
    struct args a;
    char *copy = malloc((size_t)s->length); /* of its very size: a byte too far shows */
    CHECK(copy != NULL);
    memcpy(copy, data, (size_t)s->length);
    struct slice frame = slice_of(copy, (size_t)s->length);
    enum args_result result = args_parse(frame, &a);
    CHECK(a.kept == (a.count < ARGS_KEPT ? a.count : ARGS_KEPT));
    CHECK((result == ARGS_EMPTY) == s->empty);
    CHECK(result != ARGS_UNBALANCED || s->is_inline);
    if (result == ARGS_OK && !s->is_inline) {
        check_multibulk(&a, s, frame);
    }
    for (uint32_t i = 0; s->is_inline && i < a.kept; i++) {
        CHECK(within(a.v[i], a.storage, a.storage_size));
    }
    if (s->is_inline && args_inline_plain(frame)) {
        CHECK(result == ARGS_OK);
        check_plain(&a, frame);
    }
    args_free(&a);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct request_scan s = {0};
    for (size_t at = 0, used; at < size; at += used) {
        if (request_scan_feed(&s, slice_of((const char *)data + at, size - at), &used) !=
            SCAN_DONE) {
            return 0;
        }
        check_frame(&s, data + at);
        request_scan_reset(&s);
    }
    return 0;
}
