/* The command table completed by what the primary says of its commands, in one worker: names that
 * the table does not have, and rows that are to be taken more strictly. What a look-up returns
 * lives for ever, whatever a later primary says. */
#ifndef VEDETTE_PROXY_LEARNT_H
#define VEDETTE_PROXY_LEARNT_H

#include "config/config.h"
#include "proxy/command.h"
#include "proxy/denied.h"
#include "sentinel/command_list.h"

#define LEARNT_RECENT 64u /* a power of two */

/* Treat all but the counts as private. */
struct learnt {
    struct command_list *list; /* counted; NULL: the primary has not told */
    const struct denied *denied;
    const struct command **instead; /* by number of the row; NULL: the row itself */
    size_t instead_count;
    size_t stricter_count;     /* of those that are taken more strictly */
    struct learnt_name *slots; /* open addressing */
    size_t slot_count;         /* a power of two */
    size_t count;              /* commands learnt */
    /* Short names as clients wrote them and what learnt_lookup_plain found, by a hash. */
    struct learnt_recent {
        uint64_t key;
        size_t n;
        const struct command *command;
    } recent[LEARNT_RECENT];
};

/* shared: commands that may go on shared links, in lower case; denied: those that may not be run,
 * or NULL. Both outlive the result. Of a name: write is a write, readonly a read, which may be sent
 * again; both run on a leased link, or on a shared one where `shared` has them and they don't
 * block. All else stays unknown. What `shared` has and the primary does not tell of is a write on a
 * shared link. */
struct learnt *learnt_new(struct command_list *list, const struct config_commands *shared,
                          const struct denied *denied);
/* Sets *l to NULL; *l may be NULL. */
void learnt_free(struct learnt **l);

/* As those of command.h; l may be NULL: the table alone. */
const struct command *learnt_lookup(const struct learnt *l, const struct args *args) NODISCARD;
const struct command *learnt_lookup_plain(struct learnt *l, struct slice name) NODISCARD;
/* sub: the second argument; NULL: it is not known either. */
const struct command *learnt_lookup_name(const struct learnt *l, struct slice name,
                                         const struct slice *sub) NODISCARD;

#endif
