#include "proxy/linkset.h"
#include "tests/fuzz/proxy_session/world.h"

static void check_journal(const struct worker *w, const struct link *l)
{
    const struct journal *j = &l->journal;
    CHECK(j->kept <= j->sent && j->sent <= j->given && j->given <= j->queued);
    CHECK(j->bytes.len == j->queued - j->kept);
    uint64_t at = 0;
    for (uint32_t i = 0; i < j->count; i++) {
        const struct record *r = journal_at(j, i);
        const struct session *s = worker_asker(w, r->asker);
        CHECK(r->begin >= at && (r->end != UINT64_MAX || i + 1 == j->count));
        if (l->kind == LINK_CONTROL) { /* it asks about sessions that are blocked on others */
            at = r->end;
            continue;
        }
        CHECK(s == NULL || s->link == l);
        /* What one that has left asked is sent no more. */
        CHECK(s != NULL || r->asker.serial == 0 || journal_state(j, r) != RECORD_UNSENT);
        at = r->end;
    }
}

/* What it won't send for now does not lie there, where it would have no deadline. */
static void check_unsent(const struct worker *w, const struct link *l)
{
    if (l->kind != LINK_SHARED || l->replica != 0 || (!l->stalled && service_serving(l->service))) {
        return;
    }
    const struct journal *j = &l->journal;
    for (uint32_t i = 0; i < j->count; i++) {
        const struct session *s = worker_asker(w, journal_at(j, i)->asker);
        CHECK(s == NULL || s->tentative != NULL ||
              journal_state(j, journal_at(j, i)) != RECORD_UNSENT);
    }
}

/* Where all is answered nothing can fall into a transaction that the client knows nothing of. */
static void check_transaction(const struct link *l)
{
    const struct conn *c = l->transport->peer.conn;
    if (!world.evil && c != NULL && !l->raw && l->state == LINK_READY && l->journal.count == 0 &&
        conn_in_multi(c)) {
        CHECK(l->session != NULL && l->session->multi && !l->session->multi_lost);
    }
}

static void check_link(const struct worker *w, const struct link *l)
{
    CHECK(l->state != LINK_CLOSED && l->transport != NULL);
    CHECK((l->kind == LINK_EXCLUSIVE) == (l->session != NULL));
    CHECK(l->session == NULL || l->session->link == l);
    CHECK((l->kind == LINK_WARM) == list_on(&l->in_set));
    check_journal(w, l);
    check_unsent(w, l);
    check_transaction(l);
}

static uint32_t asked_of(const struct worker *w, const struct session *s)
{
    uint32_t n = 0;
    for (uint32_t i = 0; s->link != NULL && i < s->link->journal.count; i++) {
        n += worker_asker(w, journal_at(&s->link->journal, i)->asker) == s ? 1 : 0;
    }
    return n;
}

static void check_session(const struct worker *w, const struct session *s)
{
    CHECK(s->state != SESSION_CLOSED && s->transport != NULL && s->lost == NULL);
    CHECK(s->outstanding == asked_of(w, s));
    CHECK(s->outstanding == 0 || s->link != NULL);
    CHECK(s->link == NULL || s->link->kind == LINK_EXCLUSIVE || s->outstanding > 0);
    CHECK(s->asked == NULL || s->outstanding > 0 || s->tentative != NULL ||
          s->state == SESSION_CLOSING);
    CHECK(s->restoring <= s->outstanding);
    CHECK((s->transaction != NULL) == (s->multi && !s->multi_lost));
    CHECK(s->tentative == NULL || s->link != NULL || s->state == SESSION_CLOSING);
    CHECK(!s->streaming || s->link != NULL || s->state == SESSION_CLOSING);
    CHECK(s->scout == (s->service->scout == s));
}

static void check_accounts(const struct worker_service *ws)
{
    for (uint32_t i = 0; i < ws->nodes.count; i++) {
        uint32_t counted = 0;
        for (struct list_node *n = ws->links.first; n != NULL; n = n->next) {
            const struct link *l = CONTAINER_OF(n, struct link, node);
            counted += l->replica == ws->nodes.v[i].id ? l->counted : 0;
        }
        CHECK(counted == ws->nodes.v[i].outstanding);
        uint32_t homes = 0;
        for (struct list_node *n = ws->worker->sessions.first; n != NULL; n = n->next) {
            const struct session *s = CONTAINER_OF(n, struct session, node);
            const struct linkset *home = s->reader ? s->set : s->read_set;
            homes += home != NULL && home->replica == ws->nodes.v[i].id ? 1 : 0;
        }
        CHECK(homes == ws->nodes.v[i].homes);
    }
}

void check_books(void)
{
    const struct worker *w = world.worker;
    const struct worker_service *ws = &w->services[0];
    check_accounts(ws);
    uint32_t handshakes = 0, warm = 0, users = 0, sets_users = 0, slots = 0;
    for (struct list_node *n = ws->links.first; n != NULL; n = n->next) {
        const struct link *l = CONTAINER_OF(n, struct link, node);
        check_link(w, l);
        handshakes += l->state == LINK_CONNECTING || l->state == LINK_GREETING ? 1 : 0;
        warm += l->kind == LINK_WARM ? 1 : 0;
        users += list_on(&l->set->in_service) ? 1 : 0;
    }
    for (struct list_node *n = w->sessions.first; n != NULL; n = n->next) {
        const struct session *s = CONTAINER_OF(n, struct session, node);
        check_session(w, s);
        users += list_on(&s->set->in_service) ? 1 : 0;
        users += s->read_set != NULL && list_on(&s->read_set->in_service) ? 1 : 0;
        slots += s->asker.serial != 0 ? 1 : 0;
    }
    for (size_t i = 0; i < LINKSET_BUCKETS; i++) {
        for (struct list_node *n = ws->sets[i].first; n != NULL; n = n->next) {
            const struct linkset *set = CONTAINER_OF(n, struct linkset, in_service);
            sets_users += set->users - (set->kept ? 1 : 0);
        }
    }
    CHECK(handshakes == w->handshakes);
    CHECK(warm == w->warm_links);
    CHECK(users == sets_users);
    CHECK(slots == w->slots_used);
    CHECK(w->dead_links.count == 0 && w->dead_sessions.count == 0);
}
