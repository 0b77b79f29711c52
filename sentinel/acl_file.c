#include "sentinel/acl_file.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/limits.h"

#define ERRORS_MAX 10u /* of one file: it may be of another kind altogether */

struct reader {
    const char *path;
    size_t line;
    size_t errors;
    struct config_report *report;
    struct acl *acl;
};

static bool is(struct slice word, const char *text)
{
    return slice_eq_nocase(word, text);
}

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* The next word of what is left of a line; n 0 at its end. */
static struct slice next_word(struct slice *rest)
{
    size_t from = 0;
    while (from < rest->n && blank(rest->p[from])) {
        from++;
    }
    size_t to = from;
    while (to < rest->n && !blank(rest->p[to])) {
        to++;
    }
    struct slice word = slice_of(rest->p + from, to - from);
    *rest = slice_of(rest->p + to, rest->n - to);
    return word;
}

static void bad(struct reader *r, const char *what, struct slice word)
{
    r->errors++;
    config_report_add(r->report, CONFIG_ERROR, "%s:%zu: %s%.*s%s", r->path, r->line, what,
                      (int)(word.n < 64 ? word.n : 64), word.n > 0 ? word.p : "",
                      word.n > 0 ? "'" : "");
}

static void bad_line(struct reader *r, const char *what)
{
    bad(r, what, slice_of(NULL, 0));
}

static size_t index_of(const struct acl_user *u, const unsigned char hash[SHA256_BYTES])
{
    size_t i = 0;
    while (i < u->count && !sha256_same(u->hashes[i], hash)) {
        i++;
    }
    return i;
}

static void add_hash(struct reader *r, struct acl_user *u, const unsigned char hash[SHA256_BYTES])
{
    u->nopass = false;
    if (index_of(u, hash) < u->count) {
        return;
    }
    if (u->count == ACL_PASSWORDS_MAX) {
        bad_line(r, "more passwords than a user may have; leave those out that nobody uses");
        return;
    }
    u->hashes = xrealloc(u->hashes, (u->count + 1) * sizeof *u->hashes);
    memcpy(u->hashes[u->count++], hash, SHA256_BYTES);
}

static void remove_hash(struct reader *r, struct acl_user *u,
                        const unsigned char hash[SHA256_BYTES])
{
    size_t i = index_of(u, hash);
    if (i == u->count) {
        bad_line(r, "a password is taken away that the user has not got; leave both out");
        return;
    }
    memmove(u->hashes[i], u->hashes[i + 1], (u->count - i - 1) * sizeof *u->hashes);
    u->count--;
}

static void reset_passwords(struct acl_user *u)
{
    u->nopass = false;
    u->count = 0;
}

static int digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; /* as Redis: no capitals */
}

static bool parse_hash(struct slice hex, unsigned char out[SHA256_BYTES])
{
    bool good = hex.n == (size_t)SHA256_BYTES * 2;
    for (size_t i = 0; i < SHA256_BYTES && good; i++) {
        int high = digit(hex.p[i * 2]), low = digit(hex.p[i * 2 + 1]);
        good = high >= 0 && low >= 0;
        out[i] = (unsigned char)(high * 16 + low);
    }
    return good;
}

/* >password <password #hash !hash */
static void take_password(struct reader *r, struct acl_user *u, struct slice word)
{
    unsigned char hash[SHA256_BYTES];
    struct slice rest = slice_of(word.p + 1, word.n - 1);
    bool plain = word.p[0] == '>' || word.p[0] == '<';
    if (plain && rest.n == 0) {
        bad_line(r, "an empty password; write it behind the '>', or nopass");
    } else if (plain && !sha256(rest, hash)) {
        bad_line(r, "this machine's OpenSSL computes no SHA-256");
    } else if (!plain && !parse_hash(rest, hash)) {
        bad_line(r, "behind '#' and '!' stands a SHA-256, 64 digits of 0-9 and a-f");
    } else if (word.p[0] == '>' || word.p[0] == '#') {
        add_hash(r, u, hash);
    } else {
        remove_hash(r, u, hash);
    }
}

static bool any_of(struct slice word, const char *const *words, size_t count)
{
    bool found = false;
    for (size_t i = 0; i < count; i++) {
        found = found || is(word, words[i]);
    }
    return found;
}

static bool begins_with(struct slice word, const char *signs)
{
    return strchr(signs, word.p[0]) != NULL; /* which is no NUL: the line has none */
}

static bool grants_all(struct slice word)
{
    static const char *const words[] = {"~*",    "allkeys",          "&*",
                                        "+@all", "allchannels",      "allcommands",
                                        "%rw~*", "sanitize-payload", "skip-sanitize-payload"};
    return any_of(word, words, ARRAY_LEN(words));
}

static bool limits(struct slice word)
{
    static const char *const words[] = {"resetkeys", "resetchannels", "nocommands",
                                        "clearselectors"};
    return begins_with(word, "+-~&%(") || any_of(word, words, ARRAY_LEN(words));
}

static void take_rule(struct reader *r, struct acl_user *u, struct slice word)
{
    if (is(word, "on") || is(word, "off")) {
        u->on = is(word, "on");
    } else if (is(word, "nopass")) {
        reset_passwords(u);
        u->nopass = true;
    } else if (is(word, "resetpass") || is(word, "reset")) {
        reset_passwords(u);
        u->on = u->on && is(word, "resetpass");
    } else if (begins_with(word, "><#!")) {
        take_password(r, u, word);
    } else if (limits(word) && !grants_all(word)) {
        bad(r,
            "commands, keys and channels are not limited here, but by the rights of the user at "
            "the server: leave this out, and name another such user in upstream-user: '",
            word);
    } else if (!grants_all(word)) {
        /* Perhaps a password without its sign: it is not shown. */
        bad_line(r, "a word that is none of on, off, >PASSWORD, #HASH, nopass, resetpass, reset");
    }
}

static struct acl_user *add_user(struct reader *r, struct slice name)
{
    struct acl *acl = r->acl;
    struct acl_user *u = xcalloc(1, sizeof *u);
    u->refs = 1;
    u->line = r->line;
    u->name = xcalloc(1, name.n + 1);
    memcpy(u->name, name.p, name.n);
    if ((acl->count & (acl->count - 1)) == 0) { /* room for twice as many */
        acl->v =
            xrealloc(acl->v, (acl->count == 0 ? 1 : acl->count * 2) * sizeof(struct acl_user *));
    }
    acl->v[acl->count++] = u;
    return u;
}

static void take_line(struct reader *r, struct slice line)
{
    struct slice word = next_word(&line);
    if (word.n == 0 || word.p[0] == '#') {
        return;
    }
    if (memchr(word.p, '\0', word.n + line.n) != NULL) {
        bad_line(r, "a NUL byte; write text");
        return;
    }
    struct slice name = slice_eq(word, slice_str("user")) ? next_word(&line) : slice_of(NULL, 0);
    if (name.n == 0 || name.n > ACL_NAME_MAX) {
        bad_line(r, name.n == 0 ? "a line has to begin with user NAME"
                                : "a name longer than 128 bytes; give a shorter one");
        return;
    }
    struct acl_user *u = add_user(r, name);
    for (word = next_word(&line); word.n > 0; word = next_word(&line)) {
        take_rule(r, u, word);
    }
    if (u->on && u->nopass && strcmp(u->name, "default") == 0) {
        bad_line(r, "'default' with nopass lets in whoever connects; give it a password, or say "
                    "client-auth = none instead");
    }
}

static int by_name(const void *a, const void *b)
{
    const struct acl_user *x = *(struct acl_user *const *)a, *y = *(struct acl_user *const *)b;
    int order = strcmp(x->name, y->name);
    return order != 0 ? order : (x->line > y->line) - (x->line < y->line);
}

static void sort(struct reader *r)
{
    struct acl *acl = r->acl;
    if (acl->count > 0) {
        qsort(acl->v, acl->count, sizeof(struct acl_user *), by_name);
    }
    for (size_t i = 1; i < acl->count && r->errors < ERRORS_MAX; i++) {
        if (strcmp(acl->v[i - 1]->name, acl->v[i]->name) == 0) {
            r->errors++;
            config_report_add(r->report, CONFIG_ERROR,
                              "%s:%zu: the user '%.64s' stands in line %zu too; keep one of them",
                              r->path, acl->v[i]->line, acl->v[i]->name, acl->v[i - 1]->line);
        }
    }
}

struct acl *acl_read(struct slice text, const char *path, struct config_report *report)
{
    struct reader r = {.path = path, .report = report, .acl = xcalloc(1, sizeof *r.acl)};
    r.acl->refs = 1;
    for (size_t at = 0; at < text.n && r.errors < ERRORS_MAX;) {
        const char *end = memchr(text.p + at, '\n', text.n - at);
        size_t n = end == NULL ? text.n - at : (size_t)(end - text.p) - at;
        r.line++;
        take_line(&r, slice_of(text.p + at, n));
        at += n + 1;
    }
    sort(&r);
    if (r.errors == 0 && r.acl->count == 0) {
        r.errors++;
        config_report_add(report, CONFIG_ERROR,
                          "%s: no user in it: nobody could come in; add lines: user NAME on "
                          ">PASSWORD",
                          path);
    }
    if (r.errors > 0) {
        acl_unref(&r.acl);
    }
    return r.acl;
}

struct acl *acl_ref(struct acl *acl)
{
    atomic_fetch_add(&acl->refs, 1);
    return acl;
}

void acl_unref(struct acl **where)
{
    struct acl *acl = *where;
    *where = NULL;
    if (acl == NULL || atomic_fetch_sub(&acl->refs, 1) > 1) {
        return;
    }
    for (size_t i = 0; i < acl->count; i++) {
        acl_user_unref(&acl->v[i]);
    }
    free(acl->v);
    free(acl);
}

struct acl_user *acl_user_ref(struct acl_user *user)
{
    atomic_fetch_add(&user->refs, 1);
    return user;
}

void acl_user_unref(struct acl_user **where)
{
    struct acl_user *user = *where;
    *where = NULL;
    if (user != NULL && atomic_fetch_sub(&user->refs, 1) == 1) {
        free(user->hashes);
        free(user->name);
        free(user);
    }
}

static int order_of(struct slice name, const char *other)
{
    size_t n = strlen(other);
    int order = memcmp(name.n > 0 ? name.p : "", other, name.n < n ? name.n : n);
    return order != 0 ? order : (name.n > n) - (name.n < n);
}

struct acl_user *acl_find(const struct acl *acl, struct slice name)
{
    size_t low = 0, high = acl->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = order_of(name, acl->v[middle]->name);
        if (order == 0) {
            return acl->v[middle];
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

struct acl_user *acl_check(const struct acl *acl, struct slice name, struct slice password)
{
    unsigned char hash[SHA256_BYTES], nobodys[1][SHA256_BYTES] = {{0}};
    struct acl_user *user = acl_find(acl, name);
    bool known = sha256(password, hash);
    /* One who is unknown is compared too: that there is none shows no sooner. */
    const unsigned char(*hashes)[SHA256_BYTES] =
        user != NULL ? (const unsigned char(*)[SHA256_BYTES])user->hashes
                     : (const unsigned char(*)[SHA256_BYTES])nobodys;
    size_t count = user != NULL ? user->count : 1;
    bool found = false;
    for (size_t i = 0; i < count; i++) { /* all of them, whichever it is */
        found |= sha256_same(hashes[i], hash);
    }
    bool in = user != NULL && user->on && (user->nopass || (known && found));
    return in ? user : NULL;
}
