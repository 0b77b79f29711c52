/* From the draft to the finished configuration, and its end. */
#include <stdlib.h>
#include <string.h>

#include "config/config_parts.h"

static void *section_at(struct config *config, size_t i)
{
    if (i == DRAFT_PROXY) {
        return &config->proxy;
    }
    size_t group = i - DRAFT_SENTINEL;
    return group < config->group_count ? (void *)&config->groups[group]
                                       : &config->services[group - config->group_count];
}

static void store_default(const struct config_key *key, void *section)
{
    struct config_value value;
    struct buf problem = {0};
    if (key->def != NULL) {
        CHECK(config_value_parse(key, slice_str(key->def), &value, &problem));
        config_value_store(key, &value, section);
    }
}

static void store_text(const struct config_setting *setting, void *section,
                       struct key_origin *origin, struct config_report *report)
{
    void *field = config_key_field(setting->key, section);
    if (setting->key->type == TYPE_SECRET) {
        *(struct secret **)field = secret_new(setting->text);
    } else if (setting->key->type == TYPE_SECRET_FILE) {
        struct secret *secret = config_secret_read(setting->text, setting->where, report);
        origin->path = xstrdup(setting->text);
        origin->bad = secret == NULL;
        *(struct secret **)field = secret;
    } else {
        *(char **)field = xstrdup(setting->text);
    }
}

static void store(const struct config_setting *setting, void *section, struct key_origin *origin,
                  struct config_report *report)
{
    const struct config_key *key = setting->key;
    origin->where = xrealloc(origin->where, (origin->count + 1) * sizeof *origin->where);
    origin->where[origin->count++] = config_printable_copy(setting->where);
    if (setting->bad) {
        origin->bad = true;
        return;
    }
    if (config_key_is_text(key)) {
        store_text(setting, section, origin, report);
        return;
    }
    struct config_value value;
    struct buf problem = {0};
    CHECK(config_value_parse(key, slice_str(setting->text), &value,
                             &problem)); /* as when it was taken */
    config_value_store(key, &value, section);
    if (key->type == TYPE_IDENTITIES) {
        const struct config_identities *list = config_key_field_const(key, section);
        struct config_identity *one = &list->v[list->count - 1];
        one->password = config_secret_read(one->path, setting->where, report);
        origin->bad = origin->bad || one->password == NULL;
    }
}

/* The highest level that says something of the key's field, be it by another key. */
static enum config_level level_of(const struct draft_section *from, const struct config_key *key)
{
    enum config_level level = LEVEL_DEFAULT;
    for (size_t i = 0; i < from->count; i++) {
        if (from->v[i].key->offset == key->offset && from->v[i].level > level) {
            level = from->v[i].level;
        }
    }
    return level;
}

static void build_section(const struct draft_section *from, void *section,
                          struct section_origin *origin, struct config_report *report)
{
    origin->kind = from->kind;
    origin->section = section;
    origin->label = config_printable_copy(from->label);
    origin->where = from->where == NULL ? NULL : config_printable_copy(from->where);
    for (size_t k = 0; k < CONFIG_KEY_COUNT; k++) {
        const struct config_key *key = &config_keys[k];
        if (key->section != from->kind) {
            continue;
        }
        enum config_level level = level_of(from, key);
        if (level == LEVEL_DEFAULT || !config_key_is_list(key)) {
            store_default(key, section);
        }
        for (size_t i = 0; i < from->count; i++) {
            if (from->v[i].key == key && from->v[i].level == level) {
                store(&from->v[i], section, &origin->keys[k], report);
            }
        }
    }
}

static void name_sections(struct config *config, const struct draft *d)
{
    for (size_t i = 0; i < config->group_count; i++) {
        config->groups[i].name = xstrdup(d->sections[DRAFT_SENTINEL + i].name);
    }
    for (size_t i = 0; i < config->service_count; i++) {
        config->services[i].name = xstrdup(d->sections[draft_first_service(d) + i].name);
    }
}

struct config *config_build(const struct draft *d)
{
    struct config *config = xcalloc(1, sizeof *config);
    config->group_count = d->group_count;
    config->groups = xcalloc(config->group_count, sizeof *config->groups);
    config->service_count = draft_service_count(d);
    config->services = xcalloc(config->service_count, sizeof *config->services);
    config->origins = xcalloc(1, sizeof *config->origins);
    config->origins->count = d->count;
    config->origins->v = xcalloc(d->count, sizeof *config->origins->v);
    for (size_t i = 0; i < d->count; i++) {
        build_section(&d->sections[i], section_at(config, i), &config->origins->v[i], d->report);
    }
    name_sections(config, d);
    return config;
}

static void free_origins(struct config_origins *origins)
{
    for (size_t i = 0; i < origins->count; i++) {
        struct section_origin *section = &origins->v[i];
        for (size_t k = 0; k < CONFIG_KEY_COUNT; k++) {
            for (size_t j = 0; j < section->keys[k].count; j++) {
                free(section->keys[k].where[j]);
            }
            free(section->keys[k].where);
            free(section->keys[k].path);
        }
        free(section->label);
        free(section->where);
    }
    free(origins->v);
    free(origins);
}

static void free_commands(struct config_commands *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->v[i]);
    }
    free(list->v);
}

static void free_identities(struct config_identities *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->v[i].client);
        free(list->v[i].user);
        free(list->v[i].path);
        secret_free(&list->v[i].password);
    }
    free(list->v);
}

static void free_tls(struct config_tls *tls)
{
    free(tls->ca_file);
    free(tls->ca_dir);
    free(tls->cert_file);
    free(tls->key_file);
    free(tls->server_name);
    free(tls->ciphers);
    free(tls->ciphersuites);
    free(tls->groups);
}

static void free_clients(struct config_tls_clients *clients)
{
    free(clients->listen.v);
    free(clients->read_listen.v);
    free(clients->cert_file);
    free(clients->key_file);
    free(clients->ca_file);
}

static void free_access(struct config_access *access)
{
    free(access->allow.v);
    free(access->proxied_from.v);
    free_commands(&access->deny);
}

unsigned config_identity_of(const struct config_service *s, const char *client)
{
    const struct config_identity *v = s->upstream_users.v, *found = NULL;
    for (size_t i = 0; i < s->upstream_users.count && found == NULL; i++) {
        found = strcmp(v[i].client, client) == 0 ? &v[i] : NULL;
    }
    for (unsigned i = 0; found != NULL; i++) {
        if (strcmp(v[i].user, found->user) == 0 && strcmp(v[i].path, found->path) == 0) {
            return i + 1;
        }
    }
    return 0;
}

void config_free(struct config **config)
{
    struct config *c = *config;
    if (c == NULL) {
        return;
    }
    for (size_t i = 0; i < c->group_count; i++) {
        secret_free(&c->groups[i].password);
        free(c->groups[i].user);
        free(c->groups[i].address.v);
        free(c->groups[i].address_map.v);
        free_tls(&c->groups[i].tls);
        free(c->groups[i].name);
    }
    free(c->groups);
    for (size_t i = 0; i < c->service_count; i++) {
        secret_free(&c->services[i].password);
        free(c->services[i].user);
        free(c->services[i].acl_file);
        free_identities(&c->services[i].upstream_users);
        free(c->services[i].listen.v);
        free(c->services[i].read_listen.v);
        free(c->services[i].prefer.v);
        free(c->services[i].zone);
        free_clients(&c->services[i].clients);
        free_access(&c->services[i].access);
        free_tls(&c->services[i].tls);
        free_commands(&c->services[i].shared_commands);
        free_commands(&c->services[i].replica_commands);
        free(c->services[i].master);
        free(c->services[i].sentinel);
        free(c->services[i].name);
    }
    free(c->services);
    free(c->proxy.user);
    free(c->proxy.group);
    free_origins(c->origins);
    free(c);
    *config = NULL;
}
