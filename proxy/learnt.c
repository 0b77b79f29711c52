#include "proxy/learnt.h"

#include <stdlib.h>

#include "proxy/command_name.h"

struct learnt_name {
    struct slice name;             /* p NULL: a free slot */
    const struct command *command; /* NULL: stays unknown; of a parent: for all others below it */
    bool parent;                   /* has sub-commands */
};

/* Module commands may answer with any error word. What only reads may be asked of a replica. */
static const struct command read_leased = {
    "learnt-read", COMMAND_READ, COMMAND_LEASED, false, true, 0, REPLICA_READS, SCRIPT_NONE};
static const struct command read_shared = {
    "learnt-read", COMMAND_READ, COMMAND_SHARED, false, true, 0, REPLICA_READS, SCRIPT_NONE};
static const struct command read_blocks = {
    "learnt-read", COMMAND_READ, COMMAND_LEASED, true, true, 0, REPLICA_NEVER, SCRIPT_NONE};
static const struct command write_leased = {
    "learnt-write", COMMAND_WRITE, COMMAND_LEASED, false, true, 0, REPLICA_NEVER, SCRIPT_NONE};
static const struct command write_shared = {
    "learnt-write", COMMAND_WRITE, COMMAND_SHARED, false, true, 0, REPLICA_NEVER, SCRIPT_NONE};
static const struct command write_blocks = {
    "learnt-write", COMMAND_WRITE, COMMAND_LEASED, true, true, 0, REPLICA_NEVER, SCRIPT_NONE};

/* NULL: it stays unknown. */
static const struct command *command_of(uint32_t flags, bool shared)
{
    bool writes = (flags & LISTED_WRITE) != 0;
    if ((flags & LISTED_ODD) != 0 || (!writes && (flags & LISTED_READONLY) == 0)) {
        return NULL;
    }
    if ((flags & LISTED_BLOCKING) != 0) {
        return writes ? &write_blocks : &read_blocks;
    }
    if (shared) {
        return writes ? &write_shared : &read_shared;
    }
    return writes ? &write_leased : &read_leased;
}

/* The slot of that name, or the free one where it would go. */
static struct learnt_name *slot_of(const struct learnt *l, struct slice name,
                                   const struct slice *sub)
{
    size_t at = command_name_hash(name, sub) & (l->slot_count - 1);
    while (l->slots[at].name.p != NULL && !command_name_is(l->slots[at].name, name, sub)) {
        at = (at + 1) & (l->slot_count - 1);
    }
    return &l->slots[at];
}

static struct learnt_name *slot_named(const struct learnt *l, struct slice whole)
{
    struct slice name, sub;
    bool split = command_name_split(whole, &name, &sub);
    return slot_of(l, name, split ? &sub : NULL);
}

/* It, or all of its parent. */
static bool may_share(const struct config_commands *shared, struct slice whole)
{
    struct slice parent, sub;
    (void)command_name_split(whole, &parent, &sub);
    for (size_t i = 0; i < shared->count; i++) {
        struct slice one = slice_str(shared->v[i]);
        if (slice_eq(one, whole) || slice_eq(one, parent)) {
            return true;
        }
    }
    return false;
}

/* Of what the server does not tell the configuration may: its word stands for the link. */
static const struct command *unlisted(bool shared)
{
    return shared ? &write_shared : NULL;
}

static void put(struct learnt *l, struct slice whole, const struct command *command, bool parent)
{
    struct learnt_name *slot = slot_named(l, whole);
    l->count += command != NULL && slot->command == NULL;
    slot->name = whole;
    slot->command = command;
    slot->parent = slot->parent || parent;
}

static void learn_listed(struct learnt *l, const struct config_commands *shared)
{
    for (size_t i = 0; l->list != NULL && i < l->list->count; i++) {
        struct slice name = slice_str(l->list->v[i].name);
        uint32_t flags = l->list->v[i].flags;
        if (!command_is_known(name)) {
            bool parent = (flags & LISTED_PARENT) != 0, share = may_share(shared, name);
            put(l, name, parent ? unlisted(share) : command_of(flags, share), parent);
        }
    }
}

static void learn_shared(struct learnt *l, const struct config_commands *shared)
{
    for (size_t i = 0; i < shared->count; i++) {
        struct slice name = slice_str(shared->v[i]), parent, sub;
        if (command_is_known(name) || slot_named(l, name)->name.p != NULL) {
            continue;
        }
        put(l, name, unlisted(true), false);
        if (command_name_split(name, &parent, &sub) && !command_is_known(parent)) {
            put(l, parent, slot_of(l, parent, NULL)->command, true);
        }
    }
}

/* Where a server does not tell of a sub-command, as before Redis 7.0, its container's flags hold.
 */
static void replace_rows(struct learnt *l)
{
    for (size_t number = 1; number <= command_count(); number++) {
        const char *name = command_numbered(number)->name;
        uint32_t flags = command_list_flags(l->list, name);
        char parent[COMMAND_NAME_MAX + 1] = {0};
        size_t n = strcspn(name, "|");
        if (flags == 0 && name[n] == '|') {
            memcpy(parent, name, n);
            flags = command_list_flags(l->list, parent);
        }
        l->instead[number] =
            command_stricter(number, (flags & LISTED_WRITE) != 0, (flags & LISTED_BLOCKING) != 0);
        l->stricter_count += l->instead[number] != NULL;
        const struct command *denied = denied_row(l->denied, number);
        l->instead[number] = denied != NULL ? denied : l->instead[number];
        l->instead_count += l->instead[number] != NULL;
    }
}

struct learnt *learnt_new(struct command_list *list, const struct config_commands *shared,
                          const struct denied *denied)
{
    struct learnt *l = xcalloc(1, sizeof *l);
    size_t most = (list != NULL ? list->count : 0) + 2 * shared->count;
    l->list = command_list_ref(list);
    l->denied = denied;
    for (l->slot_count = 2; l->slot_count < 2 * most; l->slot_count *= 2) {
    }
    l->slots = xcalloc(l->slot_count, sizeof *l->slots);
    l->instead = xcalloc(command_count() + 1, sizeof(const struct command *));
    learn_listed(l, shared);
    learn_shared(l, shared);
    replace_rows(l);
    return l;
}

void learnt_free(struct learnt **l)
{
    struct learnt *left = *l;
    if (left == NULL) {
        return;
    }
    *l = NULL;
    command_list_unref(&left->list);
    free(left->slots);
    free(left->instead);
    free(left);
}

/* What stands for a command of the table. */
static const struct command *as_told(const struct learnt *l, const struct command *command)
{
    if (l == NULL || l->instead_count == 0 || command == NULL) {
        return command;
    }
    const struct command *is = l->instead[command->number];
    return is != NULL ? is : command;
}

/* NULL: it was not learnt. */
static const struct learnt_name *find(const struct learnt *l, struct slice name,
                                      const struct slice *sub)
{
    if (l == NULL || l->count == 0 || name.n > COMMAND_NAME_MAX ||
        (sub != NULL && sub->n > COMMAND_NAME_MAX)) {
        return NULL;
    }
    const struct learnt_name *found = slot_of(l, name, sub);
    return found->name.p != NULL ? found : NULL;
}

/* Of what is no row of the table. */
static const struct command *denied_of(const struct learnt *l, struct slice name,
                                       const struct slice *sub)
{
    return l != NULL ? denied_find(l->denied, name, sub) : NULL;
}

static const struct command *or_unknown(const struct learnt_name *found)
{
    return found != NULL && found->command != NULL ? found->command : &command_unknown;
}

const struct command *learnt_lookup(const struct learnt *l, const struct args *args)
{
    const struct command *command = command_lookup(args);
    if (command != &command_unknown || args->kept == 0) {
        return as_told(l, command);
    }
    const struct slice *sub = args->kept > 1 ? &args->v[1] : NULL;
    const struct command *denied = denied_of(l, args->v[0], sub);
    if (denied != NULL) {
        return denied;
    }
    const struct learnt_name *found = sub != NULL ? find(l, args->v[0], sub) : NULL;
    return or_unknown(found != NULL ? found : find(l, args->v[0], NULL));
}

static const struct command *lookup_plain(const struct learnt *l, struct slice name)
{
    const struct command *command = command_lookup_plain(name);
    if (command != &command_unknown) {
        return as_told(l, command);
    }
    const struct command *denied = denied_of(l, name, NULL);
    if (denied != NULL || (l != NULL && denied_part(l->denied, name) != NULL)) {
        return denied;
    }
    const struct learnt_name *found = find(l, name, NULL);
    return found != NULL && found->parent ? NULL : or_unknown(found);
}

/* All bytes of a name of 4 to 8; together with its length, which is at most 8, it is the name. */
static uint64_t short_key(struct slice name)
{
    uint32_t first, last;
    memcpy(&first, name.p, sizeof first);
    memcpy(&last, name.p + name.n - sizeof last, sizeof last);
    return first | (uint64_t)last << 32;
}

/* Clients say the same few words over and over, mostly short ones. */
const struct command *learnt_lookup_plain(struct learnt *l, struct slice name)
{
    if (l == NULL || name.n < 3 || name.n > 8) {
        return lookup_plain(l, name);
    }
    uint64_t key = name.n > 3
                       ? short_key(name)
                       : ((uint64_t)(unsigned char)name.p[0] << 16 |
                          (uint64_t)(unsigned char)name.p[1] << 8 | (unsigned char)name.p[2]);
    struct learnt_recent *r = &l->recent[(key * 0x9e3779b97f4a7c15u) >> 32 & (LEARNT_RECENT - 1)];
    if (r->key != key || r->n != name.n) {
        *r = (struct learnt_recent){key, name.n, lookup_plain(l, name)};
    }
    return r->command;
}

const struct command *learnt_lookup_name(const struct learnt *l, struct slice name,
                                         const struct slice *sub)
{
    const struct command *denied = denied_of(l, name, sub);
    if (denied == NULL && sub == NULL && l != NULL) {
        denied = denied_part(l->denied, name); /* which it may be: no real one is so long */
    }
    if (denied != NULL) {
        return denied;
    }
    const struct command *command = command_lookup_name(name);
    return command != &command_unknown ? as_told(l, command) : or_unknown(find(l, name, NULL));
}
