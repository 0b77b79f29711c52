/* Whether a file has changed since it was read, as far as stat tells. */
#ifndef VEDETTE_BASE_FILE_STAMP_H
#define VEDETTE_BASE_FILE_STAMP_H

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

/* All zero, padding too, so that they may be compared as bytes: it is not there. */
struct file_stamp {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec changed;
};

/* path may be NULL: as if it were not there. */
void file_stamp_look(const char *path, struct file_stamp *out);

/* A file that is to be read again once it has changed. Zero-initialised is one never read. */
struct file_watch {
    struct file_stamp loaded, seen;
};

/* To be called before the file is read: what changes meanwhile is a change. */
void file_watch_begin(struct file_watch *w, const char *path);
/* True if it differs from what was read, and stands still since the last look. */
bool file_watch_changed(struct file_watch *w, const char *path);

#endif
