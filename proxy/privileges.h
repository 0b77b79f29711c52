/* What the process may do, and who may look into it. */
#ifndef VEDETTE_PROXY_PRIVILEGES_H
#define VEDETTE_PROXY_PRIVILEGES_H

#include <stdbool.h>
#include <sys/types.h>

#include "config/config.h"

/* Whom the process is to run as. Zero-initialised: as it was started. */
struct privileges {
    bool wanted;
    uid_t uid;
    gid_t gid;
    gid_t *groups;
    size_t group_count;
};

/* First thing in main: from now on no program that is executed gains privileges, nothing is dumped,
 * and only root may look into the process. */
void privileges_seal(void);
/* Takes the last two back. */
void privileges_allow_dumps(void);

/* Looks up `user` and `group`; what is wrong with them is added to the report. to_run: also, that
 * the process can become them. */
void privileges_find(struct privileges *p, const struct config *config, bool to_run,
                     struct config_report *report);
/* Becomes them for good, before there are other threads, and proves it: from the kernel's own
 * answers, and by trying to come back. False, and the reason logged, when something of the old
 * privileges is left. Without a user that is wanted it only logs what there is. */
bool privileges_drop(const struct privileges *p, const struct config *config) NODISCARD;
void privileges_free(struct privileges *p);

#endif
