/* Files that change: each change is told once, and only when it stands still. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/base/file_stamp.h"

#define PATH "/tmp/vedette-test-file-stamp"

static void put(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void test_changes(void **state)
{
    struct file_watch w;
    (void)state;
    put(PATH, "one");
    file_watch_begin(&w, PATH);
    assert_false(file_watch_changed(&w, PATH));
    put(PATH, "three");
    assert_false(file_watch_changed(&w, PATH)); /* it may still be written to */
    put(PATH, "fifteen");
    assert_false(file_watch_changed(&w, PATH));
    assert_true(file_watch_changed(&w, PATH));
    assert_true(file_watch_changed(&w, PATH)); /* until it is read */
    file_watch_begin(&w, PATH);
    assert_false(file_watch_changed(&w, PATH));
    put(PATH ".new", "fifteen");
    assert_int_equal(rename(PATH ".new", PATH), 0); /* as long, but another file */
    assert_false(file_watch_changed(&w, PATH));
    assert_true(file_watch_changed(&w, PATH));
    file_watch_begin(&w, PATH);
    assert_int_equal(chmod(PATH, 0600), 0); /* it may be that it can be read only now */
    assert_false(file_watch_changed(&w, PATH));
    assert_true(file_watch_changed(&w, PATH));
    file_watch_begin(&w, PATH);
    assert_int_equal(unlink(PATH), 0);
    assert_false(file_watch_changed(&w, PATH));
    assert_true(file_watch_changed(&w, PATH));
    file_watch_begin(&w, PATH); /* it is not there, and that is known */
    assert_false(file_watch_changed(&w, PATH));
    put(PATH, "x");
    assert_false(file_watch_changed(&w, PATH));
    assert_true(file_watch_changed(&w, PATH));
    assert_int_equal(unlink(PATH), 0);
}

static void test_no_path(void **state)
{
    struct file_watch w;
    (void)state;
    file_watch_begin(&w, NULL);
    assert_false(file_watch_changed(&w, NULL));
    assert_false(file_watch_changed(&w, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_changes),
                                       cmocka_unit_test(test_no_path)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
