/* What a request does to its session, and what becomes of it when its link is lost after it was
 * sent whole. Pure look-ups in a table in source: command_table.def. */
#ifndef VEDETTE_PROXY_COMMAND_H
#define VEDETTE_PROXY_COMMAND_H

#include <stdbool.h>

#include "config/config.h"
#include "proxy/resp/args.h"

enum command_class {
    COMMAND_READ,     /* reads or has no effect: may be sent again */
    COMMAND_WRITE,    /* anything else, unknown commands too: in doubt, never sent again */
    COMMAND_SCRIPT,   /* EVAL, EVALSHA, FCALL: as a write; the last that a link forgets */
    COMMAND_BLOCKING, /* waits for an element and takes it: BLPOP and its like, XREADGROUP BLOCK */
    COMMAND_MULTI,
    COMMAND_EXEC,
    COMMAND_DISCARD,
    COMMAND_WATCH,
    COMMAND_UNWATCH,
    COMMAND_AUTH,
    COMMAND_HELLO,
    COMMAND_SELECT,
    COMMAND_SETNAME,  /* CLIENT SETNAME */
    COMMAND_GETNAME,  /* CLIENT GETNAME */
    COMMAND_HTTP,     /* POST, Host: at these Redis closes without a word (networking.c) */
    COMMAND_KILL,     /* SCRIPT KILL, FUNCTION KILL: a busy server takes them, but no SELECT */
    COMMAND_WAIT,     /* WAIT, WAITAOF: about the writes of this connection */
    COMMAND_READONLY, /* READONLY, READWRITE: where this client's reads go */
    COMMAND_REPLY,    /* CLIENT REPLY */
    COMMAND_QUIT,
    COMMAND_RESET,
    COMMAND_SUBSCRIBE, /* the SUBSCRIBE family: an answer for each name */
    COMMAND_MONITOR,   /* answered once, and what comes then answers nothing */
    /* Afterwards replies can't be paired one to one with requests: SYNC, PSYNC, REPLCONF, SCRIPT
     * DEBUG. */
    COMMAND_RAW,
    COMMAND_TRACKING, /* CLIENT TRACKING */
    COMMAND_CACHING,  /* CLIENT CACHING */
    COMMAND_EVICT,    /* CLIENT NO-EVICT, NO-TOUCH */
    /* Leaves a state in the connection that can't be carried to another one: CLIENT CAPA. */
    COMMAND_STATE,
    COMMAND_DENIED, /* what this client may not run: see denied.h */
};

/* What kind of link a command needs. */
enum command_link {
    COMMAND_SHARED, /* any of the session's profile */
    COMMAND_LEASED, /* one of its own, until what it began is over */
    COMMAND_PINNED, /* one of its own from then on */
};

/* What a command has to do with the cache of scripts. */
enum command_script {
    SCRIPT_NONE,
    SCRIPT_BODY, /* EVAL and its like bring a script and run it */
    SCRIPT_LOAD, /* ... brings one */
    SCRIPT_SHA,  /* EVALSHA and its like run one that the server has */
    SCRIPT_FLUSH,
};

/* Whether a replica may be asked it in the primary's place: the number of a bit in the masks of
 * those that may. */
enum command_replica {
    REPLICA_NEVER,
    REPLICA_BLIND, /* neither: its answer shows nothing of the data */
    REPLICA_READS, /* wherever replicas are read from */
    REPLICA_OPTED, /* from here on: if replica-commands names it, each with a bit of its own */
};

struct command {
    const char *name; /* lower case, "client|kill" for a sub-command */
    enum command_class cls;
    enum command_link link;
    bool may_block;       /* the reply may wait for something that others do */
    bool forgeable;       /* runs a user's program, which can make the reply look like any error */
    uint16_t number : 11; /* of its row, from 1 on; 0: it has none */
    uint16_t replica : 5; /* see enum command_replica */
    enum command_script script;
};

/* It asks one thing of any link of the profile, gets one answer, and leaves nothing behind. */
static inline bool command_is_plain(const struct command *c)
{
    return c->link == COMMAND_SHARED && c->cls <= COMMAND_SCRIPT && c->script == SCRIPT_NONE;
}

/* What is returned for a command that the table does not have: "unknown", COMMAND_WRITE,
 * COMMAND_PINNED. */
extern const struct command command_unknown;

/* Builds the index. Once, at start, before any look-up and before threads. */
void command_init(void);

/* The command of a whole request; a sub-command by its second argument, names in any case. Never
 * NULL. XREAD and XREADGROUP block if BLOCK is among their options; where it can't be told from
 * the arguments kept, they are taken to block. */
const struct command *command_lookup(const struct args *args) NODISCARD;

/* As command_lookup for a request of which only the name has been looked at; NULL where the other
 * arguments matter, to what the command is or to what it does to the session. */
const struct command *command_lookup_plain(struct slice name) NODISCARD;

/* As command_lookup where only the first argument is known yet. A container whose sub-commands
 * differ is command_unknown; XREAD and XREADGROUP may block. */
const struct command *command_lookup_name(struct slice name) NODISCARD;

/* How many rows the table has, and that row's command. */
size_t command_count(void);
const struct command *command_numbered(size_t number);
/* True if the table has a row of that name, "name|sub" for a sub-command. */
bool command_is_known(struct slice whole) NODISCARD;
/* What becomes of that row where the server says that it writes, or that it blocks: a read that
 * writes is a write, what blocks takes a link of its own. NULL: the row as it is. Lives for ever.
 */
const struct command *command_stricter(size_t number, bool writes, bool blocks) NODISCARD;

/* True for AUTH, HELLO, SELECT and CLIENT SETNAME, whose success changes what the connection is. */
bool command_changes_profile(const struct command *command) NODISCARD;

/* The mask of commands that may go to a replica: all plain reads, and those named. */
uint32_t command_replica_mask(const struct config_commands *opted) NODISCARD;
static inline bool command_goes(const struct command *command, uint32_t mask)
{
    return (mask >> command->replica & 1) != 0;
}

/* True unless it may write, or leave something behind in the server: what a client may say that
 * only reads. */
bool command_only_reads(const struct command *command) NODISCARD;

/* True if running it twice does nothing that running it once does not: it may be sent again when
 * no reply came. Besides reads: what only sets up the session. */
bool command_repeatable(const struct command *command) NODISCARD;

#endif
