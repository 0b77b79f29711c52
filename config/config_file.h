/* The lines of a configuration file, on their way to inih and back. Private to config/. */
#ifndef VEDETTE_CONFIG_CONFIG_FILE_H
#define VEDETTE_CONFIG_CONFIG_FILE_H

#include "config/config_draft.h"

/* inih 55 cuts long lines and names, joins indented lines to the key above and tells of no empty
 * section, all in silence. So each line is looked at before inih gets it: what it would misread is
 * reported and replaced by an empty line. */
struct config_file {
    struct draft *draft;
    const char *label;             /* its name in messages */
    struct slice rest;             /* not read yet */
    size_t line;                   /* number of the last line given out; from 1 */
    struct draft_section *section; /* NULL: before the first, or in one that was refused */
    bool in_section;               /* some section has begun */
    bool cut;                      /* a comment follows the value in this line */
};

/* Skips a byte order mark. label and text outlive the struct. */
void config_file_open(struct config_file *f, struct draft *d, const char *label, struct slice text);
/* The next line as inih shall see it, without its end, NUL-terminated; cap is the room at out, NUL
 * included. False at the end of the file. */
bool config_file_next_line(struct config_file *f, char *out, size_t cap);
/* A key and its value, as inih read them from the line given out last. */
void config_file_pair(struct config_file *f, const char *name, const char *value);

#endif
