#include "config/config_draft.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_MAX 64 /* bytes of a wrong value in a message */

static char *copy_of(struct slice text)
{
    char *copy = xcalloc(1, text.n + 1);
    if (text.n > 0) {
        memcpy(copy, text.p, text.n);
    }
    return copy;
}

static void wipe_free(char *text)
{
    if (text != NULL) {
        secure_wipe(text, strlen(text));
    }
    free(text);
}

static void name_section(struct draft_section *section, struct slice name)
{
    free(section->label);
    free(section->name);
    section->name = copy_of(name);
    section->label = config_text_format("%s%s%s", config_section_word(section->kind),
                                        name.n > 0 ? " " : "", section->name);
}

void draft_init(struct draft *d, struct config_report *report)
{
    memset(d, 0, sizeof *d);
    d->report = report;
    d->sections[DRAFT_PROXY].kind = SECTION_PROXY;
    d->sections[DRAFT_SENTINEL].kind = SECTION_SENTINEL;
    d->count = DRAFT_SENTINEL + 1;
    d->group_count = 1;
    for (size_t i = 0; i < d->count; i++) {
        name_section(&d->sections[i], slice_str(""));
    }
}

void draft_free(struct draft *d)
{
    for (size_t i = 0; i < d->count; i++) {
        struct draft_section *section = &d->sections[i];
        for (size_t j = 0; j < section->count; j++) {
            free(section->v[j].where);
            wipe_free(section->v[j].text);
        }
        free(section->v);
        free(section->name);
        free(section->label);
        free(section->where);
    }
    d->count = 0;
}

size_t draft_first_service(const struct draft *d)
{
    return DRAFT_SENTINEL + d->group_count;
}

size_t draft_service_count(const struct draft *d)
{
    return d->count - draft_first_service(d);
}

struct draft_section *draft_find(struct draft *d, enum config_section kind, struct slice name)
{
    for (size_t i = 0; i < d->count; i++) {
        if (d->sections[i].kind == kind && slice_eq(name, slice_str(d->sections[i].name))) {
            return &d->sections[i];
        }
    }
    return NULL;
}

/* Makes room for a section at index `at`. */
static struct draft_section *insert(struct draft *d, size_t at)
{
    memmove(&d->sections[at + 1], &d->sections[at], (d->count - at) * sizeof *d->sections);
    memset(&d->sections[at], 0, sizeof *d->sections);
    d->count++;
    return &d->sections[at];
}

struct draft_section *draft_add(struct draft *d, enum config_section kind, struct slice name,
                                const char *where)
{
    struct draft_section *section;
    if (kind == SECTION_SERVICE && draft_service_count(d) == CONFIG_SERVICES_MAX) {
        draft_lost(d, "%s: more than %d services; start a second proxy for the others", where,
                   CONFIG_SERVICES_MAX);
        return NULL;
    }
    if (kind == SECTION_SENTINEL && d->group_count == CONFIG_GROUPS_MAX) {
        draft_lost(d, "%s: more than %d groups of Sentinels; start a second proxy for the others",
                   where, CONFIG_GROUPS_MAX);
        return NULL;
    }
    if (kind == SECTION_SERVICE) {
        section = insert(d, d->count);
    } else {
        section = insert(d, draft_first_service(d));
        d->group_count++;
    }
    section->kind = kind;
    section->where = xstrdup(where);
    name_section(section, name);
    return section;
}

const char *config_name_problem(enum config_section kind, struct slice name)
{
    static _Thread_local char too_long[64];
    size_t max = NAME_MAX_LEN - strlen(config_section_word(kind)) - 1;
    if (name.n == 0) {
        return kind == SECTION_SERVICE ? "it is empty; write the name that Sentinel monitors"
                                       : "it is empty";
    }
    if (name.n > max) {
        (void)snprintf(too_long, sizeof too_long, "it is longer than %zu characters", max);
        return too_long;
    }
    for (size_t i = 0; i < name.n; i++) {
        unsigned char c = (unsigned char)name.p[i];
        if (c <= ' ' || c == 0x7f || c == '[' || c == ']' || c == ';') {
            return "spaces, brackets, ';' and control characters can't be part of it";
        }
    }
    return NULL;
}

struct draft_section *draft_named(struct draft *d, enum config_section kind, struct slice name,
                                  const char *where)
{
    const char *names[ARRAY_LEN(d->sections)];
    size_t count = 0;
    struct draft_section *found = draft_find(d, kind, name);
    if (found != NULL && name.n > 0) {
        return found;
    }
    for (size_t i = 0; i < d->count; i++) {
        if (d->sections[i].kind == kind && d->sections[i].name[0] != '\0') {
            names[count++] = d->sections[i].name;
        }
    }
    const char *meant = config_suggest(name, names, count);
    const char *what = kind == SECTION_SERVICE ? "service" : "group of Sentinels";
    if (meant != NULL) {
        draft_lost(d, "%s: unknown %s '%.*s'; did you mean '%s'?", where, what, (int)name.n, name.p,
                   meant);
    } else if (kind == SECTION_SERVICE) {
        draft_lost(d, "%s: unknown service '%.*s'; name it with --master or in a file", where,
                   (int)name.n, name.p);
    } else {
        draft_lost(d, "%s: unknown group of Sentinels '%.*s'; add [sentinel %.*s] to a file", where,
                   (int)name.n, name.p, (int)name.n, name.p);
    }
    return NULL;
}

/* "a, b" */
static void list_services(const struct draft *d, struct buf *out)
{
    for (size_t i = draft_first_service(d); i < d->count; i++) {
        buf_printf(out, "%s%s", i == draft_first_service(d) ? "" : ", ", d->sections[i].name);
    }
}

struct draft_section *draft_one_service(struct draft *d, const char *where)
{
    if (draft_service_count(d) == 1) {
        return &d->sections[draft_first_service(d)];
    }
    struct buf names = {0};
    list_services(d, &names);
    draft_lost(d,
               "%s: it means the one service, and there are %zu (%.*s); write it in their "
               "sections, or as --set service.NAME.KEY=VALUE",
               where, draft_service_count(d), (int)buf_len(&names), buf_head(&names));
    buf_release(&names);
    return NULL;
}

static void name_one_of_many(struct draft *d, const struct config_origin *from)
{
    if (from->level == LEVEL_PLATFORM) {
        config_report_add(d->report, CONFIG_NOTICE,
                          "%s: ignored, because the file names %zu services itself", from->where,
                          draft_service_count(d));
    } else {
        (void)draft_one_service(d, from->where); /* for its error */
    }
}

void draft_settle_services(struct draft *d, struct slice name, const struct config_origin *from)
{
    const char *problem = name.p == NULL ? NULL : config_name_problem(SECTION_SERVICE, name);
    if (problem != NULL) {
        draft_lost(d, "%s: bad name of a service: %s", from->where, problem);
    }
    bool named = name.p != NULL && problem == NULL;
    if (draft_service_count(d) == 0) {
        (void)draft_add(d, SECTION_SERVICE, named ? name : slice_str("mymaster"),
                        named ? from->where : "default"); /* the first: there is room */
    } else if (named && draft_service_count(d) == 1) {
        name_section(&d->sections[draft_first_service(d)], name);
    } else if (named) {
        name_one_of_many(d, from);
    }
}

/* Why a key is unknown and what may have been meant. */
static void unknown_key(struct draft *d, const struct draft_section *section, struct slice name,
                        const char *where)
{
    const char *names[CONFIG_KEY_COUNT];
    size_t count = 0;
    struct buf hint = {0};
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        if (config_keys[i].section == section->kind) {
            names[count++] = config_keys[i].name;
        } else if (buf_len(&hint) == 0 && slice_eq(name, slice_str(config_keys[i].name))) {
            buf_printf(&hint, "it belongs to [%s%s]", config_section_word(config_keys[i].section),
                       config_keys[i].section == SECTION_SERVICE ? " NAME" : "");
        }
    }
    const char *meant = config_suggest(name, names, count);
    if (buf_len(&hint) == 0 && meant != NULL) {
        buf_printf(&hint, "did you mean '%s'?", meant);
    } else if (buf_len(&hint) == 0) {
        buf_append_str(&hint, "vedette --help lists them all");
    }
    draft_lost(d, "%s: unknown key '%.*s' in [%s]; %.*s", where, (int)name.n, name.p,
               section->label, (int)buf_len(&hint), buf_head(&hint));
    buf_release(&hint);
}

const struct config_key *draft_key(struct draft *d, const struct draft_section *section,
                                   struct slice name, const char *where)
{
    const struct config_key *key = config_key_find(section->kind, name);
    if (key == NULL) {
        unknown_key(d, section, name, where);
    }
    return key;
}

/* The same key twice, or two that exclude each other, on one level. True if so, and reported. */
static bool clashes(struct draft *d, const struct draft_section *section,
                    const struct config_key *key, const struct config_origin *from)
{
    for (size_t i = 0; i < section->count; i++) {
        const struct config_setting *other = &section->v[i];
        if (other->level != from->level) {
            continue;
        }
        if (other->key == key && !config_key_is_list(key)) {
            config_report_add(d->report, CONFIG_ERROR,
                              "%s: duplicate key '%s' in [%s]; the first is %s; keep one of them",
                              from->where, key->name, section->label, other->where);
            return true;
        }
        if (other->key != key && other->key->offset == key->offset) {
            config_report_add(d->report, CONFIG_ERROR,
                              "%s: both '%s' and '%s' in [%s]; the first is %s; keep one of them",
                              from->where, other->key->name, key->name, section->label,
                              other->where);
            return true;
        }
    }
    return false;
}

static void bad_value(struct draft *d, const struct draft_section *section,
                      const struct config_setting *setting, const struct buf *problem)
{
    if (setting->key->type == TYPE_SECRET || setting->text[0] == '\0') {
        config_report_add(d->report, CONFIG_ERROR, "%s: bad value of '%s' in [%s]: %.*s",
                          setting->where, setting->key->name, section->label, (int)buf_len(problem),
                          buf_head(problem));
        return;
    }
    config_report_add(d->report, CONFIG_ERROR, "%s: bad value '%.*s' for '%s' in [%s]; %.*s",
                      setting->where, SHOWN_MAX, setting->text, setting->key->name, section->label,
                      (int)buf_len(problem), buf_head(problem));
}

static void add_setting(struct draft_section *section, const struct config_setting *setting)
{
    section->v = xrealloc(section->v, (section->count + 1) * sizeof *section->v);
    section->v[section->count++] = *setting;
}

void draft_set_bad(struct draft_section *section, const struct config_key *key,
                   const struct config_origin *from)
{
    struct config_setting setting = {key, from->level, true, xstrdup(from->where), xstrdup("")};
    add_setting(section, &setting);
}

void draft_set(struct draft *d, struct draft_section *section, const struct config_key *key,
               const struct config_origin *from, struct slice text)
{
    struct config_setting setting = {key, from->level, false, xstrdup(from->where), copy_of(text)};
    struct config_value ignored;
    struct buf problem = {0};
    setting.bad = clashes(d, section, key, from);
    if (!config_value_parse(key, text, &ignored, &problem)) {
        bad_value(d, section, &setting, &problem);
        setting.bad = true;
    }
    buf_release(&problem);
    add_setting(section, &setting);
}
