#include "proxy/transaction.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/limits.h"
#include "proxy/exec_answer.h"
#include "proxy/resp/scan.h"

static const char multi[] = "*1\r\n$5\r\nMULTI\r\n";

struct transaction *transaction_new(void)
{
    struct transaction *t = xcalloc(1, sizeof *t);
    t->whole = true;
    buf_append_str(&t->frames, multi);
    buf_append_str(&t->answers, "+OK\r\n");
    return t;
}

void transaction_forget(struct transaction *t)
{
    t->whole = false;
    buf_wipe(&t->frames); /* it may hold an AUTH */
    buf_release(&t->answers);
}

void transaction_free(struct transaction **where)
{
    if (*where != NULL) {
        transaction_forget(*where);
        exec_answer_free((*where)->exec);
        free(*where);
        *where = NULL;
    }
}

char *transaction_keep(struct transaction *t, size_t n, struct slice answer)
{
    if (!t->whole ||
        buf_len(&t->frames) + buf_len(&t->answers) + n + answer.n > TRANSACTION_KEPT_MAX) {
        transaction_forget(t);
        return NULL;
    }
    buf_append(&t->answers, answer);
    char *to = buf_reserve(&t->frames, n);
    buf_commit(&t->frames, n);
    return to;
}

size_t transaction_held(const struct transaction *t)
{
    return t->frames.cap + t->answers.cap;
}

bool transaction_next(const struct transaction *t, struct transaction_at *at, struct slice *frame,
                      struct slice *answer)
{
    struct slice frames = buf_slice(&t->frames), answers = buf_slice(&t->answers);
    frames = slice_of(frames.p + at->frame, frames.n - at->frame);
    answers = slice_of(answers.p + at->answer, answers.n - at->answer);
    if (frames.n == 0) {
        return false;
    }
    struct request_scan scan = {0};
    size_t used;
    CHECK(request_scan_feed(&scan, frames, &used) == SCAN_DONE);
    *frame = slice_of(frames.p, used);
    CHECK(answers.p != NULL);
    const char *end = memchr(answers.p, '\n', answers.n);
    CHECK(end != NULL);
    *answer = slice_of(answers.p, (size_t)(end + 1 - answers.p));
    at->frame += frame->n;
    at->answer += answer->n;
    return true;
}

void transaction_again(struct transaction *t)
{
    CHECK(t->whole);
    t->compared = 0;
}

bool transaction_same(struct transaction *t, struct slice answer)
{
    struct slice answers = buf_slice(&t->answers);
    struct slice rest = slice_of(answers.p + t->compared, answers.n - t->compared);
    bool same = rest.n >= answer.n && slice_eq(slice_of(rest.p, answer.n), answer);
    t->compared += same ? answer.n : 0;
    return same;
}
