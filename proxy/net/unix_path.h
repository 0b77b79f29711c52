/* The file of a unix socket that is listened on. */
#ifndef VEDETTE_NET_UNIX_PATH_H
#define VEDETTE_NET_UNIX_PATH_H

#include <stdint.h>
#include <sys/types.h>

#include "proxy/base/addr.h"

/* Which file a listening socket made; path empty: none. */
struct unix_path {
    char path[ADDR_PATH_MAX + 1];
    dev_t device;
    ino_t inode;
};

/* Binds fd to the path of `at`, with exactly these permissions whatever the umask is, and listens.
 * A socket that nobody listens on any more, as a crash leaves it, is replaced; a live one, and a
 * file of any other kind, stays. NULL on success, else what is wrong in words. Waits a moment for
 * others that do the same; for the start of the process only. */
const char *unix_path_listen(int fd, const struct sockaddr_any *at, uint32_t mode, int backlog,
                             struct unix_path *out);
/* Makes the file that user's and group's, if it still is the one that was made. NULL on success,
 * else what is wrong in words. */
const char *unix_path_give(const struct unix_path *made, uid_t uid, gid_t gid);
/* Removes the file, if it still is the one that was made. */
void unix_path_remove(const struct unix_path *made);

#endif
