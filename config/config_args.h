/* The command line. Private to config/. */
#ifndef VEDETTE_CONFIG_CONFIG_ARGS_H
#define VEDETTE_CONFIG_CONFIG_ARGS_H

#include "config/config_draft.h"

enum flag_id {
    FLAG_CONFIG,
    FLAG_SENTINEL,
    FLAG_MASTER,
    FLAG_LISTEN,
    FLAG_SET,
    FLAG_CHECK,
    FLAG_PRINT,
    FLAG_VERSION,
    FLAG_HELP,
};
#define FLAG_COUNT 9

struct config_flag {
    const char *name;  /* with its dashes */
    const char *value; /* what to call its value; NULL: it takes none */
    const char *help;
};
/* In the order of enum flag_id, which is that of --help. */
extern const struct config_flag config_flags[FLAG_COUNT];

/* A flag that sets a key; slices point into argv. */
struct config_arg_set {
    char *where;          /* "--listen", "--set proxy.workers" */
    struct slice section; /* p NULL: the one service */
    struct slice key, value;
    char *hide; /* where the value lies in argv; NULL: it stays */
};

/* Zero-initialised is empty; pointers but sets lie in argv. */
struct config_args {
    const char *config; /* NULL: no file */
    const char *master; /* NULL: not given */
    bool check, print;
    struct config_arg_set *sets;
    size_t set_count;
};

/* Reads the command line into *args. With --help or --version nothing else is looked at. */
enum config_action config_args_parse(struct config_args *args, const struct config_input *in,
                                     struct draft *d);
/* Takes down what the flags set, once all sections are known. */
void config_args_apply(const struct config_args *args, struct draft *d);
void config_args_free(struct config_args *args);

#endif
