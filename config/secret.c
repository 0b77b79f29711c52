#include "config/secret.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config_parts.h"
#include "proxy/base/file_stamp.h"
#include "proxy/base/limits.h"

#define SECRET_MAGIC 0x5ec4e7a1u

struct secret {
    uint32_t magic;
    char *path; /* NULL: it has no file */
    struct file_watch watch;
    pthread_mutex_t lock; /* of what follows */
    struct passwords now;
    uint32_t version;
    uint64_t before_until_ms; /* the second is the one before the first, until then; 0: it is not */
};

static void drop(char **password)
{
    if (*password != NULL) {
        secure_wipe(*password, strlen(*password));
        free(*password);
        *password = NULL;
    }
}

void passwords_wipe(struct passwords *p)
{
    for (size_t i = 0; i < p->count; i++) {
        drop(&p->v[i]);
    }
    p->count = 0;
}

static bool add_line(struct passwords *out, struct slice line)
{
    if (line.n > 0 && line.p[line.n - 1] == '\r') {
        line.n--;
    }
    if (line.n == 0) {
        return false;
    }
    char *copy = xcalloc(1, line.n + 1);
    memcpy(copy, line.p, line.n);
    out->v[out->count++] = copy;
    return true;
}

/* NULL, or what is wrong with it. */
static const char *take_lines(struct slice text, struct passwords *out)
{
    if (text.p == NULL) {
        return "it is empty";
    }
    if (memchr(text.p, '\0', text.n) != NULL) {
        return "it has a NUL byte";
    }
    bool ended = false; /* only blank lines may follow */
    for (size_t at = 0; at < text.n;) {
        const char *end = memchr(text.p + at, '\n', text.n - at);
        size_t n = end == NULL ? text.n - at : (size_t)(end - text.p) - at;
        struct slice line = slice_of(text.p + at, n);
        bool blank = n == 0 || (n == 1 && line.p[0] == '\r');
        if (!blank && (ended || out->count == SECRET_PASSWORDS_MAX)) {
            return out->count == 0 ? "its first line is empty" : "it has more than two lines";
        }
        ended = ended || !add_line(out, line);
        at += n + 1;
    }
    return out->count == 0 ? "it is empty" : NULL;
}

static bool read_lines(const char *path, struct passwords *out, char problem[SECRET_PROBLEM_MAX])
{
    struct buf text = {0};
    *out = (struct passwords){0};
    _Static_assert(SECRET_PROBLEM_MAX == READ_PROBLEM_MAX, "one is given for the other");
    bool good = config_read_whole(path, SECRET_FILE_MAX, &text, problem);
    if (good) {
        const char *wrong = take_lines(buf_slice(&text), out);
        good = wrong == NULL;
        if (!good) {
            (void)snprintf(problem, SECRET_PROBLEM_MAX, "%s", wrong);
            passwords_wipe(out);
        }
    }
    buf_wipe(&text);
    return good;
}

static struct secret *create(const char *path)
{
    struct secret *s = xcalloc(1, sizeof *s);
    s->magic = SECRET_MAGIC;
    s->path = path == NULL ? NULL : xstrdup(path);
    CHECK(pthread_mutex_init(&s->lock, NULL) == 0);
    return s;
}

struct secret *secret_new(const char *password)
{
    struct secret *s = create(NULL);
    s->now.v[s->now.count++] = xstrdup(password);
    return s;
}

struct secret *secret_open(const char *path, char problem[SECRET_PROBLEM_MAX])
{
    struct secret *s = create(path);
    file_watch_begin(&s->watch, path);
    if (!read_lines(path, &s->now, problem)) {
        secret_free(&s);
    }
    return s;
}

void secret_free(struct secret **where)
{
    struct secret *s = *where;
    if (s == NULL) {
        return;
    }
    CHECK_MAGIC(s, SECRET_MAGIC);
    *where = NULL;
    passwords_wipe(&s->now);
    CHECK(pthread_mutex_destroy(&s->lock) == 0);
    free(s->path);
    s->magic = 0;
    free(s);
}

const char *secret_path(const struct secret *s)
{
    return s->path;
}

void secret_passwords(struct secret *s, struct passwords *out)
{
    CHECK_MAGIC(s, SECRET_MAGIC);
    CHECK(pthread_mutex_lock(&s->lock) == 0);
    *out = (struct passwords){.count = s->now.count};
    for (size_t i = 0; i < out->count; i++) {
        out->v[i] = xstrdup(s->now.v[i]);
    }
    CHECK(pthread_mutex_unlock(&s->lock) == 0);
}

uint32_t secret_version(struct secret *s)
{
    CHECK_MAGIC(s, SECRET_MAGIC);
    CHECK(pthread_mutex_lock(&s->lock) == 0);
    uint32_t version = s->version;
    CHECK(pthread_mutex_unlock(&s->lock) == 0);
    return version;
}

bool secret_changed(struct secret *s)
{
    return s->path != NULL && file_watch_changed(&s->watch, s->path);
}

static bool same(const struct passwords *a, const struct passwords *b)
{
    bool all = a->count == b->count;
    for (size_t i = 0; i < SECRET_PASSWORDS_MAX && i < a->count && all; i++) {
        all = slice_eq(slice_str(a->v[i]), slice_str(b->v[i]));
    }
    return all;
}

/* fresh is taken over. The lock is held. */
static void replace(struct secret *s, struct passwords *fresh, uint64_t now_ms)
{
    bool said = same(&s->now, fresh);
    bool alone = fresh->count == 1;
    bool first = strcmp(fresh->v[0], s->now.v[0]) == 0;
    if (said || (alone && first && s->before_until_ms != 0)) {
        passwords_wipe(fresh); /* the file was only written again */
        return;
    }
    s->before_until_ms = 0;
    if (alone && !first) {
        fresh->v[fresh->count++] = s->now.v[0];
        s->now.v[0] = NULL;
        s->before_until_ms = now_ms + PASSWORD_BEFORE_MS;
    }
    passwords_wipe(&s->now);
    s->now = *fresh;
    s->version++;
}

bool secret_reload(struct secret *s, uint64_t now_ms, char problem[SECRET_PROBLEM_MAX])
{
    struct passwords fresh;
    CHECK_MAGIC(s, SECRET_MAGIC);
    CHECK(s->path != NULL);
    file_watch_begin(&s->watch, s->path);
    if (!read_lines(s->path, &fresh, problem)) {
        return false;
    }
    CHECK(pthread_mutex_lock(&s->lock) == 0);
    replace(s, &fresh, now_ms);
    CHECK(pthread_mutex_unlock(&s->lock) == 0);
    return true;
}

void secret_age(struct secret *s, uint64_t now_ms)
{
    CHECK_MAGIC(s, SECRET_MAGIC);
    CHECK(pthread_mutex_lock(&s->lock) == 0);
    if (s->before_until_ms != 0 && now_ms >= s->before_until_ms) {
        s->before_until_ms = 0;
        drop(&s->now.v[--s->now.count]);
    }
    CHECK(pthread_mutex_unlock(&s->lock) == 0);
}
