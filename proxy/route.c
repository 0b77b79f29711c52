#include "proxy/route.h"

#include <string.h>

#include "proxy/base/limits.h"

/* The command that can mend the refused part of the profile. */
static bool mends(enum greeting_step refused, enum command_class cls)
{
    return (refused == GREET_SELECT && cls == COMMAND_SELECT) || cls == COMMAND_HELLO ||
           cls == COMMAND_AUTH;
}

/* What is the client's own and not the link's. */
static bool is_of_session(const struct route_input *in)
{
    enum command_class cls = in->command->cls;
    bool name =
        (cls == COMMAND_SETNAME && in->args == 3) || (cls == COMMAND_GETNAME && in->args == 2);
    bool wait = cls == COMMAND_WAIT && in->writes_lost &&
                in->args == (strcmp(in->command->name, "wait") == 0 ? 3u : 4u);
    bool reads = cls == COMMAND_READONLY && in->args == 1 && !in->multi;
    return in->flag || reads || (name && in->shares && !in->exclusive) || (wait && !in->multi);
}

static bool is_local(const struct route_input *in)
{
    enum command_class cls = in->command->cls;
    if (cls == COMMAND_QUIT || cls == COMMAND_RESET || cls == COMMAND_HTTP ||
        cls == COMMAND_DENIED || in->multi_lost || is_of_session(in)) {
        return true;
    }
    if (in->shares && in->needs_auth && cls != COMMAND_AUTH && cls != COMMAND_HELLO) {
        return true;
    }
    return (in->watch_lost && cls == COMMAND_MULTI) ||
           (in->refused != GREET_STEPS && !mends(in->refused, cls));
}

/* Nothing may be in flight before it: its answer is our own, it changes what the link is, or what
 * we send along with it must not fall into a transaction. */
static bool needs_quiet(const struct route_input *in, bool local)
{
    enum command_class cls = in->command->cls;
    if (cls == COMMAND_WAIT && in->shares && !in->multi) {
        return true;
    }
    if (cls == COMMAND_MONITOR || (cls == COMMAND_SUBSCRIBE && in->mixed)) {
        return true;
    }
    return local || command_changes_profile(in->command) || in->raw || in->scout;
}

enum route route_decide(const struct route_input *in)
{
    bool local = is_local(in);
    /* A bare link is of no use to a session whose profile is whole, but to end a script. */
    bool usable = in->link_open &&
                  (in->bare == (in->refused != GREET_STEPS) || in->command->cls == COMMAND_KILL);
    bool elsewhere = in->elsewhere || (in->link_open && !usable);
    if (in->asking || in->listening || in->blocking || in->judging || in->full ||
        (local && in->pushing) || in->outstanding >= SESSION_OUTSTANDING_MAX ||
        (in->outstanding > 0 && !in->silent && (elsewhere || needs_quiet(in, local)))) {
        return ROUTE_DRAIN;
    }
    if (local) {
        return ROUTE_LOCAL;
    }
    if (!in->serving || (usable && !in->link_ready)) {
        return ROUTE_PARK;
    }
    return usable ? ROUTE_LINK : ROUTE_OPEN;
}
