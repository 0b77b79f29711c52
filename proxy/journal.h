/* The journal of a link: the bytes of every request it took until that request is answered, whose
 * request it is, and three cursors, answered <= sent <= queued. When the link is lost it is the
 * exact truth of what was never sent, sent in part, and sent whole.
 *
 *      answered          sent                queued
 *         |  record  record | record  record    |
 *   ------+--------+--------+--+-----+----------+
 *
 * TLS takes more than it has sent: bytes that are encrypted have to follow, and can't arrive before
 * the last one of their record. What is between sent and given is as if it were sent in part.
 *
 * Offsets count the bytes of the whole stream since the link began. */
#ifndef VEDETTE_PROXY_JOURNAL_H
#define VEDETTE_PROXY_JOURNAL_H

#include "proxy/base/block.h"
#include "proxy/base/buf.h"
#include "proxy/command.h"

/* Whose request it is: a worker's session by its place in the table of sessions and its serial
 * number. A session that has ended leaves orphans: no session has their serial any more. */
struct asker {
    uint32_t slot : 31;
    uint32_t mute : 1; /* the client does not want to hear the answer */
    uint32_t serial : 28;
    uint32_t own : 4; /* enum ask: asked by ourselves, the answer is not the client's */
};
#define SERIAL_MAX 0x0fffffffu

/* Why a request was sent. */
enum ask {
    ASK_CLIENT,      /* it is the client's */
    ASK_SELF,        /* we wanted to know, or only to say it */
    ASK_LISTEN,      /* the link is to hear what another one heard */
    ASK_CAUGHT_UP,   /* what it would not have kept for a slow reader has not been lost */
    ASK_EVICT,       /* CLIENT NO-EVICT, NO-TOUCH */
    ASK_TRACKING,    /* the link is to tell what becomes of what the client stores */
    ASK_REDIRECT,    /* CLIENT TRACKING with REDIRECT, for the client and in its place */
    ASK_TRANSACTION, /* it belongs to a transaction that was begun on another link */
};

static inline bool asker_same(struct asker a, struct asker b)
{
    return a.slot == b.slot && a.serial == b.serial && a.own == b.own;
}
/* No session's: a question of the link's own. Serials begin with 1. */
#define ASKER_NOBODY ((struct asker){.own = ASK_SELF})

struct record {
    uint64_t begin, end; /* stream offsets; end == UINT64_MAX while the frame is still arriving */
    const struct command *command;
    struct asker asker;
    union {
        uint32_t names;    /* of channels, where each is answered */
        uint32_t asked_us; /* EVALSHA: when it was put here, the low bits of clock_us */
    };
};

struct journal {
    struct chain bytes; /* the stream from `kept` to `queued` */
    uint64_t kept;      /* offset of the first byte in `bytes` */
    uint64_t sent, queued;
    uint64_t given; /* sent <= given <= queued: to the transport; without TLS it is sent */
    struct record *ring;
    uint32_t cap, first, count;
};

/* Where an outstanding request stands. */
enum record_state {
    RECORD_UNSENT,  /* not one byte was given to the transport */
    RECORD_PARTIAL, /* some bytes, not all: an incomplete frame never executes */
    RECORD_SENT,    /* every byte: only an answer tells what became of it */
};

/* Frees everything. A zero-initialised journal is empty. */
void journal_clear(struct journal *j);
/* A new request whose bytes follow by journal_append. */
void journal_begin(struct journal *j, const struct command *command, struct asker asker);
/* Bytes of the request begun last. block: where they lie, or NULL. */
void journal_append(struct journal *j, struct block_pool *pool, struct block *block,
                    struct slice bytes);
/* The request begun last is complete. */
void journal_end(struct journal *j);
/* The request begun last is not complete. */
static inline bool journal_is_open(const struct journal *j)
{
    return j->count > 0 && j->ring[(j->first + j->count - 1) & (j->cap - 1)].end == UINT64_MAX;
}
/* The i-th unanswered request, oldest first, i < j->count. */
struct record *journal_at(const struct journal *j, uint32_t i);
enum record_state journal_state(const struct journal *j, const struct record *r);
/* The transport took n more bytes, of which the kernel has accepted all; or all that were given but
 * the last `held` ones. */
void journal_sent(struct journal *j, size_t n);
void journal_given(struct journal *j, size_t n, size_t held);
/* A whole request of n bytes at once. The bytes of several may follow together by journal_fill,
 * before anything else is done with the journal. */
void journal_add(struct journal *j, const struct command *command, struct asker asker, size_t n);
void journal_fill(struct journal *j, struct block_pool *pool, struct block *block,
                  struct slice bytes);
/* The oldest n requests were answered, or their answers are not waited for: drops them and their
 * bytes. They must have been sent whole. */
void journal_answered_all(struct journal *j, uint32_t n);
static inline void journal_answered(struct journal *j)
{
    journal_answered_all(j, 1);
}
/* Drops the whole requests of that asker of which not one byte was sent, our own on its behalf
 * included; returns how many. */
uint32_t journal_drop_unsent(struct journal *j, struct asker asker);
/* The first of the requests at the end of which no byte was given away; count: there are none. */
uint32_t journal_first_unsent(const struct journal *j);
/* A request sent in part counts as sent whole: somebody else sends the rest. */
void journal_finish_partial(struct journal *j);
/* Drops all requests but the oldest, which was sent whole, and their bytes. */
void journal_keep_first(struct journal *j);
/* Forgets the bytes already sent of a request that is too large to be kept; it must be the only
 * one. Such a request can't be sent again. */
void journal_forget_sent(struct journal *j);
/* The bytes not sent yet stay, and belong to no request any more. */
void journal_forget_requests(struct journal *j);
/* Appends r, a whole record of another journal, and what is known of it: its bytes, and how far
 * they were sent. Records must come in their order there, and none after one sent in part. */
void journal_adopt(struct journal *j, struct block_pool *pool, const struct journal *from,
                   const struct record *r);
/* True if all bytes of r that were ever appended are still here. */
bool journal_has(const struct journal *j, const struct record *r);
/* The bytes of r that are here: where they lie if together, else copied into `copy`, which is empty
 * and the caller's to release. */
struct slice journal_view(const struct journal *j, const struct record *r, struct buf *copy);
/* How many bytes of r are here, and a copy of them into `to`. */
size_t journal_bytes(const struct journal *j, const struct record *r);
void journal_copy(const struct journal *j, const struct record *r, char *to);

static inline uint64_t journal_unsent(const struct journal *j)
{
    return j->queued - j->sent;
}
/* What is held is less by now. */
static inline void journal_settle(struct journal *j, size_t held)
{
    j->sent = j->given - held;
}

#endif
