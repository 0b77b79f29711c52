/* What is known while a configuration is being read: sections, and for each key what the file, the
 * environment and the command line say of it, as text with its origin. Private to config/. */
#ifndef VEDETTE_CONFIG_CONFIG_DRAFT_H
#define VEDETTE_CONFIG_CONFIG_DRAFT_H

#include "config/config_keys.h"

/* A higher level replaces what a lower one says. */
enum config_level {
    LEVEL_DEFAULT,
    LEVEL_FILE,
    LEVEL_PLATFORM, /* REDIS_SENTINEL_*: set for all programs, not for us by name */
    LEVEL_ENV,
    LEVEL_FLAG,
};

/* Where a value comes from. where is `vedette.ini:14`, `VEDETTE_LISTEN`, `--listen`. */
struct config_origin {
    enum config_level level;
    const char *where;
};

struct config_setting {
    const struct config_key *key;
    enum config_level level;
    bool bad; /* it is wrong and reported: known to be meant, but not used */
    char *where;
    char *text;
};

struct draft_section {
    enum config_section kind;
    char *name;  /* of a service or a group of Sentinels, else "" */
    char *label; /* "proxy", "service mymaster" */
    char *where; /* of its head; NULL: it has none */
    struct config_setting *v;
    size_t count;
};

#define DRAFT_PROXY    0
#define DRAFT_SENTINEL 1 /* the plain group; named ones follow, then the services */

struct draft {
    struct draft_section sections[DRAFT_SENTINEL + CONFIG_GROUPS_MAX + CONFIG_SERVICES_MAX];
    size_t count;
    size_t group_count; /* the plain one included */
    struct config_report *report;
    /* Something was not understood, so that what seems missing may only be mistyped. */
    bool unsure;
};

/* As config_report_add with an error that leaves something out of the draft: sets unsure. */
void draft_lost(struct draft *d, const char *fmt, ...) PRINTF_LIKE(2, 3);

void draft_init(struct draft *d, struct config_report *report);
/* Overwrites all text. */
void draft_free(struct draft *d);

/* Index of the first service. */
size_t draft_first_service(const struct draft *d);
size_t draft_service_count(const struct draft *d);
/* NULL when there is none. name is "" for [proxy] and the plain [sentinel]. */
struct draft_section *draft_find(struct draft *d, enum config_section kind, struct slice name);
/* Adds a group of Sentinels or a service without settings, which may move the sections behind it.
 * NULL, and an error, when there are too many. */
struct draft_section *draft_add(struct draft *d, enum config_section kind, struct slice name,
                                const char *where);
/* NULL when name can be that of a section of this kind, else what is wrong. */
const char *config_name_problem(enum config_section kind, struct slice name);
/* The section of a name that a setting at `where` speaks of; NULL, and an error with a suggestion,
 * when there is none. */
struct draft_section *draft_named(struct draft *d, enum config_section kind, struct slice name,
                                  const char *where);
/* The service that flags and variables without a section mean. NULL, and an error that begins with
 * where, when there are several. */
struct draft_section *draft_one_service(struct draft *d, const char *where);
/* After the file: names the one service, or adds it where the file has none. name.p NULL: nobody
 * named it. */
void draft_settle_services(struct draft *d, struct slice name, const struct config_origin *from);

/* The section's key of that name. NULL, and an error with a suggestion, when there is none. */
const struct config_key *draft_key(struct draft *d, const struct draft_section *section,
                                   struct slice name, const char *where);
/* Takes down text as a value of the key; errors are reported. */
void draft_set(struct draft *d, struct draft_section *section, const struct config_key *key,
               const struct config_origin *from, struct slice text);

/* Takes down that the key was given a value that is wrong and reported already. */
void draft_set_bad(struct draft_section *section, const struct config_key *key,
                   const struct config_origin *from);

/* Text made as by printf. Release with free(). */
char *config_text_format(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* Overwrites a secret that lies where others may read it, with stars; NULL: none. */
void config_hide(char *secret);
/* A copy for messages and comments: control characters become '?'. Release with free(). */
char *config_printable_copy(const char *text);

#endif
