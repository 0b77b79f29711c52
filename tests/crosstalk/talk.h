#ifndef VEDETTE_TESTS_CROSSTALK_TALK_H
#define VEDETTE_TESTS_CROSSTALK_TALK_H

#include "tests/crosstalk/value.h"

/* What one session asks, and what must come back: each key and value carries the session's number,
 * the database and a serial number, and what follows them is known to the byte. */

enum { TALK_SLOTS = 4, TALK_DATABASES = 4, TALK_HISTORY = 32 };

/* What is owed. */
enum kind {
    WANT_OK, /* never in doubt: nothing is changed but the session */
    WANT_QUEUED,
    WANT_RESET,
    WANT_HELLO,
    WANT_SAID, /* +OK; from here on there may be doubt, of reads if behind them there is some */
    WANT_NAME,
    WANT_ECHO,
    WANT_GET,
    WANT_MGET,
    WANT_STRLEN,
    WANT_HGETALL,
    WANT_SET, /* from here on it is no read */
    WANT_MSET,
    WANT_INCR,
    WANT_HSET,
    WANT_PUSHED,
    WANT_POPPED,
    WANT_NOSUCH,
    WANT_EVAL,
    WANT_ID,
    WANT_UNLINKED,
    WANT_EXEC,
    WANT_EXEC_WATCHED,
    WANT_NOTHING,
};

/* A reply that is owed. `list`: what an EXEC holds, `count` of them. */
struct want {
    enum kind kind;
    uint8_t db, slot, resp;
    uint32_t serial;
    uint32_t count;
    struct want *list;
};

struct wants {
    struct want *items;
    uint32_t first, count, capacity;
};

/* What is known of one database: serials of the values in its slots, of which those from `sure` up
 * to `top` may be there (0: nothing); how often the number was raised; whether the hash is there.
 */
struct store {
    struct {
        uint32_t sure, top;
    } slots[TALK_SLOTS];
    uint64_t raised_low, raised_high;
    bool hash_sure, hash_asked;
};

struct talk {
    uint64_t life;
    uint64_t random;
    bool shaken;             /* connections to the server are cut: there may be doubt */
    uint8_t db, resp;        /* behind what was asked so far */
    uint8_t database_before; /* before the MULTI that is open */
    bool in_multi, watching, named;
    uint32_t serial;
    uint64_t cleaning; /* the life before, whose keys are removed at the beginning */
    uint32_t cleaned;
    struct store stores[TALK_DATABASES];
    struct wants owed;
    struct {
        enum kind kind;
        char reply[20];
    } history[TALK_HISTORY]; /* of what was heard last */
    uint32_t heard;
    struct wants block; /* what the open MULTI has */
    bool doubt_owed;    /* a read was in doubt: so must be something behind it */
    uint64_t doubts;
};

uint64_t talk_random(uint64_t *state);

void talk_begin(struct talk *t, uint64_t life, uint64_t before, uint64_t seed, bool shaken);
void talk_end(struct talk *t);

/* By how much its numbers are raised. */
uint64_t talk_step(const struct talk *t);

/* Appends one request. */
void talk_ask(struct talk *t, struct text *out);

/* Whether that whole reply may stand where it does. */
bool talk_hear(struct talk *t, const char *frame, size_t size);

/* Whether so much of a reply may be the beginning of the one that is owed; for the large ones. */
bool talk_hear_part(const struct talk *t, const char *part, size_t size);

/* Whether nothing is owed; or, after a half-close, the answer to a command that blocks: a client
 * that has gone is not kept for it. */
bool talk_is_over(const struct talk *t);

/* Prints what the last replies answered, or should have, and how they began. */
void talk_print_history(const struct talk *t);

#endif
