/* Times of blocking commands in frames that the scanner finds whole: what is put in is found again,
 * the rest of the request is as it was, and it is as long as it says. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/resp/args.h"
#include "proxy/resp/scan.h"
#include "proxy/timeout.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_put(const struct command *command, struct slice frame, uint64_t ms)
{
    struct request_scan s = {0};
    struct args before, behind;
    struct buf out = {0};
    uint64_t found, used_ms;
    bool known = timeout_of(command, frame, &found);
    CHECK(timeout_put(command, frame, ms, &out) == known);
    CHECK(known == (buf_len(&out) > 0));
    if (known) {
        struct slice now = buf_slice(&out);
        size_t used;
        CHECK(request_scan_feed(&s, now, &used) == SCAN_DONE && used == now.n);
        CHECK(timeout_of(command, now, &used_ms) && used_ms == (ms > 0 ? ms : 1));
        CHECK(args_parse(frame, &before) == ARGS_OK && args_parse(now, &behind) == ARGS_OK);
        CHECK(before.count == behind.count && command_lookup(&behind) == command);
        uint32_t changed = 0;
        for (uint32_t i = 0; i < before.kept; i++) {
            changed += !slice_eq(before.v[i], behind.v[i]);
        }
        CHECK(changed <= 1);
        args_free(&before);
        args_free(&behind);
    }
    buf_release(&out);
}

static void check_frame(struct slice frame)
{
    struct args args;
    char *copy = malloc(frame.n); /* of its very size: a byte too far shows */
    CHECK(copy != NULL);
    memcpy(copy, frame.p, frame.n);
    if (args_parse(slice_of(copy, frame.n), &args) == ARGS_OK) {
        const struct command *command = command_lookup(&args);
        check_put(command, slice_of(copy, frame.n), 0);
        check_put(command, slice_of(copy, frame.n), 1234567);
    }
    args_free(&args);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    command_init();
    struct request_scan s = {0};
    for (size_t at = 0, used; at < size; at += used) {
        if (request_scan_feed(&s, slice_of((const char *)data + at, size - at), &used) !=
            SCAN_DONE) {
            return 0;
        }
        check_frame(slice_of((const char *)data + at, (size_t)s.length));
        request_scan_reset(&s);
    }
    return 0;
}
