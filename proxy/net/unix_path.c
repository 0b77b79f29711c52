#include "proxy/net/unix_path.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LOCK_TRIES    100
#define LOCK_PAUSE_NS 10000000L

static const char *words(int err)
{
    const char *text = strerrordesc_np(err);
    return text == NULL ? "unknown error" : text;
}

/* Locks the folder of the path: of two processes that find the same dead socket, the second must
 * not remove what the first has put there. -1 when it can't be had; then there is no such
 * protection. */
static int lock_folder(const char *path)
{
    char folder[ADDR_PATH_MAX + 1];
    const char *slash = strrchr(path, '/');
    size_t n = slash == path ? 1 : (size_t)(slash - path);
    memcpy(folder, path, n);
    folder[n] = '\0';
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0 && i < LOCK_TRIES; i++) {
        (void)nanosleep(&(struct timespec){.tv_nsec = LOCK_PAUSE_NS}, NULL);
    }
    return fd;
}

/* NULL when the path is free for us, if need be by removing a dead socket. */
static const char *make_room(const struct sockaddr_any *at, const char *path)
{
    struct stat st;
    if (lstat(path, &st) != 0) {
        return errno == ENOENT ? NULL : words(errno);
    }
    if (!S_ISSOCK(st.st_mode)) {
        return "a file that is no socket is in its place; remove it or listen elsewhere";
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return words(errno);
    }
    int err = connect(fd, (const struct sockaddr *)&at->ss, at->len) == 0 ? 0 : errno;
    (void)close(fd);
    if (err == 0 || err == EAGAIN) { /* EAGAIN: so many wait there already */
        return "another process listens there";
    }
    if (err != ECONNREFUSED) {
        return words(err); /* not known to be dead: it stays */
    }
    return unlink(path) == 0 ? NULL : words(errno);
}

/* NULL when the socket listens at its path. */
static const char *bind_here(int fd, const struct sockaddr_any *at, const char *path, uint32_t mode,
                             int backlog)
{
    const char *problem = make_room(at, path);
    if (problem != NULL) {
        return problem;
    }
    /* The file is born with no more than these; chmod gives it what the umask has taken. */
    if (fchmod(fd, mode) != 0 || bind(fd, (const struct sockaddr *)&at->ss, at->len) != 0) {
        return words(errno);
    }
    if (chmod(path, mode) != 0 || listen(fd, backlog) != 0) {
        problem = words(errno);
        (void)unlink(path);
    }
    return problem;
}

const char *unix_path_listen(int fd, const struct sockaddr_any *at, uint32_t mode, int backlog,
                             struct unix_path *out)
{
    struct addr addr;
    struct stat st = {0};
    if (!sockaddr_to_addr(at, &addr) || strlen(addr.host) > ADDR_PATH_MAX) {
        return "not a path";
    }
    int lock = lock_folder(addr.host);
    const char *problem = bind_here(fd, at, addr.host, mode, backlog);
    if (problem == NULL && lstat(addr.host, &st) != 0) {
        problem = words(errno); /* somebody has removed it already */
    }
    if (lock >= 0) {
        (void)close(lock); /* which unlocks it */
    }
    *out = (struct unix_path){.device = st.st_dev, .inode = st.st_ino};
    memcpy(out->path, addr.host, strlen(addr.host) + 1);
    return problem;
}

const char *unix_path_give(const struct unix_path *made, uid_t uid, gid_t gid)
{
    struct stat st;
    int fd = open(made->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return words(errno);
    }
    const char *problem = NULL;
    if (fstat(fd, &st) != 0 || st.st_dev != made->device || st.st_ino != made->inode) {
        problem = "another file is in its place";
    } else if (fchownat(fd, "", uid, gid, AT_EMPTY_PATH) != 0) {
        problem = words(errno);
    }
    (void)close(fd);
    return problem;
}

void unix_path_remove(const struct unix_path *made)
{
    struct stat st;
    if (made->path[0] != '\0' && lstat(made->path, &st) == 0 && st.st_dev == made->device &&
        st.st_ino == made->inode) {
        (void)unlink(made->path); /* it may be gone by now */
    }
}
