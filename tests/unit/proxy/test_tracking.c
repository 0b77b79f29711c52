#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/base/limits.h"
#include "proxy/resp/emit.h"
#include "proxy/tracking.h"

/* The frame of these words, separated by single spaces. */
static struct buf frame_of(const char *words)
{
    struct buf frame = {0};
    struct slice argv[32];
    size_t argc = 0;
    for (const char *p = words; *p != '\0';) {
        size_t n = strcspn(p, " ");
        argv[argc++] = slice_of(p, n);
        p += n + (p[n] == ' ');
    }
    emit_command(&frame, argv, argc);
    return frame;
}

static enum tracking_change accepted(struct tracking *t, const char *words)
{
    struct buf frame = frame_of(words);
    enum tracking_change change = tracking_accepted(t, buf_slice(&frame));
    buf_release(&frame);
    return change;
}

/* What is to be said is these requests. */
static void assert_said(const struct tracking *t, const char *first, const char *second)
{
    struct buf want = frame_of(first);
    if (second != NULL) {
        struct buf more = frame_of(second);
        buf_append(&want, buf_slice(&more));
        buf_release(&more);
    }
    assert_true(slice_eq(buf_slice(&t->said), buf_slice(&want)));
    buf_release(&want);
}

static void test_the_last_one_counts(void **state)
{
    (void)state;
    struct tracking t = {0};
    assert_int_equal(accepted(&t, "CLIENT TRACKING ON"), TRACKING_ON);
    assert_said(&t, "CLIENT TRACKING ON", NULL);
    assert_int_equal(accepted(&t, "client tracking on OPTIN NOLOOP"), TRACKING_ON);
    assert_said(&t, "client tracking on OPTIN NOLOOP", NULL);
    assert_int_equal(accepted(&t, "CLIENT TRACKING off"), TRACKING_OFF);
    assert_int_equal(buf_len(&t.said), 0);
    tracking_clear(&t);
}

static void test_prefixes_add_up(void **state)
{
    (void)state;
    static const char first[] = "CLIENT TRACKING ON BCAST PREFIX a PREFIX b PREFIX c PREFIX bcast";
    static const char second[] = "CLIENT TRACKING ON PREFIX redirect PREFIX e bcast NOLOOP";
    struct tracking t = {0};
    assert_int_equal(accepted(&t, first), TRACKING_ON);
    assert_int_equal(accepted(&t, second), TRACKING_ON);
    assert_true(t.broadcast);
    assert_said(&t, first, second);
    assert_int_equal(accepted(&t, "CLIENT TRACKING OFF"), TRACKING_OFF);
    assert_false(t.broadcast);
    assert_int_equal(accepted(&t, "CLIENT TRACKING ON"), TRACKING_ON);
    assert_said(&t, "CLIENT TRACKING ON", NULL);
    tracking_clear(&t);
}

static int64_t redirect_of(const char *words)
{
    struct buf frame = frame_of(words);
    int64_t number = tracking_redirect(buf_slice(&frame));
    buf_release(&frame);
    return number;
}

/* It is kept without, and said with another number. */
static void test_redirect(void **state)
{
    (void)state;
    static const char first[] = "CLIENT TRACKING ON redirect 7 BCAST PREFIX REDIRECT PREFIX prefix";
    static const char kept[] = "CLIENT TRACKING ON BCAST PREFIX REDIRECT PREFIX prefix";
    static const char again[] =
        "CLIENT TRACKING ON BCAST PREFIX REDIRECT PREFIX prefix REDIRECT 1234567890123";
    static const char second[] = "CLIENT TRACKING ON BCAST PREFIX a";
    struct tracking t = {0};
    struct buf want = frame_of(again), got = {0};
    assert_int_equal(accepted(&t, first), TRACKING_ON);
    assert_int_equal(t.redirect, 7);
    assert_said(&t, kept, NULL);
    tracking_redirected(buf_slice(&t.said), 1234567890123, &got);
    assert_true(slice_eq(buf_slice(&got), buf_slice(&want)));
    assert_int_equal(accepted(&t, second), TRACKING_ON);
    assert_int_equal(t.redirect, 0); /* as of the last one */
    assert_said(&t, kept, second);
    assert_int_equal(redirect_of(first), 7);
    assert_int_equal(redirect_of(kept), 0);
    assert_int_equal(redirect_of("CLIENT TRACKING OFF REDIRECT 7"), 0);
    assert_int_equal(redirect_of("CLIENT TRACKING ON REDIRECT 0"), 0);
    assert_int_equal(redirect_of("CLIENT TRACKING ON REDIRECT x7"), 0);
    assert_int_equal(redirect_of("CLIENT TRACKING ON REDIRECT"), 0);
    tracking_clear(&t);
    buf_release(&want);
    buf_release(&got);
}

static void test_what_can_not_be_said_again(void **state)
{
    (void)state;
    struct tracking t = {0};
    /* Redis takes it; another server may read it in another way. */
    assert_int_equal(tracking_accepted(&t, slice_str("CLIENT TRACKING ON\r\n")), TRACKING_ONCE);
    assert_int_equal(accepted(&t, "CLIENT TRACKING"), TRACKING_ONCE);
    tracking_clear(&t);
}

/* limit: TRACKING_SAID_MAX */
static void test_too_much(void **state)
{
    (void)state;
    struct tracking t = {0};
    struct buf frame = {0};
    static char prefix[TRACKING_SAID_MAX / 2];
    memset(prefix, 'p', sizeof prefix);
    struct slice argv[] = {slice_str("CLIENT"), slice_str("TRACKING"), slice_str("ON"),
                           slice_str("BCAST"),  slice_str("PREFIX"),   slice_of(prefix, 1)};
    argv[5].n = sizeof prefix - 80;
    emit_command(&frame, argv, 6);
    assert_int_equal(tracking_accepted(&t, buf_slice(&frame)), TRACKING_ON);
    assert_int_equal(tracking_accepted(&t, buf_slice(&frame)), TRACKING_ON);
    assert_true(buf_len(&t.said) <= TRACKING_SAID_MAX);
    assert_int_equal(accepted(&t, "CLIENT TRACKING ON BCAST PREFIX 0123456789"), TRACKING_ONCE);
    tracking_clear(&t);
    buf_release(&frame);
}

static void test_caching(void **state)
{
    (void)state;
    struct tracking t = {0};
    struct buf frame = frame_of("CLIENT CACHING YES");
    assert_int_equal(accepted(&t, "CLIENT TRACKING ON OPTIN"), TRACKING_ON);
    tracking_caching(&t, buf_slice(&frame));
    tracking_caching(&t, buf_slice(&frame));
    assert_true(slice_eq(buf_slice(&t.caching), buf_slice(&frame)));
    assert_int_equal(accepted(&t, "CLIENT TRACKING ON OPTIN"), TRACKING_ON);
    assert_int_equal(buf_len(&t.caching), buf_len(&frame)); /* as Redis 7.0 has it */
    assert_int_equal(accepted(&t, "CLIENT TRACKING OFF"), TRACKING_OFF);
    assert_int_equal(buf_len(&t.caching), 0);
    buf_release(&frame);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_last_one_counts),
        cmocka_unit_test(test_prefixes_add_up),
        cmocka_unit_test(test_redirect),
        cmocka_unit_test(test_what_can_not_be_said_again),
        cmocka_unit_test(test_too_much),
        cmocka_unit_test(test_caching),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
