#include "config/config_args.h"

#include <stdlib.h>
#include <string.h>

const struct config_flag config_flags[FLAG_COUNT] = {
    {"--config", "FILE", "read this file; without it there is none"},
    {"--sentinel", "HOST:PORT", "a Sentinel; repeat it for each"},
    {"--master", "NAME", "the name of the primary that the Sentinels monitor (mymaster)"},
    {"--listen", "ADDR", "where clients connect to (127.0.0.1:6379); repeat it for each"},
    {"--set", "SECTION.KEY=VALUE", "any key: --set proxy.workers=2"},
    {"--check", NULL, "say whether the configuration is good, and end"},
    {"--print-config", NULL, "print the effective configuration, and end"},
    {"--version", NULL, "print the version, and end"},
    {"--help", NULL, "print this, and end"},
};

/* The flags in argv, one after the other. */
struct arg_reader {
    const struct config_input *in;
    struct draft *draft;
    int next;
};

static bool asks_for(const struct config_input *in, enum flag_id id)
{
    for (int i = 1; i < in->argc; i++) {
        if (strcmp(in->argv[i], config_flags[id].name) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_flag(const char *arg)
{
    return arg[0] == '-' && arg[1] != '\0';
}

static void unknown_flag(struct arg_reader *r, struct slice name)
{
    const char *names[FLAG_COUNT];
    for (size_t i = 0; i < FLAG_COUNT; i++) {
        names[i] = config_flags[i].name;
    }
    const char *meant = config_suggest(name, names, FLAG_COUNT);
    if (meant != NULL) {
        draft_lost(r->draft, "%.*s: unknown flag; did you mean %s?", (int)name.n, name.p, meant);
    } else {
        draft_lost(r->draft, "%.*s: unknown flag; vedette --help lists them all", (int)name.n,
                   name.p);
    }
}

/* The id of the flag at r->next; FLAG_COUNT, and an error, when it is none. *value gets what stands
 * behind its '=', or p NULL. */
static size_t read_flag(struct arg_reader *r, struct slice *value)
{
    const char *arg = r->in->argv[r->next];
    const char *equals = strchr(arg, '=');
    struct slice name = slice_str(arg);
    *value = slice_of(NULL, 0);
    if (equals != NULL) {
        name.n = (size_t)(equals - arg);
        *value = slice_str(equals + 1);
    }
    for (size_t i = 0; i < FLAG_COUNT; i++) {
        if (slice_eq(name, slice_str(config_flags[i].name))) {
            return i;
        }
    }
    if (!is_flag(arg)) { /* not shown: it may be a secret, torn off by a space */
        draft_lost(r->draft,
                   "argument %d is no flag: a file is named by --config FILE, and a value with "
                   "spaces is quoted",
                   r->next);
        return FLAG_COUNT;
    }
    /* Of -pSECRET only the letter is shown. What follows is taken for its value. */
    unknown_flag(r, arg[1] == '-' ? name : slice_of(name.p, 2));
    if (equals == NULL && r->next + 1 < r->in->argc && !is_flag(r->in->argv[r->next + 1])) {
        r->next++;
    }
    return FLAG_COUNT;
}

/* Completes *value from the next argument. False, and an error, when there is none or one too many.
 */
static bool read_value(struct arg_reader *r, const struct config_flag *flag, struct slice *value)
{
    if (flag->value == NULL && value->p != NULL) {
        draft_lost(r->draft, "%s: it takes no value; write it alone", flag->name);
        return false;
    }
    if (flag->value == NULL || value->p != NULL) {
        return true;
    }
    if (r->next + 1 >= r->in->argc || is_flag(r->in->argv[r->next + 1])) {
        draft_lost(r->draft, "%s: its value is missing; write %s %s", flag->name, flag->name,
                   flag->value);
        return false;
    }
    *value = slice_str(r->in->argv[++r->next]);
    return true;
}

static void once(struct arg_reader *r, const struct config_flag *flag, const char **to,
                 struct slice value)
{
    if (*to != NULL) {
        draft_lost(r->draft, "%s: given twice; keep one of them", flag->name);
    } else if (value.n == 0) {
        draft_lost(r->draft, "%s: its value is empty; write %s %s", flag->name, flag->name,
                   flag->value);
    } else {
        *to = value.p; /* the end of an argument: it has a NUL */
    }
}

static void add_set(struct config_args *args, const struct config_arg_set *set)
{
    args->sets = xrealloc(args->sets, (args->set_count + 1) * sizeof *args->sets);
    args->sets[args->set_count++] = *set;
}

/* SECTION.KEY=VALUE: the key is what follows the last dot. */
static void read_set(struct arg_reader *r, struct config_args *args, struct slice text)
{
    const char *equals = text.n > 0 ? memchr(text.p, '=', text.n) : NULL;
    if (equals == NULL) { /* not shown: it may be a secret */
        draft_lost(r->draft, "--set: no '=' in it; write --set SECTION.KEY=VALUE");
        return;
    }
    struct slice name = slice_of(text.p, (size_t)(equals - text.p));
    const char *dot = name.n > 0 ? memrchr(name.p, '.', name.n) : NULL;
    if (dot == NULL) {
        draft_lost(r->draft, "--set %.*s: no section before the key; write --set SECTION.KEY=VALUE",
                   (int)name.n, name.p);
        return;
    }
    char *in_argv = r->in->argv[r->next];
    struct config_arg_set set = {.where = config_text_format("--set %.*s", (int)name.n, name.p),
                                 .section = slice_of(name.p, (size_t)(dot - name.p)),
                                 .key = slice_of(dot + 1, name.n - (size_t)(dot + 1 - name.p)),
                                 .value = slice_of(equals + 1, text.n - name.n - 1)};
    set.hide = r->in->hide_secrets ? in_argv + (set.value.p - in_argv) : NULL;
    add_set(args, &set);
}

static void take_flag(struct arg_reader *r, struct config_args *args, enum flag_id id,
                      struct slice value)
{
    struct config_arg_set set = {.value = value};
    switch (id) {
    case FLAG_CONFIG: once(r, &config_flags[id], &args->config, value); return;
    case FLAG_MASTER: once(r, &config_flags[id], &args->master, value); return;
    case FLAG_SENTINEL:
        set.where = xstrdup(config_flags[id].name);
        set.section = slice_str("sentinel");
        set.key = slice_str("address");
        add_set(args, &set);
        return;
    case FLAG_LISTEN:
        set.where = xstrdup(config_flags[id].name);
        set.key = slice_str("listen");
        add_set(args, &set);
        return;
    case FLAG_SET: read_set(r, args, value); return;
    case FLAG_CHECK: args->check = true; return;
    case FLAG_PRINT: args->print = true; return;
    case FLAG_VERSION:
    case FLAG_HELP: return; /* written with a value, or they were seen before */
    }
    UNREACHABLE("flag");
}

enum config_action config_args_parse(struct config_args *args, const struct config_input *in,
                                     struct draft *d)
{
    if (asks_for(in, FLAG_HELP)) {
        return CONFIG_HELP;
    }
    if (asks_for(in, FLAG_VERSION)) {
        return CONFIG_VERSION;
    }
    struct arg_reader r = {.in = in, .draft = d};
    for (r.next = 1; r.next < in->argc; r.next++) {
        struct slice value;
        size_t id = read_flag(&r, &value);
        if (id < FLAG_COUNT && read_value(&r, &config_flags[id], &value)) {
            take_flag(&r, args, (enum flag_id)id, value);
        }
    }
    if (args->print) {
        return CONFIG_PRINT;
    }
    return args->check ? CONFIG_CHECK : CONFIG_RUN;
}

/* "service.NAME" and "sentinel.NAME"; p NULL when the section has no such form. */
static struct slice name_behind(struct slice section, const char *word)
{
    size_t n = strlen(word);
    bool is = slice_starts_with(section, word) && section.n > n && section.p[n] == '.';
    return is ? slice_of(section.p + n + 1, section.n - n - 1) : slice_of(NULL, 0);
}

static struct draft_section *find_section(struct draft *d, const struct config_arg_set *set)
{
    static const char *const kinds[] = {"proxy", "sentinel", "sentinel.NAME", "service.NAME"};
    static const enum config_section named[] = {SECTION_SENTINEL, SECTION_SERVICE};
    if (set->section.p == NULL) {
        return draft_one_service(d, set->where);
    }
    if (slice_eq(set->section, slice_str("proxy"))) {
        return &d->sections[DRAFT_PROXY];
    }
    if (slice_eq(set->section, slice_str("sentinel"))) {
        return &d->sections[DRAFT_SENTINEL];
    }
    for (size_t i = 0; i < ARRAY_LEN(named); i++) {
        struct slice name = name_behind(set->section, config_section_word(named[i]));
        if (name.p != NULL) {
            return draft_named(d, named[i], name, set->where);
        }
    }
    const char *meant = config_suggest(set->section, kinds, ARRAY_LEN(kinds));
    draft_lost(d, "%s: unknown section '%.*s'; %s%s%s", set->where, (int)set->section.n,
               set->section.p, meant != NULL ? "did you mean '" : "",
               meant != NULL ? meant : "there are proxy, sentinel, sentinel.NAME and service.NAME",
               meant != NULL ? "'?" : "");
    return NULL;
}

void config_args_apply(const struct config_args *args, struct draft *d)
{
    struct config_report *report = d->report;
    for (size_t i = 0; i < args->set_count; i++) {
        const struct config_arg_set *set = &args->sets[i];
        struct config_origin from = {LEVEL_FLAG, set->where};
        struct draft_section *section = find_section(d, set);
        const struct config_key *key =
            section == NULL ? NULL : draft_key(d, section, set->key, set->where);
        if (key == NULL) {
            continue;
        }
        draft_set(d, section, key, &from, set->value);
        if (key->type == TYPE_SECRET) {
            config_hide(set->hide);
            config_report_add(report, CONFIG_WARNING,
                              "%s: other users of this machine can read the command line; use "
                              "password-file",
                              set->where);
        }
    }
}

void config_args_free(struct config_args *args)
{
    for (size_t i = 0; i < args->set_count; i++) {
        free(args->sets[i].where);
    }
    free(args->sets);
    *args = (struct config_args){0};
}
