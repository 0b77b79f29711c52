#include "sentinel/credentials.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/base/file_stamp.h"
#include "proxy/base/limits.h"
#include "proxy/base/log.h"

/* A password of ours that stands in a file. */
struct credential {
    const char *section; /* for the log */
    struct secret *secret;
};

struct client_users {
    const char *path; /* NULL: clients are no users of ours */
    struct file_watch watch;
    pthread_mutex_t lock; /* of what follows */
    struct acl *now;
};

struct credentials {
    const struct config *config;
    struct credential *v;
    size_t count;
    struct client_users *users; /* of each service */
    struct loop *loop;
    struct wheel_timer timer;
    void (*users_changed)(void *owner);
    void *owner;
};

/* Our own passwords. */

static void add(struct credentials *c, const char *section, struct secret *secret)
{
    if (secret != NULL && secret_path(secret) != NULL) {
        c->v = xrealloc(c->v, (c->count + 1) * sizeof *c->v);
        c->v[c->count++] = (struct credential){.section = section, .secret = secret};
    }
}

static void add_all(struct credentials *c)
{
    for (size_t i = 0; i < c->config->group_count; i++) {
        add(c, "sentinel", c->config->groups[i].password);
    }
    for (size_t i = 0; i < c->config->service_count; i++) {
        const struct config_service *s = &c->config->services[i];
        add(c, s->name, s->password);
        for (unsigned k = 0; k < s->upstream_users.count; k++) {
            const struct config_identity *one = &s->upstream_users.v[k];
            if (config_identity_of(s, one->client) == k + 1) { /* else another's is used */
                add(c, s->name, one->password);
            }
        }
    }
}

static void reload_password(const struct credentials *c, const struct credential *one)
{
    char problem[SECRET_PROBLEM_MAX];
    const char *section = log_quote(slice_str(one->section));
    const char *file = log_quote(slice_str(secret_path(one->secret)));
    if (secret_reload(one->secret, loop_now_ms(c->loop), problem)) {
        log_notice("password-loaded", "section=%s file=%s", section, file);
    } else {
        log_error("password-not-loaded",
                  "section=%s file=%s error=\"%s\" effect=\"what was loaded before is used\"",
                  section, file, problem);
    }
}

/* Users of clients. */

/* NULL, and errors in the report, when the file can't be used. */
static struct acl *read_users(struct client_users *users, struct config_report *report)
{
    struct buf text = {0};
    char problem[READ_PROBLEM_MAX];
    struct acl *acl = NULL;
    file_watch_begin(&users->watch, users->path);
    if (config_read_whole(users->path, ACL_FILE_MAX, &text, problem)) {
        acl = acl_read(buf_slice(&text), users->path, report);
    } else {
        config_report_add(report, CONFIG_ERROR, "%s: bad file of users: %s; check the path",
                          users->path, problem);
    }
    buf_wipe(&text);
    return acl;
}

static void warn_of_strangers(const struct config *config, const struct config_service *s,
                              const struct acl *acl, struct config_report *report)
{
    for (size_t i = 0; i < s->upstream_users.count; i++) {
        const char *client = s->upstream_users.v[i].client;
        if (acl_find(acl, slice_str(client)) == NULL) {
            config_report_add(report, CONFIG_WARNING,
                              "%s: upstream-user of '%s', who is not in '%s'; add that user there, "
                              "or leave this out",
                              config_where(config, s, "upstream-user"), client, s->acl_file);
        }
    }
}

struct credentials *credentials_load(const struct config *config, struct config_report *report)
{
    struct credentials *c = xcalloc(1, sizeof *c);
    size_t errors = report->errors;
    c->config = config;
    c->users = xcalloc(config->service_count, sizeof *c->users);
    add_all(c);
    for (size_t i = 0; i < config->service_count; i++) {
        const struct config_service *s = &config->services[i];
        struct client_users *users = &c->users[i];
        CHECK(pthread_mutex_init(&users->lock, NULL) == 0);
        if (s->client_auth == CLIENT_AUTH_USERS) {
            users->path = s->acl_file;
            users->now = read_users(users, report);
        }
        if (users->now != NULL) {
            warn_of_strangers(config, s, users->now, report);
        }
    }
    if (report->errors > errors) {
        credentials_free(&c);
    }
    return c;
}

void credentials_free(struct credentials **where)
{
    struct credentials *c = *where;
    if (c == NULL) {
        return;
    }
    *where = NULL;
    for (size_t i = 0; i < c->config->service_count; i++) {
        acl_unref(&c->users[i].now);
        CHECK(pthread_mutex_destroy(&c->users[i].lock) == 0);
    }
    free(c->users);
    free(c->v);
    free(c);
}

/* All or nothing. */
static void reload_users(const struct credentials *c, size_t service)
{
    struct client_users *users = &c->users[service];
    const char *name = log_quote(slice_str(c->config->services[service].name));
    const char *file = log_quote(slice_str(users->path));
    struct config_report report = {0};
    struct acl *fresh = read_users(users, &report);
    if (fresh == NULL) {
        log_error("users-not-loaded",
                  "service=%s file=%s error=%s errors=%zu effect=\"those that were loaded before "
                  "are known\"",
                  name, file, log_quote(slice_str(report.v[0].text)), report.errors);
    } else {
        log_notice("users-loaded", "service=%s file=%s users=%zu", name, file, fresh->count);
        CHECK(pthread_mutex_lock(&users->lock) == 0);
        struct acl *old = users->now;
        users->now = fresh;
        CHECK(pthread_mutex_unlock(&users->lock) == 0);
        acl_unref(&old);
        c->users_changed(c->owner);
    }
    config_report_free(&report);
}

struct client_users *credentials_users(const struct credentials *c, size_t service)
{
    return c == NULL || c->users[service].path == NULL ? NULL : &c->users[service];
}

struct acl *client_users_now(struct client_users *users)
{
    CHECK(pthread_mutex_lock(&users->lock) == 0);
    struct acl *now = acl_ref(users->now);
    CHECK(pthread_mutex_unlock(&users->lock) == 0);
    return now;
}

/* All files. */

static void warn_unless_readable(const char *event, const char *section, const char *path)
{
    if (access(path, R_OK) != 0) {
        log_warning(event,
                    "section=%s file=%s error=\"it can't be read: %s\" effect=\"changes to it "
                    "can't be loaded\"",
                    log_quote(slice_str(section)), log_quote(slice_str(path)),
                    strerrordesc_np(errno));
    }
}

void credentials_warn_unreadable(const struct credentials *c)
{
    for (size_t i = 0; i < c->count; i++) {
        warn_unless_readable("password-unreadable", c->v[i].section, secret_path(c->v[i].secret));
    }
    for (size_t i = 0; i < c->config->service_count; i++) {
        if (c->users[i].path != NULL) {
            warn_unless_readable("users-unreadable", c->config->services[i].name, c->users[i].path);
        }
    }
}

static void look(const struct credentials *c, bool all)
{
    for (size_t i = 0; i < c->count; i++) {
        secret_age(c->v[i].secret, loop_now_ms(c->loop));
        if (all || secret_changed(c->v[i].secret)) {
            reload_password(c, &c->v[i]);
        }
    }
    for (size_t i = 0; i < c->config->service_count; i++) {
        struct client_users *users = &c->users[i];
        if (users->path != NULL && (all || file_watch_changed(&users->watch, users->path))) {
            reload_users(c, i);
        }
    }
}

void credentials_reload(struct credentials *c)
{
    look(c, true);
}

static void on_look(struct wheel_timer *timer)
{
    struct credentials *c = CONTAINER_OF(timer, struct credentials, timer);
    look(c, false);
    loop_arm(c->loop, timer, SECRETS_LOOK_MS, on_look);
}

void credentials_watch(struct credentials *c, struct loop *loop, void (*users_changed)(void *owner),
                       void *owner)
{
    bool any = c->count > 0;
    for (size_t i = 0; i < c->config->service_count; i++) {
        any = any || c->users[i].path != NULL;
    }
    c->loop = loop;
    c->users_changed = users_changed;
    c->owner = owner;
    if (any) {
        loop_arm(loop, &c->timer, SECRETS_LOOK_MS, on_look);
    }
}

void credentials_unwatch(struct credentials *c)
{
    if (c->loop != NULL) {
        loop_disarm(c->loop, &c->timer);
        c->loop = NULL;
    }
}
