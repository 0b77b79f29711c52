/* The bytes are a configuration file. Whatever they are: either there are errors or there is a
 * configuration; what is printed of it loads again; and a secret is never shown. */
#include <stdlib.h>
#include <string.h>

#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SECRET "hunter2"

static struct config *load(struct slice text, struct buf *said)
{
    static char name[] = "vedette";
    char *argv[] = {name, NULL};
    struct config_input in = {.argc = 1, .argv = argv, .file_text = text, .file_name = "v.ini"};
    struct config_report report = {0};
    enum config_action action;
    struct config *config = config_load(&in, &action, &report);
    CHECK(action == CONFIG_RUN);
    CHECK((config == NULL) == (report.errors > 0));
    for (size_t i = 0; i < report.count; i++) {
        CHECK(strpbrk(report.v[i].text, "\n\r\033") == NULL);
        buf_append_str(said, report.v[i].text);
    }
    config_report_free(&report);
    return config;
}

static bool contains(const struct buf *b, const char *word)
{
    return buf_len(b) > 0 && memmem(buf_head(b), buf_len(b), word, strlen(word)) != NULL;
}

/* The input's last line becomes a password, so that it meets whatever the lines before it do. */
static void check_secret(const uint8_t *data, size_t size)
{
    static const char line[] = "\npassword = " SECRET "\npassword = " SECRET " ;x\n";
    struct buf text = {0}, said = {0};
    buf_append(&text, slice_of((const char *)data, size));
    bool free_of_it = !contains(&text, SECRET);
    buf_append_str(&text, line);
    struct config *config = load(buf_slice(&text), &said);
    if (config != NULL) {
        config_print(config, &said);
    }
    CHECK(!free_of_it || !contains(&said, SECRET));
    config_free(&config);
    buf_release(&text);
    buf_release(&said);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0 && memmem(data, size, "-file", 5) != NULL) {
        return -1; /* would read files of this machine, or wait for a pipe */
    }
    struct buf said = {0}, printed = {0};
    struct config *config = load(slice_of((const char *)data, size), &said);
    if (config != NULL) {
        config_print(config, &printed);
        config_free(&config);
        config = load(buf_slice(&printed), &said);
        CHECK(config != NULL);
        config_free(&config);
    }
    check_secret(data, size);
    buf_release(&said);
    buf_release(&printed);
    return 0;
}
