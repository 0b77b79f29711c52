/* What the log is told: one line for each change, with who said what. */
#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "sentinel/watcher_parts.h"

#define LINES_PER_SECOND 20u

static const char *name_of(const struct service *s)
{
    return log_quote(slice_str(s->config->name));
}

static const char *addr_or_none(const struct addr *a, char *out)
{
    return addr_is_set(a) ? log_quote(slice_str(addr_text(a, out))) : "none";
}

static void log_primary(const struct service *s, const struct judge_advice *a)
{
    char old[ADDR_TEXT_MAX], new[ADDR_TEXT_MAX];
    bool odd = a->unverified || a->change == JUDGE_FOLLOWED;
    log_at(odd ? LOG_WARNING : LOG_NOTICE, "primary-changed",
           "service=%s old=%s new=%s epoch=%lld generation=%llu reason=\"%s%s\" sentinels=%zu/%zu "
           "ms=%llu",
           name_of(s), addr_or_none(&a->old_name, old), addr_or_none(&s->judge.primary_name, new),
           (long long)s->judge.epoch, (unsigned long long)s->judge.generation, a->reason,
           a->unverified ? "; it refuses ROLE to us" : "", a->votes, a->reachable,
           (unsigned long long)a->waited_ms);
}

static void log_state(const struct service *s, const struct judge_advice *a,
                      enum service_state state, bool begin)
{
    char text[ADDR_TEXT_MAX];
    const struct addr *primary = addr_is_set(&a->old_name) ? &a->old_name : &s->judge.primary_name;
    const char *event = state == SERVICE_HOLDING ? (begin ? "hold-begin" : "hold-end")
                                                 : (begin ? "suspect-begin" : "suspect-end");
    log_at(begin ? LOG_WARNING : LOG_NOTICE, event,
           "service=%s primary=%s generation=%llu reason=\"%s\" sentinels=%zu ms=%llu", name_of(s),
           addr_or_none(primary, text), (unsigned long long)s->judge.generation, a->reason,
           a->reachable, (unsigned long long)a->lasted_ms);
}

static bool waits(enum service_state state)
{
    return state == SERVICE_SUSPECT || state == SERVICE_HOLDING;
}

void service_log_change(struct service *s, const struct judge_advice *a)
{
    uint32_t dropped;
    if (a->change == JUDGE_SAME || !log_allow(&s->log_limit, LINES_PER_SECOND, &dropped)) {
        return;
    }
    if (dropped > 0) {
        log_warning("changes-unlogged", "service=%s suppressed=%u", name_of(s), dropped);
    }
    if (waits(a->from)) {
        log_state(s, a, a->from, false);
    }
    switch (a->change) {
    case JUDGE_SAME: return;
    case JUDGE_SWITCHED:
    case JUDGE_FOLLOWED: log_primary(s, a); return;
    case JUDGE_EPOCH:
        log_notice("epoch-changed", "service=%s epoch=%lld reason=\"%s\"", name_of(s),
                   (long long)s->judge.epoch, a->reason);
        return;
    case JUDGE_SUSPECTED: log_state(s, a, SERVICE_SUSPECT, true); return;
    case JUDGE_HELD: log_state(s, a, SERVICE_HOLDING, true); return;
    case JUDGE_CLEARED:
    case JUDGE_RELEASED: return;
    }
}

void service_log_acquaintance(struct service *s)
{
    const struct sentinel_set *set = s->group->sentinels;
    uint64_t now = clock_ms();
    size_t reached = 0, strangers = 0, opinions = 0;
    for (size_t i = 0; i < sentinel_set_count(set); i++) {
        const struct sentinel *from = sentinel_set_at(set, i);
        const struct sentinel_view *view = sentinel_view(from, s->index);
        bool counts =
            sentinel_state(from) == SENTINEL_UP && view->answered_ms + JUDGE_VIEW_MAX_AGE_MS >= now;
        reached += counts ? 1 : 0;
        strangers += counts && view->stranger ? 1 : 0;
        opinions += counts && view->opinion ? 1 : 0;
    }
    enum acquaintance is = opinions > 0 ? KNOWN : strangers > 0 ? STRANGER : NOBODY;
    if (is == s->acquaintance || (is != KNOWN && sentinel_set_pending(set) > 0)) {
        return;
    }
    switch (is) {
    case NOT_TOLD: return;
    case KNOWN:
        if (s->acquaintance != NOT_TOLD) {
            log_notice("service-known", "service=%s sentinels=%zu/%zu", name_of(s), opinions,
                       sentinel_set_count(set));
        }
        break;
    case STRANGER:
        log_error("service-unknown",
                  "service=%s sentinels=%zu/%zu reason=\"the Sentinels do not "
                  "know a master of this name\"",
                  name_of(s), reached, sentinel_set_count(set));
        break;
    case NOBODY:
        log_error("no-sentinel", "service=%s sentinels=%zu/%zu reason=\"%s\"", name_of(s), reached,
                  sentinel_set_count(set),
                  reached > 0 ? "none gives a usable answer" : "no Sentinel can be reached");
        break;
    }
    s->acquaintance = is;
}

void service_log_event(const struct service *s, const struct event *event)
{
    static const char *const words[] = {
        [EVENT_NONE] = "none",         [EVENT_FAILOVER] = "failover",   [EVENT_ABORTED] = "aborted",
        [EVENT_SWITCHED] = "switched", [EVENT_SUSPICION] = "suspicion", [EVENT_ROLE] = "role",
        [EVENT_PEERS] = "peers"};
    char primary[ADDR_TEXT_MAX], node[ADDR_TEXT_MAX];
    log_debug("sentinel-event", "service=%s kind=%s primary=%s node=%s", name_of(s),
              words[event->kind], addr_or_none(&event->primary, primary),
              addr_or_none(&event->node, node));
}
