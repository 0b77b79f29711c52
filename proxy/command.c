#include "proxy/command.h"

#include <string.h>

#define SLOTS            1024u /* a power of two, at least twice the rows */
#define COMMAND_NAME_MAX 32u   /* longer than every name of the table */

enum kind {
    KIND_PLAIN,
    KIND_CONTAINER,
    KIND_STREAM,
};

struct row {
    struct command command;
    uint8_t name_len;
    uint8_t kind;
    bool needs_args; /* see command_lookup_plain */
};

#define ROW(name, cls, link, may_block, forgeable, kind)                                           \
    {{name, COMMAND_##cls, link, may_block, forgeable}, sizeof(name) - 1, kind, false},
#define C(name, cls)         ROW(name, cls, COMMAND_SHARED, false, false, KIND_PLAIN)
#define LEASES(name, cls)    ROW(name, cls, COMMAND_LEASED, false, false, KIND_PLAIN)
#define PINS(name, cls)      ROW(name, cls, COMMAND_PINNED, false, false, KIND_PLAIN)
#define BLOCKS(name, cls)    ROW(name, cls, COMMAND_LEASED, true, false, KIND_PLAIN)
#define FORGES(name, cls)    ROW(name, cls, COMMAND_SHARED, false, true, KIND_PLAIN)
#define STREAM(name, cls)    ROW(name, cls, COMMAND_SHARED, false, false, KIND_STREAM)
#define CONTAINER(name, cls) ROW(name, cls, COMMAND_SHARED, false, false, KIND_CONTAINER)

static struct row rows[] = {
    /* constant after command_init */
#include "proxy/command_table.def"
};

_Static_assert(ARRAY_LEN(rows) * 2 <= SLOTS, "the index stays half empty");

const struct command command_unknown = {"unknown", COMMAND_WRITE, COMMAND_PINNED, false, false};
static const struct command xread_block = {"xread", COMMAND_READ, COMMAND_LEASED, true, false};
static const struct command xreadgroup_block = {"xreadgroup", COMMAND_BLOCKING, COMMAND_LEASED,
                                                true, false};
static const struct command xreadgroup_unsure = {"xreadgroup", COMMAND_WRITE, COMMAND_LEASED, true,
                                                 false};

/* Open addressing; a row's number + 1, 0 where nothing is. Constant after command_init. */
static uint16_t slots[SLOTS];
static bool ready;

static unsigned char lower(char c)
{
    unsigned char u = (unsigned char)c;
    return u >= 'A' && u <= 'Z' ? (unsigned char)(u | 0x20) : u;
}

static uint32_t hash_more(uint32_t hash, struct slice bytes)
{
    for (size_t i = 0; i < bytes.n; i++) {
        hash = (hash ^ lower(bytes.p[i])) * 16777619u; /* FNV-1a */
    }
    return hash;
}

static uint32_t slot_of(uint32_t hash)
{
    return (hash ^ hash >> 16) % SLOTS;
}

static bool same_lower(const char *row, struct slice bytes)
{
    for (size_t i = 0; i < bytes.n; i++) {
        if ((unsigned char)row[i] != lower(bytes.p[i])) {
            return false;
        }
    }
    return true;
}

/* name alone, or "name|sub" where sub is not NULL. A bar in what a client sent is no separator. */
static bool is_named(const struct row *row, struct slice name, const struct slice *sub)
{
    const char *own = row->command.name;
    if (sub == NULL) {
        return row->name_len == name.n && same_lower(own, name) &&
               memchr(own, '|', row->name_len) == NULL;
    }
    return row->name_len == name.n + 1 + sub->n && own[name.n] == '|' && same_lower(own, name) &&
           same_lower(own + name.n + 1, *sub);
}

static const struct row *find(struct slice name, const struct slice *sub)
{
    CHECK(ready);
    if (name.n > COMMAND_NAME_MAX || (sub != NULL && sub->n > COMMAND_NAME_MAX)) {
        return NULL;
    }
    uint32_t hash = hash_more(2166136261u, name);
    if (sub != NULL) {
        hash = hash_more(hash_more(hash, slice_of("|", 1)), *sub);
    }
    for (uint32_t at = slot_of(hash); slots[at] != 0; at = (at + 1) % SLOTS) {
        const struct row *row = &rows[slots[at] - 1];
        if (is_named(row, name, sub)) {
            return row;
        }
    }
    return NULL;
}

void command_init(void)
{
    if (ready) {
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        CHECK(rows[i].name_len <= COMMAND_NAME_MAX);
        enum command_class cls = rows[i].command.cls;
        rows[i].needs_args = command_changes_profile(&rows[i].command) || cls == COMMAND_WAIT ||
                             cls == COMMAND_RESET;
        uint32_t at =
            slot_of(hash_more(2166136261u, slice_of(rows[i].command.name, rows[i].name_len)));
        while (slots[at] != 0) {
            at = (at + 1) % SLOTS;
        }
        slots[at] = (uint16_t)(i + 1);
    }
    ready = true;
}

/* XREAD [COUNT n] [BLOCK ms] STREAMS ..., XREADGROUP GROUP g c [COUNT n] [BLOCK ms] [NOACK] ...:
 * the options are walked, since a group or a consumer may be called BLOCK. */
static bool has_block(const struct args *args)
{
    for (uint32_t i = 1; i < args->kept; i++) {
        struct slice word = args->v[i];
        if (slice_eq_nocase(word, "BLOCK")) {
            return true;
        }
        if (slice_eq_nocase(word, "STREAMS")) {
            return false;
        }
        if (slice_eq_nocase(word, "GROUP")) {
            i += 2;
        } else if (slice_eq_nocase(word, "COUNT") || slice_eq_nocase(word, "CLAIM")) {
            i += 1;
        }
    }
    return args->kept < args->count;
}

static const struct command *stream_read(const struct row *row, bool block, bool sure)
{
    if (!block) {
        return &row->command;
    }
    if (row->command.cls == COMMAND_READ) {
        return &xread_block;
    }
    return sure ? &xreadgroup_block : &xreadgroup_unsure;
}

const struct command *command_lookup(const struct args *args)
{
    const struct row *row = args->kept > 0 ? find(args->v[0], NULL) : NULL;
    if (row == NULL) {
        return &command_unknown;
    }
    if (row->kind == KIND_STREAM) {
        return stream_read(row, has_block(args), true);
    }
    if (row->kind == KIND_CONTAINER && args->kept > 1) {
        row = find(args->v[0], &args->v[1]);
    }
    if (row != NULL && row->command.cls == COMMAND_RESET && args->count > 1) {
        return &command_unknown; /* the server's to refuse */
    }
    return row != NULL ? &row->command : &command_unknown;
}

const struct command *command_lookup_plain(struct slice name)
{
    const struct row *row = find(name, NULL);
    if (row == NULL) {
        return &command_unknown;
    }
    return row->kind == KIND_PLAIN && !row->needs_args ? &row->command : NULL;
}

const struct command *command_lookup_name(struct slice name)
{
    const struct row *row = find(name, NULL);
    if (row == NULL || (row->kind == KIND_CONTAINER && row->command.cls != COMMAND_READ)) {
        return &command_unknown;
    }
    return row->kind == KIND_STREAM ? stream_read(row, true, false) : &row->command;
}

bool command_changes_profile(const struct command *command)
{
    return command->cls == COMMAND_AUTH || command->cls == COMMAND_HELLO ||
           command->cls == COMMAND_SELECT || command->cls == COMMAND_SETNAME;
}

bool command_repeatable(const struct command *command)
{
    switch (command->cls) {
    case COMMAND_READ:
    case COMMAND_MULTI:
    case COMMAND_DISCARD:
    case COMMAND_WATCH:
    case COMMAND_UNWATCH:
    case COMMAND_AUTH:
    case COMMAND_HELLO:
    case COMMAND_SELECT:
    case COMMAND_SETNAME:
    case COMMAND_GETNAME:
    case COMMAND_QUIT:
    case COMMAND_RESET: return true;
    case COMMAND_WRITE:
    case COMMAND_SCRIPT:
    case COMMAND_BLOCKING:
    case COMMAND_EXEC:
    case COMMAND_WAIT:
    case COMMAND_HTTP:
    case COMMAND_RAW:
    case COMMAND_TRACKING: return false;
    }
    UNREACHABLE("command class");
}
