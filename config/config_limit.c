/* The limit of open files. */
#include <sys/resource.h>

#include "config/config.h"

/* Tried when there is no hard limit: the kernel's own, fs.nr_open, is this by default. */
#define NR_OPEN_DEFAULT 1048576u

uint64_t config_raise_fd_limit(void)
{
    struct rlimit now;
    if (getrlimit(RLIMIT_NOFILE, &now) != 0) {
        return 0;
    }
    struct rlimit raised = now;
    raised.rlim_cur = now.rlim_max == RLIM_INFINITY ? NR_OPEN_DEFAULT : now.rlim_max;
    if (now.rlim_cur != RLIM_INFINITY && raised.rlim_cur > now.rlim_cur &&
        setrlimit(RLIMIT_NOFILE, &raised) == 0) {
        return raised.rlim_cur;
    }
    return now.rlim_cur;
}
