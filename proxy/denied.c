#include "proxy/denied.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/command_name.h"

struct denied {
    const struct config_commands *names;
    struct command *named; /* one for each of them */
    struct command rows[]; /* of the table; without a name: allowed */
};

static struct command refusal(const char *name, size_t number)
{
    return (struct command){.name = name,
                            .cls = COMMAND_DENIED,
                            .link = COMMAND_SHARED,
                            .number = (uint16_t)number & 0x7ffu,
                            .replica = REPLICA_NEVER};
}

/* one: in lower case. sub NULL: only a name without a sub-command matches. */
static bool is_meant(struct slice one, struct slice name, const struct slice *sub)
{
    struct slice parent, part;
    bool split = command_name_split(one, &parent, &part);
    return parent.n == name.n && command_name_same(parent.p, name) &&
           (!split || (sub != NULL && part.n == sub->n && command_name_same(part.p, *sub)));
}

const struct command *denied_find(const struct denied *d, struct slice name,
                                  const struct slice *sub)
{
    if (d == NULL) {
        return NULL;
    }
    struct slice part = sub != NULL ? command_name_until_nul(*sub) : name;
    name = command_name_until_nul(name);
    for (size_t i = 0; i < d->names->count; i++) {
        if (is_meant(slice_str(d->names->v[i]), name, sub != NULL ? &part : NULL)) {
            return &d->named[i];
        }
    }
    return NULL;
}

const struct command *denied_part(const struct denied *d, struct slice name)
{
    name = command_name_until_nul(name);
    for (size_t i = 0; d != NULL && i < d->names->count; i++) {
        struct slice parent, part;
        if (command_name_split(slice_str(d->names->v[i]), &parent, &part) && parent.n == name.n &&
            command_name_same(parent.p, name)) {
            return &d->named[i];
        }
    }
    return NULL;
}

const struct command *denied_row(const struct denied *d, size_t number)
{
    return d != NULL && d->rows[number - 1].name != NULL ? &d->rows[number - 1] : NULL;
}

struct denied *denied_new(const struct config_commands *names)
{
    if (names->count == 0) {
        return NULL;
    }
    struct denied *d = xcalloc(1, sizeof *d + command_count() * sizeof d->rows[0]);
    d->names = names;
    d->named = xcalloc(names->count, sizeof *d->named);
    for (size_t i = 0; i < names->count; i++) {
        d->named[i] = refusal(names->v[i], 0);
    }
    for (size_t number = 1; number <= command_count(); number++) {
        const struct command *row = command_numbered(number);
        struct slice name, sub;
        bool split = command_name_split(slice_str(row->name), &name, &sub);
        if (row->cls == COMMAND_RAW || denied_find(d, name, split ? &sub : NULL) != NULL) {
            d->rows[number - 1] = refusal(row->name, number);
        }
    }
    return d;
}

void denied_free(struct denied **d)
{
    if (*d != NULL) {
        free((*d)->named);
        free(*d);
        *d = NULL;
    }
}

/* The row of that name; NULL: there is none. */
static const struct command *row_named(struct slice whole)
{
    for (size_t number = 1; number <= command_count(); number++) {
        const struct command *row = command_numbered(number);
        if (slice_eq(slice_str(row->name), whole)) {
            return row;
        }
    }
    return NULL;
}

/* To be freed. */
static const char **all_names(void)
{
    const char **names = xcalloc(command_count(), sizeof *names);
    for (size_t i = 0; i < command_count(); i++) {
        names[i] = command_numbered(i + 1)->name;
    }
    return names;
}

/* As ACLs of Redis have it. */
static bool is_open_to_all(const struct command *row)
{
    return row->cls == COMMAND_AUTH || row->cls == COMMAND_HELLO || row->cls == COMMAND_QUIT ||
           row->cls == COMMAND_RESET;
}

static void check_unknown(const char *where, struct slice whole, struct config_report *report)
{
    struct slice parent, sub;
    if (memchr(whole.p, '.', whole.n) != NULL) {
        return; /* a module's */
    }
    const char **names = all_names();
    const char *meant = config_suggest(whole, names, command_count());
    if (meant != NULL &&
        meant[0] == whole.p[0]) { /* as mistyped words do; new commands are others */
        config_report_add(report, CONFIG_ERROR,
                          "%s: '%.*s' in 'deny-commands' is no command; did you mean '%s'?", where,
                          (int)whole.n, whole.p, meant);
    } else if (command_name_split(whole, &parent, &sub) && command_is_known(parent)) {
        config_report_add(report, CONFIG_ERROR,
                          "%s: '%.*s' in 'deny-commands': %.*s has no such sub-command; leave it "
                          "out, or deny %.*s",
                          where, (int)whole.n, whole.p, (int)parent.n, parent.p, (int)parent.n,
                          parent.p);
    } else {
        config_report_add(report, CONFIG_WARNING,
                          "%s: '%.*s' in 'deny-commands' is no command that Vedette knows; it is "
                          "denied by this name, see that it is written right",
                          where, (int)whole.n, whole.p);
    }
    free(names);
}

void denied_check(const struct config *config, struct config_report *report)
{
    for (size_t i = 0; i < config->service_count; i++) {
        const struct config_service *s = &config->services[i];
        for (size_t k = 0; k < s->access.deny.count; k++) {
            const char *where = config_where_of(config, s, "deny-commands", k);
            struct slice whole = slice_str(s->access.deny.v[k]);
            const struct command *row = row_named(whole);
            if (row == NULL) {
                check_unknown(where, whole, report);
            } else if (is_open_to_all(row)) {
                config_report_add(report, CONFIG_ERROR,
                                  "%s: '%s' in 'deny-commands' can't be denied, as with Redis's "
                                  "own ACLs; leave it out",
                                  where, row->name);
            }
        }
    }
}
