/* What COMMAND tells of a server's commands, as an immutable, refcounted list: their names with the
 * few flags that matter to us. The answer may come from a hostile or a broken server. No I/O. */
#ifndef VEDETTE_SENTINEL_COMMAND_LIST_H
#define VEDETTE_SENTINEL_COMMAND_LIST_H

#include <stddef.h>
#include <stdint.h>

#include "proxy/base/slice.h"

enum listed_flag {
    LISTED_WRITE = 1,
    LISTED_READONLY = 2,
    LISTED_BLOCKING = 4,
    /* It does something to its connection, as the flags let suspect: pubsub, no_auth, or noscript
     * where that does not come with blocking. */
    LISTED_ODD = 8,
    LISTED_PARENT = 16, /* it has sub-commands */
};

struct listed {
    const char *name; /* lower case, "name|sub" for a sub-command; in the list's own memory */
    uint32_t flags;   /* of enum listed_flag, never 0 */
};

struct command_list {
    _Atomic uint32_t refs;
    size_t count;
    struct listed v[]; /* sorted by name, each once */
};

/* Reads the whole answer to COMMAND (of Redis up to 8.0, of Valkey; sub-commands are nested since
 * Redis 7.0), with one reference. What has none of the flags is left out, as is what does not look
 * like a command. NULL when it is not a list at all, or one with more than COMMANDS_MAX names. */
struct command_list *command_list_read(struct slice answer) NODISCARD;
/* Any thread. list may be NULL. */
struct command_list *command_list_ref(struct command_list *list);
/* Drops a reference and sets *list to NULL; *list may be NULL. */
void command_list_unref(struct command_list **list);
/* The flags of a name in lower case; 0: it is not there. list may be NULL. */
uint32_t command_list_flags(const struct command_list *list, const char *name);

#endif
