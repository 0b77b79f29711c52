#include "proxy/tracking.h"

#include <string.h>

#include "proxy/base/limits.h"
#include "proxy/resp/args.h"

/* The next argument of a frame that is an array, all of them: args_parse keeps the first only.
 * False at the end, or where it is written in an odd way. */
static bool next_argument(struct slice *rest, struct slice *argument)
{
    const char *end = rest->n > 0 ? memchr(rest->p, '\n', rest->n) : NULL;
    if (end == NULL || end - rest->p < 2 || rest->p[0] != '$' || end[-1] != '\r') {
        return false;
    }
    int64_t n;
    struct slice number = slice_of(rest->p + 1, (size_t)(end - rest->p) - 2);
    struct slice behind = slice_of(end + 1, rest->n - (size_t)(end + 1 - rest->p));
    if (!slice_to_i64(number, 0, BULK_MAX, &n) || behind.n < (size_t)n + 2) {
        return false;
    }
    *argument = slice_of(behind.p, (size_t)n);
    *rest = slice_of(behind.p + n + 2, behind.n - (size_t)n - 2);
    return true;
}

struct options {
    bool on, broadcast, redirect;
};

/* CLIENT TRACKING ON|OFF [REDIRECT id] [BCAST] [PREFIX p]... [OPTIN] [OPTOUT] [NOLOOP], accepted by
 * the server. False: not understood. */
static bool read_options(struct slice frame, struct options *o)
{
    const char *line = memchr(frame.p, '\n', frame.n);
    struct slice rest, word;
    if (frame.n == 0 || frame.p[0] != '*' || line == NULL) {
        return false;
    }
    rest = slice_of(line + 1, (size_t)(frame.p + frame.n - line - 1));
    for (unsigned i = 0; i < 3; i++) {
        if (!next_argument(&rest, &word)) {
            return false;
        }
    }
    o->on = slice_eq_nocase(word, "ON");
    while (next_argument(&rest, &word)) {
        bool redirect = slice_eq_nocase(word, "REDIRECT");
        o->redirect = o->redirect || redirect;
        o->broadcast = o->broadcast || slice_eq_nocase(word, "BCAST");
        if ((redirect || slice_eq_nocase(word, "PREFIX")) && !next_argument(&rest, &word)) {
            return false;
        }
    }
    return rest.n == 0;
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
