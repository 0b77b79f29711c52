/* deny-commands: commands that the clients of a service may not run. A look-up finds other rows in
 * the place of theirs, of class COMMAND_DENIED, so that nothing else has to ask. */
#ifndef VEDETTE_PROXY_DENIED_H
#define VEDETTE_PROXY_DENIED_H

#include "config/config.h"
#include "proxy/command.h"

struct denied;

/* Names in lower case; a container is denied with its sub-commands. With any of them, what hides
 * the requests behind it from us is denied too: SYNC, PSYNC, REPLCONF, SCRIPT DEBUG. NULL where
 * there are none. names outlives it. */
struct denied *denied_new(const struct config_commands *names);
/* Sets *d to NULL; it may be. */
void denied_free(struct denied **d);

/* What stands for that row of the table; NULL: it is allowed. d may be NULL here and below. */
const struct command *denied_row(const struct denied *d, size_t number) NODISCARD;
/* The same of what is no row. sub: the second argument; NULL: there is none, or it is not known.
 * Redis compares names up to a NUL, as strings of C: so does this. */
const struct command *denied_find(const struct denied *d, struct slice name,
                                  const struct slice *sub) NODISCARD;
/* The first of its sub-commands that are denied by name; NULL: none is. */
const struct command *denied_part(const struct denied *d, struct slice name) NODISCARD;

/* Reports names that can't be meant: mistyped ones, and what everybody may say. Those of modules
 * are not known here. */
void denied_check(const struct config *config, struct config_report *report);

#endif
