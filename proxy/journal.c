#include "proxy/journal.h"

#include <stdlib.h>

#define RING_MIN 8u

void journal_clear(struct journal *j)
{
    chain_clear(&j->bytes);
    free(j->ring);
    *j = (struct journal){0};
}

struct record *journal_at(const struct journal *j, uint32_t i)
{
    CHECK(i < j->count);
    return &j->ring[(j->first + i) & (j->cap - 1)];
}

static void grow(struct journal *j)
{
    uint32_t cap = j->cap > 0 ? j->cap * 2 : RING_MIN;
    struct record *ring = xcalloc(cap, sizeof *ring);
    for (uint32_t i = 0; i < j->count; i++) {
        ring[i] = *journal_at(j, i);
    }
    free(j->ring);
    j->ring = ring;
    j->cap = cap;
    j->first = 0;
}

static struct record *push(struct journal *j)
{
    if (j->count == j->cap) {
        grow(j);
    }
    return &j->ring[(j->first + j->count++) & (j->cap - 1)];
}

void journal_begin(struct journal *j, const struct command *command, struct asker asker)
{
    CHECK(j->count == 0 || journal_at(j, j->count - 1)->end == j->queued);
    *push(j) =
        (struct record){.begin = j->queued, .end = UINT64_MAX, .command = command, .asker = asker};
}

void journal_append(struct journal *j, struct block_pool *pool, struct block *block,
                    struct slice bytes)
{
    chain_append(&j->bytes, pool, block, bytes);
    j->queued += bytes.n;
}

void journal_end(struct journal *j)
{
    CHECK(j->count > 0);
    struct record *r = journal_at(j, j->count - 1);
    CHECK(r->end == UINT64_MAX && j->queued > r->begin);
    r->end = j->queued;
}

void journal_add(struct journal *j, const struct command *command, struct asker asker, size_t n)
{
    *push(j) = (struct record){
        .begin = j->queued, .end = j->queued + n, .command = command, .asker = asker};
    j->queued += n;
}

void journal_fill(struct journal *j, struct block_pool *pool, struct block *block,
                  struct slice bytes)
{
    chain_append(&j->bytes, pool, block, bytes);
    CHECK(j->kept + j->bytes.len == j->queued);
}

enum record_state journal_state(const struct journal *j, const struct record *r)
{
    if (j->given <= r->begin) {
        return RECORD_UNSENT;
    }
    return j->sent >= r->end ? RECORD_SENT : RECORD_PARTIAL;
}

void journal_sent(struct journal *j, size_t n)
{
    CHECK(j->sent == j->given);
    journal_given(j, n, 0);
}

void journal_given(struct journal *j, size_t n, size_t held)
{
    CHECK(n <= j->queued - j->given && held <= j->given + n - j->sent);
    j->given += n;
    journal_settle(j, held);
}

void journal_answered_all(struct journal *j, uint32_t n)
{
    CHECK(n > 0);
    const struct record *last = journal_at(j, n - 1);
    CHECK(journal_state(j, last) == RECORD_SENT);
    if (last->end > j->kept) {
        chain_consume(&j->bytes, last->end - j->kept);
        j->kept = last->end;
    }
    j->first = (j->first + n) & (j->cap - 1);
    j->count -= n;
}

uint32_t journal_drop_unsent(struct journal *j, struct asker asker)
{
    uint32_t kept = 0;
    uint64_t gone = 0;
    for (uint32_t i = 0; i < j->count; i++) {
        struct record r = *journal_at(j, i);
        bool drop = r.asker.slot == asker.slot && r.asker.serial == asker.serial &&
                    r.end != UINT64_MAX && journal_state(j, &r) == RECORD_UNSENT;
        uint64_t from = r.begin - gone;
        if (drop) {
            chain_cut(&j->bytes, (size_t)(from - j->kept), (size_t)(r.end - gone - j->kept));
            gone += r.end - r.begin;
        } else {
            r.begin = from;
            r.end -= r.end != UINT64_MAX ? gone : 0;
            *journal_at(j, kept++) = r;
        }
    }
    uint32_t dropped = j->count - kept;
    j->count = kept;
    j->queued -= gone;
    return dropped;
}

uint32_t journal_first_unsent(const struct journal *j)
{
    uint32_t first = j->count;
    while (first > 0 && journal_state(j, journal_at(j, first - 1)) == RECORD_UNSENT) {
        first--;
    }
    return first;
}

void journal_finish_partial(struct journal *j)
{
    for (uint32_t i = 0; i < j->count; i++) {
        const struct record *r = journal_at(j, i);
        if (journal_state(j, r) == RECORD_PARTIAL) {
            j->sent = r->end;
            j->given = r->end > j->given ? r->end : j->given;
        }
    }
}

void journal_keep_first(struct journal *j)
{
    struct record first = *journal_at(j, 0);
    CHECK(journal_state(j, &first) == RECORD_SENT);
    chain_clear(&j->bytes);
    j->count = 1;
    /* What was sent behind it is not to be counted: its answers are not waited for. */
    j->kept = j->sent = j->given = j->queued = first.end;
}

void journal_forget_sent(struct journal *j)
{
    CHECK(j->count <= 1 && j->sent >= j->kept);
    chain_consume(&j->bytes, j->sent - j->kept);
    j->kept = j->sent;
}

void journal_forget_requests(struct journal *j)
{
    j->count = 0;
    journal_forget_sent(j);
}

/* How many bytes of r are in front of a cursor. */
static uint64_t passed(uint64_t cursor, const struct record *r)
{
    if (cursor <= r->begin) {
        return 0;
    }
    return (cursor < r->end ? cursor : r->end) - r->begin;
}

void journal_adopt(struct journal *j, struct block_pool *pool, const struct journal *from,
                   const struct record *r)
{
    CHECK(journal_has(from, r) && (journal_unsent(j) == 0 || from->sent <= r->begin));
    CHECK(j->given == j->queued || from->given <= r->begin);
    journal_begin(j, r->command, r->asker);
    journal_at(j, j->count - 1)->names = r->names;
    size_t at = (size_t)(r->begin - from->kept), end = at + journal_bytes(from, r);
    while (at < end) {
        struct iovec piece;
        CHECK(chain_iov(&from->bytes, at, end, &piece, 1) == 1);
        journal_append(j, pool, NULL, slice_of(piece.iov_base, piece.iov_len));
        at += piece.iov_len;
    }
    journal_end(j);
    j->sent += passed(from->sent, r);
    j->given += passed(from->given, r);
}

bool journal_has(const struct journal *j, const struct record *r)
{
    return r->begin >= j->kept;
}

static uint64_t end_of(const struct journal *j, const struct record *r)
{
    return r->end < j->queued ? r->end : j->queued;
}

struct slice journal_view(const struct journal *j, const struct record *r, struct buf *copy)
{
    size_t n = journal_bytes(j, r);
    size_t from = n > 0 && r->begin > j->kept ? (size_t)(r->begin - j->kept) : 0;
    struct iovec piece;
    if (chain_iov(&j->bytes, from, from + n, &piece, 1) == 1 && piece.iov_len == n) {
        return slice_of(piece.iov_base, n);
    }
    journal_copy(j, r, buf_reserve(copy, n));
    buf_commit(copy, n);
    return buf_slice(copy);
}

size_t journal_bytes(const struct journal *j, const struct record *r)
{
    return journal_has(j, r) ? (size_t)(end_of(j, r) - r->begin) : 0;
}

void journal_copy(const struct journal *j, const struct record *r, char *to)
{
    CHECK(journal_has(j, r));
    chain_peek(&j->bytes, r->begin - j->kept, journal_bytes(j, r), to);
}
