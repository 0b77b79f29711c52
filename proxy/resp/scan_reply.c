#include "proxy/resp/scan.h"

#include <string.h>

#include "proxy/resp/digits.h"

/* Where the next byte stands. */
enum step {
    STEP_TYPE, /* the first byte of a value */
    STEP_TEXT,
    STEP_TEXT_LF,
    STEP_NUMBER,
    STEP_NUMBER_LF,
    STEP_BODY,
    STEP_BODY_CR,
    STEP_BODY_LF,
    STEP_DONE,
    STEP_FAILED,
};

#define NUMBER_DIGITS_MAX 18u /* twice such a number still fits */
#define NEAR_CR           16  /* most texts are short: look by hand before calling memchr */

void reply_scan_reset(struct reply_scan *s, uint64_t elements_max)
{
    CHECK(elements_max >= 1);
    *s = (struct reply_scan){.elements_left = 1, .elements_seen = 1, .elements_max = elements_max};
}

static void value_done(struct reply_scan *s)
{
    s->elements_left--;
    s->state = s->elements_left > 0 ? STEP_TYPE : STEP_DONE;
}

static const char *find_cr(const char *p, const char *end)
{
    const char *near = end - p > NEAR_CR ? p + NEAR_CR : end;
    for (; p < near; p++) {
        if (*p == '\r') {
            return p;
        }
    }
    return p < end ? memchr(p, '\r', (size_t)(end - p)) : NULL;
}

static const char *take_text(struct reply_scan *s, const char *p, const char *end)
{
    const char *cr = find_cr(p, end);
    if (cr == NULL) {
        return end;
    }
    if (end - cr > 1 && cr[1] == '\n') {
        value_done(s);
        return cr + 2;
    }
    s->state = STEP_TEXT_LF;
    return cr + 1;
}

/* A CR without LF is part of the text, as client libraries have it. */
static const char *take_text_lf(struct reply_scan *s, const char *p)
{
    if (*p == '\n') {
        value_done(s);
    } else if (*p != '\r') {
        s->state = STEP_TEXT;
    }
    return p + 1;
}

/* The elements of one aggregate come before what follows it, so one count of values still to come
 * is enough at any depth. An attribute is no value: it leaves the one it precedes to come. */
static void aggregate(struct reply_scan *s, uint64_t count)
{
    bool pairs = s->line_type == '%' || s->line_type == '|';
    count = pairs ? 2 * count : count;
    if (count > s->elements_max - s->elements_seen) {
        s->state = STEP_FAILED;
        return;
    }
    s->elements_seen += count;
    s->elements_left += count;
    if (s->line_type == '|') {
        s->state = STEP_TYPE;
    } else {
        value_done(s);
    }
}

/* The header of line_type said count. */
static void header_done(struct reply_scan *s, uint64_t count)
{
    switch (s->line_type) {
    case '$':
    case '!':
    case '=':
        s->skip = count;
        s->state = count > 0 ? STEP_BODY : STEP_BODY_CR;
        break;
    default: aggregate(s, count); break;
    }
}

static const char *take_number(struct reply_scan *s, const char *p, const char *end)
{
    for (; p < end && s->state == STEP_NUMBER; p++) {
        uint32_t digit = (uint32_t)(unsigned char)*p - '0';
        if (*p == '\r' && s->digits > 0) {
            s->state = STEP_NUMBER_LF;
        } else if (*p == '-' && s->digits == 0 && !s->negative) {
            s->negative = true;
        } else if (digit > 9 || s->digits == NUMBER_DIGITS_MAX ||
                   (s->digits == 1 && s->number == 0)) {
            s->state = STEP_FAILED;
        } else {
            s->number = s->number * 10 + digit;
            s->digits++;
        }
    }
    return p;
}

static void take_number_lf(struct reply_scan *s, char lf)
{
    bool nullable = s->line_type == '$' || s->line_type == '*';
    if (lf != '\n' || (s->negative && (s->number != 1 || !nullable))) {
        s->state = STEP_FAILED;
    } else if (s->negative) {
        value_done(s);
    } else {
        header_done(s, s->number);
    }
}

static const char *take_body(struct reply_scan *s, const char *p, const char *end)
{
    size_t n = (size_t)(end - p);
    if (n >= s->skip + 2 && p[s->skip] == '\r' && p[s->skip + 1] == '\n') {
        p += s->skip + 2;
        s->skip = 0;
        value_done(s);
        return p;
    }
    n = n < s->skip ? n : (size_t)s->skip;
    s->skip -= n;
    if (s->skip == 0) {
        s->state = STEP_BODY_CR;
    }
    return p + n;
}

static const char *expect(struct reply_scan *s, const char *p, char c, enum step next)
{
    s->state = *p == c ? (uint8_t)next : STEP_FAILED;
    return p + 1;
}

static const char *take_body_lf(struct reply_scan *s, const char *p)
{
    if (*p == '\n') {
        value_done(s);
    } else {
        s->state = STEP_FAILED;
    }
    return p + 1;
}

static const char *take_header(struct reply_scan *s, const char *p, const char *end)
{
    uint32_t count;
    const char *next = digits_line(p, end, &count);
    if (next != NULL) {
        header_done(s, count);
        return next;
    }
    s->number = 0;
    s->digits = 0;
    s->negative = false;
    s->state = STEP_NUMBER;
    return p;
}

static const char *take_type(struct reply_scan *s, const char *p, const char *end)
{
    if (s->elements_left == 1 && s->type == 0 && *p != '|') {
        s->type = *p;
    }
    switch (*p) {
    case '+':
    case '-':
    case ':':
    case '_':
    case ',':
    case '#':
    case '(': s->state = STEP_TEXT; return p + 1 < end ? take_text(s, p + 1, end) : p + 1;
    case '$':
    case '!':
    case '=':
    case '*':
    case '%':
    case '~':
    case '>':
    case '|': s->line_type = *p; return take_header(s, p + 1, end);
    default: s->state = STEP_FAILED; return p + 1;
    }
}

/* Takes at least one byte, or changes the step. */
static const char *step(struct reply_scan *s, const char *p, const char *end)
{
    switch ((enum step)s->state) {
    case STEP_TYPE: return take_type(s, p, end);
    case STEP_TEXT: return take_text(s, p, end);
    case STEP_TEXT_LF: return take_text_lf(s, p);
    case STEP_NUMBER: return take_number(s, p, end);
    case STEP_NUMBER_LF: take_number_lf(s, *p); return p + 1;
    case STEP_BODY: return take_body(s, p, end);
    case STEP_BODY_CR: return expect(s, p, '\r', STEP_BODY_LF);
    case STEP_BODY_LF: return take_body_lf(s, p);
    case STEP_DONE:
    case STEP_FAILED: break;
    }
    UNREACHABLE("a finished reply takes no bytes");
}

enum scan_result reply_scan_feed(struct reply_scan *s, struct slice bytes, size_t *used)
{
    const char *p = bytes.p;
    const char *end = bytes.n > 0 ? p + bytes.n : p;
    CHECK(s->elements_max >= 1 && s->state != STEP_DONE);
    while (p < end && s->state < STEP_DONE) {
        p = step(s, p, end);
    }
    *used = (size_t)(p - bytes.p);
    s->length += *used;
    if (s->state == STEP_FAILED) {
        return SCAN_ERROR;
    }
    return s->state == STEP_DONE ? SCAN_DONE : SCAN_MORE;
}

void reply_scan_extend(struct reply_scan *s)
{
    CHECK(s->state == STEP_DONE);
    s->elements_left = 1;
    s->state = STEP_TYPE;
}

const char *reply_whole(const char *p, const char *end)
{
    uint32_t n;
    if (p == end) {
        return NULL;
    }
    const char *cr, *body;
    switch (*p) {
    case '$':
        body = digits_line(p + 1, end, &n);
        if (body == NULL) {
            return end - p >= 5 && memcmp(p, "$-1\r\n", 5) == 0 ? p + 5 : NULL;
        }
        body = (size_t)(end - body) >= (size_t)n + 2 ? body + n : NULL;
        return body != NULL && body[0] == '\r' && body[1] == '\n' ? body + 2 : NULL;
    case '+':
    case ':':
    case '_':
    case ',':
    case '#':
    case '(':
        cr = find_cr(p + 1, end);
        return cr != NULL && end - cr > 1 && cr[1] == '\n' ? cr + 2 : NULL;
    default: return NULL;
    }
}
