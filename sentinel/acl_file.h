/* Clients' users, from a file in which each line is one as Redis writes them:
 *
 *   user NAME on >password #sha256-in-hex
 *
 * Ours are on, off, >, <, #, !, nopass, resetpass and reset, with Redis's meaning and order: a user
 * begins as off and without a password. What grants everything (~* &* +@all ...) is taken without
 * effect, for we limit nobody; what would limit a user is refused, for it would not. Lines that
 * begin with # are comments. */
#ifndef VEDETTE_SENTINEL_ACL_FILE_H
#define VEDETTE_SENTINEL_ACL_FILE_H

#include <stdatomic.h>

#include "config/config.h"
#include "proxy/net/sha256.h"

struct acl_user {
    _Atomic uint32_t refs;
    char *name;
    size_t line;
    bool on, nopass;
    unsigned char (*hashes)[SHA256_BYTES];
    size_t count;
};

/* Const once read, with counted references. */
struct acl {
    _Atomic uint32_t refs;
    struct acl_user **v; /* by name */
    size_t count;
};

/* path stands in the messages. Every line that can't be used is an error in the report, up to some;
 * NULL after one. Never shows a password. */
struct acl *acl_read(struct slice text, const char *path, struct config_report *report);
struct acl *acl_ref(struct acl *acl);
/* Sets *where to NULL; it may be. */
void acl_unref(struct acl **where);
/* Not counted; NULL: there is none of that name. */
struct acl_user *acl_find(const struct acl *acl, struct slice name);
/* The user who comes in by this password, not counted; NULL: nobody. As long as it takes tells
 * nothing of the passwords. */
struct acl_user *acl_check(const struct acl *acl, struct slice name, struct slice password);

struct acl_user *acl_user_ref(struct acl_user *user);
void acl_user_unref(struct acl_user **where);

#endif
