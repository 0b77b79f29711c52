/* Bytes from a Sentinel or a node, cut anywhere: every reply is read in every way we know. The
 * first byte of the input is the size of the pieces. */
#include "proxy/base/check.h"
#include "sentinel/event.h"
#include "sentinel/reply_stream.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_in_every_way(const struct reply *r)
{
    static struct sentinel_peer peers[16];
    char id[SENTINEL_ID_MAX + 1];
    struct addr addr;
    struct sentinel_master master;
    bool valid;
    (void)reply_type(r);
    (void)reply_is_error(r, "NOAUTH");
    if (reply_read_id(r, id) || reply_read_info_id(r, id)) {
        CHECK(id[0] != '\0' && strlen(id) <= SENTINEL_ID_MAX);
    }
    if (reply_read_address(r, &addr)) {
        CHECK(addr.port != 0 && addr.host[0] != '\0');
    }
    if (reply_read_master(r, &master)) {
        CHECK(master.addr.port != 0 && master.config_epoch >= 0);
    }
    size_t count = reply_read_peers(r, peers, ARRAY_LEN(peers), &valid);
    CHECK(count <= ARRAY_LEN(peers) && (valid || count == 0));
    (void)reply_read_role(r, &addr);
    struct repl_state repl;
    struct node_info info;
    reply_read_repl(r, &repl);
    CHECK(repl.offset >= -1);
    if (reply_read_info(r, &info)) {
        CHECK(strlen(info.repl_id) <= REPL_ID_MAX && strlen(info.zone) <= ZONE_MAX);
    }
    struct push push = reply_read_push(r);
    struct event event = event_parse(push.channel, push.payload);
    CHECK(event.kind == EVENT_NONE || event.service.n <= push.payload.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reply_stream s;
    struct reply *reply;
    const char *why;
    enum stream_result result = STREAM_MORE;
    size_t step = size > 0 && data[0] > 0 ? data[0] : 1;
    reply_stream_init(&s);
    for (size_t at = 1; at < size && result != STREAM_BAD; at += step) {
        buf_append(&s.in, slice_of((const char *)data + at, step < size - at ? step : size - at));
        while ((result = reply_stream_next(&s, &reply, &why)) == STREAM_REPLY) {
            read_in_every_way(reply);
            reply_free(&reply);
        }
    }
    reply_stream_release(&s);
    return 0;
}
