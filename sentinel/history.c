#include "sentinel/history.h"

#include <string.h>

/* Forgets the round that leaves the smallest gap for its age: what is left gets sparser the older
 * it is, in proportion. */
static void forget_one(struct history *h, uint64_t now_ms)
{
    size_t least = 1;
    uint64_t least_gap = UINT64_MAX, least_age = 1;
    for (size_t i = 1; i + 1 < h->count; i++) {
        uint64_t gap = h->v[i + 1].begun_ms - h->v[i - 1].begun_ms;
        uint64_t age = now_ms - h->v[i].begun_ms + 1;
        if (least_gap == UINT64_MAX || gap * least_age < least_gap * age) {
            least = i;
            least_gap = gap;
            least_age = age;
        }
    }
    memmove(&h->v[least], &h->v[least + 1], (h->count - least - 1) * sizeof h->v[0]);
    h->count--;
}

bool history_add(struct history *h, const struct round *r)
{
    struct round *last = h->count > 0 ? &h->v[h->count - 1] : NULL;
    if (last != NULL && r->offset < last->offset) {
        return false;
    }
    CHECK(last == NULL || r->number > last->number);
    if (last != NULL && r->offset == last->offset) {
        *last = *r; /* who has caught up with the one has with both */
        return true;
    }
    if (h->count == ROUNDS_KEPT) {
        forget_one(h, r->begun_ms);
    }
    h->v[h->count++] = *r;
    return true;
}

const struct round *history_caught(const struct history *h, int64_t offset)
{
    size_t low = 0, high = h->count; /* below low: at most offset; from high on: beyond it */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (h->v[middle].offset <= offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low == 0 ? NULL : &h->v[low - 1];
}
