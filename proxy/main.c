/* The launcher: reads the configuration, says what is wrong with it, or serves. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "config/config.h"
#include "proxy/base/log.h"
#include "proxy/command.h"
#include "proxy/denied.h"
#include "proxy/privileges.h"
#include "proxy/server.h"
#include "sentinel/certificates.h"
#include "sentinel/credentials.h"

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

/* What the table of commands has to say of the configuration: config knows none. */
static void remark_commands(const struct config *config)
{
    for (size_t i = 0; i < config->service_count; i++) {
        const struct config_commands *shared = &config->services[i].shared_commands;
        for (size_t k = 0; k < shared->count; k++) {
            if (command_is_known(slice_str(shared->v[k]))) {
                (void)fprintf(
                    stderr,
                    "vedette: warning: [service %s]: '%s' in shared-commands does nothing: "
                    "Vedette knows this command and where it may go; leave it out\n",
                    config->services[i].name, shared->v[k]);
            }
        }
    }
}

/* Writes what was asked for to stdout; a full or closed stdout is a runtime error. */
static int print(struct slice text)
{
    bool written = fwrite(text.p, 1, text.n, stdout) == text.n && fflush(stdout) == 0;
    return written ? 0 : EXIT_RUNTIME;
}

static int act(enum config_action action, const struct config *config,
               struct certificates *certificates, struct credentials *credentials,
               const struct privileges *privileges)
{
    struct buf out = {0};
    switch (action) {
    case CONFIG_RUN:
        if (config->proxy.core_dumps) {
            privileges_allow_dumps();
        }
        remark_commands(config);
        log_set_level(config->proxy.log_level);
        return server_run(config, certificates, credentials, privileges);
    case CONFIG_CHECK:
        remark_commands(config);
        buf_append_str(&out, "vedette: the configuration is good\n");
        break;
    case CONFIG_PRINT: config_print(config, &out); break;
    case CONFIG_VERSION: buf_append_str(&out, "vedette " VEDETTE_VERSION "\n"); break;
    case CONFIG_HELP: config_help(&out); break;
    }
    int status = print(buf_slice(&out));
    buf_release(&out);
    return status;
}

int main(int argc, char **argv)
{
    privileges_seal();
    struct config_input in = {.argc = argc,
                              .argv = argv,
                              .environ = environ,
                              .fd_limit = config_raise_fd_limit(),
                              .hide_secrets = true};
    struct config_report report = {0};
    enum config_action action;
    struct config *config = config_load(&in, &action, &report);
    struct certificates *certificates = NULL;
    struct credentials *credentials = NULL;
    struct privileges privileges = {0};
    command_init();
    if (report.errors == 0 && (action == CONFIG_RUN || action == CONFIG_CHECK)) {
        denied_check(config, &report);
        certificates = certificates_load(config, &report);
        credentials = credentials_load(config, &report);
        privileges_find(&privileges, config, action == CONFIG_RUN, &report);
    }
    print_report(&report);
    int status = report.errors > 0 ? EXIT_USAGE
                                   : act(action, config, certificates, credentials, &privileges);
    privileges_free(&privileges);
    credentials_free(&credentials);
    certificates_free(&certificates);
    config_report_free(&report);
    config_free(&config);
    return status;
}
