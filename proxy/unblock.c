#include "proxy/unblock.h"

#include "proxy/base/log.h"
#include "proxy/linkset.h"
#include "proxy/resp/emit.h"
#include "proxy/session_blocking.h"
#include "proxy/worker.h"

static bool holding(const struct worker_service *ws)
{
    return ws->now->state == SERVICE_HOLDING;
}

/* Blocked, with nothing behind the command, and in a hold also: not sent again without a proof.
 * Bytes that came and are kept back are its answer already. */
static bool may_unblock(const struct link *l)
{
    if (l->kind != LINK_EXCLUSIVE || l->state != LINK_READY || l->raw || l->client_id == 0 ||
        l->unblock != UNBLOCK_NONE || l->journal.count != 1 ||
        !journal_has(&l->journal, journal_at(&l->journal, 0)) || l->scan.length > 0 ||
        buf_len(&l->in) > 0 || l->session->multi || !session_blocked(l->session)) {
        return false;
    }
    const struct command *command = journal_at(&l->journal, 0)->command;
    return !holding(l->service) ||
           (blocking_takes_all_or_nothing(command) && !command_repeatable(command));
}

void unblock_begin(struct worker_service *ws)
{
    for (struct list_node *n = ws->links.first; n != NULL; n = n->next) {
        struct link *l = CONTAINER_OF(n, struct link, node);
        if (may_unblock(l) && l->set->control == NULL && ws->worker->handshakes < HANDSHAKES_MAX) {
            l->set->control = link_open(l->set, LINK_CONTROL, NULL, GREET_STEPS);
        }
    }
}

static void ask(struct link *control, struct link *l)
{
    struct buf request = {0}, id = {0};
    buf_printf(&id, "%lld", (long long)l->client_id);
    emit_command(&request,
                 (struct slice[]){slice_str("CLIENT"), slice_str("UNBLOCK"), buf_slice(&id)}, 3);
    struct asker about = l->session->asker;
    about.own = ASK_SELF;
    link_ask(control, command_lookup_name(slice_str("ping")), about, buf_slice(&request));
    buf_release(&request);
    buf_release(&id);
    /* Until it is answered nobody knows whose doing an answer to the command is. */
    l->unblock = holding(l->service) ? UNBLOCK_ASKED : UNBLOCK_NONE;
}

void unblock_ready(struct link *control)
{
    struct worker_service *ws = control->service;
    for (struct list_node *n = ws->links.first; n != NULL; n = n->next) {
        struct link *l = CONTAINER_OF(n, struct link, node);
        if ((holding(ws) || ws->worker->draining) && l->set == control->set && may_unblock(l)) {
            ask(control, l);
        }
    }
    log_debug("unblock", "service=%s blocked=%u", ws->config->name, control->journal.count);
    if (control->journal.count == 0) {
        link_close(&control, LINK_END_SESSION);
    }
}

/* The answer to the command may be looked at. */
static void go_on(struct link *l)
{
    struct session *s = l->session;
    if (s->out.len <= SESSION_OUTPUT_HIGH) {
        link_set_reading(l, true);
        link_resume(l);
    }
    session_pump(s);
}

/* The link of s, if an answer to CLIENT UNBLOCK is awaited for it. */
static struct link *awaiting(const struct session *s)
{
    struct link *l = s != NULL ? s->link : NULL;
    return l != NULL && l->unblock == UNBLOCK_ASKED ? l : NULL;
}

void unblock_answered(struct link *control, struct session *s, struct slice reply)
{
    journal_answered(&control->journal);
    if (control->journal.count == 0) {
        link_close(&control, LINK_END_SESSION);
    }
    struct link *l = awaiting(s);
    if (l != NULL) {
        l->unblock = slice_starts_with(reply, ":1\r") ? UNBLOCK_PROVEN : UNBLOCK_NONE;
        go_on(l);
    }
}

void unblock_lost(struct link *control)
{
    struct worker_service *ws = control->service;
    bool moved = control->generation != ws->now->generation;
    for (uint32_t i = 0; i < control->journal.count; i++) {
        struct link *l =
            awaiting(worker_asker(ws->worker, journal_at(&control->journal, i)->asker));
        if (l != NULL) {
            l->unblock = UNBLOCK_NONE;
        }
        if (l != NULL && !moved) { /* what an old primary has answered is not looked at any more */
            go_on(l);
        }
    }
    link_close(&control, LINK_END_SESSION);
}
