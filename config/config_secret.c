/* Files read whole: the configuration itself, and secrets. */
#include <fcntl.h>
#include <stdio.h>
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

void config_hide(char *secret)
{
    for (char *c = secret; c != NULL && *c != '\0'; c++) {
        *c = '*';
    }
}

struct secret *config_secret_read(const char *path, const char *where, struct config_report *report)
{
    char problem[SECRET_PROBLEM_MAX];
    struct secret *secret = secret_open(path, problem);
    if (secret == NULL) {
        config_report_add(report, CONFIG_ERROR,
                          "%s: bad secret file '%s': %s; put the secret alone into its first line, "
                          "and during a rotation the one before into its second",
                          where, path, problem);
    }
    return secret;
}
