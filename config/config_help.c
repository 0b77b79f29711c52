/* --help and the option table of README.md, both from the table of keys. */
#include <string.h>

#include "config/config_args.h"

#define HELP_COLUMN 24
#define HELP_WIDTH  80

/* Text in words from HELP_COLUMN to HELP_WIDTH; the cursor is at column `at`. */
static void put_wrapped(const char *text, size_t at, struct buf *out)
{
    size_t column = at;
    while (*text != '\0') {
        size_t word = strcspn(text, " ");
        if (column > HELP_COLUMN && column + 1 + word > HELP_WIDTH) {
            buf_append_str(out, "\n");
            column = 0;
        }
        if (column < HELP_COLUMN) {
            buf_printf(out, "%*s", (int)(HELP_COLUMN - column), "");
            column = HELP_COLUMN;
        } else if (column > HELP_COLUMN) {
            buf_append_str(out, " ");
            column++;
        }
        buf_append(out, slice_of(text, word));
        column += word;
        text += word;
        text += strspn(text, " ");
    }
    buf_append_str(out, "\n");
}

/* An entry: its name, then the text in the second column, on the next line if the name is long. */
static void put_entry(const char *name, const char *text, struct buf *out)
{
    size_t n = strlen(name) + 2;
    buf_printf(out, "  %s%s", name, n + 2 > HELP_COLUMN ? "\n" : "");
    put_wrapped(text, n + 2 > HELP_COLUMN ? 0 : n, out);
}

static void put_flags(struct buf *out)
{
    for (size_t i = 0; i < FLAG_COUNT; i++) {
        const struct config_flag *flag = &config_flags[i];
        struct buf name = {0};
        buf_printf(&name, "%s%s%s%c", flag->name, flag->value == NULL ? "" : " ",
                   flag->value == NULL ? "" : flag->value, '\0');
        put_entry(buf_head(&name), flag->help, out);
        buf_release(&name);
    }
}

static void put_keys(enum config_section section, struct buf *out)
{
    buf_printf(out, "\n[%s%s]%s\n", config_section_word(section),
               section == SECTION_SERVICE ? " NAME" : "",
               section == SECTION_SENTINEL
                   ? ", and [sentinel NAME] for services that say sentinel = NAME"
                   : "");
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        const struct config_key *key = &config_keys[i];
        struct buf text = {0};
        if (key->section != section) {
            continue;
        }
        buf_printf(&text, "%s (", key->help);
        config_key_allowed(key, &text);
        if (key->def != NULL) {
            buf_printf(&text, "; default %s", key->def);
        }
        buf_append(&text, slice_of(")", 2)); /* with its NUL */
        put_entry(key->name, buf_head(&text), out);
        buf_release(&text);
    }
}

void config_help(struct buf *out)
{
    buf_append_str(out, "vedette: a Sentinel-aware high-availability proxy for Redis and Valkey\n\n"
                        "usage: vedette [--config FILE] [--sentinel HOST:PORT]... [--master NAME]\n"
                        "               [--listen ADDR]... [--set SECTION.KEY=VALUE]... [--check]\n"
                        "               [--print-config] [--version] [--help]\n\n");
    put_flags(out);
    buf_append_str(
        out, "\nA flag beats the environment, the environment beats the file, the file beats\n"
             "the default; a list replaces a list. Exit codes: 0 clean, 1 failed at run time,\n"
             "2 bad usage or configuration.\n"
             "\nEnvironment: VEDETTE_PROXY_<KEY>, VEDETTE_SENTINEL_<KEY>, and VEDETTE_<KEY> for\n"
             "the one service, with '_' for '-': VEDETTE_PROXY_WORKERS=2. Several addresses\n"
             "are separated by commas. REDIS_SENTINEL_HOST, REDIS_SENTINEL_PORT and\n"
             "REDIS_SENTINEL_MASTER are read too.\n"
             "\nA file has the sections and keys below, one key = value a line. A comment\n"
             "begins with '#' or ';', behind a value with ' ;'. Durations: 250ms, 5s, 2m, 1h;\n"
             "sizes: 64k, 16m. A service has the name that the Sentinels give its primary.\n");
    for (size_t section = 0; section < SECTION_KINDS; section++) {
        put_keys((enum config_section)section, out);
    }
}

void config_option_table(struct buf *out)
{
    buf_append_str(out, "| Section | Key | Default | Allowed | Meaning |\n"
                        "|---|---|---|---|---|\n");
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        const struct config_key *key = &config_keys[i];
        const char *tick = key->def == NULL ? "" : "`";
        buf_printf(out, "| `[%s%s]` | `%s` | %s%s%s | ", config_section_word(key->section),
                   key->section == SECTION_SERVICE ? " NAME" : "", key->name, tick,
                   key->def == NULL ? "" : key->def, tick);
        config_key_allowed(key, out);
        buf_printf(out, " | %s |\n", key->help);
    }
}
