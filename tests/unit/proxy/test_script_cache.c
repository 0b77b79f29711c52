#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/script_cache.h"

static void add(struct script_cache *c, const char *body, bool loaded)
{
    struct script *script = script_new(slice_str(body), loaded);
    assert_non_null(script);
    script_cache_add(c, script);
}

static bool has(const struct script_cache *c, const char *body)
{
    return script_cache_has(c, slice_str(body), false);
}

static void test_sha1(void **state)
{
    (void)state;
    char hex[SHA1_HEX];
    assert_true(sha1_hex(slice_str("return 1"), hex));
    assert_memory_equal(hex, "e0e1f9fabfc9d4800c877a703b823ac0578ff8db", SHA1_HEX);
    assert_true(sha1_hex(slice_str(""), hex));
    assert_memory_equal(hex, "da39a3ee5e6b4b0d3255bfef95601890afd80709", SHA1_HEX);
}

static void test_found_by_body_and_by_sha(void **state)
{
    (void)state;
    struct script_cache c = {.limit = 1 << 20};
    assert_false(has(&c, "return 1"));
    assert_null(script_cache_find(&c, slice_str("e0e1f9fabfc9d4800c877a703b823ac0578ff8db")));
    add(&c, "return 1", false);
    add(&c, "", false);
    assert_true(has(&c, "return 1"));
    assert_true(has(&c, ""));
    assert_false(has(&c, "return 2"));
    assert_false(has(&c, "return 1 "));
    const struct script_entry *e =
        script_cache_find(&c, slice_str("E0E1F9fabfc9d4800c877a703b823ac0578ff8db"));
    assert_non_null(e);
    assert_true(slice_eq(script_body(e->script), slice_str("return 1")));
    assert_null(script_cache_find(&c, slice_str("e0e1f9fabfc9d4800c877a703b823ac0578ff8dc")));
    assert_null(script_cache_find(&c, slice_str("e0e1f9fabfc9d4800c877a703b823ac0578ff8d")));
    assert_null(script_cache_find(&c, slice_str("zze1f9fabfc9d4800c877a703b823ac0578ff8db")));
    assert_null(script_cache_find(&c, slice_of(NULL, 0)));
    script_cache_clear(&c);
    assert_false(has(&c, "return 1"));
}

/* Seen first, loaded later: it stays as loaded, and only once. */
static void test_loaded_after_it_was_seen(void **state)
{
    (void)state;
    struct script_cache c = {.limit = 1 << 20};
    add(&c, "return 1", false);
    assert_false(script_cache_has(&c, slice_str("return 1"), true));
    add(&c, "return 1", true);
    assert_true(script_cache_has(&c, slice_str("return 1"), true));
    add(&c, "return 1", false);
    assert_true(script_cache_has(&c, slice_str("return 1"), true));
    assert_int_equal(script_cache_count(&c), 1);
    assert_int_equal(c.held, 8 + SCRIPT_OVERHEAD);
    script_cache_clear(&c);
}

static void test_the_oldest_go_first(void **state)
{
    (void)state;
    struct script_cache c = {.limit = 4ull * (SCRIPT_OVERHEAD + 8)};
    add(&c, "return 0", true);
    for (int i = 1; i <= 6; i++) {
        char body[] = "return 0";
        body[7] = (char)('0' + i);
        add(&c, body, false);
    }
    assert_true(has(&c, "return 0")); /* loaded, though older than all */
    assert_false(has(&c, "return 3"));
    assert_true(has(&c, "return 4"));
    assert_true(has(&c, "return 6"));
    assert_int_equal(script_cache_count(&c), 4);
    for (int i = 1; i <= 4; i++) {
        char body[] = "return a";
        body[7] = (char)('a' + i);
        add(&c, body, true);
    }
    assert_false(has(&c, "return 0"));
    assert_false(has(&c, "return 6"));
    assert_int_equal(c.seen.count, 0);
    assert_int_equal(c.loaded.count, 4);
    script_cache_clear(&c);
    assert_int_equal(c.held, 0);
}

static void test_one_too_large_drops_nothing(void **state)
{
    (void)state;
    struct script_cache c = {.limit = 1024};
    static char large[1024];
    memset(large, '-', sizeof large - 1);
    add(&c, "return 1", false);
    add(&c, large, true);
    assert_true(has(&c, "return 1"));
    assert_int_equal(script_cache_count(&c), 1);
    script_cache_clear(&c);
}

static void test_many(void **state)
{
    (void)state;
    struct script_cache c = {.limit = 8 << 20};
    char body[64];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 20000; i++) {
            (void)snprintf(body, sizeof body, "return redis.call('set', KEYS[1], %d, 'ex', 1)", i);
            add(&c, body, false);
        }
    }
    assert_int_equal(script_cache_count(&c), 20000);
    size_t longest = 0;
    for (size_t i = 0; i < SCRIPT_BUCKETS; i++) {
        size_t n = 0;
        for (const struct script_entry *e = c.by_hash[i]; e != NULL; e = e->same_hash) {
            n++;
        }
        longest = n > longest ? n : longest;
    }
    assert_true(longest < 60); /* 20 on average */
    script_cache_clear(&c);
}

/* What one worker finds of it the others must see. */
static void test_made_twice_kept_once(void **state)
{
    (void)state;
    struct script_cache c[2] = {{.limit = 4096}, {.limit = 4096}};
    struct script *copy[2];
    for (unsigned i = 0; i < 2; i++) {
        copy[i] = script_new(slice_str("return 1"), true);
        script_cache_add(&c[i], script_ref(copy[i]));
    }
    bool first = (uintptr_t)copy[0] < (uintptr_t)copy[1];
    script_note_absent(copy[first ? 1 : 0], 7, 1000); /* of the one that is given up */
    for (unsigned i = 0; i < 2; i++) {                /* each hears of the other's */
        script_cache_add(&c[i], script_ref(copy[1 - i]));
        script_cache_add(&c[i], script_ref(copy[i]));
        assert_int_equal(script_cache_count(&c[i]), 1);
    }
    struct slice sha = slice_of(copy[0]->sha, SHA1_HEX);
    const struct script *kept = script_cache_find(&c[0], sha)->script;
    assert_ptr_equal(kept, script_cache_find(&c[1], sha)->script);
    assert_true(script_was_absent(kept, 7, 999));
    for (unsigned i = 0; i < 2; i++) {
        script_cache_clear(&c[i]);
        script_unref(&copy[i]);
    }
}

/* Each primary has its own tale, and a finding from before the question proves nothing. */
static void test_found_absent(void **state)
{
    (void)state;
    struct script *script = script_new(slice_str("return 1"), false);
    assert_false(script_was_absent(script, 0, 0));
    script_note_absent(script, 7, 1000);
    assert_true(script_was_absent(script, 7, 999));
    assert_false(script_was_absent(script, 7, 1000));
    assert_false(script_was_absent(script, 8, 999));
    script_note_absent(script, 7, 900); /* another worker's news, late */
    assert_true(script_was_absent(script, 7, 999));
    script_note_absent(script, 8, 2000);
    assert_true(script_was_absent(script, 8, 1500));
    assert_false(script_was_absent(script, 7, 999));
    script_unref(&script);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha1),
        cmocka_unit_test(test_found_by_body_and_by_sha),
        cmocka_unit_test(test_loaded_after_it_was_seen),
        cmocka_unit_test(test_the_oldest_go_first),
        cmocka_unit_test(test_one_too_large_drops_nothing),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_made_twice_kept_once),
        cmocka_unit_test(test_found_absent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
