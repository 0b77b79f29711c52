#include "proxy/session_input.h"

#include <stdlib.h>

#include "proxy/base/limits.h"
#include "proxy/base/log.h"
#include "proxy/resp/emit.h"
#include "proxy/learnt.h"
#include "proxy/route.h"
#include "proxy/session_blocking.h"
#include "proxy/session_mute.h"
#include "proxy/session_redirect.h"
#include "proxy/session_restore.h"
#include "proxy/session_subscribe.h"
#include "proxy/worker.h"

struct parked *park_frame(struct list *items, const struct command *command, struct buf *frame)
{
    struct parked *item = xcalloc(1, sizeof *item);
    item->command = command;
    item->bytes = *frame;
    *frame = (struct buf){0};
    list_append(items, &item->node);
    return item;
}

struct parked *park_answer(struct list *items, struct slice answer)
{
    struct parked *item = xcalloc(1, sizeof *item);
    item->is_answer = true;
    buf_append(&item->bytes, answer);
    list_append(items, &item->node);
    return item;
}

static void parked_free(struct parked *item)
{
    buf_wipe(&item->bytes); /* it may be an AUTH */
    free(item);
}

static struct parked *first_parked(const struct session *s)
{
    return s->parked.count > 0 ? CONTAINER_OF(s->parked.first, struct parked, node) : NULL;
}

/* True unless every server reads it alike and answers it once: what is odd never goes on a link
 * that others use, nor do others use the one it went on. */
static bool is_odd(const struct request_scan *scan, struct slice frame)
{
    if (scan->is_inline) {
        return frame.n > SHARED_INLINE_MAX || !args_inline_plain(frame);
    }
    return scan->odd;
}

/* False: it stays; or it is no request at all and s->front says so. */
static bool take_frame(struct session *s, struct block *block, struct slice frame)
{
    struct learnt *learnt = s->service->learnt;
    if (s->scan.empty) {
        (void)mute_next(s, VOICE_ASK);
        return true;
    }
    struct request r = {
        .frame = frame, .block = block, .whole = true, .odd = is_odd(&s->scan, frame)};
    if (s->scan.name_known) {
        r.command =
            learnt_lookup_plain(learnt, slice_of(frame.p + s->scan.name_at, s->scan.name_len));
    }
    if (r.command != NULL) {
        return request_take(s, &r);
    }
    struct args args;
    enum args_result result = args_parse(frame, &args);
    bool taken = result == ARGS_EMPTY;
    if (result == ARGS_OK) {
        r.command = request_command(s, &args);
        r.args = &args;
        taken = request_take(s, &r);
    } else if (result == ARGS_UNBALANCED) {
        s->front = FRONT_BAD;
        s->bad_quotes = true;
    }
    args_free(&args);
    return taken;
}

static bool take_parked_frame(struct session *s, const struct parked *item)
{
    struct slice frame = buf_slice(&item->bytes);
    struct request_scan scan = {0};
    struct args args;
    size_t used;
    CHECK(request_scan_feed(&scan, frame, &used) == SCAN_DONE && used == frame.n);
    CHECK(args_parse(frame, &args) == ARGS_OK);
    struct request r = {.command = item->command,
                        .args = &args,
                        .frame = frame,
                        .whole = true,
                        .voice = item->voice,
                        .odd = is_odd(&scan, frame)};
    bool taken = request_take(s, &r);
    args_free(&args);
    return taken;
}

static void give_answer(struct session *s, const struct parked *item)
{
    s->hushed = mute_next(s, item->voice);
    session_give(s, NULL, buf_slice(&item->bytes));
    s->hushed = false;
}

void input_give_answers(struct session *s)
{
    for (struct parked *p = first_parked(s); p != NULL && p->is_answer; p = first_parked(s)) {
        give_answer(s, p);
        list_remove(&p->node);
        parked_free(p);
    }
}

static bool take_parked(struct session *s)
{
    struct parked *item;
    while (s->state < SESSION_CLOSING && (item = first_parked(s)) != NULL) {
        if (item->is_answer) {
            if (s->outstanding > 0 || s->tentative != NULL) {
                return false;
            }
            give_answer(s, item);
        } else if (!take_parked_frame(s, item)) {
            return false;
        }
        list_remove(&item->node);
        parked_free(item);
    }
    return s->state < SESSION_CLOSING;
}

/* What begins with no RESP at all is an operator's business, be it TLS or another protocol. */
static void log_odd_client(const struct session *s, const char *words)
{
    char text[ADDR_TEXT_MAX];
    log_limited(LOG_NOTICE, "client-speaks-no-resp", "service=%s client=%s error=%s",
                s->service->config->name, session_peer(s, text), log_quote(slice_str(words)));
}

/* The end of what this client may say, in its place behind the answers still owed. */
static void refuse_input(struct session *s)
{
    if (s->outstanding > 0 || s->asked != NULL || s->tentative != NULL) {
        return;
    }
    char text[SCAN_ERROR_MAX];
    const char *words = s->bad_quotes ? "Protocol error: unbalanced quotes in request"
                                      : request_scan_error(&s->scan, text);
    struct buf error = {0};
    buf_printf(&error, "-ERR %s\r\n", words);
    log_debug("protocol-error", "service=%s error=%s", s->service->config->name,
              log_quote(slice_str(words)));
    if (s->scan.first && s->scan.is_inline && !s->bad_quotes) {
        log_odd_client(s, words);
    }
    s->hushed = s->replies != REPLIES_ON;
    session_give(s, NULL, buf_slice(&error));
    buf_release(&error);
    session_finish(s, SESSION_END_PROTOCOL);
}

/* As far as it can be told. No command's name is so long that it would not be whole here, but Redis
 * may take what stands before a NUL for one. */
static const struct command *command_begun(const struct session *s, struct slice begun)
{
    size_t at = (size_t)s->scan.name_at, behind = at + s->scan.name_len + 2;
    size_t n = s->scan.name_known ? s->scan.name_len : begun.n - at;
    struct slice sub;
    bool known = s->scan.name_known && args_begun(begun, behind, &sub);
    return learnt_lookup_name(s->service->learnt, slice_of(begun.p + at, n), known ? &sub : NULL);
}

/* A frame too large to wait for its end goes to the link as it comes, alone on it. */
static bool begin_streaming(struct session *s, struct block *block, struct slice begun)
{
    const struct command *command = command_begun(s, begun);
    struct request r = {.command = command, .frame = begun, .block = block};
    if (s->outstanding > 0 || !request_take(s, &r)) {
        return false;
    }
    if (s->uncarried != NULL && s->link != NULL && s->link->raw) {
        request_scan_reset(&s->scan);
    } else {
        s->streaming = s->link != NULL && s->outstanding > 0 && journal_is_open(&s->link->journal);
        s->swallowing = !s->streaming;
    }
    return true;
}

/* More bytes of a frame that is streamed, or dropped. Returns how many were used. */
static size_t stream(struct session *s, struct block *block, struct slice bytes)
{
    CHECK(!s->streaming || s->link != NULL);
    if (s->streaming && journal_unsent(&s->link->journal) >= LINK_UNSENT_HIGH) {
        return 0;
    }
    size_t used;
    enum scan_result result = request_scan_feed(&s->scan, bytes, &used);
    if (result == SCAN_ERROR) {
        s->front = FRONT_BAD;
        if (s->streaming) {
            /* Without its end it is never executed, and nothing else was on that link. */
            s->streaming = false;
            link_close(&s->link, LINK_END_SESSION);
            s->outstanding = 0;
        }
        s->swallowing = false;
        return used;
    }
    if (s->streaming) {
        journal_append(&s->link->journal, &s->service->worker->pool, block,
                       slice_of(bytes.p, used));
        link_touch(s->link);
    }
    if (result == SCAN_DONE) {
        if (s->streaming) {
            journal_end(&s->link->journal);
            s->link->dirty = s->link->dirty || s->scan.odd;
        }
        s->streaming = s->swallowing = false;
        request_scan_reset(&s->scan);
    }
    return used;
}

/* Looks further into the frame that begins `bytes`; afterwards s->front tells what it is. */
static void scan_front(struct session *s, struct slice bytes)
{
    bool unauthenticated = !session_authenticated(s);
    if (s->scan.unauthenticated != unauthenticated) {
        /* Other limits hold than when it was looked at. */
        bool first = s->scan.first;
        s->scan.unauthenticated = unauthenticated;
        request_scan_reset(&s->scan);
        s->scan.first = first;
        s->front = FRONT_OPEN;
        s->bad_quotes = false;
    }
    size_t seen = (size_t)s->scan.length, used;
    if (s->front != FRONT_OPEN || bytes.n <= seen) {
        return;
    }
    switch (request_scan_feed(&s->scan, slice_of(bytes.p + seen, bytes.n - seen), &used)) {
    case SCAN_MORE: return;
    case SCAN_DONE: s->front = FRONT_WHOLE; return;
    case SCAN_ERROR: s->front = FRONT_BAD; return;
    }
}

/* The request just taken is on a link where any other plain one would be: where links are shared,
 * one of the session's own may be for that request only. */
static bool on_plain_link(const struct session *s)
{
    if (s->link == NULL || s->link->raw || s->outstanding == 0 || !session_takes_runs(s) ||
        (s->link->kind != LINK_SHARED && service_shares(s->service))) {
        return false;
    }
    const struct journal *j = &s->link->journal;
    const struct record *last = journal_at(j, j->count - 1);
    return asker_same(last->asker, s->asker) && command_is_plain(last->command);
}

/* Plain requests behind such a one go the same way, for nothing that decides has changed; their
 * bytes are handed over together. Returns how many were. */
static size_t take_run(struct session *s, struct block *block, struct slice bytes, unsigned *budget)
{
    struct link *l = s->link;
    uint32_t mask = l->replica != 0 || s->reader ? s->service->nodes.mask : UINT32_MAX;
    const char *p = bytes.p, *end = p + bytes.n;
    while (*budget > 0 && s->outstanding < SESSION_OUTSTANDING_MAX && link_has_room(l)) {
        struct slice name;
        const char *next = request_whole(p, end, &name);
        if (next == NULL || (size_t)(next - p) > REQUEST_BUFFER_MAX) {
            break;
        }
        const struct command *command = learnt_lookup_plain(s->service->learnt, name);
        if (command == NULL || !command_is_plain(command) || !command_goes(command, mask)) {
            break;
        }
        journal_add(&l->journal, command, s->asker, (size_t)(next - p));
        s->outstanding++;
        p = next;
        --*budget;
    }
    size_t n = (size_t)(p - bytes.p);
    journal_fill(&l->journal, &s->service->worker->pool, block, slice_of(bytes.p, n));
    return n;
}

/* Takes requests from the beginning of bytes; returns how many bytes are done with. */
static size_t take_bytes(struct session *s, struct block *block, struct slice bytes)
{
    size_t done = 0;
    unsigned budget = TURN_REQUESTS_MAX;
    bool took = false; /* the request before */
    while (s->state < SESSION_CLOSING && done < bytes.n) {
        struct slice rest = slice_of(bytes.p + done, bytes.n - done);
        if (s->link != NULL && s->link->raw) {
            journal_append(&s->link->journal, &s->service->worker->pool, block, rest);
            link_touch(s->link);
            return bytes.n;
        }
        if (took && on_plain_link(s)) {
            took = false;
            done += take_run(s, block, rest, &budget);
            continue;
        }
        if ((s->streaming || s->swallowing) && s->front == FRONT_OPEN) {
            size_t used = stream(s, block, rest);
            if (used == 0) {
                break;
            }
            done += used;
            continue;
        }
        scan_front(s, rest);
        size_t length = (size_t)s->scan.length;
        if (s->front == FRONT_WHOLE) {
            if (budget-- == 0) {
                worker_again(s->service->worker, s);
                break;
            }
            if (take_frame(s, block, slice_of(rest.p, length))) {
                s->front = FRONT_OPEN;
                request_scan_reset(&s->scan);
                done += length;
                took = true;
                continue;
            }
        } else if (s->front == FRONT_OPEN && length > REQUEST_BUFFER_MAX &&
                   begin_streaming(s, block, slice_of(rest.p, length))) {
            done += length;
            continue;
        }
        break;
    }
    if (s->front == FRONT_BAD && s->state < SESSION_CLOSING) {
        refuse_input(s);
    }
    return done;
}

static void on_left_blocked(struct wheel_timer *timer)
{
    session_pump(CONTAINER_OF(timer, struct session, patience_timer));
}

/* A blocked client that has gone must not take what others wait for: Redis frees it. True when it
 * was ended. A command just sent has a moment, for it may be answered at once. */
static bool leave_blocked(struct session *s)
{
    bool left = s->state == SESSION_ENDING || s->left;
    if (!left || s->outstanding == 0 || s->link->kind != LINK_EXCLUSIVE ||
        !journal_at(&s->link->journal, 0)->command->may_block) {
        return false;
    }
    uint64_t silent = link_silent_ms(s->link);
    if (silent >= LEFT_BLOCKED_MS) {
        session_finish(s, SESSION_END_CLIENT);
        return true;
    }
    loop_arm(s->service->worker->loop, &s->patience_timer, LEFT_BLOCKED_MS - silent,
             on_left_blocked);
    return false;
}

/* What was sent on a raw link is done with when the server closes it. */
static bool ends_now(const struct session *s)
{
    bool raw = s->link != NULL && s->link->raw;
    return !session_busy(s) &&
           (s->service->worker->draining || (s->state == SESSION_ENDING && !raw));
}

/* What it needed a link of its own for is over. */
static void end_lease(struct session *s)
{
    if (s->subs != NULL && s->outstanding == 0) {
        listening_settle(s);
    }
    bool over = s->link != NULL && s->link->kind == LINK_EXCLUSIVE &&
                s->link->state == LINK_READY && s->outstanding == 0 && !session_marks_link(s) &&
                s->tentative == NULL && !s->streaming && s->large_left == 0;
    if (over && service_shares(s->service)) {
        linkset_give_back(s);
    }
}

/* After anything that could have moved requests on. */
static void settle(struct session *s)
{
    if (s->state >= SESSION_CLOSING || leave_blocked(s)) {
        return;
    }
    if (s->state == SESSION_ENDING || s->left) {
        session_forsake(s); /* a request refused during a hold has only begun to wait */
    }
    bool waits = s->parked.count > 0 || s->front == FRONT_WHOLE ||
                 (!s->streaming && !s->swallowing && s->scan.length > REQUEST_BUFFER_MAX);
    if (!waits) {
        session_stop_waiting(s);
        if (s->outstanding == 0) {
            s->last_deadline_ms = 0;
        }
        if (buf_len(&s->raw) == 0) {
            buf_release(&s->raw);
        }
        if (ends_now(s)) {
            session_finish(s,
                           s->state == SESSION_ENDING ? SESSION_END_CLIENT : SESSION_END_SHUTDOWN);
            return;
        }
        end_lease(s);
    }
    if (s->redirect != NULL) {
        redirect_settle(s);
    }
    session_seek_link(s);
    session_set_reading(s);
}

void input_take(struct session *s, struct block *block, struct slice bytes)
{
    size_t done = s->parked.count == 0 ? take_bytes(s, block, bytes) : 0;
    if (s->state < SESSION_CLOSING && done < bytes.n) {
        buf_append(&s->raw, slice_of(bytes.p + done, bytes.n - done));
    }
    settle(s);
}

void session_pump(struct session *s)
{
    if (s->state >= SESSION_CLOSING) {
        return;
    }
    if (!service_holds_back(s->service, s) && take_parked(s) && buf_len(&s->raw) > 0) {
        size_t done = take_bytes(s, NULL, buf_slice(&s->raw));
        if (s->state < SESSION_CLOSING) {
            buf_consume(&s->raw, done);
        }
    }
    settle(s);
}

bool input_blocked(const struct session *s)
{
    if (s->parked.count > 0 || s->front != FRONT_OPEN) {
        return true;
    }
    if (s->streaming || (s->link != NULL && s->link->raw)) {
        CHECK(s->link != NULL);
        return journal_unsent(&s->link->journal) >= LINK_UNSENT_HIGH;
    }
    return !s->swallowing && s->scan.length > REQUEST_BUFFER_MAX;
}

void input_drop_frames(struct session *s)
{
    struct list kept = {0};
    bool all = true;
    for (struct list_node *n = list_pop(&s->parked); n != NULL; n = list_pop(&s->parked)) {
        struct parked *item = CONTAINER_OF(n, struct parked, node);
        all = all && item->is_answer; /* one behind a request would be taken for its answer */
        if (all) {
            list_append(&kept, n);
        } else {
            parked_free(item);
        }
    }
    for (struct list_node *n = list_pop(&kept); n != NULL; n = list_pop(&kept)) {
        list_append(&s->parked, n);
    }
    buf_wipe(&s->raw);
    request_scan_reset(&s->scan);
    s->front = FRONT_OPEN;
    s->deadline_ms = 0;
}

void input_drop(struct session *s)
{
    input_drop_frames(s);
    for (struct list_node *n = list_pop(&s->parked); n != NULL; n = list_pop(&s->parked)) {
        parked_free(CONTAINER_OF(n, struct parked, node));
    }
}

/* The whole frames in the raw buffer join the parked ones, so that they can be answered in order.
 */
static void park_raw(struct session *s)
{
    while (buf_len(&s->raw) > 0 && !s->streaming && !s->swallowing) {
        struct slice raw = buf_slice(&s->raw);
        scan_front(s, raw);
        if (s->front != FRONT_WHOLE) {
            return;
        }
        struct args args;
        struct buf frame = {0};
        buf_append(&frame, slice_of(raw.p, (size_t)s->scan.length));
        enum args_result result = args_parse(buf_slice(&frame), &args);
        if (s->scan.empty) {
            park_answer(&s->parked, slice_str("")); /* a SKIP is used up by it */
        } else if (result == ARGS_OK) {
            park_frame(&s->parked, learnt_lookup(s->service->learnt, &args), &frame);
        }
        buf_wipe(&frame);
        args_free(&args);
        if (result == ARGS_UNBALANCED) {
            s->front = FRONT_BAD;
            s->bad_quotes = true;
            return;
        }
        buf_consume(&s->raw, (size_t)s->scan.length);
        request_scan_reset(&s->scan);
        s->front = FRONT_OPEN;
    }
}

/* Answered here to its end, which is EXECABORT; what waits behind it has waited as long. */
static void expire_transaction(struct session *s, uint64_t deadline_ms)
{
    if (s->multi) {
        transaction_abort(s);
        s->last_deadline_ms = deadline_ms;
    }
}

void input_expire(struct session *s)
{
    park_raw(s);
    uint64_t deadline_ms = s->deadline_ms;
    s->deadline_ms = 0;
    service_unwait(s->service, s);
    if ((s->multi && !s->multi_lost) || redirect_is_asking(s)) {
        session_lose_link(s);
        expire_transaction(s, deadline_ms);
    }
    if (!blocking_ahead(s)) {
        blocking_done(s);
    }
    for (struct list_node *n = s->parked.first; n != NULL && !s->multi_lost; n = n->next) {
        struct parked *item = CONTAINER_OF(n, struct parked, node);
        if (!item->is_answer && item->command->cls != COMMAND_QUIT &&
            (item->command->cls != COMMAND_REPLY || !mute_is_known(s))) {
            buf_wipe(&item->bytes);
            say_not_executed(s, &item->bytes);
            item->is_answer = true;
        }
    }
    if (s->scan.length > REQUEST_BUFFER_MAX && !s->streaming && !s->swallowing) {
        struct buf words = {0};
        say_not_executed(s, &words);
        park_answer(&s->parked, buf_slice(&words));
        buf_release(&words);
        s->swallowing = true;
        buf_consume(&s->raw, (size_t)s->scan.length);
    }
}
