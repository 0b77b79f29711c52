/* VEDETTE_* by the table of keys, and REDIS_SENTINEL_*, which platforms set for all programs. */
#include <stdlib.h>
#include <string.h>

#include "config/config_args.h"
#include "config/config_parts.h"

#define PREFIX   "VEDETTE_"
#define ENV_NAME 96

static const char *env_value(char *const *environ, const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; environ != NULL && environ[i] != NULL; i++) {
        if (strncmp(environ[i], name, n) == 0 && environ[i][n] == '=') {
            return environ[i][n + 1] == '\0' ? NULL : environ[i] + n + 1;
        }
    }
    return NULL;
}

const char *config_env_master(char *const *environ)
{
    return env_value(environ, "REDIS_SENTINEL_MASTER");
}

/* "VEDETTE_SENTINEL_POLL_INTERVAL" */
static void env_name_of(const struct config_key *key, char out[ENV_NAME])
{
    const char *parts[] = {PREFIX,
                           key->section == SECTION_SERVICE ? "" : config_section_word(key->section),
                           key->section == SECTION_SERVICE ? "" : "_", key->name};
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        for (const char *c = parts[i]; *c != '\0' && n < ENV_NAME - 1; c++) {
            bool letter = *c >= 'a' && *c <= 'z';
            out[n++] = (char)(letter ? *c - 'a' + 'A' : *c == '-' ? '_' : *c);
        }
    }
    out[n] = '\0';
}

static const struct config_key *key_of_env(struct slice name)
{
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        char known[ENV_NAME];
        env_name_of(&config_keys[i], known);
        if ((config_keys[i].flags & KEY_NO_ENV) == 0 && slice_eq(name, slice_str(known))) {
            return &config_keys[i];
        }
    }
    return NULL;
}

static bool ends_with(struct slice name, const char *end)
{
    size_t n = strlen(end);
    return name.n >= n && memcmp(name.p + name.n - n, end, n) == 0;
}

/* *_PORT_<n>_* */
static bool has_port_number(struct slice name)
{
    const char *mark = "_PORT_";
    size_t n = strlen(mark);
    const char *at = memmem(name.p, name.n, mark, n);
    while (at != NULL) {
        const char *end = name.p + name.n;
        const char *c = at + n;
        while (c < end && *c >= '0' && *c <= '9') {
            c++;
        }
        if (c > at + n && c < end && *c == '_') {
            return true;
        }
        at = memmem(at + 1, (size_t)(end - at) - 1, mark, n);
    }
    return false;
}

/* What Kubernetes sets for a Service that happens to be called vedette-something. */
static bool from_kubernetes(struct slice name)
{
    return ends_with(name, "_SERVICE_HOST") || ends_with(name, "_PORT") || has_port_number(name) ||
           memmem(name.p, name.n, "_SERVICE_PORT", strlen("_SERVICE_PORT")) != NULL;
}

/* A flag's name as a variable, such as VEDETTE_MASTER, is an easy mistake. NULL: it is none. */
static const char *flag_of_env(struct slice name)
{
    static const enum flag_id ids[] = {FLAG_CONFIG, FLAG_MASTER};
    struct slice word = slice_of(name.p + strlen(PREFIX), name.n - strlen(PREFIX));
    for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
        if (slice_eq_nocase(word, config_flags[ids[i]].name + 2)) {
            return config_flags[ids[i]].name;
        }
    }
    return NULL;
}

/* The key in a variable's name: without prefix and section. */
static struct slice bare(struct slice name)
{
    static const char *const heads[] = {PREFIX "SENTINEL_", PREFIX "PROXY_", PREFIX};
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        size_t n = strlen(heads[i]);
        if (slice_starts_with(name, heads[i])) {
            return slice_of(name.p + n, name.n - n);
        }
    }
    return name;
}

static void unknown_variable(struct draft *d, const char *name)
{
    char names[CONFIG_KEY_COUNT][ENV_NAME];
    const char *candidates[CONFIG_KEY_COUNT];
    size_t count = 0;
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        if ((config_keys[i].flags & KEY_NO_ENV) == 0) {
            env_name_of(&config_keys[i], names[count]);
            candidates[count] = names[count] + strlen(PREFIX);
            count++;
        }
    }
    const char *flag = flag_of_env(slice_str(name));
    const char *meant = NULL; /* the same key of another section, or one that looks like it */
    for (size_t i = 0; i < count && meant == NULL; i++) {
        meant = slice_eq(bare(slice_str(names[i])), bare(slice_str(name))) ? names[i] : NULL;
    }
    if (meant == NULL) {
        const char *rest = config_suggest(slice_str(name + strlen(PREFIX)), candidates, count);
        meant = rest == NULL ? NULL : rest - strlen(PREFIX);
    }
    if (flag != NULL) {
        draft_lost(d, "%s: unknown variable; use the flag %s", name, flag);
    } else if (meant != NULL) {
        draft_lost(d, "%s: unknown variable; did you mean %s?", name, meant);
    } else {
        draft_lost(d, "%s: unknown variable; unset it, vedette --help tells how they are called",
                   name);
    }
}

static struct slice trim(struct slice s)
{
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t' || s.p[0] == '\n')) {
        s = slice_of(s.p + 1, s.n - 1);
    }
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t' || s.p[s.n - 1] == '\n')) {
        s.n--;
    }
    return s;
}

/* Cuts the next of the values between commas off *list. False when there is none left. */
static bool next_of_list(struct slice *list, struct slice *item)
{
    if (list->p == NULL) {
        return false;
    }
    const char *comma = list->n > 0 ? memchr(list->p, ',', list->n) : NULL;
    size_t n = comma == NULL ? list->n : (size_t)(comma - list->p);
    *item = trim(slice_of(list->p, n));
    *list = comma == NULL ? slice_of(NULL, 0) : slice_of(comma + 1, list->n - n - 1);
    return true;
}

static void set_key(struct draft *d, const struct config_key *key, const char *name,
                    struct slice value)
{
    struct config_origin from = {LEVEL_ENV, name};
    struct draft_section *section =
        key->section == SECTION_SERVICE
            ? draft_one_service(d, name)
            : &d->sections[key->section == SECTION_PROXY ? DRAFT_PROXY : DRAFT_SENTINEL];
    struct slice item;
    if (section == NULL) {
        return;
    }
    if (!config_key_is_list(key)) {
        draft_set(d, section, key, &from, value);
        return;
    }
    while (next_of_list(&value, &item)) {
        draft_set(d, section, key, &from, item);
    }
}

/* "26379", or "tcp://10.0.0.1:26379" as Kubernetes writes it. 0, and an error, when it is neither.
 */
static uint16_t platform_port(struct draft *d, const char *text)
{
    struct slice port = trim(slice_str(text));
    const char *colon = memrchr(port.p, ':', port.n);
    int64_t number;
    if (slice_starts_with(port, "tcp://")) {
        port = slice_of(colon + 1, port.n - (size_t)(colon + 1 - port.p));
    }
    if (!slice_to_i64(port, 1, UINT16_MAX, &number)) {
        draft_lost(d,
                   "REDIS_SENTINEL_PORT: bad port '%.64s'; allowed: 1..65535, or "
                   "tcp://host:port",
                   text);
        return 0;
    }
    return (uint16_t)number;
}

static void platform_host(struct draft *d, struct slice host, uint16_t port)
{
    struct config_origin from = {LEVEL_PLATFORM, "REDIS_SENTINEL_HOST"};
    struct draft_section *section = &d->sections[DRAFT_SENTINEL];
    const struct config_key *key = config_key_find(SECTION_SENTINEL, slice_str("address"));
    const char *scheme = "tcp://";
    char text[ADDR_TEXT_MAX];
    struct addr addr;
    if (slice_starts_with(host, scheme)) {
        host = slice_of(host.p + strlen(scheme), host.n - strlen(scheme));
    }
    const char *wrong = addr_parse(host, port, &addr);
    if (wrong != NULL) {
        config_report_add(d->report, CONFIG_ERROR, "%s: bad host '%.*s'; %s", from.where,
                          (int)(host.n > 64 ? 64 : host.n), host.p, wrong);
        draft_set_bad(section, key, &from);
        return;
    }
    draft_set(d, section, key, &from, slice_str(addr_text(&addr, text)));
}

static void apply_platform(char *const *environ, struct draft *d)
{
    const char *hosts = env_value(environ, "REDIS_SENTINEL_HOST");
    const char *port_text = env_value(environ, "REDIS_SENTINEL_PORT");
    if (hosts == NULL) {
        return; /* a port alone is what Kubernetes sets for a Service called redis-sentinel */
    }
    uint16_t port = port_text == NULL ? 26379 : platform_port(d, port_text);
    struct slice list = slice_str(hosts), host;
    while (port != 0 && next_of_list(&list, &host)) {
        platform_host(d, host, port);
    }
}

void config_env_apply(const struct config_input *in, struct draft *d)
{
    char *const *environ = in->environ;
    struct buf ignored = {0};
    size_t prefix = strlen(PREFIX);
    for (size_t i = 0; environ != NULL && environ[i] != NULL; i++) {
        const char *equals = strchr(environ[i], '=');
        if (strncmp(environ[i], PREFIX, prefix) != 0 || equals == NULL) {
            continue;
        }
        struct slice name = slice_of(environ[i], (size_t)(equals - environ[i]));
        char *copy = config_text_format("%.*s", (int)name.n, name.p);
        const struct config_key *key = key_of_env(name);
        if (key != NULL) {
            set_key(d, key, copy, slice_str(equals + 1));
            if (key->type == TYPE_SECRET && in->hide_secrets) {
                config_hide(environ[i] + name.n + 1);
            }
        } else if (from_kubernetes(name)) {
            buf_printf(&ignored, "%s%s", buf_len(&ignored) == 0 ? "" : ", ", copy);
        } else {
            unknown_variable(d, copy);
        }
        free(copy);
    }
    if (buf_len(&ignored) > 0) {
        config_report_add(d->report, CONFIG_NOTICE,
                          "ignored, because Kubernetes sets them for a Service: %.*s",
                          (int)buf_len(&ignored), buf_head(&ignored));
    }
    buf_release(&ignored);
    apply_platform(environ, d);
}
