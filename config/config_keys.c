#include "config/config_keys.h"

#include "proxy/base/limits.h"

#define SECOND UINT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define KIB    UINT64_C(1024)
#define MIB    (1024 * KIB)
#define GIB    (1024 * MIB)

#define SECTION_OF_proxy    SECTION_PROXY
#define SECTION_OF_sentinel SECTION_SENTINEL
#define SECTION_OF_service  SECTION_SERVICE

const struct config_key config_keys[CONFIG_KEY_COUNT] = {
#define KEY(sect, word, kind, member, fallback, least, most, bits, text)                           \
    {.section = SECTION_OF_##sect,                                                                 \
     .type = TYPE_##kind,                                                                          \
     .name = (word),                                                                               \
     .offset = offsetof(struct config_##sect, member),                                             \
     .def = (fallback),                                                                            \
     .min = (least),                                                                               \
     .max = (most),                                                                                \
     .flags = (bits),                                                                              \
     .help = (text)},
#include "config/config_keys.def"
#undef KEY
};

/* Each field has the C type that its row's type is stored as. */
#define C_TYPE_COUNT       uint32_t
#define C_TYPE_DURATION    uint64_t
#define C_TYPE_SIZE        uint64_t
#define C_TYPE_BOOL        bool
#define C_TYPE_LINKS       enum config_links
#define C_TYPE_DOUBT       enum config_doubt
#define C_TYPE_LEVEL       enum log_level
#define C_TYPE_READS       enum config_reads
#define C_TYPE_CONSISTENCY enum config_consistency
#define C_TYPE_VERIFY      enum config_tls_verify
#define C_TYPE_AUTH        enum config_tls_auth
#define C_TYPE_TLS_VERSION enum config_tls_version
#define C_TYPE_CLIENT_AUTH enum config_client_auth
#define C_TYPE_PROXIED     enum config_proxied
#define C_TYPE_MODE        uint32_t
#define C_TYPE_ADDRS       struct config_addrs
#define C_TYPE_MAP         struct config_mappings
#define C_TYPE_NETS        struct config_nets
#define C_TYPE_COMMANDS    struct config_commands
#define C_TYPE_READERS     struct config_commands
#define C_TYPE_IDENTITIES  struct config_identities
#define C_TYPE_TEXT        char *
#define C_TYPE_PATH        char *
#define C_TYPE_SECRET      struct secret *
#define C_TYPE_SECRET_FILE struct secret *
#define KEY(section, name, type, field, ...)                                                       \
    _Static_assert(                                                                                \
        _Generic(((struct config_##section *)0)->field, C_TYPE_##type : 1, default : 0) == 1,      \
        name ": field and type differ");                                                           \
    _Static_assert(sizeof(name) <= NAME_MAX_LEN + 1, name ": too long for inih");
#include "config/config_keys.def"
#undef KEY

const struct config_key *config_key_find(enum config_section section, struct slice name)
{
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        if (config_keys[i].section == section && slice_eq(name, slice_str(config_keys[i].name))) {
            return &config_keys[i];
        }
    }
    return NULL;
}

bool config_key_is_list(const struct config_key *key)
{
    return key->type == TYPE_ADDRS || key->type == TYPE_MAP || key->type == TYPE_NETS ||
           key->type == TYPE_COMMANDS || key->type == TYPE_READERS || key->type == TYPE_IDENTITIES;
}

bool config_key_is_text(const struct config_key *key)
{
    return key->type == TYPE_TEXT || key->type == TYPE_PATH || key->type == TYPE_SECRET ||
           key->type == TYPE_SECRET_FILE;
}

const char *config_section_word(enum config_section section)
{
    switch (section) {
    case SECTION_PROXY: return "proxy";
    case SECTION_SENTINEL: return "sentinel";
    case SECTION_SERVICE: return "service";
    }
    UNREACHABLE("config section");
}

void *config_key_field(const struct config_key *key, void *section)
{
    return (char *)section + key->offset;
}

const void *config_key_field_const(const struct config_key *key, const void *section)
{
    return (const char *)section + key->offset;
}
