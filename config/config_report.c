/* What there is to say about a configuration. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config_draft.h"

#define REMARKS_MAX 100 /* a file of another kind has a mistake in every line */

char *config_printable_copy(const char *text)
{
    char *copy = xstrdup(text);
    for (char *c = copy; *c != '\0'; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f) {
            *c = '?';
        }
    }
    return copy;
}

PRINTF_LIKE(1, 0) static char *format_list(const char *fmt, va_list args)
{
    char *text = NULL;
    if (vasprintf(&text, fmt, args) < 0) {
        UNREACHABLE("no memory for a message");
    }
    return text;
}

char *config_text_format(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *text = format_list(fmt, args);
    va_end(args);
    return text;
}

static void append(struct config_report *report, enum config_severity severity, const char *text)
{
    report->v = xrealloc(report->v, (report->count + 1) * sizeof *report->v);
    report->v[report->count++] = (struct config_remark){severity, config_printable_copy(text)};
}

PRINTF_LIKE(3, 0)
static void add_list(struct config_report *report, enum config_severity severity, const char *fmt,
                     va_list args)
{
    report->errors += severity == CONFIG_ERROR ? 1 : 0;
    if (report->count == REMARKS_MAX) {
        append(report, severity, "there is more to say; first mend what is listed above");
    }
    if (report->count > REMARKS_MAX) {
        return;
    }
    char *text = format_list(fmt, args);
    append(report, severity, text);
    free(text);
}

void config_report_add(struct config_report *report, enum config_severity severity, const char *fmt,
                       ...)
{
    va_list args;
    va_start(args, fmt);
    add_list(report, severity, fmt, args);
    va_end(args);
}

void draft_lost(struct draft *d, const char *fmt, ...)
{
    d->unsure = true;
    va_list args;
    va_start(args, fmt);
    add_list(d->report, CONFIG_ERROR, fmt, args);
    va_end(args);
}

void config_report_free(struct config_report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        free(report->v[i].text);
    }
    free(report->v);
    *report = (struct config_report){0};
}
