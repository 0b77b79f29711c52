#include "proxy/tracking.h"

#include "proxy/base/limits.h"
#include "proxy/resp/args.h"

struct options {
    bool on, broadcast;
    int64_t redirect;
};

/* CLIENT TRACKING ON|OFF [REDIRECT id] [BCAST] [PREFIX p]... [OPTIN] [OPTOUT] [NOLOOP]. False: an
 * inline line, or not understood. */
static bool read_options(struct slice frame, struct options *o)
{
    struct args_walk walk;
    struct slice word;
    if (!args_walk_begin(&walk, frame)) {
        return false;
    }
    for (unsigned i = 0; i < 3; i++) {
        if (!args_walk_next(&walk, &word)) {
            return false;
        }
    }
    o->on = slice_eq_nocase(word, "ON");
    while (args_walk_next(&walk, &word)) {
        o->broadcast = o->broadcast || slice_eq_nocase(word, "BCAST");
        bool redirect = slice_eq_nocase(word, "REDIRECT");
        if ((redirect || slice_eq_nocase(word, "PREFIX")) && !args_walk_next(&walk, &word)) {
            return false;
        }
        if (redirect && !slice_to_i64(word, 1, INT64_MAX, &o->redirect)) {
            return false;
        }
    }
    return true;
}

int64_t tracking_redirect(struct slice frame)
{
    struct options o = {0};
    return read_options(frame, &o) && o.on ? o.redirect : 0;
}

static void put(struct buf *to, struct slice word)
{
    buf_printf(to, "$%zu\r\n", word.n);
    buf_append(to, word);
    buf_append_str(to, "\r\n");
}

void tracking_redirected(struct slice frame, int64_t number, struct buf *to)
{
    struct args_walk walk;
    struct slice word;
    struct buf words = {0};
    unsigned count = 0;
    bool value = false; /* of PREFIX, whatever it is */
    CHECK(args_walk_begin(&walk, frame));
    for (; args_walk_next(&walk, &word); count++) {
        if (!value && slice_eq_nocase(word, "REDIRECT") && args_walk_next(&walk, &word)) {
            count--;
            continue;
        }
        value = !value && slice_eq_nocase(word, "PREFIX");
        put(&words, word);
    }
    if (number != 0) {
        struct buf digits = {0};
        buf_printf(&digits, "%lld", (long long)number);
        put(&words, slice_str("REDIRECT"));
        put(&words, buf_slice(&digits));
        buf_release(&digits);
        count += 2;
    }
    buf_printf(to, "*%u\r\n", count);
    buf_append(to, buf_slice(&words));
    buf_release(&words);
}

enum tracking_change tracking_accepted(struct tracking *t, struct slice frame)
{
    struct options o = {0};
    if (!read_options(frame, &o)) {
        return TRACKING_ONCE;
    }
    if (!o.on) {
        tracking_clear(t);
        return TRACKING_OFF;
    }
    if (!o.broadcast) {
        buf_release(&t->said);
    }
    t->broadcast = o.broadcast;
    t->redirect = o.redirect;
    if (buf_len(&t->said) + frame.n > TRACKING_SAID_MAX) {
        return TRACKING_ONCE;
    }
    if (o.redirect != 0) {
        tracking_redirected(frame, 0, &t->said);
    } else {
        buf_append(&t->said, frame);
    }
    return TRACKING_ON;
}

void tracking_caching(struct tracking *t, struct slice frame)
{
    buf_release(&t->caching);
    buf_append(&t->caching, frame);
}

void tracking_clear(struct tracking *t)
{
    buf_release(&t->said);
    buf_release(&t->caching);
    *t = (struct tracking){0};
}
