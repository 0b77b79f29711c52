/* The password of an identity of our own at some server. Its file may change while it is in use,
 * and while it does, two of them may be good: whoever connects says both, and is let in by either.
 * Any thread may ask for them. */
#ifndef VEDETTE_CONFIG_SECRET_H
#define VEDETTE_CONFIG_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proxy/base/check.h"

#define SECRET_PASSWORDS_MAX 2u
#define SECRET_PROBLEM_MAX   128

struct secret;

/* Copies, the one to be said first before the other. */
struct passwords {
    char *v[SECRET_PASSWORDS_MAX];
    size_t count;
};

/* One that does not change. */
struct secret *secret_new(const char *password);
/* The one or two passwords that the lines of a file are. NULL, and why, when there are none. */
struct secret *secret_open(const char *path, char problem[SECRET_PROBLEM_MAX]);
/* Wiped. Sets *where to NULL; it may be. */
void secret_free(struct secret **where);
/* NULL: it has no file. */
const char *secret_path(const struct secret *s);

/* What is to be said now. */
void secret_passwords(struct secret *s, struct passwords *out);
/* Another number whenever that has changed by a reload. */
uint32_t secret_version(struct secret *s);
/* Wipes the copies. */
void passwords_wipe(struct passwords *p);

/* Main thread: its file has changed, and stands still. */
bool secret_changed(struct secret *s);
/* Main thread: reads the file again. A single password leaves the one before it in use for
 * PASSWORD_BEFORE_MS: servers may be told of the change later than we are. False, and why, when the
 * file can't be used: then all stays as it is. */
bool secret_reload(struct secret *s, uint64_t now_ms, char problem[SECRET_PROBLEM_MAX]) NODISCARD;
/* Main thread, now and then: the one before is forgotten once its time is over. */
void secret_age(struct secret *s, uint64_t now_ms);

#endif
