/* Replies on a link: framed where they lie, each handed to the session that asked. */
#include <errno.h>

#include "proxy/base/limits.h"
#include "proxy/link.h"
#include "proxy/linkset.h"
#include "proxy/session.h"
#include "proxy/session_restore.h"
#include "proxy/session_subscribe.h"
#include "proxy/unblock.h"
#include "proxy/worker.h"

/* Who asked what the next reply answers; NULL: nobody who is still there. */
static struct session *asker(const struct link *l)
{
    return l->journal.count > 0
               ? worker_asker(l->service->worker, journal_at(&l->journal, 0)->asker)
               : NULL;
}

/* What the next reply answers may have been executed by a node that was primary no longer. */
static bool must_keep_back(const struct link *l)
{
    if (l->scan.length > 0 || l->state != LINK_READY || l->unblock == UNBLOCK_PROVEN) {
        return false;
    }
    if (l->unblock == UNBLOCK_ASKED) {
        return true;
    }
    if (l->replica != 0 || !service_distrusts_answers(l->service)) {
        return false;
    }
    return l->raw ||
           (l->journal.count > 0 && !command_repeatable(journal_at(&l->journal, 0)->command));
}

/* An answer that nobody asked for would shift all that follow. */
static bool unexpected(const struct link *l)
{
    const struct journal *j = &l->journal;
    if (l->scan.type == '>') {
        return false;
    }
    if (j->count == 0) {
        return true;
    }
    enum record_state state = journal_state(j, journal_at(j, 0));
    /* Only an error comes before the end of what it answers. */
    bool early =
        l->kind == LINK_EXCLUSIVE && l->scan.type == '-' && l->scan.length <= REPLY_BUFFER_MAX;
    return state == RECORD_UNSENT || (state == RECORD_PARTIAL && !early);
}

/* A whole reply. A push answers nothing; on a link that sessions share nobody has asked for any. */
static void hand_on(struct link *l, struct block *block, struct slice reply, char type)
{
    struct session *s = type == '>' ? l->session : asker(l);
    if (l->kind == LINK_CONTROL) {
        unblock_answered(l, s, reply);
    } else if (s != NULL) {
        session_reply(s, block, reply, type);
    } else if (type != '>') {
        journal_answered(&l->journal);
    }
}

/* A piece of a reply; whole: the length of it all with the last one, else 0. */
static void hand_on_part(struct link *l, struct block *block, struct slice part, char type,
                         uint64_t whole)
{
    struct session *s = type == '>' ? l->session : asker(l);
    if (s != NULL) {
        session_reply_part(s, block, part, type, whole);
    } else if (type != '>' && whole > 0) {
        journal_answered(&l->journal);
        if (l->state == LINK_RETIRING) {
            link_close(&l, LINK_END_GENERATION);
        }
    }
}

/* Answers to plain requests of one session that lie together, handed on at once; whatever else
 * there is, it leaves to take_replies. Returns how many bytes were. */
static size_t take_run(struct link *l, struct block *block, struct slice bytes)
{
    struct journal *j = &l->journal;
    struct session *s = asker(l);
    if (s == NULL || s->link != l || l->state != LINK_READY || !l->proven ||
        !session_takes_runs(s) || (l->replica == 0 && service_distrusts_answers(l->service))) {
        return 0;
    }
    const char *p = bytes.p, *end = p + bytes.n;
    uint32_t count = 0;
    while (count < j->count) {
        const struct record *r = journal_at(j, count);
        const char *next = asker_same(r->asker, s->asker) && command_is_plain(r->command) &&
                                   journal_state(j, r) == RECORD_SENT
                               ? reply_whole(p, end)
                               : NULL;
        if (next == NULL) {
            break;
        }
        p = next;
        count++;
    }
    if (count > 0) {
        session_replies(s, count, block, slice_of(bytes.p, (size_t)(p - bytes.p)));
    }
    return (size_t)(p - bytes.p);
}

/* Looks at more bytes of a reply. The answer to EXEC may be more than one. */
static enum scan_result scan_on(struct link *l, struct slice bytes, size_t *used)
{
    enum scan_result result = reply_scan_feed(&l->scan, bytes, used);
    size_t before = 0;
    while (l->follows && result != SCAN_ERROR && l->scan.type == '*') {
        bool more = transaction_ran_more(l->session, slice_of(bytes.p + before, *used - before));
        if (!more || l->raw || l->state == LINK_CLOSED || result == SCAN_MORE) {
            break;
        }
        reply_scan_extend(&l->scan);
        before = *used;
        size_t n;
        result = reply_scan_feed(&l->scan, slice_of(bytes.p + before, bytes.n - before), &n);
        *used += n;
    }
    return result;
}

/* Frames replies in bytes, which begin with the l->scan.length bytes looked at already (none of
 * them when streaming). Returns how many were handed on. */
static size_t take_replies(struct link *l, struct block *block, struct slice bytes)
{
    size_t done = 0;
    size_t seen = l->streaming ? 0 : (size_t)l->scan.length;
    while (done + seen < bytes.n && l->state != LINK_CLOSED && l->reading) {
        if (l->scan.length == 0) {
            size_t run = take_run(l, block, slice_of(bytes.p + done, bytes.n - done));
            if (run > 0) {
                done += run;
                continue;
            }
        }
        if (must_keep_back(l)) {
            link_set_reading(l, false);
            break;
        }
        size_t used;
        struct slice rest = slice_of(bytes.p + done + seen, bytes.n - done - seen);
        enum scan_result result = scan_on(l, rest, &used);
        if (l->state == LINK_CLOSED) {
            return bytes.n;
        }
        if (l->raw) {
            session_raw_bytes(l->session, block, slice_of(bytes.p + done, bytes.n - done));
            return bytes.n;
        }
        if (l->listens && !l->streaming) {
            l->scan.type = listening_type(l->session, slice_of(bytes.p + done, seen + used));
        }
        if (result == SCAN_ERROR || (l->scan.type != 0 && unexpected(l))) {
            link_lost(l, LINK_END_PROTOCOL);
            return bytes.n;
        }
        struct slice reply = slice_of(bytes.p + done, seen + used);
        char type = l->scan.type;
        if (result == SCAN_MORE && !l->streaming &&
            (l->scan.length <= REPLY_BUFFER_MAX || type == 0)) {
            break;
        }
        if (result == SCAN_MORE && !l->streaming && asker(l) != NULL) {
            tentative_give_up(asker(l));
        }
        bool streamed = l->streaming || result == SCAN_MORE;
        l->streaming = result == SCAN_MORE;
        uint64_t whole = result == SCAN_DONE ? l->scan.length : 0;
        if (result == SCAN_DONE) {
            reply_scan_reset(&l->scan, REPLY_ELEMENTS_MAX);
        }
        done += reply.n;
        seen = 0;
        if (streamed) {
            hand_on_part(l, block, reply, type, whole);
        } else {
            hand_on(l, block, reply, type);
        }
    }
    return done;
}

static size_t take_bytes(struct link *l, struct block *block, struct slice bytes)
{
    if (!l->raw) {
        return take_replies(l, block, bytes);
    }
    if (must_keep_back(l)) {
        link_set_reading(l, false);
        return 0;
    }
    session_raw_bytes(l->session, block, bytes);
    return bytes.n;
}

/* Into the worker's block, behind what is here of an incomplete reply; the link's own buffer is for
 * what would be copied too often. */
ssize_t link_read(struct link *l)
{
    struct worker *w = l->service->worker;
    struct slice before = buf_slice(&l->in);
    if (before.n > REPLY_CARRIED_MAX) {
        char *at = buf_reserve(&l->in, READ_CHUNK);
        ssize_t n = transport_read(l->transport, at, READ_CHUNK);
        link_settle(l);
        if (n > 0) {
            buf_commit(&l->in, (size_t)n);
            link_resume(l);
        }
        return n;
    }
    char *at;
    ssize_t n = worker_read(w, &w->replies, l->transport, before, &at);
    link_settle(l);
    if (n > 0) {
        struct slice bytes = slice_of(at, before.n + (size_t)n);
        buf_consume(&l->in, before.n);
        size_t done = take_bytes(l, w->replies.block, bytes);
        if (l->state != LINK_CLOSED && done < bytes.n) {
            buf_append(&l->in, slice_of(bytes.p + done, bytes.n - done));
        } else if (before.n > 0) {
            buf_release(&l->in);
        }
        worker_read_done(&w->replies, bytes.n);
    }
    return n;
}

void link_resume(struct link *l)
{
    if (buf_len(&l->in) > 0 && l->reading && l->state != LINK_CLOSED) {
        link_settle(l); /* more may have gone since they came */
        size_t done = take_bytes(l, NULL, buf_slice(&l->in));
        if (l->state == LINK_CLOSED) {
            return;
        }
        buf_consume(&l->in, done);
        if (buf_len(&l->in) == 0) {
            buf_release(&l->in);
        }
    }
}
