/* --print-config: a file that loads again and says where each value came from. */
#include "config/config_parts.h"

static void put_where(const struct key_origin *origin, size_t i, struct buf *out)
{
    bool given = i < origin->count;
    buf_printf(out, "# %s%s%s%s\n", given ? "from " : "default", given ? origin->where[i] : "",
               origin->note == NULL ? "" : ", ", origin->note == NULL ? "" : origin->note);
}

static void put_list(const struct config_key *key, const struct section_origin *section,
                     const struct key_origin *origin, struct buf *out)
{
    for (size_t i = 0; i < config_list_count(key, section->section); i++) {
        put_where(origin, i, out);
        buf_printf(out, "%s = ", key->name);
        config_list_format(key, section->section, i, out);
        buf_append_str(out, "\n");
    }
}

/* What stands behind the '=' of a key with text; NULL: it is not set, or by another key. */
static const char *text_of(const struct config_key *key, const struct section_origin *section,
                           const struct key_origin *origin)
{
    if (origin->count == 0) {
        return NULL;
    }
    if (key->type == TYPE_SECRET) {
        return "********";
    }
    return key->type == TYPE_SECRET_FILE
               ? origin->path
               : *(char *const *)config_key_field_const(key, section->section);
}

static void put_key(const struct config_key *key, const struct section_origin *section,
                    const struct key_origin *origin, struct buf *out)
{
    if (config_key_is_list(key)) {
        put_list(key, section, origin, out);
        return;
    }
    if (config_key_is_text(key)) {
        const char *text = text_of(key, section, origin);
        if (text == NULL) {
            buf_printf(out, "# %s is not set\n", key->name);
            return;
        }
        put_where(origin, 0, out);
        buf_printf(out, "%s = %s\n", key->name, text);
        return;
    }
    put_where(origin, 0, out);
    buf_printf(out, "%s = ", key->name);
    config_value_format(key, section->section, out);
    buf_append_str(out, "\n");
}

void config_print(const struct config *config, struct buf *out)
{
    for (size_t i = 0; i < config->origins->count; i++) {
        const struct section_origin *section = &config->origins->v[i];
        buf_printf(out, "%s[%s]\n", i == 0 ? "" : "\n", section->label);
        for (size_t k = 0; k < CONFIG_KEY_COUNT; k++) {
            if (config_keys[k].section == section->kind) {
                put_key(&config_keys[k], section, &section->keys[k], out);
            }
        }
    }
}
