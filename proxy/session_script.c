/* Scripts as sessions meet them: bodies that a server has accepted are remembered, and EVALSHA of
 * one that the server has lost is made good. */
#include "proxy/session_input.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/limits.h"
#include "proxy/resp/emit.h"
#include "proxy/scripts.h"
#include "proxy/worker.h"

/* What was asked for each script: SCRIPT EXISTS and SCRIPT LOAD, in this order. */
struct healing {
    struct {
        char sha[SHA1_HEX];
        uint64_t asked_us; /* when the last one that was answered NOSCRIPT was asked */
        bool found;        /* to be missing */
    } v[HEALED_SCRIPTS_MAX];
    uint32_t count, answers;
};

/* The argument of a request that the journal still has: of EVAL the script, of EVALSHA its SHA1.
 * copy: see journal_view. */
static struct slice script_argument(const struct journal *j, const struct record *r,
                                    struct args *args, struct buf *copy)
{
    struct slice frame = journal_view(j, r, copy);
    uint32_t at = r->command->script == SCRIPT_LOAD ? 2 : 1;
    bool good = args_parse(frame, args) == ARGS_OK && args->kept > at;
    return good ? args->v[at] : slice_of(NULL, 0);
}

static bool is_kept_whole(const struct journal *j, const struct record *r)
{
    return r->end != UINT64_MAX && r->end - r->begin <= REQUEST_BUFFER_MAX && journal_has(j, r);
}

void session_script_accepted(struct session *s, const struct record *r)
{
    const struct journal *j = &s->link->journal;
    if (r->command->script == SCRIPT_FLUSH) {
        scripts_flushed(s->service);
    } else if (r->command->script != SCRIPT_SHA && s->service->scripts != NULL &&
               is_kept_whole(j, r)) {
        struct args args;
        struct buf copy = {0};
        struct slice body = script_argument(j, r, &args, &copy);
        if (body.p != NULL) {
            scripts_accepted(s->service, body, r->command->script == SCRIPT_LOAD);
        }
        args_free(&args);
        buf_release(&copy);
    }
}

static struct script_entry *find(struct session *s, struct slice sha)
{
    struct scripts *scripts = s->service->scripts;
    return scripts != NULL ? script_cache_find(&scripts->cache, sha) : NULL;
}

static void ask(struct session *s, struct slice words)
{
    struct asker own = s->asker;
    own.own = ASK_SELF;
    s->outstanding++;
    link_ask(s->link, command_lookup_name(slice_str("ping")), own, words);
}

/* By the clock of now, which the low bits were taken from not long ago. */
static uint64_t whole_time(uint32_t low)
{
    uint64_t now = clock_us();
    return now - (uint32_t)((uint32_t)now - low);
}

static bool ask_again(struct session *s, struct healing *h, const struct script *script,
                      uint64_t asked_us)
{
    if (h->count == HEALED_SCRIPTS_MAX) {
        return false;
    }
    memcpy(h->v[h->count].sha, script->sha, SHA1_HEX);
    h->v[h->count++].asked_us = asked_us;
    struct buf words = {0};
    struct slice sha = slice_of(script->sha, SHA1_HEX);
    emit_command(&words, (struct slice[]){slice_str("SCRIPT"), slice_str("EXISTS"), sha}, 3);
    ask(s, buf_slice(&words));
    buf_release(&words);
    emit_command(&words,
                 (struct slice[]){slice_str("SCRIPT"), slice_str("LOAD"), script_body(script)}, 3);
    ask(s, buf_slice(&words));
    buf_release(&words);
    return true;
}

static bool ask_for(struct session *s, struct healing *h, const struct script *script,
                    uint64_t asked_us)
{
    for (uint32_t i = 0; i < h->count; i++) {
        if (memcmp(h->v[i].sha, script->sha, SHA1_HEX) == 0) {
            h->v[i].asked_us = asked_us;
            return true;
        }
    }
    return ask_again(s, h, script, asked_us);
}

bool healing_may(const struct record *r, struct slice reply)
{
    return r->command->script == SCRIPT_SHA && slice_starts_with(reply, "-NOSCRIPT ");
}

bool healing_asks(struct session *s, struct healing **where, const struct record *r)
{
    const struct journal *j = &s->link->journal;
    if (s->healed > 0 || !is_kept_whole(j, r)) {
        return false;
    }
    struct args args;
    struct buf copy = {0};
    const struct script_entry *e = find(s, script_argument(j, r, &args, &copy));
    args_free(&args);
    buf_release(&copy);
    if (e == NULL) {
        return false;
    }
    struct healing *h = *where != NULL ? *where : xcalloc(1, sizeof *h);
    *where = h;
    return ask_for(s, h, e->script, whole_time(r->asked_us));
}

bool healing_takes(struct session *s, struct healing *h, struct slice reply)
{
    uint32_t i = h->answers / 2;
    bool exists = h->answers++ % 2 == 0;
    CHECK(i < h->count);
    struct script_entry *e = find(s, slice_of(h->v[i].sha, SHA1_HEX));
    if (e == NULL) {
        return false; /* SCRIPT FLUSH */
    }
    uint64_t generation = s->link->generation;
    if (exists && slice_eq(reply, slice_str("*1\r\n:1\r\n"))) {
        /* Who gave it the script may have yet to hear that it was missing. */
        return script_was_absent(e->script, generation, h->v[i].asked_us) ||
               ask_again(s, h, e->script, h->v[i].asked_us);
    }
    if (exists) {
        h->v[i].found = slice_eq(reply, slice_str("*1\r\n:0\r\n"));
    }
    bool good = exists ? h->v[i].found : slice_starts_with(reply, "$40\r\n");
    if (good && h->v[i].found) {
        script_note_absent(e->script, generation, clock_us());
    }
    return good;
}
