/* Messages and confirmations: what a reply is taken for does not depend on how much of it is there,
 * a confirmation that is read says what was written, and no server can talk the counts into what
 * they can't be. The first byte of the input chooses where replies are cut, the rest is a stream.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/buf.h"
#include "proxy/resp/args.h"
#include "proxy/resp/pubsub.h"
#include "proxy/resp/scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *word_of(struct pubsub_verb verb)
{
    static const char *const words[PUBSUB_KINDS][2] = {{"unsubscribe", "subscribe"},
                                                       {"punsubscribe", "psubscribe"},
                                                       {"sunsubscribe", "ssubscribe"}};
    return words[verb.kind][verb.on];
}

/* In memory of its very size, so that a byte read past its end shows. */
static enum pubsub_what look_at(struct slice reply, size_t n, struct pubsub_verb *verb)
{
    char *bytes = malloc(n);
    CHECK(bytes != NULL);
    memcpy(bytes, reply.p, n);
    enum pubsub_what what = pubsub_look(slice_of(bytes, n), verb);
    free(bytes);
    return what;
}

/* The same, written anew from what was read of it. */
static void check_written(struct slice reply, const struct confirmation *c)
{
    struct buf out = {0};
    buf_printf(&out, "%c3\r\n$%zu\r\n%s\r\n", reply.p[0], strlen(word_of(c->verb)),
               word_of(c->verb));
    if (c->named) {
        buf_printf(&out, "$%zu\r\n", c->name.n);
        buf_append(&out, c->name);
        buf_append_str(&out, "\r\n");
    } else {
        bool null = memmem(reply.p, reply.n, "\r\n_\r\n", 5) != NULL;
        buf_append_str(&out, null ? "_\r\n" : "$-1\r\n");
    }
    buf_printf(&out, ":%u\r\n", c->count);
    CHECK(slice_eq(buf_slice(&out), reply));
    buf_release(&out);
}

static void check_counted(struct pubsub_counts *counts, const struct confirmation *c)
{
    struct pubsub_counts before = *counts;
    bool counted = pubsub_count(counts, c);
    uint32_t together = c->verb.kind == PUBSUB_SHARD
                            ? counts->of[PUBSUB_SHARD]
                            : counts->of[PUBSUB_CHANNEL] + counts->of[PUBSUB_PATTERN];
    CHECK(!counted || together == c->count);
    uint64_t all = pubsub_total(counts), was = pubsub_total(&before);
    CHECK(counted ? (all == was || all == (c->verb.on ? was + 1 : was - 1)) : all == was);
    uint32_t expected = pubsub_expected(counts, c->verb, 0);
    CHECK(expected >= 1 && (expected == counts->of[c->verb.kind] || expected == 1));
}

static void check_reply(struct slice reply, size_t cut, struct pubsub_counts *counts)
{
    struct pubsub_verb verb = {0}, part = {0};
    struct confirmation c;
    enum pubsub_what what = look_at(reply, reply.n, &verb);
    enum pubsub_what begun = look_at(reply, 1 + cut % reply.n, &part);
    CHECK(what != PUBSUB_UNSURE && (begun == PUBSUB_UNSURE || begun == what));
    CHECK(begun != PUBSUB_CONFIRMED || (part.kind == verb.kind && part.on == verb.on));
    if (pubsub_confirmation(reply, &c)) {
        CHECK(what == PUBSUB_CONFIRMED && verb.kind == c.verb.kind && verb.on == c.verb.on);
        check_written(reply, &c);
        check_counted(counts, &c);
    }
}

/* A request as a whole, and the same without some of its arguments. */
static void check_request(struct slice frame, uint32_t skip)
{
    struct args all, less;
    struct buf out = {0};
    if (args_parse(frame, &all) == ARGS_OK && all.count > 1 && all.count < 1000) {
        skip %= all.count;
        args_without(frame, skip, &out);
        struct request_scan scan = {0};
        size_t used;
        CHECK(request_scan_feed(&scan, buf_slice(&out), &used) == SCAN_DONE);
        CHECK(used == buf_len(&out));
        CHECK(args_parse(buf_slice(&out), &less) == ARGS_OK);
        CHECK(less.count == all.count - skip && slice_eq(less.v[0], all.v[0]));
        for (uint32_t i = 1; i < less.kept && i + skip < all.kept; i++) {
            CHECK(slice_eq(less.v[i], all.v[i + skip]));
        }
        args_free(&less);
    }
    args_free(&all);
    buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pubsub_counts counts = {0};
    if (size < 2) {
        return 0;
    }
    struct slice text = slice_of((const char *)data + 1, size - 1);
    struct request_scan request = {0};
    size_t used;
    if (request_scan_feed(&request, text, &used) == SCAN_DONE) {
        check_request(slice_of(text.p, used), data[0]);
    }
    for (size_t at = 0; at < text.n; at += used) {
        struct reply_scan s;
        reply_scan_reset(&s, 1000);
        if (reply_scan_feed(&s, slice_of(text.p + at, text.n - at), &used) != SCAN_DONE) {
            break;
        }
        check_reply(slice_of(text.p + at, used), data[0], &counts);
    }
    return 0;
}
