#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <fcntl.h>
#include <unistd.h>

#include <cmocka.h>

#include "proxy/base/clock.h"
#include "proxy/base/log.h"

/* stderr, led into a pipe. */
struct capture {
    int reader, saved;
};

static int capture_begin(void **state)
{
    static struct capture capture;
    int ends[2];
    (void)fflush(stderr);
    capture.saved = dup(STDERR_FILENO);
    if (capture.saved < 0 || pipe(ends) != 0 || dup2(ends[1], STDERR_FILENO) < 0 ||
        fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0) {
        return -1;
    }
    (void)close(ends[1]);
    capture.reader = ends[0];
    *state = &capture;
    log_set_level(LOG_NOTICE);
    return 0;
}

static int capture_end(void **state)
{
    const struct capture *capture = *state;
    (void)dup2(capture->saved, STDERR_FILENO);
    (void)close(capture->saved);
    (void)close(capture->reader);
    return 0;
}

/* What was written since the last call. */
static const char *captured(const struct capture *capture)
{
    static char text[1 << 17];
    size_t n = 0;
    for (ssize_t got; (got = read(capture->reader, text + n, sizeof text - 1 - n)) > 0;) {
        n += (size_t)got;
    }
    text[n] = '\0';
    return text;
}

static void writes_lines(void **state)
{
    static const char shape[] = "ts=dddd-dd-ddTdd:dd:dd.dddZ level=notice event=primary-changed "
                                "service=mymaster epoch=7\n";
    log_notice("primary-changed", "service=%s epoch=%d", "mymaster", 7);
    const char *line = captured(*state);
    assert_int_equal(strlen(line), sizeof shape - 1);
    for (size_t i = 0; i < sizeof shape - 1; i++) {
        bool digit = shape[i] == 'd' && i < 26;
        assert_true(digit ? line[i] >= '0' && line[i] <= '9' : line[i] == shape[i]);
    }
    log_error("no-values", "%s", "");
    assert_non_null(strstr(captured(*state), " level=error event=no-values"));
}

static void keeps_to_the_level(void **state)
{
    log_debug("a", "x=%d", 1);
    log_info("b", "x=%d", 1);
    assert_string_equal(captured(*state), "");
    assert_false(log_enabled(LOG_INFO));
    assert_true(log_enabled(LOG_NOTICE) && log_enabled(LOG_ERROR));
    log_set_level(LOG_DEBUG);
    log_debug("a", "x=%d", 1);
    assert_non_null(strstr(captured(*state), " level=debug event=a x=1\n"));
    log_set_level(LOG_ERROR);
    log_warning("c", "x=%d", 1);
    assert_string_equal(captured(*state), "");
}

static void cuts_long_lines(void **state)
{
    static char value[2 * LOG_LINE_MAX];
    memset(value, 'x', sizeof value - 1);
    for (size_t n = LOG_LINE_MAX - 200; n < LOG_LINE_MAX + 200; n++) {
        log_notice("long", "v=%.*s", (int)n, value);
        const char *line = captured(*state);
        size_t len = strlen(line);
        assert_true(len < LOG_LINE_MAX && len > LOG_LINE_MAX - 200);
        assert_ptr_equal(strchr(line, '\n'), line + len - 1);
        assert_int_equal(line[len - 2], 'x');
    }
}

static void quotes(void **state)
{
    static const char *const rows[][2] = {
        {"plain", "plain"},
        {"a-b_c:1/2[3]", "a-b_c:1/2[3]"},
        {"", "\"\""},
        {"a b", "\"a b\""},
        {"a=b", "\"a=b\""},
        {"a\"b", "\"a\\\"b\""},
        {"a\\b", "\"a\\\\b\""},
        {"a\nb", "\"a\\x0ab\""},
        {"\x1b[0m", "\"\\x1b[0m\""},
        {"\xc3\xa9", "\"\\xc3\\xa9\""},
        {"\x7f", "\"\\x7f\""},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_string_equal(log_quote(slice_str(rows[i][0])), rows[i][1]);
    }
    assert_string_equal(log_quote(slice_of("a\0b", 3)), "\"a\\x00b\"");
    assert_string_equal(log_quote((struct slice){0}), "\"\"");
    const char *first = log_quote(slice_str("first"));
    for (int i = 0; i < 7; i++) {
        (void)log_quote(slice_str("other"));
    }
    assert_string_equal(first, "first");
}

static void quotes_long_values(void **state)
{
    char value[300];
    (void)state;
    memset(value, 'x', sizeof value);
    assert_int_equal(strlen(log_quote(slice_of(value, 256))), 256);
    const char *cut = log_quote(slice_of(value, 257));
    assert_int_equal(strlen(cut), 256 + 5);
    assert_string_equal(cut + 257, "...\"");
    memset(value, '\0', sizeof value);
    cut = log_quote(slice_of(value, sizeof value));
    assert_int_equal(strlen(cut), 256 * 4 + 5);
    assert_string_equal(cut + 1024 - 3, "\\x00...\"");
}

/* How many of n calls were let through, all within one second. */
static uint32_t allowed_of(struct log_limit *limit, uint32_t n, uint32_t *dropped)
{
    uint32_t allowed = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t d = 0;
        allowed += log_allow(limit, 5, &d);
        *dropped += d;
    }
    return allowed;
}

static void await_next_second(void)
{
    uint64_t second = clock_ms() / 1000;
    while (clock_ms() / 1000 == second) {
        (void)usleep(1000);
    }
}

static void limits_the_rate(void **state)
{
    struct log_limit limit = {0};
    uint32_t dropped = 0;
    (void)state;
    await_next_second();
    assert_int_equal(allowed_of(&limit, 100, &dropped), 5);
    assert_int_equal(dropped, 0);
    await_next_second();
    assert_int_equal(allowed_of(&limit, 3, &dropped), 3);
    assert_int_equal(dropped, 95);
    assert_int_equal(allowed_of(&limit, 2, &dropped), 2);
    assert_int_equal(dropped, 95);
}

static void log_often(int i)
{
    log_limited(LOG_NOTICE, "often", "i=%d", i);
}

static void tells_what_it_left_out(void **state)
{
    size_t lines = 0;
    await_next_second();
    for (int i = 0; i < 12; i++) {
        log_often(i);
    }
    await_next_second();
    log_often(12);
    const char *text = captured(*state);
    for (const char *p = text; (p = strchr(p, '\n')) != NULL; p++) {
        lines++;
    }
    assert_int_equal(lines, 6);
    assert_non_null(strstr(text, " event=often i=12 suppressed=7\n"));
}

static void fill_pipe(void)
{
    char page[4096];
    int flags = fcntl(STDERR_FILENO, F_GETFL);
    memset(page, '.', sizeof page);
    assert_int_equal(fcntl(STDERR_FILENO, F_SETFL, flags | O_NONBLOCK), 0);
    while (write(STDERR_FILENO, page, sizeof page) > 0) {
    }
    assert_int_equal(fcntl(STDERR_FILENO, F_SETFL, flags), 0);
}

/* Nobody reads stderr: lines are dropped, never waited for, and their number is told. */
static void full_pipe_does_not_block(void **state)
{
    fill_pipe();
    (void)alarm(20);
    for (int i = 0; i < 5; i++) {
        log_notice("lost", "i=%d", i);
    }
    (void)alarm(0);
    assert_null(strstr(captured(*state), "lost"));
    log_notice("found", "i=%d", 5);
    assert_non_null(strstr(captured(*state), " event=found lost-lines=5 i=5\n"));
    log_notice("found", "i=%d", 6);
    assert_non_null(strstr(captured(*state), " event=found i=6\n"));
}

static void closed_stderr_is_survived(void **state)
{
    (void)close(STDERR_FILENO);
    log_notice("nowhere", "i=%d", 1);
    const struct capture *capture = *state;
    (void)dup2(capture->saved, STDERR_FILENO);
    assert_string_equal(captured(*state), "");
}

#define CAPTURED(test) cmocka_unit_test_setup_teardown(test, capture_begin, capture_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CAPTURED(writes_lines),
        CAPTURED(keeps_to_the_level),
        CAPTURED(cuts_long_lines),
        cmocka_unit_test(quotes),
        cmocka_unit_test(quotes_long_values),
        cmocka_unit_test(limits_the_rate),
        CAPTURED(tells_what_it_left_out),
        CAPTURED(full_pipe_does_not_block),
        CAPTURED(closed_stderr_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
