#include "proxy/session_mute.h"

#include "proxy/resp/emit.h"
#include "proxy/session_blocking.h"
#include "proxy/session_subscribe.h"
#include "proxy/worker.h"

static const char *const words[] = {[REPLIES_ON] = "ON", "OFF", "SKIP"};

static bool mode_of(const struct args *args, enum replies *mode)
{
    for (size_t i = 0; i < ARRAY_LEN(words) && args != NULL && args->count == 3; i++) {
        if (slice_eq_nocase(args->v[2], words[i])) {
            *mode = (enum replies)i;
            return true;
        }
    }
    return false;
}

/* Only a link tells whether the server wants a password first. */
bool mute_is_known(const struct session *s)
{
    if (session_needs_auth(s)) {
        return false;
    }
    if (s->mutes || profile_has_password(&s->set->profile, s->service->config)) {
        return true;
    }
    if (service_shares(s->service)) {
        return s->set->checked_ms != 0;
    }
    return s->link != NULL && s->link->state == LINK_READY && !s->link->needs_auth;
}

/* A subscriber of RESP2 may not say it. */
static bool changes_link(const struct session *s, const struct request *r, enum replies *mode)
{
    return r->command->cls == COMMAND_REPLY && mode_of(r->args, mode) && !listening_only(s);
}

/* ON changes nothing where all is heard. */
bool mute_ends_framing(const struct session *s, const struct request *r)
{
    enum replies mode;
    return changes_link(s, r, &mode) && (mode != REPLIES_ON || s->replies != REPLIES_ON);
}

bool mute_is_unsure(const struct session *s, const struct request *r)
{
    return r->command->cls == COMMAND_REPLY && (s->subs != NULL || s->multi) && s->outstanding > 0;
}

bool mute_is_ours(const struct session *s, const struct request *r)
{
    enum replies mode;
    return changes_link(s, r, &mode) && !s->multi_lost && mute_is_known(s) && !session_queues(s);
}

bool mute_is_silent(const struct request *r)
{
    enum replies mode;
    return r->command->cls == COMMAND_REPLY && mode_of(r->args, &mode) && mode != REPLIES_ON;
}

void mute_set(struct session *s, const struct args *args)
{
    enum replies mode;
    CHECK(mode_of(args, &mode));
    s->mutes = true;
    if (mode == REPLIES_ON) {
        s->replies = mode;
        s->hushed = false;
        session_give_str(s, "+OK\r\n");
    } else if (s->replies != REPLIES_OFF) {
        s->replies = mode;
    }
}

bool mute_next(struct session *s, enum voice voice)
{
    if (voice != VOICE_ASK) {
        return voice == VOICE_MUTED;
    }
    bool muted = s->replies != REPLIES_ON;
    if (s->replies == REPLIES_SKIP) {
        s->replies = REPLIES_ON;
    }
    return muted;
}

bool mute_take(struct session *s, const struct request *r)
{
    enum replies before = s->replies;
    s->hushed = mute_next(s, r->voice);
    bool taken = request_take_aloud(s, r);
    s->hushed = false;
    if (!taken) {
        s->replies = before;
    }
    return taken;
}

void mute_become_raw(struct session *s, const char *why)
{
    enum replies mode = s->replies;
    if (mode == REPLIES_ON && s->hushed) {
        mode = REPLIES_SKIP; /* for the request that follows */
    }
    if (mode != REPLIES_ON && s->multi) {
        session_end(s, SESSION_END_UNCARRIED, "CLIENT REPLY around a transaction");
        return; /* in which it would be queued */
    }
    session_become_raw(s, why);
    if (mode != REPLIES_ON && s->state < SESSION_CLOSING) {
        struct buf out = {0};
        emit_words(&out, "CLIENT", "REPLY", words[mode], NULL);
        journal_append(&s->link->journal, &s->service->worker->pool, NULL, buf_slice(&out));
        buf_release(&out);
    }
}
