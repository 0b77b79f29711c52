/* Loads a configuration from text and compares what is said about it, to the letter. */
#ifndef VEDETTE_TESTS_UNIT_CONFIG_CONFIG_TEST_H
#define VEDETTE_TESTS_UNIT_CONFIG_CONFIG_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config/config.h"

#define ARGS_MAX 8

/* One configuration and everything that is to be said about it: a line for each remark, with "E ",
 * "W " or "N " for error, warning and notice before it. */
struct config_case {
    const char *file; /* NULL: none; v.ini in messages */
    const char *args[ARGS_MAX];
    const char *env[ARGS_MAX];
    uint64_t fd_limit;
    const char *said;
};

/* Enough for the checks that are not about it. */
#define SENTINEL_LINES "[sentinel]\naddress = s1:26379\n"

struct loaded {
    struct config *config;
    enum config_action action;
    struct config_report report;
};

static inline struct loaded load_case(const struct config_case *c)
{
    char *argv[ARGS_MAX + 1] = {xstrdup("vedette")};
    char *environ_copy[ARGS_MAX + 1] = {0};
    struct loaded l = {0};
    struct config_input in = {.argc = 1, .argv = argv, .environ = environ_copy};
    for (size_t i = 0; i < ARGS_MAX && c->args[i] != NULL; i++) {
        argv[in.argc++] = xstrdup(c->args[i]);
    }
    for (size_t i = 0; i < ARGS_MAX && c->env[i] != NULL; i++) {
        environ_copy[i] = xstrdup(c->env[i]);
    }
    in.fd_limit = c->fd_limit;
    in.file_name = "v.ini";
    in.file_text = c->file == NULL ? slice_of(NULL, 0) : slice_str(c->file);
    l.config = config_load(&in, &l.action, &l.report);
    for (size_t i = 0; i <= ARGS_MAX; i++) {
        free(argv[i]);
        free(environ_copy[i]);
    }
    return l;
}

static inline void free_loaded(struct loaded *l)
{
    config_free(&l->config);
    config_report_free(&l->report);
}

static inline void text_of_report(const struct config_report *report, struct buf *out)
{
    for (size_t i = 0; i < report->count; i++) {
        buf_printf(out, "%c %s\n", "EWN"[report->v[i].severity], report -> v[i].text);
    }
    buf_append(out, slice_of("", 1));
}

static inline void check_case(const struct config_case *c)
{
    struct loaded l = load_case(c);
    struct buf said = {0};
    size_t errors = 0;
    text_of_report(&l.report, &said);
    assert_string_equal(buf_head(&said), c->said);
    for (size_t i = 0; i < l.report.count; i++) {
        errors += l.report.v[i].severity == CONFIG_ERROR;
    }
    assert_int_equal(errors, l.report.errors);
    assert_int_equal(l.config == NULL, errors > 0);
    buf_release(&said);
    free_loaded(&l);
}

/* Loads a case that must be good. */
static inline struct loaded load_good(const struct config_case *c)
{
    struct loaded l = load_case(c);
    struct buf said = {0};
    text_of_report(&l.report, &said);
    assert_string_equal(buf_head(&said), c->said == NULL ? "" : c->said);
    assert_non_null(l.config);
    buf_release(&said);
    return l;
}

/* It is one password alone. */
static inline void assert_password(struct secret *s, const char *text)
{
    struct passwords p;
    assert_non_null(s);
    secret_passwords(s, &p);
    assert_int_equal(p.count, 1);
    assert_string_equal(p.v[0], text);
    passwords_wipe(&p);
}

static inline void check_cases(const struct config_case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        check_case(&cases[i]);
    }
}

#endif
