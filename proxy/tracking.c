#include "proxy/tracking.h"

#include "proxy/base/limits.h"
#include "proxy/resp/args.h"

struct options {
    bool on, broadcast, redirect;
};

/* CLIENT TRACKING ON|OFF [REDIRECT id] [BCAST] [PREFIX p]... [OPTIN] [OPTOUT] [NOLOOP], accepted by
 * the server. False: an inline line, or not understood. */
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
        bool redirect = slice_eq_nocase(word, "REDIRECT");
        o->redirect = o->redirect || redirect;
        o->broadcast = o->broadcast || slice_eq_nocase(word, "BCAST");
        if ((redirect || slice_eq_nocase(word, "PREFIX")) && !args_walk_next(&walk, &word)) {
            return false;
        }
    }
    return true;
}

enum tracking_change tracking_accepted(struct tracking *t, struct slice frame)
{
    struct options o = {0};
    if (!read_options(frame, &o)) {
        return TRACKING_ELSEWHERE;
    }
    if (!o.on) {
        tracking_clear(t);
        return TRACKING_OFF;
    }
    if (!o.broadcast) {
        buf_release(&t->said);
    }
    t->broadcast = o.broadcast;
    if (o.redirect || buf_len(&t->said) + frame.n > TRACKING_SAID_MAX) {
        return TRACKING_ELSEWHERE;
    }
    buf_append(&t->said, frame);
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
