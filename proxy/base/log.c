#include "proxy/base/log.h"

#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proxy/base/clock.h"

#define QUOTED_MAX    256
#define LIMITED_PER_S 5

static _Atomic int threshold = LOG_NOTICE;
static _Atomic uint32_t lost_lines;

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&threshold, (int)level, memory_order_relaxed);
}

bool log_enabled(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&threshold, memory_order_relaxed);
}

static const char *level_word(enum log_level level)
{
    switch (level) {
    case LOG_DEBUG: return "debug";
    case LOG_INFO: return "info";
    case LOG_NOTICE: return "notice";
    case LOG_WARNING: return "warning";
    case LOG_ERROR: return "error";
    }
    UNREACHABLE("log level");
}

static size_t put_head(char *line, size_t cap, enum log_level level, const char *event)
{
    struct timespec ts;
    struct tm tm;
    (void)clock_gettime(CLOCK_REALTIME, &ts); /* cannot fail with this clock */
    (void)gmtime_r(&ts.tv_sec, &tm);
    char stamp[32];
    (void)strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &tm);
    int n = snprintf(line, cap, "ts=%s.%03ldZ level=%s event=%s", stamp, ts.tv_nsec / 1000000,
                     level_word(level), event);
    return n < 0 ? 0 : (size_t)n;
}

static bool put_line(const char *line, size_t n)
{
    struct pollfd fd = {.fd = STDERR_FILENO, .events = POLLOUT};
    return poll(&fd, 1, 0) == 1 && (fd.revents & POLLOUT) != 0 &&
           write(STDERR_FILENO, line, n) == (ssize_t)n;
}

void log_write(enum log_level level, const char *event, const char *fmt, ...)
{
    char line[LOG_LINE_MAX];
    size_t cap = sizeof line - 1; /* keeps room for the newline */
    size_t n = put_head(line, cap, level, event);
    uint32_t lost = atomic_exchange(&lost_lines, 0);
    if (lost > 0) {
        int more = snprintf(line + n, cap - n, " lost-lines=%u", lost);
        n += more > 0 ? (size_t)more : 0;
    }
    if (fmt[0] != '\0') {
        line[n++] = ' ';
        va_list args;
        va_start(args, fmt);
        int more = vsnprintf(line + n, cap - n, fmt, args);
        va_end(args);
        n += more > 0 ? (size_t)more : 0;
    }
    n = n < cap ? n : cap - 1;
    line[n++] = '\n';
    if (!put_line(line, n)) {
        atomic_fetch_add(&lost_lines, lost + 1); /* the line that would have told of them too */
    }
}

static bool plain(struct slice value)
{
    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];
        if (c <= ' ' || c >= 0x7f || c == '"' || c == '=' || c == '\\') {
            return false;
        }
    }
    return value.n > 0;
}

const char *log_quote(struct slice value)
{
    static _Thread_local char ring[8][QUOTED_MAX * 4 + 8];
    static _Thread_local unsigned turn;
    char *out = ring[turn++ % 8];
    bool cut = value.n > QUOTED_MAX;
    value.n = cut ? QUOTED_MAX : value.n;
    if (plain(value) && !cut) {
        memcpy(out, value.p, value.n);
        out[value.n] = '\0';
        return out;
    }
    size_t n = 0;
    out[n++] = '"';
    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];
        if (c == '"' || c == '\\') {
            out[n++] = '\\';
            out[n++] = (char)c;
        } else if (c < ' ' || c >= 0x7f) {
            n += (size_t)snprintf(out + n, 5, "\\x%02x", c);
        } else {
            out[n++] = (char)c;
        }
    }
    (void)snprintf(out + n, 5, "%s", cut ? "...\"" : "\"");
    return out;
}

bool log_allow(struct log_limit *limit, uint32_t burst, uint32_t *dropped)
{
    uint64_t now = clock_ms() / 1000 + 1;
    if (atomic_exchange(&limit->window_s, now) != now) {
        atomic_store(&limit->used, 0);
    }
    *dropped = 0;
    if (atomic_fetch_add(&limit->used, 1) >= burst) {
        atomic_fetch_add(&limit->dropped, 1);
        return false;
    }
    *dropped = atomic_exchange(&limit->dropped, 0);
    return true;
}

void log_write_limited(struct log_limit *limit, enum log_level level, const char *event,
                       const char *fmt, ...)
{
    uint32_t dropped;
    if (!log_enabled(level) || !log_allow(limit, LIMITED_PER_S, &dropped)) {
        return;
    }
    char text[LOG_LINE_MAX];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (dropped > 0) {
        log_write(level, event, "%s suppressed=%u", text, dropped);
    } else {
        log_write(level, event, "%s", text);
    }
}
