#include "proxy/base/file_stamp.h"

#include <string.h>
#include <sys/stat.h>

void file_stamp_look(const char *path, struct file_stamp *out)
{
    struct stat st;
    memset(out, 0, sizeof *out);
    if (path != NULL && stat(path, &st) == 0) {
        out->dev = st.st_dev;
        out->ino = st.st_ino;
        out->size = st.st_size;
        out->changed = st.st_ctim; /* which also tells that it may be read at last */
    }
}

void file_watch_begin(struct file_watch *w, const char *path)
{
    file_stamp_look(path, &w->loaded);
    memcpy(&w->seen, &w->loaded, sizeof w->seen);
}

bool file_watch_changed(struct file_watch *w, const char *path)
{
    struct file_stamp now;
    file_stamp_look(path, &now);
    bool still = memcmp(&now, &w->seen, sizeof now) == 0;
    memcpy(&w->seen, &now, sizeof now);
    return still && memcmp(&now, &w->loaded, sizeof now) != 0;
}
