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
        uint64_t came, asked; /* the moments when NOSCRIPT came, and when these were appended */
        uint64_t came_us, asked_us; /* the same by the clock; came_us: the last NOSCRIPT */
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

static bool asked_for(struct healing *h, const char *sha)
{
    for (uint32_t i = 0; i < h->count; i++) {
        if (memcmp(h->v[i].sha, sha, SHA1_HEX) == 0) {
            h->v[i].came_us = clock_us();
            return true;
        }
    }
    return false;
}

static bool ask_for(struct session *s, struct healing *h, const struct script *script)
{
    if (asked_for(h, script->sha)) {
        return true;
    }
    if (h->count == HEALED_SCRIPTS_MAX) {
        return false;
    }
    memcpy(h->v[h->count].sha, script->sha, SHA1_HEX);
    h->v[h->count].came = h->v[h->count].asked = s->service->worker->moment;
    h->v[h->count].came_us = h->v[h->count].asked_us = clock_us();
    h->count++;
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
    return ask_for(s, h, e->script);
}

bool healing_takes(struct session *s, struct healing *h, struct slice reply)
{
    uint32_t i = h->answers / 2;
    bool exists = h->answers++ % 2 == 0;
    CHECK(i < h->count);
    if (!exists) {
        return slice_starts_with(reply, "$40\r\n");
    }
    struct script_entry *e = find(s, slice_of(h->v[i].sha, SHA1_HEX));
    if (e == NULL) {
        return false; /* SCRIPT FLUSH */
    }
    uint64_t generation = s->link->generation;
    if (slice_eq(reply, slice_str("*1\r\n:0\r\n"))) {
        e->absent_generation = generation;
        e->absent_moment = h->v[i].asked;
        script_note_absent(e->script, generation, h->v[i].asked_us);
        return true;
    }
    bool lacked = (e->absent_generation == generation && e->absent_moment >= h->v[i].came) ||
                  script_was_absent(e->script, generation, h->v[i].came_us);
    return lacked && slice_eq(reply, slice_str("*1\r\n:1\r\n"));
}
