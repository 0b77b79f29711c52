/* The bytes are a file of users. Whatever they are: either there are errors, of which each names
 * its line and none shows a password, or there are users, whom exactly their passwords let in. */
#include <string.h>

#include "proxy/base/limits.h"
#include "sentinel/acl_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SECRET "hunter2"

static void check_user(const struct acl *acl, const struct acl_user *u)
{
    struct slice name = slice_str(u->name);
    CHECK(name.n > 0 && name.n <= ACL_NAME_MAX && u->count <= ACL_PASSWORDS_MAX);
    CHECK(memchr(name.p, ' ', name.n) == NULL && memchr(name.p, '\n', name.n) == NULL);
    CHECK(acl_find(acl, name) == u);
    CHECK(!(u->on && u->nopass && strcmp(u->name, "default") == 0));
    CHECK(!u->nopass || u->count == 0);
    const struct acl_user *in = acl_check(acl, name, slice_str("a password that nobody has"));
    CHECK(in == (u->on && u->nopass ? u : NULL));
    unsigned char hash[SHA256_BYTES];
    bool has = false;
    CHECK(sha256(slice_str(SECRET), hash));
    for (size_t i = 0; i < u->count; i++) {
        has = has || sha256_same(u->hashes[i], hash);
    }
    in = acl_check(acl, name, slice_str(SECRET));
    CHECK((in != NULL) == (u->on && (has || u->nopass)));
}

static void check(struct slice text)
{
    struct config_report report = {0};
    struct acl *acl = acl_read(text, "u.acl", &report);
    CHECK((acl == NULL) == (report.errors > 0));
    for (size_t i = 0; i < report.count; i++) {
        struct slice said = slice_str(report.v[i].text);
        bool last = i + 1 == report.count && slice_starts_with(said, "there is more to say");
        CHECK(slice_starts_with(said, "u.acl:") || last);
        CHECK(strpbrk(report.v[i].text, "\n\r\033") == NULL);
    }
    for (size_t i = 0; acl != NULL && i < acl->count; i++) {
        CHECK(i == 0 || strcmp(acl->v[i - 1]->name, acl->v[i]->name) < 0);
        check_user(acl, acl->v[i]);
    }
    acl_unref(&acl);
    config_report_free(&report);
}

/* The input's last line goes on with a password, which nothing that is said of it shows. */
static void check_secret(struct slice text)
{
    static const char line[] = " >" SECRET " <" SECRET "x #" SECRET " " SECRET "\n";
    struct config_report report = {0};
    struct buf with = {0};
    buf_append(&with, text);
    buf_append(&with, slice_of(line, sizeof line - 1));
    struct acl *acl = acl_read(buf_slice(&with), "u.acl", &report);
    bool said_before = memmem(text.p != NULL ? text.p : "", text.n, "hunter", 6) != NULL;
    for (size_t i = 0; i < report.count && !said_before; i++) {
        CHECK(strstr(report.v[i].text, SECRET) == NULL);
    }
    acl_unref(&acl);
    config_report_free(&report);
    buf_wipe(&with);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_of((const char *)data, size);
    check(text);
    check_secret(text);
    return 0;
}
