/* The launcher: reads the configuration, says what is wrong with it, or serves. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "config/config.h"
#include "proxy/base/log.h"
#include "proxy/command.h"
#include "proxy/server.h"

#define EXIT_RUNTIME 1
#define EXIT_USAGE   2

extern char **environ;

static const char *severity_word(enum config_severity severity)
{
    switch (severity) {
    case CONFIG_ERROR: return "error";
    case CONFIG_WARNING: return "warning";
    case CONFIG_NOTICE: return "notice";
    }
    UNREACHABLE("severity");
}

static void print_report(const struct config_report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        (void)fprintf(stderr, "vedette: %s: %s\n", severity_word(report->v[i].severity),
                      report->v[i].text);
    }
}

/* Writes what was asked for to stdout; a full or closed stdout is a runtime error. */
static int print(void (*make)(struct buf *out), const struct config *config)
{
    struct buf out = {0};
    if (config != NULL) {
        config_print(config, &out);
    } else {
        make(&out);
    }
    size_t n = buf_len(&out);
    bool written = fwrite(buf_head(&out), 1, n, stdout) == n && fflush(stdout) == 0;
    buf_release(&out);
    return written ? 0 : EXIT_RUNTIME;
}

static void put_version(struct buf *out)
{
    buf_append_str(out, "vedette " VEDETTE_VERSION "\n");
}

static void put_good(struct buf *out)
{
    buf_append_str(out, "vedette: the configuration is good\n");
}

static int act(enum config_action action, const struct config *config)
{
    switch (action) {
    case CONFIG_RUN:
        log_set_level(config->proxy.log_level);
        command_init();
        return server_run(config);
    case CONFIG_CHECK: return print(put_good, NULL);
    case CONFIG_PRINT: return print(NULL, config);
    case CONFIG_VERSION: return print(put_version, NULL);
    case CONFIG_HELP: return print(config_help, NULL);
    }
    UNREACHABLE("action");
}

int main(int argc, char **argv)
{
    struct config_input in = {
        .argc = argc, .argv = argv, .environ = environ, .fd_limit = config_raise_fd_limit()};
    struct config_report report = {0};
    enum config_action action;
    struct config *config = config_load(&in, &action, &report);
    print_report(&report);
    int status = report.errors > 0 ? EXIT_USAGE : act(action, config);
    config_report_free(&report);
    config_free(&config);
    return status;
}
