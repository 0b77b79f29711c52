/* Payloads of Sentinel's messages. The first byte of the input chooses the channel. */
#include "sentinel/event.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    const char *channel = event_channel(data[0] % event_channel_count());
    struct slice payload = slice_of((const char *)data + 1, size - 1);
    struct event event = event_parse(slice_str(channel), payload);
    if (event.kind != EVENT_NONE) {
        CHECK(event.service.p >= payload.p && event.service.n <= payload.n);
        CHECK(event.primary.port == 0 || event.primary.host[0] != '\0');
        CHECK(event.node.port == 0 || event.node.host[0] != '\0');
    }
    return 0;
}
