/* The command line and the environment: a line of the input each, those with VEDETTE_ or REDIS_ at
 * their beginning are variables. Whatever they are: either there are errors or there is a
 * configuration; nothing said has a control character; a secret is never shown, and is overwritten
 * where it was given. */
#include <stdlib.h>
#include <string.h>

#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define WORDS_MAX 24
#define SECRET    "hunter2"

struct words {
    char *v[WORDS_MAX + 1];
    int count;
};

static void add(struct words *to, struct slice text)
{
    if (to->count < WORDS_MAX) {
        to->v[to->count] = calloc(1, text.n + 1);
        CHECK(to->v[to->count] != NULL);
        memcpy(to->v[to->count++], text.p, text.n);
    }
}

static void split(struct slice text, struct words *args, struct words *env)
{
    add(args, slice_str("vedette"));
    for (size_t at = 0; at < text.n;) {
        const char *line = text.p + at;
        const char *end = memchr(line, '\n', text.n - at);
        size_t n = end == NULL ? text.n - at : (size_t)(end - line);
        struct slice word = slice_of(line, n);
        bool variable = slice_starts_with(word, "VEDETTE_") || slice_starts_with(word, "REDIS_");
        add(variable ? env : args, word);
        at += n + 1;
    }
}

static bool free_of_secrets(const struct words *words)
{
    for (int i = 0; i < words->count; i++) {
        if (strstr(words->v[i], SECRET) != NULL) {
            return false;
        }
    }
    return true;
}

static void release(struct words *words)
{
    for (int i = 0; i < words->count; i++) {
        free(words->v[i]);
    }
}

/* What is said of the configuration, and it itself as it would be printed. */
static bool load(const struct config_input *in, struct buf *said)
{
    struct config_report report = {0};
    enum config_action action;
    struct config *config = config_load(in, &action, &report);
    bool loaded = config != NULL;
    bool asks = action == CONFIG_HELP || action == CONFIG_VERSION;
    CHECK(loaded == (report.errors == 0 && !asks));
    for (size_t i = 0; i < report.count; i++) {
        CHECK(strpbrk(report.v[i].text, "\n\r\033") == NULL);
        buf_append_str(said, report.v[i].text);
    }
    if (loaded) {
        config_print(config, said);
    }
    config_free(&config);
    config_report_free(&report);
    return loaded;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0 && (memmem(data, size, "-file", 5) != NULL || memmem(data, size, "_FILE", 5) ||
                     memmem(data, size, "--config", 8) != NULL)) {
        return -1; /* would read files of this machine, or wait for a pipe */
    }
    struct words args = {0}, env = {0};
    struct buf said = {0};
    split(slice_of((const char *)data, size), &args, &env);
    bool clean = free_of_secrets(&args) && free_of_secrets(&env);
    if (size % 2 == 0) {
        add(&args, slice_str("--set"));
        add(&args, slice_str("sentinel.password=" SECRET));
    } else {
        add(&env, slice_str("VEDETTE_PASSWORD=" SECRET));
    }
    struct config_input in = {
        .argc = args.count, .argv = args.v, .environ = env.v, .hide_secrets = true};
    bool loaded = load(&in, &said);
    CHECK(!clean || buf_len(&said) == 0 ||
          memmem(buf_head(&said), buf_len(&said), SECRET, strlen(SECRET)) == NULL);
    CHECK(!clean || !loaded || (free_of_secrets(&args) && free_of_secrets(&env)));
    release(&args);
    release(&env);
    buf_release(&said);
    return 0;
}
