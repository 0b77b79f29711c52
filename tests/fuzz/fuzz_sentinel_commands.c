/* Any bytes as the answer to COMMAND, whole and as they would come from a socket. */
#include <string.h>

#include "proxy/base/limits.h"
#include "sentinel/command_list.h"
#include "sentinel/reply_stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct command_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        const struct listed *one = &list->v[i];
        size_t n = strlen(one->name);
        CHECK(n > 0 && n <= COMMAND_NAME_MAX && one->flags != 0);
        CHECK(i == 0 || strcmp(list->v[i - 1].name, one->name) < 0);
        CHECK(command_list_flags(list, one->name) == one->flags);
    }
}

static void read_one(struct slice answer)
{
    struct command_list *list = command_list_read(answer);
    if (list != NULL) {
        check(list);
        command_list_unref(&list);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = slice_of((const char *)data, size);
    struct reply_stream s;
    struct slice frame;
    const char *why;
    read_one(bytes);
    reply_stream_init(&s);
    s.bytes_max = COMMANDS_REPLY_MAX;
    s.elements_max = COMMANDS_ELEMENTS_MAX;
    for (size_t at = 0; at < size; at += size / 3 + 1) {
        size_t n = size - at < size / 3 + 1 ? size - at : size / 3 + 1;
        buf_append(&s.in, slice_of(bytes.p + at, n));
    }
    while (reply_stream_frame(&s, &frame, &why) == STREAM_REPLY) {
        read_one(frame);
    }
    reply_stream_release(&s);
    return 0;
}
