/* Files of users: what is taken, what is refused and in which words, and who comes in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/base/limits.h"
#include "sentinel/acl_file.h"

/* SHA-256 of "pw" and of "two". */
#define PW  "30c952fab122c3f9759f02a6d95c3758b246b4fee239957b2d4fee46e26170c4"
#define TWO "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3"

static struct acl *read_text(struct slice text, struct buf *said)
{
    struct config_report report = {0};
    struct acl *acl = acl_read(text, "u.acl", &report);
    assert_int_equal(acl == NULL, report.errors > 0);
    for (size_t i = 0; i < report.count; i++) {
        assert_int_equal(report.v[i].severity, CONFIG_ERROR);
        buf_printf(said, "%s\n", report.v[i].text);
    }
    buf_append(said, slice_of("", 1));
    config_report_free(&report);
    return acl;
}

static struct acl *read_good(const char *text)
{
    struct buf said = {0};
    struct acl *acl = read_text(slice_str(text), &said);
    assert_string_equal(buf_head(&said), "");
    buf_release(&said);
    return acl;
}

static bool comes_in(const struct acl *acl, const char *name, const char *password)
{
    const struct acl_user *u = acl_check(acl, slice_str(name), slice_str(password));
    assert_true(u == NULL || strcmp(u->name, name) == 0);
    return u != NULL;
}

/* Who comes in by "pw" and by "two" with these rules, as Redis has it. */
static const struct {
    const char *rules;
    bool pw, two;
} rules[] = {
    {"", false, false},
    {"on", false, false},
    {">pw", false, false},
    {"on >pw", true, false},
    {">pw on", true, false},
    {"ON >pw", true, false},
    {"on >pw off", false, false},
    {"on >pw >two", true, true},
    {"on >pw >pw", true, false},
    {"on #" PW, true, false},
    {"on #" PW " >two", true, true},
    {"on >pw >two <pw", false, true},
    {"on >pw >two <two", true, false},
    {"on >pw >two !" PW, false, true},
    {"on >pw <pw", false, false},
    {"on >pw resetpass", false, false},
    {"on >pw resetpass >two", false, true},
    {"on nopass", true, true},
    {"nopass", false, false},
    {"on >pw nopass", true, true},
    {"on nopass >pw", true, false}, /* as in Redis */
    {"on nopass resetpass", false, false},
    {"on >pw reset", false, false},
    {"on >pw reset on", false, false},
    {"reset on >two", false, true},
    {"on >pw ~* &* +@all", true, false},
    {"on >pw allkeys allchannels allcommands", true, false},
    {"on sanitize-payload #" PW " %RW~* &* +@ALL", true, false},
    {"\ton  >pw\t ", true, false},
    {"on >PW", false, false},
    {"on >pw#1", false, false},
    {"on >two>", false, false},
};

static void test_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        char text[256];
        (void)snprintf(text, sizeof text, "user bob %s\n", rules[i].rules);
        struct acl *acl = read_good(text);
        assert_int_equal(comes_in(acl, "bob", "pw"), rules[i].pw);
        assert_int_equal(comes_in(acl, "bob", "two"), rules[i].two);
        assert_false(comes_in(acl, "bob", ">pw") && !rules[i].two);
        assert_false(comes_in(acl, "alice", "pw"));
        acl_unref(&acl);
    }
}

#define LIMITS                                                                                     \
    "commands, keys and channels are not limited here, but by the rights of the user at the "      \
    "server: leave this out, and name another such user in upstream-user: "
#define NO_WORD "a word that is none of on, off, >PASSWORD, #HASH, nopass, resetpass, reset\n"
#define NO_HASH "behind '#' and '!' stands a SHA-256, 64 digits of 0-9 and a-f\n"

static const struct {
    const char *text, *said;
} odd[] = {
    {"", "u.acl: no user in it: nobody could come in; add lines: user NAME on >PASSWORD\n"},
    {"\n \n# user bob on\n\r\n",
     "u.acl: no user in it: nobody could come in; add lines: user NAME on >PASSWORD\n"},
    {"bob on >pw\n", "u.acl:1: a line has to begin with user NAME\n"},
    {"USER bob on >pw\n", "u.acl:1: a line has to begin with user NAME\n"},
    {"user\n", "u.acl:1: a line has to begin with user NAME\n"},
    {"user a on >x\n\nuser \t\n", "u.acl:3: a line has to begin with user NAME\n"},
    {"user a on secret\n", "u.acl:1: " NO_WORD},
    {"user a on \"secret\"\n", "u.acl:1: " NO_WORD},
    {"user a on > secret\n",
     "u.acl:1: an empty password; write it behind the '>', or nopass\nu.acl:1: " NO_WORD},
    {"user a on <\n", "u.acl:1: an empty password; write it behind the '>', or nopass\n"},
    {"user a on <secret\n",
     "u.acl:1: a password is taken away that the user has not got; leave both out\n"},
    {"user a on !" PW "\n",
     "u.acl:1: a password is taken away that the user has not got; leave both out\n"},
    {"user a on #\n", "u.acl:1: " NO_HASH},
    {"user a on #abc\n", "u.acl:1: " NO_HASH},
    {"user a on #" PW "0\n", "u.acl:1: " NO_HASH},
    {"user a on #30C952FAB122C3F9759F02A6D95C3758B246B4FEE239957B2D4FEE46E26170C4\n",
     "u.acl:1: " NO_HASH},
    {"user a on >pw # a comment\n", "u.acl:1: " NO_HASH "u.acl:1: " NO_WORD "u.acl:1: " NO_WORD},
    {"user a on >pw -@all +get\n", "u.acl:1: " LIMITS "'-@all'\nu.acl:1: " LIMITS "'+get'\n"},
    {"user a on >pw ~app:*\n", "u.acl:1: " LIMITS "'~app:*'\n"},
    {"user a on >pw %R~app:*\n", "u.acl:1: " LIMITS "'%R~app:*'\n"},
    {"user a on >pw &chan\n", "u.acl:1: " LIMITS "'&chan'\n"},
    {"user a on >pw resetchannels\n", "u.acl:1: " LIMITS "'resetchannels'\n"},
    {"user a on >pw resetkeys\n", "u.acl:1: " LIMITS "'resetkeys'\n"},
    {"user a on >pw (~a +get)\n", "u.acl:1: " LIMITS "'(~a'\nu.acl:1: " LIMITS "'+get)'\n"},
    {"user default on nopass\n",
     "u.acl:1: 'default' with nopass lets in whoever connects; give it a password, or say "
     "client-auth = none instead\n"},
    {"user a on >x\nuser b on >x\nuser a off\n",
     "u.acl:3: the user 'a' stands in line 1 too; keep one of them\n"},
    {"user a on >x\nuser b on\nuser a on >y\nuser a on >z\n",
     "u.acl:3: the user 'a' stands in line 1 too; keep one of them\n"
     "u.acl:4: the user 'a' stands in line 3 too; keep one of them\n"},
};

static void test_odd_lines(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
        struct buf said = {0};
        assert_null(read_text(slice_str(odd[i].text), &said));
        assert_string_equal(buf_head(&said), odd[i].said);
        assert_null(strstr(buf_head(&said), "secret"));
        buf_release(&said);
    }
}

static void test_nul_bytes(void **state)
{
    (void)state;
    static const char *const texts[] = {"us\0er a on\n", "user a\0b on\n", "user a on >x\0y\n",
                                        "user a on\0\n"};
    static const size_t sizes[] = {11, 12, 15, 11};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        struct buf said = {0};
        assert_null(read_text(slice_of(texts[i], sizes[i]), &said));
        assert_string_equal(buf_head(&said), "u.acl:1: a NUL byte; write text\n");
        buf_release(&said);
    }
}

/* limit: ACL_NAME_MAX ACL_PASSWORDS_MAX */
static void test_bounds(void **state)
{
    (void)state;
    char name[ACL_NAME_MAX + 2];
    memset(name, 'n', sizeof name);
    for (size_t more = 0; more < 2; more++) {
        struct buf text = {0}, said = {0};
        name[ACL_NAME_MAX + more] = '\0';
        buf_printf(&text, "user %s on >x", name);
        struct acl *acl = read_text(buf_slice(&text), &said);
        assert_string_equal(buf_head(&said),
                            more == 0 ? ""
                                      : "u.acl:1: a name longer than 128 bytes; give a shorter "
                                        "one\n");
        acl_unref(&acl);
        buf_release(&said);
        buf_release(&text);
        name[ACL_NAME_MAX] = 'n';
    }
    for (size_t more = 0; more < 2; more++) {
        struct buf text = {0}, said = {0};
        buf_append_str(&text, "user a on");
        for (size_t i = 0; i < ACL_PASSWORDS_MAX + more; i++) {
            buf_printf(&text, " >p%zu", i);
        }
        struct acl *acl = read_text(buf_slice(&text), &said);
        assert_string_equal(buf_head(&said),
                            more == 0 ? ""
                                      : "u.acl:1: more passwords than a user may have; leave those "
                                        "out that nobody uses\n");
        if (acl != NULL) {
            assert_true(comes_in(acl, "a", "p0") && comes_in(acl, "a", "p31"));
        }
        acl_unref(&acl);
        buf_release(&said);
        buf_release(&text);
    }
}

/* A file of another kind altogether is not refused line by line. */
static void test_many_errors(void **state)
{
    (void)state;
    struct buf text = {0}, said = {0};
    for (size_t i = 0; i < 1000; i++) {
        buf_append_str(&text, "nonsense\n");
    }
    assert_null(read_text(buf_slice(&text), &said));
    size_t lines = 0;
    for (const char *p = buf_head(&said); (p = strchr(p, '\n')) != NULL; p++) {
        lines++;
    }
    assert_int_equal(lines, 10);
    buf_release(&said);
    buf_release(&text);
}

static void test_many_users(void **state)
{
    (void)state;
    struct buf text = {0}, said = {0};
    for (unsigned i = 0; i < 1000; i++) {
        unsigned n = i * 7919u % 1000u;
        buf_printf(&text, "user u%u on >p%u\r\n", n, n);
    }
    struct acl *acl = read_text(buf_slice(&text), &said);
    assert_non_null(acl);
    for (unsigned i = 0; i < 1000; i++) {
        char name[16], password[16];
        (void)snprintf(name, sizeof name, "u%u", i);
        (void)snprintf(password, sizeof password, "p%u", i);
        assert_true(comes_in(acl, name, password));
        (void)snprintf(password, sizeof password, "p%u", i + 1);
        assert_false(comes_in(acl, name, password));
    }
    assert_false(comes_in(acl, "u", "p"));
    assert_false(comes_in(acl, "u1000", "p1000"));
    assert_false(comes_in(acl, "", ""));
    buf_release(&said);
    buf_release(&text);
    acl_unref(&acl);
}

/* Whoever is in keeps the user when the file is read anew. */
static void test_references(void **state)
{
    (void)state;
    struct acl *acl = read_good("user a on >pw\n");
    struct acl *other = acl_ref(acl);
    struct acl_user *user = acl_user_ref(acl_find(acl, slice_str("a")));
    acl_unref(&acl);
    assert_null(acl);
    assert_true(comes_in(other, "a", "pw"));
    acl_unref(&other);
    assert_string_equal(user->name, "a");
    acl_user_unref(&user);
    acl_user_unref(&user);
}

static void test_hashes(void **state)
{
    (void)state;
    unsigned char a[SHA256_BYTES], b[SHA256_BYTES];
    assert_true(sha256(slice_str("pw"), a));
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        unsigned byte = 0;
        assert_int_equal(sscanf(&PW[i * 2], "%2x", &byte), 1); /* NOLINT(cert-err34-c): digits */
        assert_int_equal(a[i], byte);
    }
    memcpy(b, a, sizeof b);
    assert_true(sha256_same(a, b));
    for (size_t i = 0; i < (size_t)SHA256_BYTES * 8; i++) {
        b[i / 8] ^= (unsigned char)(1u << i % 8);
        assert_false(sha256_same(a, b));
        b[i / 8] ^= (unsigned char)(1u << i % 8);
    }
    assert_true(sha256(slice_of(NULL, 0), a));
    assert_int_equal(a[0], 0xe3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),       cmocka_unit_test(test_odd_lines),
        cmocka_unit_test(test_nul_bytes),   cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_many_errors), cmocka_unit_test(test_many_users),
        cmocka_unit_test(test_references),  cmocka_unit_test(test_hashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
