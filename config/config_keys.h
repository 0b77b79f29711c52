/* The table of keys, and values as text. Private to config/. */
#ifndef VEDETTE_CONFIG_CONFIG_KEYS_H
#define VEDETTE_CONFIG_CONFIG_KEYS_H

#include "config/config.h"

enum config_section { SECTION_PROXY, SECTION_SENTINEL, SECTION_SERVICE };
#define SECTION_KINDS 3

enum config_type {
    TYPE_COUNT,
    TYPE_DURATION,
    TYPE_SIZE,
    TYPE_BOOL,
    TYPE_LINKS,
    TYPE_DOUBT,
    TYPE_LEVEL,
    TYPE_READS,
    TYPE_CONSISTENCY,
    TYPE_VERIFY,
    TYPE_AUTH,
    TYPE_TLS_VERSION,
    TYPE_CLIENT_AUTH,
    TYPE_PROXIED,
    TYPE_MODE,
    TYPE_ADDRS,
    TYPE_MAP,
    TYPE_NETS,
    TYPE_COMMANDS,
    TYPE_READERS,
    TYPE_IDENTITIES,
    TYPE_TEXT,
    TYPE_PATH,
    TYPE_SECRET,
    TYPE_SECRET_FILE,
};

#define KEY_AUTO   1u
#define KEY_NO_ENV 2u /* no variable sets it */

/* A row of config_keys.def. */
struct config_key {
    enum config_section section;
    enum config_type type;
    const char *name;
    size_t offset; /* of the field in the struct of its section */
    const char *def;
    uint64_t min, max;
    unsigned flags;
    const char *help;
};

/* How many rows there are. */
enum {
    CONFIG_KEY_COUNT = 0
#define KEY(...) +1 /* NOLINT(bugprone-macro-parentheses): a term of the sum */
#include "config/config_keys.def"
#undef KEY
};
extern const struct config_key config_keys[CONFIG_KEY_COUNT];

/* Longest key and section name: inih cuts a longer one without a word. */
#define NAME_MAX_LEN 49
/* Longest value that is shown again; leaves room for its key in a line of a file. */
#define VALUE_MAX_LEN 180

/* NULL when the section has no such key. */
const struct config_key *config_key_find(enum config_section section, struct slice name);
/* "proxy", "sentinel", "service". */
const char *config_section_word(enum config_section section);
/* Where the key's value lies in the struct of its section. */
void *config_key_field(const struct config_key *key, void *section);
const void *config_key_field_const(const struct config_key *key, const void *section);
/* True if the key may be repeated. */
bool config_key_is_list(const struct config_key *key);
/* True if its value is kept as text. */
bool config_key_is_text(const struct config_key *key);
/* Appends what the key takes: "auto or 1..64", "yes or no". */
void config_key_allowed(const struct config_key *key, struct buf *out);

/* A parsed value: addr for addresses, map for pairs of them, net for networks, command for names of
 * commands, number for numbers, BOOL and words; text has nothing to parse. */
struct config_value {
    uint64_t number;
    struct addr addr;
    struct config_mapping map;
    struct addr_net net;
    struct slice command;     /* in the text that was parsed */
    struct slice identity[3]; /* the same: client's name, upstream name, path */
};

/* Parses text as a value of the key. False when it is none; *problem then gets the reason and what
 * to write instead. */
bool config_value_parse(const struct config_key *key, struct slice text, struct config_value *out,
                        struct buf *problem) NODISCARD;
/* Writes a value that config_value_parse gave to its field; those of lists are appended. Not for
 * text. */
void config_value_store(const struct config_key *key, const struct config_value *value,
                        void *section);
/* Appends the value of the key's field as it is written in a file. Not for lists and text. */
void config_value_format(const struct config_key *key, const void *section, struct buf *out);
/* How many values a list has, and the i-th as it is written in a file. */
size_t config_list_count(const struct config_key *key, const void *section);
void config_list_format(const struct config_key *key, const void *section, size_t i,
                        struct buf *out);

#endif
