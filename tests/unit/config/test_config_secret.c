/* Secret files, and that no secret is shown or left in memory. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/base/limits.h"
#include "tests/unit/config/config_test.h"

static char path[] = "/tmp/vedette-test-secret-XXXXXX";

static int make_file(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static void write_file(const char *bytes, size_t n)
{
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), (ssize_t)n);
    assert_int_equal(close(fd), 0);
}

/* The case of a secret file at `path`; the caller keeps the text. */
static struct config_case secret_case(char text[256], const char *secret_path)
{
    (void)snprintf(text, 256, SENTINEL_LINES "user = bob\npassword-file = %s\n", secret_path);
    return (struct config_case){.file = text};
}

/* other: NULL: there is one only. */
static void assert_says(struct secret *s, const char *first, const char *other)
{
    struct passwords p;
    secret_passwords(s, &p);
    assert_int_equal(p.count, other == NULL ? 1 : 2);
    assert_string_equal(p.v[0], first);
    if (other != NULL) {
        assert_string_equal(p.v[1], other);
    }
    passwords_wipe(&p);
}

static void test_good_files(void **state)
{
    static const struct {
        const char *bytes;
        const char *secret, *other;
    } cases[] = {
        {"hunter2", "hunter2", NULL},           {"hunter2\n", "hunter2", NULL},
        {"hunter2\r\n", "hunter2", NULL},       {"hunter2\n\n", "hunter2", NULL},
        {"hunter2\r\n\r\n\n", "hunter2", NULL}, {" a ;b #c \"\n", " a ;b #c \"", NULL},
        {"\xff\x01\n", "\xff\x01", NULL},       {"new\nold", "new", "old"},
        {"new\r\nold\r\n\n", "new", "old"},
    };
    char text[256];
    struct config_case c = secret_case(text, path);
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        write_file(cases[i].bytes, strlen(cases[i].bytes));
        struct loaded l = load_good(&c);
        assert_says(l.config->groups[0].password, cases[i].secret, cases[i].other);
        free_loaded(&l);
    }
}

/* A secret file that can't be used is the only mistake: its user does have a password. */
static void check_bad_file(const char *secret_path, const char *why)
{
    char text[256], said[512];
    struct config_case c = secret_case(text, secret_path);
    (void)snprintf(said, sizeof said,
                   "E v.ini:4: bad secret file '%s': %s; put the secret alone into its first "
                   "line, and during a rotation the one before into its second\n",
                   secret_path, why);
    c.said = said;
    check_case(&c);
}

static void test_bad_files(void **state)
{
    static char large[64 * 1024 + 1];
    (void)state;
    memset(large, 'x', sizeof large);
    check_bad_file("/tmp", "it is a directory");
    check_bad_file("tests/no-such", "it can't be read: No such file or directory");
    write_file("", 0);
    check_bad_file(path, "it is empty");
    write_file("\n", 1);
    check_bad_file(path, "it is empty");
    write_file("\nhunter2\n", 9);
    check_bad_file(path, "its first line is empty");
    write_file("a\nb\nc\n", 6);
    check_bad_file(path, "it has more than two lines");
    write_file("a\n\nc\n", 5);
    check_bad_file(path, "it has more than two lines");
    write_file("hun\0ter", 7);
    check_bad_file(path, "it has a NUL byte");
    write_file(large, sizeof large);
    check_bad_file(path, "it is larger than 64 KiB");
    write_file(large, sizeof large - 1);
    char text[256];
    struct config_case c = secret_case(text, path);
    struct loaded l = load_good(&c);
    large[sizeof large - 1] = '\0';
    assert_says(l.config->groups[0].password, large, NULL);
    free_loaded(&l);
}

static void reload(struct secret *s, const char *bytes, uint64_t now_ms)
{
    char problem[SECRET_PROBLEM_MAX];
    write_file(bytes, strlen(bytes));
    assert_true(secret_reload(s, now_ms, problem));
}

/* limit: PASSWORD_BEFORE_MS */
static void test_rotation(void **state)
{
    char problem[SECRET_PROBLEM_MAX];
    (void)state;
    write_file("a", 1);
    struct secret *s = secret_open(path, problem);
    assert_non_null(s);
    assert_says(s, "a", NULL);
    uint32_t version = secret_version(s);
    reload(s, "b\n", 1000); /* the file first: a server may not know it yet */
    assert_says(s, "b", "a");
    assert_int_not_equal(secret_version(s), version);
    version = secret_version(s);
    reload(s, "b", 5000); /* no change, and no more time for the one before */
    assert_says(s, "b", "a");
    assert_int_equal(secret_version(s), version);
    secret_age(s, 1000 + PASSWORD_BEFORE_MS - 1);
    assert_says(s, "b", "a");
    secret_age(s, 1000 + PASSWORD_BEFORE_MS);
    assert_says(s, "b", NULL);
    reload(s, "c\nb\n", 2000000); /* both for as long as they stand there */
    secret_age(s, 9000000);
    assert_says(s, "c", "b");
    reload(s, "c\n", 9000000);
    assert_says(s, "c", NULL);
    static const char *const bad[] = {"", "\n", "\nx\n", "x\ny\nz\n"};
    version = secret_version(s);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        write_file(bad[i], strlen(bad[i]));
        assert_false(secret_reload(s, 9000000, problem));
        assert_says(s, "c", NULL);
    }
    assert_int_equal(secret_version(s), version);
    reload(s, "d", 9000000); /* and back again */
    reload(s, "c", 9000000);
    assert_says(s, "c", "d");
    secret_free(&s);
}

static void test_unreadable_file(void **state)
{
    (void)state;
    write_file("hunter2", 7);
    assert_int_equal(chmod(path, 0), 0);
    if (access(path, R_OK) != 0) { /* root may read it all the same */
        check_bad_file(path, "it can't be read: Permission denied");
    }
    assert_int_equal(chmod(path, 0600), 0);
}

/* Wherever a secret stands, also in the wrong place, no message and no output shows it. */
static void test_never_shown(void **state)
{
    static const struct config_case cases[] = {
        {.file = SENTINEL_LINES "password = hunter2\n[service a]\npassword = hunter2\n"},
        {.file = SENTINEL_LINES "password = \"hunter2\"\n"},
        {.file = SENTINEL_LINES "password = hunter2 ;x\n"},
        {.file = SENTINEL_LINES "password = x ;hunter2\n"},
        {.file = SENTINEL_LINES "password = a\npassword = hunter2\npassword-file = x\n"},
        {.file = SENTINEL_LINES "passwrd = hunter2\n"},
        {.file = SENTINEL_LINES "password hunter2\n"},
        {.file = SENTINEL_LINES "password hunter2 = x\n"},
        {.file = SENTINEL_LINES "  hunter2\n"},
        {.file = "[redis]\npassword = hunter2\n"},
        {.args = {"--sentinel=s1", "--set", "sentinel.password=hunter2"}},
        {.args = {"--sentinel=s1", "--set", "sentinel.passwrd=hunter2"}},
        {.args = {"--sentinel=s1", "--set", "password=hunter2"}},
        {.args = {"--sentinel=s1", "--set", "hunter2"}},
        {.args = {"--sentinel=s1", "--password", "hunter2", "hunter2"}},
        {.args = {"--password=hunter2", "-ahunter2"}},
        {.args = {"--sentinel=s1"}, .env = {"VEDETTE_PASSWORD=hunter2"}},
        {.args = {"--sentinel=s1"}, .env = {"VEDETTE_PASSWRD=hunter2"}},
        {.args = {"--sentinel=s1", "--listen=h:1"}, .env = {"VEDETTE_PASSWORD=hunter2"}},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct loaded l = load_case(&cases[i]);
        struct buf shown = {0};
        if (l.config != NULL) {
            config_print(l.config, &shown);
        }
        text_of_report(&l.report, &shown);
        assert_null(strstr(buf_head(&shown), "hunter"));
        buf_release(&shown);
        free_loaded(&l);
    }
}

#define MARK 0x5a

/* "correct-horse", so written that the program itself holds no plain copy of it. */
static const unsigned char marked[] = {'c' ^ MARK, 'o' ^ MARK, 'r' ^ MARK, 'r' ^ MARK, 'e' ^ MARK,
                                       'c' ^ MARK, 't' ^ MARK, '-' ^ MARK, 'h' ^ MARK, 'o' ^ MARK,
                                       'r' ^ MARK, 's' ^ MARK, 'e' ^ MARK};

static void write_marked(const char *before)
{
    char text[128];
    /* An allocator writes into the first bytes of what is freed: the mark comes behind them. */
    size_t n = (size_t)snprintf(text, sizeof text, "%s%032d", before, 0);
    for (size_t i = 0; i < sizeof marked; i++) {
        text[n++] = (char)(marked[i] ^ MARK);
    }
    text[n++] = '\n';
    write_file(text, n);
    secure_wipe(text, sizeof text);
}

/* Reads freed memory on purpose, which the address sanitizer would take for a mistake. */
__attribute__((no_sanitize("address"))) static size_t count_in(const unsigned char *from, size_t n)
{
    size_t found = 0;
    for (size_t i = 0; i + sizeof marked <= n; i++) {
        size_t same = 0;
        while (same < sizeof marked && (from[i + same] ^ MARK) == marked[same]) {
            same++;
        }
        found += same == sizeof marked;
    }
    return found;
}

/* How many copies of the marked secret the writable memory holds, but for the stack. */
static size_t copies_in_memory(void)
{
    char line[512];
    size_t found = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps) != NULL) {
        char *end;
        uintptr_t from = strtoull(line, &end, 16);
        uintptr_t to = strtoull(end + 1, &end, 16);
        bool small =
            to - from < UINT64_C(256) * 1024 * 1024; /* leaves out the shadow of a sanitizer */
        if (strncmp(end, " rw", 3) == 0 && small && strstr(line, "[stack]") == NULL) {
            found += count_in((const unsigned char *)from, to - from); /* NOLINT: an address */
        }
    }
    assert_int_equal(fclose(maps), 0);
    return found;
}

/* After config_free nothing is left of a password, whether it came from a file or a secret file. */
static void test_wiped(void **state)
{
    char text[256];
    struct config_case secret_file = secret_case(text, path);
    struct config_case plain = {.args = {"--config", path}};
    (void)state;
    for (int i = 0; i < 2; i++) {
        write_marked(i == 0 ? "" : SENTINEL_LINES "password = ");
        assert_int_equal(copies_in_memory(), 0);
        struct loaded l = load_case(i == 0 ? &secret_file : &plain);
        assert_non_null(l.config);
        assert_int_equal(copies_in_memory(), 1);
        free_loaded(&l);
        assert_int_equal(copies_in_memory(), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_files),      cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_unreadable_file), cmocka_unit_test(test_never_shown),
        cmocka_unit_test(test_wiped),           cmocka_unit_test(test_rotation),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
