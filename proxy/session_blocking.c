#include "proxy/session_blocking.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/log.h"
#include "proxy/timeout.h"
#include "proxy/worker.h"

#define NEVER         UINT64_MAX
#define LOOK_AGAIN_MS 100u /* its time is over, but it has had no chance yet */

static uint64_t now_ms(const struct session *s)
{
    return loop_now_ms(s->service->worker->loop);
}

bool session_queues(const struct session *s)
{
    if (s->multi || s->outstanding == 0 || s->link->kind != LINK_EXCLUSIVE) {
        return s->multi;
    }
    for (uint32_t i = s->link->journal.count; i-- > 0;) {
        enum command_class cls = journal_at(&s->link->journal, i)->command->cls;
        if (cls == COMMAND_MULTI || cls == COMMAND_EXEC || cls == COMMAND_DISCARD) {
            return cls == COMMAND_MULTI;
        }
    }
    return false;
}

bool blocking_ahead(const struct session *s)
{
    if (s->outstanding == 0 || s->link->kind != LINK_EXCLUSIVE) {
        return false;
    }
    const struct journal *j = &s->link->journal;
    return journal_at(j, j->count - 1)->command->may_block && !session_queues(s);
}

bool blocking_takes_all_or_nothing(const struct command *command)
{
    return command->may_block && command->cls != COMMAND_WRITE;
}

/* What the server answers when the time is over. */
static const char *timed_out(const struct session *s, const struct command *command)
{
    if (command->cls == COMMAND_WAIT) {
        return strcmp(command->name, "wait") == 0 ? ":0\r\n" : "*2\r\n:0\r\n:0\r\n";
    }
    return s->set->profile.resp == 3 ? "_\r\n" : "*-1\r\n";
}

const char *blocking_in_doubt(const struct session *s, const struct command *command, bool kept)
{
    enum config_doubt how = s->service->config->blocking_in_doubt;
    if (how == DOUBT_RESEND && !kept) {
        how = DOUBT_NIL;
    }
    static const char *const words[] = {"answered nil", "answered an error", "blocks again"};
    log_limited(LOG_WARNING, "blocking-in-doubt",
                "service=%s command=%s action=\"%s; an element may have been popped\"",
                s->service->config->name, command->name, words[how]);
    switch (how) {
    case DOUBT_NIL: return timed_out(s, command);
    case DOUBT_ERROR:
        return "-UNBLOCKED The primary was lost while the command was blocked; an element may have "
               "been popped\r\n";
    case DOUBT_RESEND: return NULL;
    }
    UNREACHABLE("blocking-in-doubt");
}

static void on_due(struct wheel_timer *timer);

static void watch_time(struct blocking *b)
{
    if (b->due_ms != NEVER) {
        uint64_t now = now_ms(b->session);
        loop_arm(b->session->service->worker->loop, &b->timer,
                 b->due_ms > now ? b->due_ms - now : LOOK_AGAIN_MS, on_due);
    }
}

static void on_due(struct wheel_timer *timer)
{
    struct blocking *b = CONTAINER_OF(timer, struct blocking, timer);
    struct session *s = b->session;
    if (!b->running || s->outstanding > 0) {
        return; /* the server looks at the clock, or it is pumped once its turn has come */
    }
    if (now_ms(s) < b->due_ms) {
        watch_time(b);
        return;
    }
    b->again = b->again || !service_serving(s->service);
    if (service_holds_back(s->service, s)) {
        service_unwait(s->service, s); /* it has nothing left to try */
    }
    session_pump(s);
}

static struct blocking *begin(struct session *s, const struct request *r)
{
    if (s->blocking == NULL) {
        s->blocking = xcalloc(1, sizeof *s->blocking);
        s->blocking->session = s;
    }
    struct blocking *b = s->blocking;
    if (!b->running) {
        uint64_t ms;
        bool ends = r->whole && timeout_of(r->command, r->frame, &ms) && ms > 0;
        b->running = true;
        b->again = false;
        b->due_ms = ends ? now_ms(s) + ms : NEVER;
    }
    return b;
}

/* Sends it as it was, or with the time that is left. */
static bool take(struct session *s, const struct blocking *b, const struct request *r)
{
    struct request left = *r;
    struct buf frame = {0};
    if (b->again && b->due_ms != NEVER && r->whole &&
        timeout_put(r->command, r->frame, b->due_ms - now_ms(s), &frame)) {
        left.frame = buf_slice(&frame);
        left.block = NULL;
    }
    bool taken = request_send(s, &left);
    buf_release(&frame);
    return taken;
}

/* What only waits for its turn, or for a link, is sent as it came, however short its time: there
 * may be an element for it. */
bool blocking_take(struct session *s, const struct request *r)
{
    if (session_queues(s)) {
        return request_send(s, r);
    }
    if (blocking_ahead(s)) {
        return false;
    }
    struct blocking *b = begin(s, r);
    if (b->again && now_ms(s) >= b->due_ms) {
        if (s->outstanding > 0 || s->tentative != NULL || s->asked != NULL) {
            return false;
        }
        session_give_str(s, timed_out(s, r->command));
        blocking_done(s);
        return true;
    }
    bool taken = take(s, b, r);
    if (!taken) {
        b->again = b->again || !service_serving(s->service);
        watch_time(b);
    } else if (blocking_ahead(s)) {
        b->again = true; /* whenever it comes here again */
        loop_disarm(s->service->worker->loop, &b->timer);
    } else {
        blocking_done(s); /* it was answered here */
    }
    return taken;
}

void blocking_back(struct session *s)
{
    if (s->blocking != NULL && s->blocking->running) {
        watch_time(s->blocking);
    }
}

void blocking_done(struct session *s)
{
    if (s->blocking != NULL && s->blocking->running) {
        s->blocking->running = false;
        loop_disarm(s->service->worker->loop, &s->blocking->timer);
    }
}

void blocking_free(struct session *s)
{
    blocking_done(s);
    free(s->blocking);
    s->blocking = NULL;
}
