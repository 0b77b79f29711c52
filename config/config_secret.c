/* Files read whole: the configuration itself, and secrets. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config_parts.h"

static bool read_fd(int fd, size_t max, struct buf *out, char problem[READ_PROBLEM_MAX])
{
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        (void)snprintf(problem, READ_PROBLEM_MAX, "it is a directory");
        return false;
    }
    /* All the room at once: a buffer that grows would leave copies of a secret behind. */
    char *to = buf_reserve(out, max + 1);
    size_t n = 0;
    ssize_t got = 1;
    while (n <= max && (got = read(fd, to + n, max + 1 - n)) > 0) {
        n += (size_t)got;
    }
    if (got < 0) {
        (void)snprintf(problem, READ_PROBLEM_MAX, "it can't be read: %m");
        return false;
    }
    if (n > max) {
        (void)snprintf(problem, READ_PROBLEM_MAX, "it is larger than %zu KiB", max / 1024);
        return false;
    }
    buf_commit(out, n);
    return true;
}

bool config_read_whole(const char *path, size_t max, struct buf *out,
                       char problem[READ_PROBLEM_MAX])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        (void)snprintf(problem, READ_PROBLEM_MAX, "it can't be read: %m");
        return false;
    }
    bool good = read_fd(fd, max, out, problem);
    (void)close(fd); /* it was only read */
    return good;
}

/* The one line of a secret file; NULL when it has one, else what is wrong. */
static const char *first_line(struct slice text, struct slice *line)
{
    if (text.p == NULL) {
        return "it is empty";
    }
    const char *end = memchr(text.p, '\n', text.n);
    *line = slice_of(text.p, end == NULL ? text.n : (size_t)(end - text.p));
    for (size_t i = line->n; i < text.n; i++) {
        if (text.p[i] != '\n' && text.p[i] != '\r') {
            return "it has more than one line";
        }
    }
    if (line->n > 0 && line->p[line->n - 1] == '\r') {
        line->n--;
    }
    if (line->n == 0) {
        return "it is empty";
    }
    return memchr(line->p, '\0', line->n) != NULL ? "it has a NUL byte" : NULL;
}

void config_hide(char *secret)
{
    for (char *c = secret; c != NULL && *c != '\0'; c++) {
        *c = '*';
    }
}

char *config_secret_read(const char *path, const char *where, struct config_report *report)
{
    struct buf text = {0};
    struct slice line = {0};
    char unreadable[READ_PROBLEM_MAX];
    char *secret = NULL;
    const char *problem = unreadable;
    if (config_read_whole(path, SECRET_FILE_MAX, &text, unreadable)) {
        problem = first_line(buf_slice(&text), &line);
    }
    if (problem == NULL) {
        secret = xcalloc(1, line.n + 1);
        memcpy(secret, line.p, line.n);
    } else {
        config_report_add(report, CONFIG_ERROR,
                          "%s: bad secret file '%s': %s; put the secret alone into its first line",
                          where, path, problem);
    }
    buf_wipe(&text);
    return secret;
}
