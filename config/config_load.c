/* From command line, environment and file to a configuration. The only user of inih. */
#include <ini.h>
#include <stdlib.h>
#include <string.h>

#include "config/config_args.h"
#include "config/config_file.h"
#include "config/config_parts.h"

static char *next_line(char *line, int cap, void *stream)
{
    return config_file_next_line(stream, line, (size_t)cap) ? line : NULL;
}

/* The section is known to config_file already: inih tells of none that is empty. */
static int on_pair(void *user, const char *section, const char *name, const char *value)
{
    (void)section;
    config_file_pair(user, name, value);
    return 1;
}

/* inih has had each line on the stack. */
static __attribute__((noinline)) void forget_lines(void)
{
    char room[4096];
    secure_wipe(room, sizeof room);
}

static void parse_text(struct draft *d, const char *label, struct slice text)
{
    struct config_file file;
    size_t errors = d->report->errors;
    config_file_open(&file, d, label, text);
    int line = ini_parse_stream(next_line, &file, on_pair, &file);
    if (line != 0 && d->report->errors == errors) {
        draft_lost(d, "%s:%d: not understood; write [section] or key = value", label, line);
    }
    forget_lines();
}

static void load_file(struct draft *d, const char *path)
{
    struct buf text = {0};
    char problem[READ_PROBLEM_MAX];
    char *label = config_printable_copy(path);
    if (config_read_whole(path, CONFIG_FILE_MAX, &text, problem)) {
        parse_text(d, label, buf_slice(&text));
    } else {
        draft_lost(d, "%s: bad configuration file: %s; check the path given as --config", label,
                   problem);
    }
    free(label);
    buf_wipe(&text); /* it may have passwords in it */
}

/* The name of the one service, from the highest level that has one. */
static void settle_services(struct draft *d, const struct config_args *args, char *const *environ)
{
    struct config_origin from = {LEVEL_FLAG, "--master"};
    const char *name = args->master;
    if (name == NULL) {
        name = config_env_master(environ);
        from = (struct config_origin){LEVEL_PLATFORM, "REDIS_SENTINEL_MASTER"};
    }
    draft_settle_services(d, name == NULL ? slice_of(NULL, 0) : slice_str(name), &from);
}

static struct config *load(const struct config_input *in, const struct config_args *args,
                           struct draft *d)
{
    if (in->file_text.p != NULL) {
        parse_text(d, in->file_name, in->file_text);
    } else if (args->config != NULL) {
        load_file(d, args->config);
    }
    settle_services(d, args, in->environ);
    config_env_apply(in, d);
    config_args_apply(args, d);
    struct config *config = config_build(d);
    config_check(config, in, d);
    if (d->report->errors > 0) {
        config_free(&config);
    }
    return config;
}

struct config *config_load(const struct config_input *in, enum config_action *action,
                           struct config_report *report)
{
    struct config *config = NULL;
    struct config_args args = {0};
    struct draft draft;
    draft_init(&draft, report);
    *action = config_args_parse(&args, in, &draft);
    if (*action != CONFIG_HELP && *action != CONFIG_VERSION) {
        config = load(in, &args, &draft);
    }
    config_args_free(&args);
    draft_free(&draft);
    return config;
}
