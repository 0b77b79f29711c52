#include "proxy/base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void check_failed(const char *expr, const char *file, int line)
{
    (void)fprintf(stderr, "level=critical event=check-failed at=%s:%d expr=\"%s\"\n", file, line,
                  expr);
    abort();
}

void *xcalloc(size_t count, size_t size)
{
    void *ptr = calloc(count, size);
    CHECK(ptr != NULL);
    return ptr;
}

void *xrealloc(void *ptr, size_t size)
{
    void *grown = realloc(ptr, size);
    CHECK(grown != NULL);
    return grown;
}

char *xstrdup(const char *s)
{
    char *copy = strdup(s);
    CHECK(copy != NULL);
    return copy;
}

void secure_wipe(void *ptr, size_t n)
{
    if (n > 0) {
        explicit_bzero(ptr, n);
    }
}
