/* The steps of config_load, each in a file of its own. Private to config/. */
#ifndef VEDETTE_CONFIG_CONFIG_PARTS_H
#define VEDETTE_CONFIG_CONFIG_PARTS_H

#include "config/config_draft.h"

#define CONFIG_FILE_MAX ((size_t)1024 * 1024)
#define SECRET_FILE_MAX ((size_t)64 * 1024)

/* Where the values of one section came from. Of a key that nobody set, where is NULL. */
struct key_origin {
    char **where; /* one for each value */
    size_t count;
    char *path;       /* of a SECRET_FILE */
    const char *note; /* what became of it; NULL: nothing to say */
    bool bad;         /* a value was given and refused: the field has its default */
};

struct section_origin {
    enum config_section kind;
    const void *section; /* the struct itself: &config->proxy ... */
    char *label;         /* "proxy", "service mymaster" */
    char *where;         /* of the section's head; NULL: it has none */
    struct key_origin keys[CONFIG_KEY_COUNT];
};

/* [proxy], the groups of Sentinels and the services, in the order of the draft. */
struct config_origins {
    struct section_origin *v;
    size_t count;
};

/* REDIS_SENTINEL_MASTER; NULL when it is not set or empty. */
const char *config_env_master(char *const *environ);
/* Takes down what the environment sets, once all sections are known. */
void config_env_apply(const struct config_input *in, struct draft *d);

/* The secret in a file. NULL, and an error, when there is none. */
struct secret *config_secret_read(const char *path, const char *where,
                                  struct config_report *report);

/* The configuration that the draft describes; reads the secret files. Refused values have their
 * defaults. Never NULL. */
struct config *config_build(const struct draft *d);
/* What must hold between the values; finds the groups that services name, and lowers max-clients to
 * the limit of descriptors. */
void config_check(struct config *config, const struct config_input *in, struct draft *d);

#endif
