#include "sentinel/event.h"

#include <string.h>

#include "sentinel/reply.h"

/* How the payload is laid out (Redis 7.0.15 sentinel.c, sentinelEvent):
 * instance: <type> <name> <ip> <port> [@ <master name> <ip> <port>] [text]
 * change:   <master name> <old ip> <old port> <new ip> <new port> */
enum layout { INSTANCE, CHANGE };

/* +failover-state-reconf-slaves and what follows are no reason to hold: by then the promoted
 * replica is announced, and the same failover goes on for seconds after we have switched. */
static const struct channel {
    const char *name;
    enum event_kind kind;
    enum layout layout;
} channels[] = {
    {"+try-failover", EVENT_FAILOVER, INSTANCE},
    {"+elected-leader", EVENT_FAILOVER, INSTANCE},
    {"+failover-state-wait-start", EVENT_FAILOVER, INSTANCE},
    {"+failover-state-select-slave", EVENT_FAILOVER, INSTANCE},
    {"+selected-slave", EVENT_FAILOVER, INSTANCE},
    {"+failover-state-send-slaveof-noone", EVENT_FAILOVER, INSTANCE},
    {"+failover-state-wait-promotion", EVENT_FAILOVER, INSTANCE},
    {"-failover-abort-not-elected", EVENT_ABORTED, INSTANCE},
    {"-failover-abort-no-good-slave", EVENT_ABORTED, INSTANCE},
    {"-failover-abort-slave-timeout", EVENT_ABORTED, INSTANCE},
    {"+promoted-slave", EVENT_SWITCHED, INSTANCE},
    {"+failover-state-reconf-slaves", EVENT_SWITCHED, INSTANCE},
    {"+failover-end", EVENT_SWITCHED, INSTANCE},
    {"+failover-end-for-timeout", EVENT_SWITCHED, INSTANCE},
    {"+switch-master", EVENT_SWITCHED, CHANGE},
    {"+config-update-from", EVENT_SUSPICION, INSTANCE},
    {"+sdown", EVENT_SUSPICION, INSTANCE},
    {"-sdown", EVENT_SUSPICION, INSTANCE},
    {"+odown", EVENT_SUSPICION, INSTANCE},
    {"-odown", EVENT_SUSPICION, INSTANCE},
    {"+role-change", EVENT_ROLE, INSTANCE},
    {"-role-change", EVENT_ROLE, INSTANCE},
    {"+convert-to-slave", EVENT_SUSPICION, INSTANCE},
    {"+reboot", EVENT_SUSPICION, INSTANCE},
    {"+monitor", EVENT_PEERS, INSTANCE},
    {"-monitor", EVENT_PEERS, INSTANCE},
    {"+reset-master", EVENT_PEERS, INSTANCE},
    {"+slave", EVENT_PEERS, INSTANCE},
    {"+sentinel", EVENT_PEERS, INSTANCE},
    {"+sentinel-address-switch", EVENT_PEERS, INSTANCE},
};

size_t event_channel_count(void)
{
    return ARRAY_LEN(channels);
}

const char *event_channel(size_t i)
{
    CHECK(i < ARRAY_LEN(channels));
    return channels[i].name;
}

#define WORDS_MAX 8

/* The words between single spaces; those past the last wanted one are left out. */
static size_t split(struct slice text, struct slice words[WORDS_MAX])
{
    size_t count = 0;
    while (text.n > 0 && count < WORDS_MAX) {
        const char *space = memchr(text.p, ' ', text.n);
        size_t n = space == NULL ? text.n : (size_t)(space - text.p);
        words[count++] = slice_of(text.p, n);
        n += space == NULL ? 0 : 1;
        text = slice_of(text.p + n, text.n - n);
    }
    return count;
}

static bool parse_instance(const struct slice *words, size_t count, struct event *out)
{
    struct addr node;
    if (count < 4 || !reply_make_addr(words[2], words[3], &node)) {
        return false;
    }
    if (slice_eq(words[0], slice_str("master"))) {
        out->service = words[1];
        out->primary = node;
        return true;
    }
    if (count < 8 || !slice_eq(words[4], slice_str("@"))) {
        return false;
    }
    out->service = words[5];
    if (!reply_make_addr(words[6], words[7], &out->primary)) {
        return false;
    }
    if (slice_eq(words[0], slice_str("slave"))) {
        out->node = node;
    }
    return true;
}

static bool parse_change(const struct slice *words, size_t count, struct event *out)
{
    if (count < 5 || !reply_make_addr(words[3], words[4], &out->node)) {
        return false;
    }
    out->service = words[0];
    if (!reply_make_addr(words[1], words[2], &out->primary)) {
        memset(&out->primary, 0, sizeof out->primary); /* the old one is of no use to us */
    }
    return true;
}

struct event event_parse(struct slice channel, struct slice payload)
{
    struct event event = {0};
    struct slice words[WORDS_MAX];
    size_t count = split(payload, words);
    for (size_t i = 0; i < ARRAY_LEN(channels); i++) {
        if (!slice_eq(channel, slice_str(channels[i].name))) {
            continue;
        }
        bool read = channels[i].layout == CHANGE ? parse_change(words, count, &event)
                                                 : parse_instance(words, count, &event);
        /* A replica that is down is no sign of anything. */
        if (read && !(channels[i].kind == EVENT_SUSPICION && addr_is_set(&event.node))) {
            event.kind = channels[i].kind;
            return event;
        }
    }
    return (struct event){0};
}
