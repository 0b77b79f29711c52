#include "proxy/resp/scan.h"

#include <stdio.h>
#include <string.h>

#include "proxy/base/limits.h"
#include "proxy/resp/digits.h"

/* NOLINTNEXTLINE(misc-redundant-expression): they are two limits */
_Static_assert(INLINE_MAX == HEADER_LINE_MAX, "one count serves both kinds of line");
_Static_assert(BULK_MAX <= UINT32_MAX - 2, "a body and its CR LF fit 32 bits");

/* Where the next byte stands. */
enum step {
    STEP_START,        /* the first byte of the frame */
    STEP_INLINE_BLANK, /* an inline line with nothing but white space so far */
    STEP_INLINE,
    STEP_COUNT,    /* in the number behind '*' */
    STEP_COUNT_LF, /* follows STEP_COUNT in this list too */
    STEP_BULK,     /* the first byte of a bulk header: '$' */
    STEP_BULK_NUMBER,
    STEP_BULK_LF, /* follows STEP_BULK_NUMBER in this list too */
    STEP_BODY,
    STEP_BODY_CR,
    STEP_BODY_LF,
    STEP_ENDLESS, /* behind a NUL: Redis looks for the line's end with strchr and finds none */
    STEP_DONE,
    STEP_FAILED,
};

enum fault {
    FAULT_NONE,
    FAULT_INLINE_SIZE,
    FAULT_COUNT_SIZE,
    FAULT_COUNT,
    FAULT_COUNT_UNAUTHENTICATED,
    FAULT_BULK_SIZE,
    FAULT_DOLLAR,
    FAULT_BULK,
    FAULT_BULK_UNAUTHENTICATED,
    FAULT_TLS,
};

/* How a connection with TLS begins: a record of its handshake, of any version (RFC 8446, 5.1). One
 * byte alone may be the name of a command. */
#define TLS_HANDSHAKE     0x16
#define TLS_VERSION_MAJOR 0x03

void request_scan_reset(struct request_scan *s)
{
    bool unauthenticated = s->unauthenticated;
    *s = (struct request_scan){.unauthenticated = unauthenticated};
}

static void fail(struct request_scan *s, enum fault fault)
{
    s->error = (uint8_t)fault;
    s->state = STEP_FAILED;
}

static void begin_number(struct request_scan *s, enum step step)
{
    s->state = (uint8_t)step;
    s->number = 0;
    s->digits = 0;
    s->negative = s->bad_number = false;
}

/* Counts n more bytes of a line whose end is not in sight; fault is what a too long one is. */
static void lengthen(struct request_scan *s, size_t n, enum fault fault)
{
    s->line += (uint32_t)n;
    if (s->line > HEADER_LINE_MAX) {
        fail(s, fault);
    }
}

/* Takes one byte of a number, as string2ll reads it; what is wrong shows at the line's end. */
static void take_digit(struct request_scan *s, char c)
{
    uint32_t digit = (uint32_t)(unsigned char)c - '0';
    if (c == '-' && s->digits == 0 && !s->negative) {
        s->negative = true;
    } else if (digit > 9 || s->digits == 19 || (s->digits == 1 && s->number == 0)) {
        s->bad_number = true;
    } else {
        s->number = s->number * 10 + digit;
        s->digits++;
    }
}

/* Reads up to the CR of a header line. */
static const char *number_line(struct request_scan *s, const char *p, const char *end,
                               enum fault too_big)
{
    for (; p < end && s->state < STEP_ENDLESS; p++) {
        if (*p == '\r') {
            s->state++;
            return p + 1;
        }
        if (*p == '\0') {
            s->error = (uint8_t)too_big;
            s->state = STEP_ENDLESS;
        }
        take_digit(s, *p);
        lengthen(s, 1, too_big);
    }
    return p;
}

/* The number of a line just ended, if string2ll would take it. */
static bool number_valid(const struct request_scan *s)
{
    uint64_t most = s->negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
    bool minus_zero = s->negative && s->number == 0;
    return !s->bad_number && s->digits > 0 && !minus_zero && s->number <= most;
}

static void end_count(struct request_scan *s, char lf)
{
    s->odd = lf != '\n';
    if (!number_valid(s) || (!s->negative && s->number > REQUEST_ARGS_MAX)) {
        fail(s, FAULT_COUNT);
    } else if (s->negative || s->number == 0) {
        s->empty = true;
        s->state = STEP_DONE;
    } else if (s->unauthenticated && s->number > UNAUTHENTICATED_ARGS_MAX) {
        fail(s, FAULT_COUNT_UNAUTHENTICATED);
    } else {
        s->argc = s->args_left = (uint32_t)s->number;
        s->state = STEP_BULK;
    }
}

/* body_at: the place of the byte behind this header, from the first byte of the frame. */
static void end_bulk_header(struct request_scan *s, char lf, uint64_t body_at)
{
    s->odd = s->odd || lf != '\n';
    if (s->error_char != '$') {
        fail(s, FAULT_DOLLAR);
    } else if (!number_valid(s) || s->negative || s->number > BULK_MAX) {
        fail(s, FAULT_BULK);
    } else if (s->unauthenticated && s->number > UNAUTHENTICATED_BULK_MAX) {
        fail(s, FAULT_BULK_UNAUTHENTICATED);
    } else {
        s->skip = s->number;
        s->state = s->skip > 0 ? STEP_BODY : STEP_BODY_CR;
        if (s->args_left == s->argc) {
            s->name_at = body_at;
            s->name_len = (uint32_t)s->number;
            s->name_known = s->skip == 0;
        }
    }
}

static const char *skip_body(struct request_scan *s, const char *p, const char *end)
{
    size_t n = (size_t)(end - p);
    n = n < s->skip ? n : (size_t)s->skip;
    s->skip -= n;
    if (s->skip == 0) {
        s->name_known = true;
        s->state = STEP_BODY_CR;
    }
    return p + n;
}

static void end_body(struct request_scan *s, char lf)
{
    s->odd = s->odd || lf != '\n';
    s->args_left--;
    s->state = s->args_left > 0 ? STEP_BULK : STEP_DONE;
}

/* Passes over arguments that lie whole in [p, end) and are as they should be; whatever else there
 * is, it leaves to the steps. at: the place of *p in the frame. */
static const char *whole_arguments(struct request_scan *s, const char *p, const char *end,
                                   uint64_t at)
{
    uint32_t most = s->unauthenticated ? UNAUTHENTICATED_BULK_MAX : (uint32_t)BULK_MAX;
    const char *from = p;
    while (s->args_left > 0 && p < end && *p == '$') {
        uint32_t n;
        const char *body = digits_line(p + 1, end, &n);
        if (body == NULL || n > most || (size_t)(end - body) < (size_t)n + 2 || body[n] != '\r' ||
            body[n + 1] != '\n') {
            break;
        }
        if (!s->name_known) {
            s->name_known = true;
            s->name_at = at + (uint64_t)(body - from);
            s->name_len = n;
        }
        p = body + n + 2;
        s->args_left--;
    }
    if (s->args_left == 0) {
        s->state = STEP_DONE;
    }
    return p;
}

/* The first byte of a bulk header. Redis judges it only when the line is whole. */
static const char *begin_bulk(struct request_scan *s, const char *p, const char *end, uint64_t at)
{
    p = whole_arguments(s, p, end, at);
    if (p < end && s->state == STEP_BULK) {
        begin_number(s, STEP_BULK_NUMBER);
        s->error_char = *p;
        s->line = 0;
        if (*p != '\r' && *p != '\0') {
            s->line = 1;
            p++;
        }
    }
    return p;
}

static const char *begin_frame(struct request_scan *s, const char *p, const char *end)
{
    if (*p != '*') {
        s->is_inline = true;
        s->state = STEP_INLINE_BLANK;
        if (s->first && end - p > 1 && p[0] == TLS_HANDSHAKE && p[1] == TLS_VERSION_MAJOR) {
            fail(s, FAULT_TLS); /* of which no line end may ever come */
        }
        return p;
    }
    uint32_t n, most = s->unauthenticated ? UNAUTHENTICATED_ARGS_MAX : REQUEST_ARGS_MAX;
    const char *next = digits_line(p + 1, end, &n);
    if (next != NULL && n > 0 && n <= most) {
        s->argc = s->args_left = n;
        s->state = STEP_BULK;
        return next;
    }
    begin_number(s, STEP_COUNT);
    s->line = 1;
    return p + 1;
}

static const char *inline_blank(struct request_scan *s, const char *p, const char *end)
{
    for (; p < end && s->state == STEP_INLINE_BLANK; p++) {
        if (*p == '\n') {
            s->empty = true;
            s->state = STEP_DONE;
        } else if (*p == ' ' || (*p >= '\t' && *p <= '\r')) {
            lengthen(s, 1, FAULT_INLINE_SIZE);
        } else {
            s->state = STEP_INLINE;
            return p;
        }
    }
    return p;
}

static const char *inline_text(struct request_scan *s, const char *p, const char *end)
{
    size_t room = INLINE_MAX - s->line + 1; /* the byte past the limit may be the LF */
    size_t n = (size_t)(end - p) < room ? (size_t)(end - p) : room;
    const char *lf = memchr(p, '\n', n);
    if (memchr(p, '\0', lf == NULL ? n : (size_t)(lf - p)) != NULL) {
        s->error = FAULT_INLINE_SIZE;
        s->state = STEP_ENDLESS;
        return p;
    }
    if (lf != NULL) {
        s->state = STEP_DONE;
        return lf + 1;
    }
    lengthen(s, n, FAULT_INLINE_SIZE);
    return p + n;
}

static const char *endless(struct request_scan *s, const char *p, const char *end)
{
    size_t room = HEADER_LINE_MAX - s->line + 1;
    size_t n = (size_t)(end - p) < room ? (size_t)(end - p) : room;
    lengthen(s, n, (enum fault)s->error);
    return p + n;
}

/* Takes at least one byte, or changes the step. at: the place of *p in the frame. */
static const char *take(struct request_scan *s, const char *p, const char *end, uint64_t at)
{
    switch ((enum step)s->state) {
    case STEP_START: return begin_frame(s, p, end);
    case STEP_INLINE_BLANK: return inline_blank(s, p, end);
    case STEP_INLINE: return inline_text(s, p, end);
    case STEP_COUNT: return number_line(s, p, end, FAULT_COUNT_SIZE);
    case STEP_COUNT_LF: end_count(s, *p); return p + 1;
    case STEP_BULK: return begin_bulk(s, p, end, at);
    case STEP_BULK_NUMBER: return number_line(s, p, end, FAULT_BULK_SIZE);
    case STEP_BULK_LF: end_bulk_header(s, *p, at + 1); return p + 1;
    case STEP_BODY: return skip_body(s, p, end);
    case STEP_BODY_CR:
        s->odd = s->odd || *p != '\r';
        s->state = STEP_BODY_LF;
        return p + 1;
    case STEP_BODY_LF: end_body(s, *p); return p + 1;
    case STEP_ENDLESS: return endless(s, p, end);
    case STEP_DONE:
    case STEP_FAILED: break;
    }
    UNREACHABLE("a finished frame takes no bytes");
}

enum scan_result request_scan_feed(struct request_scan *s, struct slice bytes, size_t *used)
{
    const char *p = bytes.p;
    const char *end = bytes.n > 0 ? p + bytes.n : p;
    uint64_t base = s->length;
    CHECK(s->state != STEP_DONE);
    while (p < end && s->state < STEP_DONE) {
        p = take(s, p, end, base + (uint64_t)(p - bytes.p));
    }
    *used = (size_t)(p - bytes.p);
    s->length = base + *used;
    if (s->state == STEP_FAILED) {
        return SCAN_ERROR;
    }
    return s->state == STEP_DONE ? SCAN_DONE : SCAN_MORE;
}

const char *request_whole(const char *p, const char *end, struct slice *name)
{
    uint32_t args, n;
    if (p == end || *p != '*' || (p = digits_line(p + 1, end, &args)) == NULL || args == 0 ||
        args > REQUEST_ARGS_MAX) {
        return NULL;
    }
    name->p = NULL;
    for (; args > 0; args--) {
        if (p == end || *p != '$' || (p = digits_line(p + 1, end, &n)) == NULL ||
            (size_t)(end - p) < (size_t)n + 2 || p[n] != '\r' || p[n + 1] != '\n' || n > BULK_MAX) {
            return NULL;
        }
        if (name->p == NULL) {
            *name = slice_of(p, n);
        }
        p += n + 2;
    }
    return p;
}

static const char *fault_text(enum fault fault)
{
    switch (fault) {
    case FAULT_INLINE_SIZE: return "too big inline request";
    case FAULT_COUNT_SIZE: return "too big mbulk count string";
    case FAULT_COUNT: return "invalid multibulk length";
    case FAULT_COUNT_UNAUTHENTICATED: return "unauthenticated multibulk length";
    case FAULT_BULK_SIZE: return "too big bulk count string";
    case FAULT_BULK: return "invalid bulk length";
    case FAULT_BULK_UNAUTHENTICATED: return "unauthenticated bulk length";
    case FAULT_TLS: return "this port takes no TLS";
    case FAULT_DOLLAR: return "expected '$', got '";
    case FAULT_NONE: break;
    }
    UNREACHABLE("no fault");
}

const char *request_scan_error(const struct request_scan *s, char *out)
{
    CHECK(s->state == STEP_FAILED);
    const char *text = fault_text((enum fault)s->error);
    if (s->error == FAULT_DOLLAR) {
        /* An error line holds no line end: Redis too puts a space. */
        bool line_end = s->error_char == '\r' || s->error_char == '\n';
        (void)snprintf(out, SCAN_ERROR_MAX, "Protocol error: %s%c'", text,
                       line_end ? ' ' : s->error_char);
    } else {
        (void)snprintf(out, SCAN_ERROR_MAX, "Protocol error: %s", text);
    }
    return out;
}
