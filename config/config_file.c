#include "config/config_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHERE_MAX 512

void config_file_open(struct config_file *f, struct draft *d, const char *label, struct slice text)
{
    *f = (struct config_file){.draft = d, .label = label, .rest = text};
    if (slice_starts_with(text, "\xef\xbb\xbf")) {
        f->rest = slice_of(text.p + 3, text.n - 3);
    }
}

static const char *where_is(const struct config_file *f, size_t line, char out[WHERE_MAX])
{
    (void)snprintf(out, WHERE_MAX, "%.*s:%zu", WHERE_MAX - 32, f->label, line);
    return out;
}

static void refuse(const struct config_file *f, const char *what)
{
    char where[WHERE_MAX];
    draft_lost(f->draft, "%s: %s", where_is(f, f->line, where), what);
}

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct slice trim(struct slice s)
{
    while (s.n > 0 && blank(s.p[0])) {
        s = slice_of(s.p + 1, s.n - 1);
    }
    while (s.n > 0 && blank(s.p[s.n - 1])) {
        s.n--;
    }
    return s;
}

/* Where the first of the two characters or a comment (';' behind a blank) begins; s.n: nowhere. */
static size_t find_any(struct slice s, char one, char other)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] == one || s.p[i] == other || (s.p[i] == ';' && i > 0 && blank(s.p[i - 1]))) {
            return i;
        }
    }
    return s.n;
}

static void unknown_section(struct config_file *f, struct slice text, struct slice word,
                            struct slice name)
{
    static const char *const kinds[] = {"proxy", "sentinel", "service"};
    char where[WHERE_MAX];
    const char *meant = config_suggest(word, kinds, ARRAY_LEN(kinds));
    (void)where_is(f, f->line, where);
    if (meant != NULL && strcmp(meant, "service") == 0) {
        struct slice shown = name.n > 0 ? name : slice_str("NAME");
        draft_lost(f->draft, "%s: unknown section [%.*s]; did you mean [service %.*s]?", where,
                   (int)text.n, text.p, (int)shown.n, shown.p);
    } else if (meant != NULL) {
        draft_lost(f->draft, "%s: unknown section [%.*s]; did you mean [%s]?", where, (int)text.n,
                   text.p, meant);
    } else {
        draft_lost(f->draft,
                   "%s: unknown section [%.*s]; there are [proxy], [sentinel] and [service NAME]",
                   where, (int)text.n, text.p);
    }
}

static void open_named(struct config_file *f, enum config_section kind, struct slice name,
                       const char *where)
{
    const char *problem = config_name_problem(kind, name);
    if (problem != NULL) {
        draft_lost(f->draft, "%s: bad name in [%s%s%.*s]: %s", where, config_section_word(kind),
                   name.n > 0 ? " " : "", (int)name.n, name.p, problem);
        return;
    }
    f->section = draft_add(f->draft, kind, name, where);
}

/* The kind that a section's first word says; SECTION_KINDS: none. */
static size_t kind_of(struct slice word)
{
    size_t kind = 0;
    while (kind < SECTION_KINDS &&
           !slice_eq(word, slice_str(config_section_word((enum config_section)kind)))) {
        kind++;
    }
    return kind;
}

static void open_section(struct config_file *f, struct slice text)
{
    size_t end = 0;
    while (end < text.n && !blank(text.p[end])) {
        end++;
    }
    struct slice word = slice_of(text.p, end);
    struct slice name = trim(slice_of(text.p + end, text.n - end));
    size_t kind = kind_of(word);
    char where[WHERE_MAX];
    (void)where_is(f, f->line, where);
    if (kind == SECTION_KINDS) {
        unknown_section(f, text, word, name);
        return;
    }
    if (kind == SECTION_PROXY && name.n > 0) {
        draft_lost(f->draft, "%s: unknown section [%.*s]; there is one [%.*s], without a name",
                   where, (int)text.n, text.p, (int)word.n, word.p);
        return;
    }
    struct draft_section *known = draft_find(f->draft, (enum config_section)kind, name);
    if (known == NULL) {
        open_named(f, (enum config_section)kind, name, where);
        return;
    }
    f->section = known;
    if (known->where != NULL) {
        config_report_add(f->draft->report, CONFIG_ERROR,
                          "%s: duplicate section [%s]; the first is %s; put their keys into one",
                          where, known->label, known->where);
    } else {
        known->where = xstrdup(where);
    }
}

/* True if inih may see the line. */
static bool check_section(struct config_file *f, struct slice line)
{
    f->section = NULL;
    f->in_section = true;
    size_t close = find_any(line, ']', ']');
    if (close == line.n || line.p[close] != ']') {
        refuse(f, "'[' without ']'; write [proxy], [sentinel] or [service NAME]");
        return false;
    }
    struct slice text = slice_of(line.p + 1, close - 1);
    struct slice behind = trim(slice_of(line.p + close + 1, line.n - close - 1));
    if (text.n > NAME_MAX_LEN) {
        refuse(f, "the name of the section is longer than 49 characters; shorten it");
        return false;
    }
    if (behind.n > 0 && behind.p[0] != ';' && behind.p[0] != '#') {
        refuse(f, "text behind ']'; put it on a line of its own");
        return false;
    }
    open_section(f, trim(text));
    return true;
}

static bool has_blank(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (blank(s.p[i])) {
            return true;
        }
    }
    return false;
}

/* True if inih may see the line. Its text is not shown: it may hold a secret. */
static bool check_pair(struct config_file *f, struct slice line)
{
    size_t sep = find_any(line, '=', ':');
    struct slice name = trim(slice_of(line.p, sep));
    if (sep == line.n || line.p[sep] == ';' || (line.p[sep] == ':' && has_blank(name))) {
        refuse(f, "no '=' in the line; write key = value");
        return false;
    }
    if (name.n == 0 || has_blank(name)) {
        refuse(f, name.n == 0 ? "no key before the '='; write key = value"
                              : "a key has no spaces; write key = value");
        return false;
    }
    if (name.n > NAME_MAX_LEN) {
        refuse(f, "the key is longer than 49 characters; vedette --help lists them all");
        return false;
    }
    if (!f->in_section) {
        refuse(f, "a key before the first section; put it below [proxy], [sentinel] or "
                  "[service NAME]");
        return false;
    }
    struct slice value = slice_of(line.p + sep + 1, line.n - sep - 1);
    f->cut = find_any(value, '\0', '\0') < value.n;
    return true;
}

static bool has_control(struct slice line)
{
    for (size_t i = 0; i < line.n; i++) {
        if (((unsigned char)line.p[i] < ' ' && line.p[i] != '\t') || line.p[i] == 0x7f) {
            return true;
        }
    }
    return false;
}

/* True if inih may see the line; max is the longest that it takes whole. */
static bool check_line(struct config_file *f, struct slice line, size_t max)
{
    struct slice text = trim(line);
    if (has_control(line)) {
        refuse(f, memchr(line.p, '\0', line.n) != NULL
                      ? "a NUL byte; a configuration is plain text"
                      : "a control character; a configuration is plain text");
        return false;
    }
    if (text.n == 0 || text.p[0] == ';' || text.p[0] == '#') {
        return false;
    }
    if (line.n > max) {
        char what[96];
        (void)snprintf(what, sizeof what, "the line is longer than %zu bytes; shorten it%s", max,
                       text.p[0] == '[' ? "" : ", or put a secret into a file");
        refuse(f, what);
        return false;
    }
    if (blank(line.p[0])) {
        refuse(f, "the line is indented, which would make it part of the line above; begin it in "
                  "the first column");
        return false;
    }
    return line.p[0] == '[' ? check_section(f, line) : check_pair(f, line);
}

bool config_file_next_line(struct config_file *f, char *out, size_t cap)
{
    if (f->rest.n == 0) {
        return false;
    }
    const char *end = memchr(f->rest.p, '\n', f->rest.n);
    struct slice line = slice_of(f->rest.p, end == NULL ? f->rest.n : (size_t)(end - f->rest.p));
    size_t taken = line.n + (end == NULL ? 0 : 1);
    f->rest = slice_of(f->rest.p + taken, f->rest.n - taken);
    f->line++;
    f->cut = false;
    if (line.n > 0 && line.p[line.n - 1] == '\r') {
        line.n--;
    }
    if (!check_line(f, line, cap - 1)) {
        line.n = 0;
    }
    memcpy(out, line.p, line.n);
    out[line.n] = '\0';
    return true;
}

/* NULL, or why the value is not what was meant although inih read it well. */
static const char *suspicious(const struct config_file *f, const struct config_key *key,
                              const char *value)
{
    size_t n = strlen(value);
    if (f->cut && key->type == TYPE_SECRET) {
        return "what follows ' ;' is a comment and would be missing; write it into a file and "
               "give its path as password-file";
    }
    if (f->cut && n == 0) {
        return "it is empty, because what follows ' ;' is a comment";
    }
    if (key->type == TYPE_SECRET && (strstr(value, " #") != NULL || strstr(value, "\t#") != NULL)) {
        return "' #' begins no comment and would be part of it; if it is, write it into a file "
               "and give its path as password-file";
    }
    if (key->type == TYPE_SECRET && n > 1 && (value[0] == '"' || value[0] == '\'') &&
        value[n - 1] == value[0]) {
        return "leave out the quotes; if they are part of it, write it into a file and give its "
               "path as password-file";
    }
    if (key->type != TYPE_SECRET && (strstr(value, " #") != NULL || strstr(value, "\t#") != NULL)) {
        return "a comment behind a value begins with ' ;', not with '#'";
    }
    return NULL;
}

void config_file_pair(struct config_file *f, const char *name, const char *value)
{
    char where[WHERE_MAX];
    if (f->section == NULL) {
        return; /* its section was refused, and said so */
    }
    (void)where_is(f, f->line, where);
    const struct config_key *key = draft_key(f->draft, f->section, slice_str(name), where);
    if (key == NULL) {
        return;
    }
    struct config_origin from = {LEVEL_FILE, where};
    const char *problem = suspicious(f, key, value);
    if (problem != NULL) {
        config_report_add(f->draft->report, CONFIG_ERROR, "%s: bad value of '%s' in [%s]: %s",
                          where, key->name, f->section->label, problem);
        draft_set_bad(f->section, key, &from);
        return;
    }
    draft_set(f->draft, f->section, key, &from, slice_str(value));
}
