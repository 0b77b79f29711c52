/* The files that say who we are and who clients are: looked at now and then, and read again once
 * they have changed. Main thread, but for client_users_*. */
#ifndef VEDETTE_SENTINEL_CREDENTIALS_H
#define VEDETTE_SENTINEL_CREDENTIALS_H

#include "config/config.h"
#include "proxy/net/loop.h"
#include "sentinel/acl_file.h"

struct credentials;
/* Those of one service. */
struct client_users;

/* Loads what the configuration has not. What can't be used is added to the report; NULL after an
 * error. config outlives it. */
struct credentials *credentials_load(const struct config *config, struct config_report *report);
/* Sets *where to NULL; it may be. */
void credentials_free(struct credentials **where);

/* Warns of files that whom the process runs as can't read again. */
void credentials_warn_unreadable(const struct credentials *c);
/* From now on files are looked at, and read again once they have changed. Told in the log, and, if
 * users have changed, by the call. */
void credentials_watch(struct credentials *c, struct loop *loop, void (*users_changed)(void *owner),
                       void *owner);
/* Reads all files now, changed or not. */
void credentials_reload(struct credentials *c);
/* Before the loop is freed. */
void credentials_unwatch(struct credentials *c);

/* NULL where clients are no users of ours, as with c NULL. service is an index into the
 * configuration. */
struct client_users *credentials_users(const struct credentials *c, size_t service);
/* Any thread: those there are now, counted. */
struct acl *client_users_now(struct client_users *users);

#endif
