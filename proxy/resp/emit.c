#include "proxy/resp/emit.h"

#include <stdarg.h>

static void emit_bulk(struct buf *out, struct slice bytes)
{
    buf_printf(out, "$%zu\r\n", bytes.n);
    buf_append(out, bytes);
    buf_append_str(out, "\r\n");
}

void emit_command(struct buf *out, const struct slice *argv, size_t argc)
{
    buf_printf(out, "*%zu\r\n", argc);
    for (size_t i = 0; i < argc; i++) {
        emit_bulk(out, argv[i]);
    }
}

void emit_words(struct buf *out, ...)
{
    va_list words, again;
    size_t argc = 0;
    va_start(words, out);
    va_copy(again, words);
    while (va_arg(words, const char *) != NULL) {
        argc++;
    }
    va_end(words);
    buf_printf(out, "*%zu\r\n", argc);
    for (size_t i = 0; i < argc; i++) {
        emit_bulk(out, slice_str(va_arg(again, const char *)));
    }
    va_end(again);
}

void emit_error(struct buf *out, const char *text)
{
    buf_printf(out, "-%s\r\n", text);
}
