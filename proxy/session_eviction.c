/* CLIENT NO-EVICT and CLIENT NO-TOUCH, which are of the connection: said again on the next one. */
#include "proxy/base/log.h"
#include "proxy/resp/args.h"
#include "proxy/resp/emit.h"
#include "proxy/service.h"
#include "proxy/session_restore.h"

void eviction_noted(struct session *s, const struct command *command, struct slice frame)
{
    struct args args;
    CHECK(args_parse(frame, &args) == ARGS_OK);
    bool on = args.count == 3 && slice_eq_nocase(args.v[2], "ON");
    bool evict = slice_eq(slice_str(command->name), slice_str("client|no-evict"));
    *(evict ? &s->no_evict : &s->no_touch) = on;
    s->link->dirty = true;
    args_free(&args);
}

static void say(struct session *s, const char *what)
{
    struct buf out = {0};
    emit_words(&out, "CLIENT", what, "ON", NULL);
    session_say(s, ASK_EVICT, buf_slice(&out));
    buf_release(&out);
    s->link->dirty = true;
}

void eviction_say(struct session *s)
{
    if (s->no_evict) {
        say(s, "NO-EVICT");
    }
    if (s->no_touch) {
        say(s, "NO-TOUCH");
    }
}

void eviction_said(struct session *s, struct slice reply)
{
    if (is_refusal(reply)) {
        session_leave_link(s, true);
    } else if (reply.p[0] == '-') {
        log_limited(LOG_NOTICE, "no-evict-refused", "service=%s error=%s", s->service->config->name,
                    log_quote(slice_of(reply.p, reply.n - 2)));
    }
}
