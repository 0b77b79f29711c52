/* "Did you mean": the nearest known word, by insertions, deletions, replacements and swaps of
 * neighbours (optimal string alignment), without case. */
#include "config/config.h"

#include <strings.h>

#define WORD_MAX 64

static unsigned char lower(char c)
{
    return (unsigned char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t distance(struct slice a, struct slice b)
{
    size_t rows[3][WORD_MAX + 1] = {{0}};
    for (size_t j = 0; j <= b.n; j++) {
        rows[0][j] = j;
    }
    for (size_t i = 1; i <= a.n; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i - 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            bool same = lower(a.p[i - 1]) == lower(b.p[j - 1]);
            row[j] = least(least(above[j], row[j - 1]) + 1, above[j - 1] + (same ? 0 : 1));
            if (i > 1 && j > 1 && lower(a.p[i - 1]) == lower(b.p[j - 2]) &&
                lower(a.p[i - 2]) == lower(b.p[j - 1])) {
                row[j] = least(row[j], rows[(i - 2) % 3][j - 2] + 1);
            }
        }
    }
    return rows[a.n % 3][b.n];
}

const char *config_suggest(struct slice word, const char *const *candidates, size_t count)
{
    const char *best = NULL;
    size_t nearest = word.n < 6 ? 2 : word.n / 3 + 1; /* nearer than this */
    nearest = least(nearest, 4);
    if (word.n < 2 || word.n > WORD_MAX) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        struct slice candidate = slice_str(candidates[i]);
        size_t d = candidate.n > WORD_MAX ? nearest : distance(word, candidate);
        if (d < nearest) {
            nearest = d;
            best = candidates[i];
        }
    }
    for (size_t i = 0; i < count && best == NULL; i++) {
        struct slice candidate = slice_str(candidates[i]);
        if (word.n > 2 && candidate.n > word.n && strncasecmp(candidate.p, word.p, word.n) == 0) {
            best = candidates[i];
        }
    }
    return best;
}
