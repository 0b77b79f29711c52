#include "proxy/command.h"

#include <string.h>

#include "proxy/command_name.h"

#define SLOTS 1024u /* a power of two, at least twice the rows */

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

#define ROW(name, cls, link, may_block, forgeable, kind, script)                                   \
    {{name, COMMAND_##cls, link, may_block, forgeable, 0, REPLICA_NEVER, script},                  \
     sizeof(name) - 1,                                                                             \
     kind,                                                                                         \
     false},
#define R(name)                                                                                    \
    {{name, COMMAND_READ, COMMAND_SHARED, false, false, 0, REPLICA_READS, SCRIPT_NONE},            \
     sizeof(name) - 1,                                                                             \
     KIND_PLAIN,                                                                                   \
     false},
#define C(name, cls)      ROW(name, cls, COMMAND_SHARED, false, false, KIND_PLAIN, SCRIPT_NONE)
#define LEASES(name, cls) ROW(name, cls, COMMAND_LEASED, false, false, KIND_PLAIN, SCRIPT_NONE)
#define PINS(name, cls)   ROW(name, cls, COMMAND_PINNED, false, false, KIND_PLAIN, SCRIPT_NONE)
#define BLOCKS(name, cls) ROW(name, cls, COMMAND_LEASED, true, false, KIND_PLAIN, SCRIPT_NONE)
#define FORGES(name, cls) ROW(name, cls, COMMAND_SHARED, false, true, KIND_PLAIN, SCRIPT_NONE)
#define SCRIPTS(name, cls, script, runs)                                                           \
    ROW(name, cls, COMMAND_SHARED, false, runs, KIND_PLAIN, SCRIPT_##script)
#define STREAM(name, cls) ROW(name, cls, COMMAND_SHARED, false, false, KIND_STREAM, SCRIPT_NONE)
#define CONTAINER(name, cls)                                                                       \
    ROW(name, cls, COMMAND_SHARED, false, false, KIND_CONTAINER, SCRIPT_NONE)

static struct row rows[] = {
/* constant after command_init */
#include "proxy/command_table.def"
};

_Static_assert(ARRAY_LEN(rows) * 2 <= SLOTS, "the index stays half empty");

const struct command command_unknown = {"unknown", COMMAND_WRITE, COMMAND_PINNED, false, false,
                                        0,         REPLICA_NEVER, SCRIPT_NONE};
/* Constant after command_init, which numbers them as their rows. */
static struct command xread_block = {"xread", COMMAND_READ,  COMMAND_LEASED, true, false,
                                     0,       REPLICA_NEVER, SCRIPT_NONE};
static struct command xreadgroup_block = {
    "xreadgroup", COMMAND_BLOCKING, COMMAND_LEASED, true, false, 0, REPLICA_NEVER, SCRIPT_NONE};
static struct command xreadgroup_unsure = {
    "xreadgroup", COMMAND_WRITE, COMMAND_LEASED, true, false, 0, REPLICA_NEVER, SCRIPT_NONE};

/* What a replica answers right, or nearly, but not in every way as the primary does: scripts, which
 * it may not have; PFCOUNT, which keeps what it has counted where it may write; and what tells of
 * all keys, expired ones included. */
static const char *const optional[] = {"dbsize", "eval_ro", "evalsha_ro", "fcall_ro",
                                       "keys",   "pfcount", "randomkey"};
_Static_assert(ARRAY_LEN(optional) + REPLICA_OPTED <= 32, "each has its bit");

/* Each row as it is where the server says that it writes, blocks, or both. Constant after
 * command_init. */
#define STRICTER_WRITES 1u
#define STRICTER_BLOCKS 2u
static struct command stricter[ARRAY_LEN(rows)][STRICTER_WRITES + STRICTER_BLOCKS + 1];

/* Open addressing; a row's number + 1, 0 where nothing is. Constant after command_init. */
static uint16_t slots[SLOTS];
static bool ready;

static const struct row *find_exact(struct slice name, const struct slice *sub)
{
    CHECK(ready);
    if (name.n > COMMAND_NAME_MAX || (sub != NULL && sub->n > COMMAND_NAME_MAX)) {
        return NULL;
    }
    for (uint32_t at = command_name_hash(name, sub) % SLOTS; slots[at] != 0;
         at = (at + 1) % SLOTS) {
        const struct row *row = &rows[slots[at] - 1];
        if (command_name_is(slice_of(row->command.name, row->name_len), name, sub)) {
            return row;
        }
    }
    return NULL;
}

/* What Redis may take for a command is that command to us: the worst that comes of it is an error.
 */
static const struct row *find(struct slice name, const struct slice *sub)
{
    const struct row *row = find_exact(name, sub);
    if (row != NULL ||
        (!command_name_has_nul(name) && (sub == NULL || !command_name_has_nul(*sub)))) {
        return row;
    }
    struct slice part = sub != NULL ? command_name_until_nul(*sub) : name;
    return find_exact(command_name_until_nul(name), sub != NULL ? &part : NULL);
}

/* Of the classes that are about the session a server has nothing to tell. */
static bool is_plain_class(enum command_class cls)
{
    return cls == COMMAND_READ || cls == COMMAND_WRITE || cls == COMMAND_SCRIPT;
}

static void make_stricter(const struct row *row)
{
    struct command *of = stricter[row->command.number - 1];
    for (unsigned i = 0; i <= STRICTER_WRITES + STRICTER_BLOCKS; i++) {
        of[i] = row->command;
        bool writes = (i & STRICTER_WRITES) != 0 && of[i].cls == COMMAND_READ;
        if (writes) {
            of[i].cls = COMMAND_WRITE;
            of[i].replica = REPLICA_NEVER;
        }
        /* Whether XREAD blocks, its options say; one that writes is taken as at its worst. */
        bool blocks = row->kind == KIND_STREAM ? writes : (i & STRICTER_BLOCKS) != 0;
        if (blocks && is_plain_class(of[i].cls)) {
            of[i].may_block = true;
            of[i].replica = REPLICA_NEVER;
            of[i].link = of[i].link == COMMAND_PINNED ? COMMAND_PINNED : COMMAND_LEASED;
        }
    }
}

/* Said by clients at any time, and by some before each request. */
static const char *const blind[] = {"ping",         "echo",         "time",          "command",
                                    "command|docs", "command|info", "client|setinfo"};

static void set_replica(struct command *command)
{
    for (unsigned i = 0; i < ARRAY_LEN(blind); i++) {
        if (strcmp(command->name, blind[i]) == 0) {
            command->replica = REPLICA_BLIND;
        }
    }
    for (unsigned i = 0; i < ARRAY_LEN(optional); i++) {
        if (strcmp(command->name, optional[i]) == 0) {
            command->replica = (REPLICA_OPTED + i) & 0x1fu;
        }
    }
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
                             cls == COMMAND_RESET || cls == COMMAND_SUBSCRIBE ||
                             cls == COMMAND_READONLY;
        rows[i].command.number = (uint16_t)(i + 1) & 0x7ffu;
        set_replica(&rows[i].command);
        make_stricter(&rows[i]);
        uint32_t at =
            command_name_hash(slice_of(rows[i].command.name, rows[i].name_len), NULL) % SLOTS;
        while (slots[at] != 0) {
            at = (at + 1) % SLOTS;
        }
        slots[at] = (uint16_t)(i + 1);
    }
    ready = true;
    xread_block.number = find(slice_str("xread"), NULL)->command.number;
    xreadgroup_block.number = find(slice_str("xreadgroup"), NULL)->command.number;
    xreadgroup_unsure.number = xreadgroup_block.number;
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

size_t command_count(void)
{
    return ARRAY_LEN(rows);
}

const struct command *command_numbered(size_t number)
{
    CHECK(ready && number >= 1 && number <= ARRAY_LEN(rows));
    return &rows[number - 1].command;
}

bool command_is_known(struct slice whole)
{
    struct slice name, sub;
    bool split = command_name_split(whole, &name, &sub);
    return find(name, split ? &sub : NULL) != NULL;
}

const struct command *command_stricter(size_t number, bool writes, bool blocks)
{
    const struct command *own = command_numbered(number);
    const struct command *is =
        &stricter[number - 1][(writes ? STRICTER_WRITES : 0) + (blocks ? STRICTER_BLOCKS : 0)];
    bool same = is->cls == own->cls && is->link == own->link && is->may_block == own->may_block;
    return same ? NULL : is;
}

bool command_changes_profile(const struct command *command)
{
    return command->cls == COMMAND_AUTH || command->cls == COMMAND_HELLO ||
           command->cls == COMMAND_SELECT || command->cls == COMMAND_SETNAME;
}

uint32_t command_replica_mask(const struct config_commands *opted)
{
    uint32_t mask = 1u << REPLICA_READS;
    for (size_t i = 0; i < opted->count; i++) {
        for (unsigned k = 0; k < ARRAY_LEN(optional); k++) {
            if (strcmp(opted->v[i], optional[k]) == 0) {
                mask |= 1u << (REPLICA_OPTED + k);
            }
        }
    }
    return mask;
}

bool command_only_reads(const struct command *command)
{
    enum command_class cls = command->cls;
    return cls != COMMAND_WRITE && cls != COMMAND_SCRIPT && cls != COMMAND_BLOCKING &&
           cls != COMMAND_RAW; /* behind which nobody could see what writes */
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
    case COMMAND_READONLY:
    case COMMAND_QUIT:
    case COMMAND_RESET:
    case COMMAND_SUBSCRIBE:
    case COMMAND_MONITOR:
    case COMMAND_TRACKING:
    case COMMAND_EVICT:
    case COMMAND_CACHING: return true;
    case COMMAND_WRITE:
    case COMMAND_SCRIPT:
    case COMMAND_BLOCKING:
    case COMMAND_EXEC:
    case COMMAND_KILL:
    case COMMAND_WAIT:
    case COMMAND_REPLY:
    case COMMAND_HTTP:
    case COMMAND_RAW:
    case COMMAND_STATE:
    case COMMAND_DENIED: return false;
    }
    UNREACHABLE("command class");
}
