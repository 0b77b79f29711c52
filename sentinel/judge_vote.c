#include "sentinel/judge_parts.h"

#include <string.h>

static bool fresh(const struct judge_view *v, uint64_t now_ms)
{
    return v->answered_ms + JUDGE_VIEW_MAX_AGE_MS >= now_ms && v->id[0] != '\0';
}

void vote_collect(const struct judge_facts *facts, struct ballots *out)
{
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < facts->view_count; i++) {
        const struct judge_view *v = &facts->views[i];
        if (!fresh(v, facts->now_ms)) {
            continue;
        }
        size_t at = 0;
        while (at < out->count && strcmp(out->view[at]->id, v->id) != 0) {
            at++;
        }
        if (at == JUDGE_VIEWS_MAX) {
            break;
        }
        if (at == out->count) {
            out->view[out->count++] = v;
        } else if (v->asked_ms > out->view[at]->asked_ms) {
            out->view[at] = v;
        }
    }
    for (size_t i = 0; i < out->count; i++) {
        out->opinions += out->view[i]->primary.len > 0 ? 1 : 0;
    }
}

static void add_vote(struct tally *t, const struct judge_view *v)
{
    size_t at = 0;
    while (at < t->count && !sockaddr_eq(&t->by[at].at, &v->primary)) {
        at++;
    }
    if (at == t->count) {
        t->by[t->count++] = (struct candidate){.at = v->primary, .name = v->primary_name};
    }
    t->by[at].votes++;
}

static void swap(struct candidate *a, struct candidate *b)
{
    struct candidate c = *a;
    *a = *b;
    *b = c;
}

/* Counts the views with this epoch. */
static void count_epoch(const struct ballots *b, int64_t epoch,
                        const struct sockaddr_any *favourite, struct tally *out)
{
    memset(out, 0, sizeof *out);
    out->epoch = epoch;
    for (size_t i = 0; i < b->count; i++) {
        if (b->view[i]->primary.len > 0 && b->view[i]->epoch == epoch) {
            add_vote(out, b->view[i]);
        }
    }
    for (size_t i = 1; i < out->count; i++) {
        if (favourite != NULL && sockaddr_eq(&out->by[i].at, favourite)) {
            swap(&out->by[0], &out->by[i]);
        }
    }
    for (size_t i = 1; i < out->count; i++) {
        for (size_t k = i; k > 0 && out->by[k].votes > out->by[k - 1].votes; k--) {
            swap(&out->by[k], &out->by[k - 1]);
        }
    }
}

/* The highest epoch that anybody names something with, at most `most`; -1: none. */
static int64_t next_epoch(const struct ballots *b, int64_t most)
{
    int64_t highest = -1;
    for (size_t i = 0; i < b->count; i++) {
        const struct judge_view *v = b->view[i];
        if (v->primary.len > 0 && v->epoch > highest && v->epoch <= most) {
            highest = v->epoch;
        }
    }
    return highest;
}

void vote_highest(const struct ballots *b, const struct sockaddr_any *favourite, struct tally *out)
{
    count_epoch(b, next_epoch(b, INT64_MAX), favourite, out);
}

void vote_agreed(const struct ballots *b, const struct sockaddr_any *favourite, size_t need,
                 struct tally *out)
{
    int64_t epoch = INT64_MAX;
    do {
        epoch = next_epoch(b, epoch);
        count_epoch(b, epoch, favourite, out);
    } while (out->count > 0 && out->by[0].votes < need && epoch-- > 0);
    if (out->count > 0 && out->by[0].votes < need) {
        out->count = 0;
    }
}

void vote_older(const struct ballots *b, int64_t epoch, struct tally *out)
{
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < b->count; i++) {
        const struct judge_view *v = b->view[i];
        if (v->primary.len == 0 || v->epoch >= epoch) {
            continue;
        }
        struct tally t;
        count_epoch(b, v->epoch, NULL, &t);
        for (size_t k = 0; k < t.count; k++) {
            if (out->count == 0 || t.by[k].votes > out->by[0].votes) {
                out->epoch = t.epoch;
                out->count = 1;
                out->by[0] = t.by[k];
            }
        }
    }
}
