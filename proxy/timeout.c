#include "proxy/timeout.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/resp/args.h"

#define MS_MAX       (UINT64_C(1) << 52) /* the server finds more than that out of range, or endless */
#define SECONDS_TEXT 64                  /* a longer number is nobody's time */

enum place {
    PLACE_LAST,     /* the last argument, in seconds */
    PLACE_FIRST,    /* the one behind the name, in seconds */
    PLACE_LAST_MS,  /* the last one, in milliseconds */
    PLACE_BLOCK_MS, /* behind the option BLOCK, in milliseconds */
};

struct form {
    const char *name;
    enum place place;
    uint32_t least; /* arguments, with the name: with fewer it is refused */
};

static const struct form forms[] = {
    {"blpop", PLACE_LAST, 3},      {"brpop", PLACE_LAST, 3},     {"bzpopmin", PLACE_LAST, 3},
    {"bzpopmax", PLACE_LAST, 3},   {"blmove", PLACE_LAST, 6},    {"brpoplpush", PLACE_LAST, 4},
    {"blmpop", PLACE_FIRST, 5},    {"bzmpop", PLACE_FIRST, 5},   {"wait", PLACE_LAST_MS, 3},
    {"waitaof", PLACE_LAST_MS, 4}, {"xread", PLACE_BLOCK_MS, 4}, {"xreadgroup", PLACE_BLOCK_MS, 7},
};

static const struct form *form_of(const struct command *command)
{
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        if (command->may_block && strcmp(forms[i].name, command->name) == 0) {
            return &forms[i];
        }
    }
    return NULL;
}

/* How many arguments belong to that option of XREAD or XREADGROUP. */
static int values_of(struct slice option)
{
    if (slice_eq_nocase(option, "GROUP")) {
        return 2;
    }
    return slice_eq_nocase(option, "BLOCK") || slice_eq_nocase(option, "COUNT") ||
           slice_eq_nocase(option, "CLAIM");
}

/* The value of the last BLOCK before STREAMS: the options are walked, since a group or a consumer
 * may be called BLOCK. */
static bool find_block(struct args_walk *w, struct slice *value)
{
    struct slice word, last = {0};
    bool found = false;
    while (args_walk_next(w, &word) && !slice_eq_nocase(word, "STREAMS")) {
        for (int i = values_of(word); i > 0; i--) {
            if (!args_walk_next(w, &last)) {
                return false;
            }
        }
        if (slice_eq_nocase(word, "BLOCK")) {
            *value = last;
            found = true;
        }
    }
    return found;
}

/* The argument that says the time, in a multibulk frame. */
static bool find(const struct form *form, struct slice frame, struct slice *value)
{
    struct args_walk w;
    if (frame.n == 0 || !args_walk_begin(&w, frame) || w.left < form->least ||
        !args_walk_next(&w, value)) {
        return false;
    }
    switch (form->place) {
    case PLACE_FIRST: return args_walk_next(&w, value);
    case PLACE_BLOCK_MS: return find_block(&w, value);
    case PLACE_LAST:
    case PLACE_LAST_MS: break;
    }
    while (args_walk_next(&w, value)) {
    }
    return true;
}

/* As strtold reads it for the server; what only the server knows how to read is left to it. */
static bool read_seconds(struct slice text, uint64_t *ms)
{
    char copy[SECONDS_TEXT];
    if (text.n == 0 || text.n >= sizeof copy || memchr(text.p, '\0', text.n) != NULL ||
        text.p[0] <= ' ') {
        return false;
    }
    memcpy(copy, text.p, text.n);
    copy[text.n] = '\0';
    char *end;
    double seconds = strtod(copy, &end);
    if (*end != '\0' || !(seconds >= 0) || seconds * 1000 > (double)MS_MAX) {
        return false;
    }
    *ms = (uint64_t)(seconds * 1000);
    *ms += (double)*ms < seconds * 1000; /* what is more than nothing is not for ever */
    return true;
}

static bool read_ms(struct slice text, uint64_t *ms)
{
    int64_t number;
    if (!slice_to_i64(text, 0, (int64_t)MS_MAX, &number)) {
        return false;
    }
    *ms = (uint64_t)number;
    return true;
}

static bool in_seconds(const struct form *form)
{
    return form->place == PLACE_LAST || form->place == PLACE_FIRST;
}

/* The frame where it is a multibulk; an inline one is written anew as that into `own`. */
static struct slice multibulk(struct slice frame, struct buf *own)
{
    struct args args;
    if (frame.n == 0 || frame.p[0] == '*') {
        return frame;
    }
    if (args_parse(frame, &args) == ARGS_OK) {
        args_without(frame, 0, own);
    }
    args_free(&args);
    return buf_slice(own);
}

static bool locate(const struct form *form, struct slice frame, struct slice *value, uint64_t *ms)
{
    return find(form, frame, value) &&
           (in_seconds(form) ? read_seconds(*value, ms) : read_ms(*value, ms));
}

bool timeout_of(const struct command *command, struct slice frame, uint64_t *ms)
{
    const struct form *form = form_of(command);
    struct buf own = {0};
    struct slice value;
    bool found = form != NULL && locate(form, multibulk(frame, &own), &value, ms);
    buf_release(&own);
    return found;
}

bool timeout_put(const struct command *command, struct slice frame, uint64_t ms, struct buf *out)
{
    const struct form *form = form_of(command);
    struct buf own = {0}, text = {0};
    struct slice value, from = form != NULL ? multibulk(frame, &own) : frame;
    uint64_t before;
    bool found = form != NULL && locate(form, from, &value, &before);
    if (found) {
        ms = ms > 0 ? ms : 1;
        if (in_seconds(form)) {
            buf_printf(&text, "%llu.%03u", (unsigned long long)(ms / 1000), (unsigned)(ms % 1000));
        } else {
            buf_printf(&text, "%llu", (unsigned long long)ms);
        }
        /* `$<length>\r` and a byte that may be any stand in front of it. */
        CHECK(from.p != NULL); /* a value was found in it */
        const char *head = memrchr(from.p, '$', (size_t)(value.p - from.p) - 1);
        CHECK(head != NULL);
        buf_append(out, slice_of(from.p, (size_t)(head - from.p)));
        buf_printf(out, "$%zu\r\n", buf_len(&text));
        buf_append(out, buf_slice(&text));
        buf_append(out, slice_of(value.p + value.n, (size_t)(from.p + from.n - value.p) - value.n));
    }
    buf_release(&own);
    buf_release(&text);
    return found;
}
