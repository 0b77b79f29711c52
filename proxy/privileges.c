#include "proxy/privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proxy/base/log.h"

#define ENTRY_MAX  ((size_t)1024 * 1024) /* of the password file, with all members of a group */
#define GROUPS_MAX 65536                 /* the kernel's own limit */

static struct rlimit cores_before;

/* None of this fails but where a filter of system calls is in the way; privileges_drop tells what
 * holds. */

static void let_be_dumped(bool allowed)
{
    (void)prctl(PR_SET_DUMPABLE, allowed ? 1 : 0, 0, 0, 0);
}

void privileges_seal(void)
{
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); /* threads to come inherit it */
    (void)getrlimit(RLIMIT_CORE, &cores_before);
    struct rlimit none = {.rlim_cur = 0, .rlim_max = cores_before.rlim_max};
    (void)setrlimit(RLIMIT_CORE, &none);
    /* The limit alone does not hold where dumps are piped to a program. */
    let_be_dumped(false);
}

void privileges_allow_dumps(void)
{
    (void)setrlimit(RLIMIT_CORE, &cores_before);
    let_be_dumped(true);
}

/* Looking up. */

/* Calls `get` with a buffer that is large enough; false when there is no entry. */
static bool find_user(const char *name, uid_t uid, struct passwd *out, char **buffer)
{
    struct passwd *found = NULL;
    int err = ERANGE;
    for (size_t size = 1024; err == ERANGE && size <= ENTRY_MAX; size *= 2) {
        *buffer = xrealloc(*buffer, size);
        err = name != NULL ? getpwnam_r(name, out, *buffer, size, &found)
                           : getpwuid_r(uid, out, *buffer, size, &found);
    }
    return found != NULL;
}

static bool find_group(const char *name, gid_t *gid)
{
    struct group group, *found = NULL;
    char *buffer = NULL;
    int err = ERANGE;
    for (size_t size = 1024; err == ERANGE && size <= ENTRY_MAX; size *= 2) {
        buffer = xrealloc(buffer, size);
        err = getgrnam_r(name, &group, buffer, size, &found);
    }
    *gid = found != NULL ? found->gr_gid : 0;
    free(buffer);
    return found != NULL;
}

/* The last number of all means "none" to the kernel. */
static bool parse_id(const char *text, uint32_t *id)
{
    int64_t number;
    if (!slice_to_i64(slice_str(text), 0, UINT32_MAX - 1, &number)) {
        return false;
    }
    *id = (uint32_t)number;
    return true;
}

/* Those that the user is a member of, and its own. */
static void list_groups(struct privileges *p, const char *name)
{
    int count = 16;
    p->groups = xrealloc(p->groups, (size_t)count * sizeof *p->groups);
    while (getgrouplist(name, p->gid, p->groups, &count) < 0 && count <= GROUPS_MAX) {
        p->groups = xrealloc(p->groups, (size_t)count * sizeof *p->groups);
    }
    p->group_count = count <= GROUPS_MAX ? (size_t)count : 0;
}

/* True if so; *entry has what is known of it, pw_name NULL: nothing but the number. */
static bool look_up_user(struct privileges *p, const char *user, struct passwd *entry,
                         char **buffer)
{
    *entry = (struct passwd){0};
    if (find_user(user, 0, entry, buffer)) {
        p->uid = entry->pw_uid;
        return true;
    }
    *entry = (struct passwd){0};
    if (!parse_id(user, &p->uid)) {
        return false;
    }
    if (!find_user(NULL, p->uid, entry, buffer)) {
        *entry = (struct passwd){0};
    }
    return true;
}

/* Whether the process is that user already and nothing else. */
static bool is_already(const struct privileges *p)
{
    uid_t real, effective, saved;
    gid_t real_group, effective_group, saved_group;
    CHECK(getresuid(&real, &effective, &saved) == 0 &&
          getresgid(&real_group, &effective_group, &saved_group) == 0);
    return real == p->uid && effective == p->uid && saved == p->uid && real_group == p->gid &&
           effective_group == p->gid && saved_group == p->gid;
}

/* NULL when it is good, else the key that is wrong. */
static const char *check(const struct privileges *p, const struct config_proxy *proxy, bool to_run,
                         const struct passwd *entry, struct buf *problem)
{
    gid_t ignored;
    uint32_t number;
    if (p->uid == 0) {
        buf_printf(problem,
                   "'user' = '%s' in [proxy] is root, which keeps all privileges; give another "
                   "user, or leave it out",
                   proxy->user);
        return "user";
    }
    if (proxy->group != NULL && !find_group(proxy->group, &ignored) &&
        !parse_id(proxy->group, &number)) {
        buf_printf(problem,
                   "unknown group '%s' for 'group' in [proxy]; create it (groupadd --system), or "
                   "give another",
                   proxy->group);
        return "group";
    }
    if (proxy->group == NULL && entry->pw_name == NULL) {
        buf_printf(problem,
                   "no user of this machine has the number %u, so that its group is not known; "
                   "add 'group' in [proxy]",
                   (unsigned)p->uid);
        return "user";
    }
    if (to_run && geteuid() != 0 && !is_already(p)) {
        buf_printf(problem,
                   "to become '%s' ('user' in [proxy]) takes root, and this process runs as user "
                   "%u; start it as root, or leave 'user' out",
                   proxy->user, (unsigned)geteuid());
        return "user";
    }
    return NULL;
}

void privileges_find(struct privileges *p, const struct config *config, bool to_run,
                     struct config_report *report)
{
    const struct config_proxy *proxy = &config->proxy;
    struct passwd entry;
    struct buf problem = {0};
    char *buffer = NULL;
    const char *wrong = "user";
    p->wanted = proxy->user != NULL;
    if (!p->wanted) {
        return;
    }
    if (look_up_user(p, proxy->user, &entry, &buffer)) {
        p->gid = entry.pw_gid;
        if (proxy->group != NULL && !find_group(proxy->group, &p->gid)) {
            (void)parse_id(proxy->group, &p->gid); /* else check tells */
        }
        wrong = check(p, proxy, to_run, &entry, &problem);
    } else {
        buf_printf(&problem,
                   "unknown user '%s' for 'user' in [proxy]; create it (useradd --system), or give "
                   "another; a user of Redis stands in [service NAME]",
                   proxy->user);
    }
    if (wrong != NULL) {
        config_report_add(report, CONFIG_ERROR, "%s: %.*s", config_where(config, proxy, wrong),
                          (int)buf_len(&problem), buf_head(&problem));
    } else if (entry.pw_name != NULL) {
        list_groups(p, entry.pw_name);
    }
    buf_release(&problem);
    free(buffer);
}

void privileges_free(struct privileges *p)
{
    free(p->groups);
    *p = (struct privileges){0};
}

/* Dropping. */

static bool has_capabilities(void)
{
    struct __user_cap_header_struct of = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {0};
    CHECK(syscall(SYS_capget, &of, sets) == 0);
    return (sets[0].permitted | sets[1].permitted) != 0;
}

/* NULL when nothing of root is left, else what is. */
static const char *left_over(const struct privileges *p, bool was_root)
{
    if (!is_already(p)) {
        return "the kernel tells another user or group";
    }
    if (setresuid(0, 0, 0) == 0 || setresuid((uid_t)-1, 0, (uid_t)-1) == 0) {
        return "the way back to root is open";
    }
    if (p->gid != 0 && setresgid(0, 0, 0) == 0) {
        return "the way back to the group of root is open";
    }
    return was_root && has_capabilities() ? "capabilities are left" : NULL;
}

/* NULL when done, else what failed; then errno tells why. */
static const char *become(const struct privileges *p)
{
    if (setgroups(p->group_count, p->groups) != 0) {
        return "setgroups";
    }
    if (setresgid(p->gid, p->gid, p->gid) != 0) {
        return "setresgid";
    }
    return setresuid(p->uid, p->uid, p->uid) != 0 ? "setresuid" : NULL;
}

static bool drop(const struct privileges *p)
{
    bool is_root = geteuid() == 0; /* else it is that user already */
    const char *step = is_root ? become(p) : NULL;
    const char *problem = step != NULL ? strerrordesc_np(errno) : left_over(p, is_root);
    if (problem != NULL) {
        log_error("privileges-not-dropped", "uid=%u gid=%u%s%s error=%s", (unsigned)p->uid,
                  (unsigned)p->gid, step != NULL ? " step=" : "", step != NULL ? step : "",
                  log_quote(slice_str(problem)));
    }
    return problem == NULL;
}

bool privileges_drop(const struct privileges *p, const struct config *config)
{
    if (p->wanted && !drop(p)) {
        return false;
    }
    let_be_dumped(config->proxy.core_dumps); /* a change of users resets it */
    uid_t real, effective, saved;
    gid_t real_group, effective_group, saved_group;
    CHECK(getresuid(&real, &effective, &saved) == 0 &&
          getresgid(&real_group, &effective_group, &saved_group) == 0);
    log_notice("privileges", "uid=%u,%u,%u gid=%u,%u,%u groups=%d%s no-new-privs=%s core-dumps=%s",
               (unsigned)real, (unsigned)effective, (unsigned)saved, (unsigned)real_group,
               (unsigned)effective_group, (unsigned)saved_group, getgroups(0, NULL),
               p->wanted ? " way-back=refused" : "",
               prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? "yes" : "no",
               prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1 ? "yes" : "no");
    return true;
}
