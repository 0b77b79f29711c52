/* The option table of README.md is the one that the table of keys gives. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"

#define SKIPPED 77 /* for CTest */
#define BEGIN   "<!-- options:begin -->\n"
#define END     "<!-- options:end -->"

static void read_file(const char *path, struct buf *out)
{
    FILE *file = fopen(path, "re");
    size_t n = 1;
    while (file != NULL && n > 0) {
        n = fread(buf_reserve(out, 4096), 1, 4096, file);
        buf_commit(out, n);
    }
    if (file != NULL) {
        (void)fclose(file); /* it was only read */
    }
    buf_append(out, slice_of("", 1));
}

int main(void)
{
    struct buf readme = {0}, table = {0};
    int status = EXIT_SUCCESS;
    read_file("README.md", &readme);
    config_option_table(&table);
    const char *begin = strstr(buf_head(&readme), BEGIN);
    const char *end = begin == NULL ? NULL : strstr(begin, END);
    if (end == NULL) {
        (void)printf("README.md has no option table\n");
        status = SKIPPED;
    } else {
        begin += strlen(BEGIN);
        if (!slice_eq(slice_of(begin, (size_t)(end - begin)), buf_slice(&table))) {
            (void)printf("README.md has to have between its markers:\n%.*s", (int)buf_len(&table),
                         buf_head(&table));
            status = EXIT_FAILURE;
        }
    }
    buf_release(&readme);
    buf_release(&table);
    return status;
}
