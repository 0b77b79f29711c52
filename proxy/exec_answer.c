#include "proxy/exec_answer.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/limits.h"
#include "proxy/resp/args.h"

#define LOOKED_AT 64u /* more than pubsub_look and monitor_look ever need */

struct exec_answer *exec_answer_new(const struct pubsub_counts *counts, bool resp3, bool monitor)
{
    struct exec_answer *a = xcalloc(1, sizeof *a);
    a->counts = *counts;
    a->resp3 = resp3;
    a->monitor = monitor;
    return a;
}

void exec_answer_free(struct exec_answer *a)
{
    if (a != NULL) {
        buf_release(&a->types);
        buf_release(&a->heard);
        buf_release(&a->text);
        free(a);
    }
}

static void begin_element(struct exec_answer *a)
{
    reply_scan_reset(&a->scan, REPLY_ELEMENTS_MAX);
    buf_release(&a->text);
}

/* What is to be read is the answer to the next command that was queued. */
static enum exec_state next_command(struct exec_answer *a, const struct transaction *t)
{
    struct slice frame, answer;
    do {
        if (!transaction_next(t, &a->at, &frame, &answer)) {
            return EXEC_DONE;
        }
    } while (!slice_starts_with(answer, "+QUEUED")); /* it was MULTI, or an error */
    struct args args;
    CHECK(args_parse(frame, &args) == ARGS_OK);
    char name[16] = "";
    for (size_t i = 0; i < args.v[0].n && i < sizeof name; i++) {
        char c = args.v[0].p[i];
        name[i] = (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    }
    size_t length = args.v[0].n < sizeof name ? args.v[0].n : sizeof name;
    a->subscribes = pubsub_verb(slice_of(name, length), &a->verb);
    a->hello = slice_eq(slice_of(name, length), slice_str("hello"));
    a->names = args.count - 1;
    a->left = 0;
    args_free(&args);
    return EXEC_MORE;
}

/* Keeps what is needed of an element. False: that is too much. */
static bool keep(struct exec_answer *a, struct slice bytes)
{
    bool whole = a->subscribes || (a->muted && a->scan.type == '>');
    size_t room = (whole ? REPLY_BUFFER_MAX : LOOKED_AT) - buf_len(&a->text);
    buf_append(&a->text, slice_of(bytes.p, bytes.n < room ? bytes.n : room));
    return bytes.n <= room || !whole;
}

/* The element is whole. */
static enum exec_state element(struct exec_answer *a, const struct transaction *t)
{
    struct slice text = buf_slice(&a->text);
    char type = a->scan.type;
    struct pubsub_verb verb;
    enum pubsub_what what = pubsub_look(text, &verb);
    bool confirms = a->subscribes && what == PUBSUB_CONFIRMED && verb.kind == a->verb.kind &&
                    verb.on == a->verb.on;
    if (a->muted && (confirms || type == '>')) {
        buf_append(&a->heard, text);
    }
    if ((type == '>' && !confirms) || (a->monitor && monitor_look(text) == PUBSUB_MESSAGE)) {
        return EXEC_MORE; /* it answers nothing */
    }
    if (type == '*' && what == PUBSUB_MESSAGE && !a->resp3 && pubsub_total(&a->counts) > 0) {
        return EXEC_UNSURE;
    }
    if (a->subscribes && type != '-') {
        struct confirmation c;
        if (a->left == 0) {
            buf_append(&a->types, slice_of(&type, 1));
            a->left = pubsub_expected(&a->counts, a->verb, a->names);
        }
        if (!confirms || !pubsub_confirmation(text, &c) || !pubsub_count(&a->counts, &c)) {
            return EXEC_BROKEN;
        }
        return --a->left > 0 ? EXEC_MORE : next_command(a, t);
    }
    if (a->left > 0) {
        return EXEC_BROKEN;
    }
    if (a->hello && type != '-') {
        a->resp3 = type == '%';
    }
    buf_append(&a->types, slice_of(&type, 1));
    return next_command(a, t);
}

/* The line that begins it; behind which *bytes goes on. */
static enum exec_state header(struct exec_answer *a, const struct transaction *t,
                              struct slice *bytes)
{
    const char *lf = memchr(bytes->p, '\n', bytes->n);
    size_t n = lf != NULL ? (size_t)(lf + 1 - bytes->p) : bytes->n;
    buf_append(&a->text, slice_of(bytes->p, n));
    *bytes = slice_of(bytes->p + n, bytes->n - n);
    if (lf == NULL) {
        return EXEC_MORE;
    }
    a->begun = true;
    bool nothing = slice_starts_with(buf_slice(&a->text), "*-"); /* was executed */
    bool broken = !slice_starts_with(buf_slice(&a->text), "*");
    begin_element(a);
    return broken ? EXEC_BROKEN : nothing ? EXEC_DONE : next_command(a, t);
}

static enum exec_state part(struct exec_answer *a, const struct transaction *t, struct slice *bytes)
{
    if (!a->begun) {
        return header(a, t, bytes);
    }
    size_t used;
    enum scan_result result = reply_scan_feed(&a->scan, *bytes, &used);
    bool kept = keep(a, slice_of(bytes->p, used));
    *bytes = slice_of(bytes->p + used, bytes->n - used);
    if (result == SCAN_ERROR || !kept) {
        return result == SCAN_ERROR ? EXEC_BROKEN : EXEC_UNSURE;
    }
    enum exec_state state = EXEC_MORE;
    if (result == SCAN_DONE) {
        state = element(a, t);
        begin_element(a);
    }
    return state;
}

enum exec_state exec_answer_feed(struct exec_answer *a, const struct transaction *t,
                                 struct slice bytes)
{
    while (bytes.n > 0 && a->state == EXEC_MORE) {
        a->state = part(a, t, &bytes);
    }
    if (bytes.n > 0 && a->state == EXEC_DONE) {
        a->state = EXEC_BROKEN; /* the array has promised more than there were commands */
    }
    return a->state;
}
