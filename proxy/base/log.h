/* logfmt on stderr: `ts=... level=notice event=primary-changed service=mymaster ...`. One write a
 * line; a line that stderr can't take at once is dropped and counted, never waited for. Any thread.
 * Passwords never: no caller passes one. */
#ifndef VEDETTE_BASE_LOG_H
#define VEDETTE_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "proxy/base/slice.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_NOTICE, LOG_WARNING, LOG_ERROR };

#define LOG_LINE_MAX 2048 /* a longer line is cut */

void log_set_level(enum log_level level);
bool log_enabled(enum log_level level);
/* event: one word with dashes. fmt yields the `key=value` pairs; values from outside go through
 * log_quote. */
void log_write(enum log_level level, const char *event, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* A value safe for logfmt: quoted and escaped when it has spaces, quotes, '=' or bytes that don't
 * print, cut past 256 bytes. Valid until the eighth next call in this thread. */
const char *log_quote(struct slice value);

/* At most `burst` lines a second from one place; the next line after a gap tells how many were
 * left out. Zero-initialised, one per place (static) or object. */
struct log_limit {
    _Atomic uint64_t window_s;
    _Atomic uint32_t used, dropped;
};
/* True if a line may be written now; *dropped is how many were left out since the last one. */
bool log_allow(struct log_limit *limit, uint32_t burst, uint32_t *dropped) NODISCARD;

/* log_write, if the level is enabled and the limit of 5 lines a second allows it. */
void log_write_limited(struct log_limit *limit, enum log_level level, const char *event,
                       const char *fmt, ...) PRINTF_LIKE(4, 5);

#define log_at(level, ...) (log_enabled(level) ? log_write(level, __VA_ARGS__) : (void)0)
#define log_debug(...)     log_at(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)      log_at(LOG_INFO, __VA_ARGS__)
#define log_notice(...)    log_at(LOG_NOTICE, __VA_ARGS__)
#define log_warning(...)   log_at(LOG_WARNING, __VA_ARGS__)
#define log_error(...)     log_at(LOG_ERROR, __VA_ARGS__)

/* As log_at with a limit of 5 lines a second for this place in the source. */
#define log_limited(level, event, fmt, ...)                                                        \
    do {                                                                                           \
        static struct log_limit limit_;                                                            \
        log_write_limited(&limit_, level, event, fmt, __VA_ARGS__);                                \
    } while (0)

#endif
