#include "proxy/resp/args.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/resp/digits.h"

/* isspace(3) of the C locale. */
static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static char escape_value(char c)
{
    switch (c) {
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'b': return '\b';
    case 'a': return '\a';
    default: return c;
    }
}

/* A place in an inline line. */
struct words {
    const char *p, *end;
    char *out; /* unescaped bytes go here; never more of them than of the line */
};

/* Takes one byte, or one escape, from between double quotes. */
static void take_double(struct words *w)
{
    size_t left = (size_t)(w->end - w->p);
    if (left >= 4 && w->p[0] == '\\' && w->p[1] == 'x' && hex_value(w->p[2]) >= 0 &&
        hex_value(w->p[3]) >= 0) {
        *w->out++ = (char)(hex_value(w->p[2]) * 16 + hex_value(w->p[3]));
        w->p += 4;
    } else if (left >= 2 && w->p[0] == '\\') {
        *w->out++ = escape_value(w->p[1]);
        w->p += 2;
    } else {
        *w->out++ = *w->p++;
    }
}

static void take_single(struct words *w)
{
    if (w->end - w->p >= 2 && w->p[0] == '\\' && w->p[1] == '\'') {
        w->p++;
    }
    *w->out++ = *w->p++;
}

/* Takes the rest of a quoted part, whose closing quote ends the word. False when unbalanced. */
static bool take_quoted(struct words *w, char quote)
{
    while (w->p < w->end && *w->p != quote) {
        if (quote == '"') {
            take_double(w);
        } else {
            take_single(w);
        }
    }
    if (w->p == w->end) {
        return false;
    }
    w->p++;
    return w->p == w->end || is_space(*w->p);
}

/* Takes the word at w->p. As in Redis, vertical tabs and form feeds part words only where one
 * would begin. */
static bool take_word(struct words *w)
{
    while (w->p < w->end) {
        char c = *w->p;
        if (c == ' ' || c == '\n' || c == '\r' || c == '\t') {
            return true;
        }
        w->p++;
        if (c == '"' || c == '\'') {
            return take_quoted(w, c);
        }
        *w->out++ = c;
    }
    return true;
}

/* The words of an inline frame, unescaped to `storage`, which has room for all of it. */
static struct words words_of(struct slice frame, char *storage)
{
    struct words w = {.p = frame.p, .end = frame.p + frame.n - 1, .out = storage};
    if (w.end > w.p && w.end[-1] == '\r') {
        w.end--;
    }
    return w;
}

/* ARGS_OK: another word; ARGS_EMPTY: there is none left. */
static enum args_result next_word(struct words *w, struct slice *word)
{
    while (w->p < w->end && is_space(*w->p)) {
        w->p++;
    }
    if (w->p == w->end) {
        return ARGS_EMPTY;
    }
    const char *begin = w->out;
    if (!take_word(w)) {
        return ARGS_UNBALANCED;
    }
    *word = slice_of(begin, (size_t)(w->out - begin));
    return ARGS_OK;
}

static enum args_result parse_inline(struct slice frame, struct args *a)
{
    a->storage_size = frame.n;
    a->storage = xcalloc(1, a->storage_size);
    struct words w = words_of(frame, a->storage);
    struct slice word;
    enum args_result result;
    while ((result = next_word(&w, &word)) == ARGS_OK) {
        if (a->kept < ARGS_KEPT) {
            a->v[a->kept++] = word;
        }
        a->count++;
    }
    return result == ARGS_EMPTY && a->count > 0 ? ARGS_OK : result;
}

/* The number of a header line at p, which the scanner found valid; *next is behind its LF. The
 * byte behind CR may be any: see request_scan_feed. */
static int64_t header(const char *p, const char *end, const char **next)
{
    uint32_t n;
    *next = digits_line(p + 1, end, &n);
    if (*next != NULL) {
        return n;
    }
    const char *cr = memchr(p, '\r', (size_t)(end - p));
    int64_t number;
    bool valid = cr != NULL && end - cr >= 2 &&
                 slice_to_i64(slice_of(p + 1, (size_t)(cr - p) - 1), INT64_MIN, INT64_MAX, &number);
    CHECK(valid);
    *next = cr + 2;
    return number;
}

bool args_walk_begin(struct args_walk *w, struct slice frame)
{
    CHECK(frame.n > 0);
    *w = (struct args_walk){.end = frame.p + frame.n};
    if (frame.p[0] != '*') {
        return false;
    }
    int64_t count = header(frame.p, w->end, &w->p);
    w->left = count > 0 ? (uint32_t)count : 0;
    return true;
}

bool args_walk_next(struct args_walk *w, struct slice *arg)
{
    if (w->left == 0) {
        return false;
    }
    CHECK(w->p < w->end);
    int64_t n = header(w->p, w->end, &w->p);
    CHECK(n >= 0 && n + 2 <= w->end - w->p);
    *arg = slice_of(w->p, (size_t)n);
    w->p += n + 2;
    w->left--;
    return true;
}

static enum args_result parse_multibulk(struct args_walk *w, struct args *a)
{
    a->count = w->left;
    while (a->kept < ARGS_KEPT && args_walk_next(w, &a->v[a->kept])) {
        a->kept++;
    }
    return a->count > 0 ? ARGS_OK : ARGS_EMPTY;
}

enum args_result args_parse(struct slice frame, struct args *out)
{
    struct args_walk w;
    *out = (struct args){0};
    return args_walk_begin(&w, frame) ? parse_multibulk(&w, out) : parse_inline(frame, out);
}

void args_free(struct args *a)
{
    if (a->storage != NULL) {
        secure_wipe(a->storage, a->storage_size);
        free(a->storage);
    }
    *a = (struct args){0};
}

bool args_begun(struct slice begun, size_t at, struct slice *arg)
{
    const char *p = begun.p + at + 1, *end = begun.p + begun.n;
    int64_t n;
    if (at + 1 >= begun.n || p[-1] != '$') {
        return false;
    }
    const char *cr = memchr(p, '\r', (size_t)(end - p));
    if (cr == NULL || end - cr < 2 ||
        !slice_to_i64(slice_of(p, (size_t)(cr - p)), 0, end - cr - 2, &n)) {
        return false;
    }
    *arg = slice_of(cr + 2, (size_t)n);
    return true;
}

static void multibulk_without(struct slice frame, uint32_t skip, struct buf *out)
{
    const char *end = frame.p + frame.n, *name, *p;
    int64_t count = header(frame.p, end, &name);
    CHECK(count > (int64_t)skip);
    int64_t n = header(name, end, &p);
    const char *rest = p + n + 2;
    buf_printf(out, "*%lld\r\n", (long long)count - skip);
    buf_append(out, slice_of(name, (size_t)(rest - name)));
    for (p = rest; skip > 0; skip--) {
        n = header(p, end, &p);
        p += n + 2;
    }
    buf_append(out, slice_of(p, (size_t)(end - p)));
}

void args_without(struct slice frame, uint32_t skip, struct buf *out)
{
    if (frame.p[0] == '*') {
        multibulk_without(frame, skip, out);
        return;
    }
    struct args a;
    CHECK(args_parse(frame, &a) == ARGS_OK && a.count > skip);
    buf_printf(out, "*%u\r\n", a.count - skip);
    struct words w = words_of(frame, a.storage);
    struct slice word;
    for (uint32_t i = 0; next_word(&w, &word) == ARGS_OK; i++) {
        if (i == 0 || i > skip) {
            buf_printf(out, "$%zu\r\n", word.n);
            buf_append(out, word);
            buf_append_str(out, "\r\n");
        }
    }
    args_free(&a);
}

bool args_inline_plain(struct slice frame)
{
    if (frame.n < 3 || frame.p[frame.n - 2] != '\r' || frame.p[frame.n - 1] != '\n') {
        return false;
    }
    char before = ' ';
    for (size_t i = 0; i < frame.n - 2; i++) {
        char c = frame.p[i];
        bool word = c > ' ' && c < 0x7f && c != '"' && c != '\'' && c != '\\';
        if (!word && (c != ' ' || before == ' ')) {
            return false;
        }
        before = c;
    }
    return before != ' ';
}
