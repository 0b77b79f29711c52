#include "proxy/base/slice.h"

#include <string.h>
#include <strings.h>

struct slice slice_str(const char *s)
{
    return slice_of(s, strlen(s));
}

bool slice_eq(struct slice a, struct slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool slice_eq_nocase(struct slice a, const char *s)
{
    return a.n == strlen(s) && (a.n == 0 || strncasecmp(a.p, s, a.n) == 0);
}

bool slice_starts_with(struct slice a, const char *prefix)
{
    size_t n = strlen(prefix);
    return a.n >= n && memcmp(a.p, prefix, n) == 0;
}

bool slice_to_i64(struct slice a, int64_t min, int64_t max, int64_t *out)
{
    bool negative = a.n > 0 && a.p[0] == '-';
    size_t i = negative ? 1 : 0;
    if (i >= a.n || (a.p[i] == '0' && (a.n > 1))) {
        return false;
    }
    /* Built downwards: INT64_MIN has no positive twin. */
    int64_t value = 0;
    for (; i < a.n; i++) {
        if (a.p[i] < '0' || a.p[i] > '9') {
            return false;
        }
        int digit = a.p[i] - '0';
        if (value < (INT64_MIN + digit) / 10) {
            return false;
        }
        value = value * 10 - digit;
    }
    if (!negative) {
        if (value == INT64_MIN) {
            return false;
        }
        value = -value;
    }
    if (value < min || value > max) {
        return false;
    }
    *out = value;
    return true;
}
