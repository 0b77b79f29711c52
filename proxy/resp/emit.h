/* Writing RESP. */
#ifndef VEDETTE_RESP_EMIT_H
#define VEDETTE_RESP_EMIT_H

#include "proxy/base/buf.h"

/* Appends a command as an array of bulk strings. argv has argc entries, binary-safe. */
void emit_command(struct buf *out, const struct slice *argv, size_t argc);
/* The same for NUL-terminated words; the last argument is NULL: emit_words(b, "ROLE", NULL). */
void emit_words(struct buf *out, ...) __attribute__((sentinel));
/* Appends `-<text>\r\n`; text begins with the code word and holds no CR or LF. */
void emit_error(struct buf *out, const char *text);

#endif
