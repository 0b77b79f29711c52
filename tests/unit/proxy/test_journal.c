/* The journal's three cursors: at every count of bytes sent it knows which request is unsent, sent
 * in part, or sent whole, and gives the bytes back as they were. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/journal.h"

static const struct command get = {.name = "get", .cls = COMMAND_READ};
static const char *const frames[] = {"first-request", "2", "the third one is the longest of all",
                                     "4th"};

static const struct asker someone = {.slot = 3, .serial = 7};

static void write_frames(struct journal *j, struct block_pool *pool)
{
    for (size_t i = 0; i < ARRAY_LEN(frames); i++) {
        journal_begin(j, &get, someone);
        /* In two pieces, as from a socket. */
        struct slice all = slice_str(frames[i]);
        journal_append(j, pool, NULL, slice_of(all.p, all.n / 2));
        journal_append(j, pool, NULL, slice_of(all.p + all.n / 2, all.n - all.n / 2));
        journal_end(j);
    }
}

static void test_every_cut(void **state)
{
    (void)state;
    struct block_pool pool = {0};
    size_t total = 0;
    for (size_t i = 0; i < ARRAY_LEN(frames); i++) {
        total += strlen(frames[i]);
    }
    for (size_t sent = 0; sent <= total; sent++) {
        struct journal j = {0};
        write_frames(&j, &pool);
        journal_sent(&j, sent);
        assert_int_equal(journal_unsent(&j), total - sent);
        size_t begin = 0;
        for (uint32_t i = 0; i < j.count; i++) {
            size_t end = begin + strlen(frames[i]);
            enum record_state want = sent <= begin ? RECORD_UNSENT
                                     : sent < end  ? RECORD_PARTIAL
                                                   : RECORD_SENT;
            const struct record *r = journal_at(&j, i);
            assert_int_equal(journal_state(&j, r), want);
            char bytes[64];
            assert_int_equal(journal_bytes(&j, r), end - begin);
            journal_copy(&j, r, bytes);
            assert_memory_equal(bytes, frames[i], end - begin);
            begin = end;
        }
        journal_clear(&j);
    }
    block_pool_clear(&pool);
}

static void test_answers_drop_bytes(void **state)
{
    (void)state;
    struct block_pool pool = {0};
    struct journal j = {0};
    uint64_t queued = 0;
    /* Far more than the ring's first size, with a window of three. */
    for (uint32_t i = 0; i < 1000; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "request-%u", i);
        journal_begin(&j, &get, someone);
        journal_append(&j, &pool, NULL, slice_str(text));
        journal_end(&j);
        queued += strlen(text);
        journal_sent(&j, journal_unsent(&j));
        if (i >= 3) {
            char oldest[16], bytes[16];
            (void)snprintf(oldest, sizeof oldest, "request-%u", i - 3);
            journal_copy(&j, journal_at(&j, 0), bytes);
            assert_memory_equal(bytes, oldest, strlen(oldest));
            journal_answered(&j);
            assert_int_equal(j.count, 3);
        }
    }
    assert_int_equal(j.queued, queued);
    assert_true(j.bytes.len < 64);
    journal_clear(&j);
    block_pool_clear(&pool);
}

static void test_several_at_once(void **state)
{
    (void)state;
    struct block_pool pool = {0};
    struct journal j = {0};
    char text[64] = "";
    for (size_t i = 0; i < 9; i++) { /* more than the ring's first size */
        journal_add(&j, &get, someone, i + 1);
        (void)memset(text + strlen(text), 'a' + (int)i, i + 1);
    }
    journal_fill(&j, &pool, NULL, slice_str(text));
    for (uint32_t i = 0; i < 9; i++) {
        char bytes[16];
        assert_int_equal(journal_bytes(&j, journal_at(&j, i)), i + 1);
        journal_copy(&j, journal_at(&j, i), bytes);
        assert_int_equal(bytes[0], 'a' + (int)i);
        assert_int_equal(bytes[i], 'a' + (int)i);
    }
    journal_sent(&j, 1 + 2 + 3 + 1);
    assert_int_equal(journal_state(&j, journal_at(&j, 2)), RECORD_SENT);
    assert_int_equal(journal_state(&j, journal_at(&j, 3)), RECORD_PARTIAL);
    journal_answered_all(&j, 3);
    assert_int_equal(j.count, 6);
    assert_int_equal(j.bytes.len, 4 + 5 + 6 + 7 + 8 + 9);
    assert_int_equal(journal_bytes(&j, journal_at(&j, 0)), 4);
    journal_clear(&j);
    block_pool_clear(&pool);
}

static void test_unsent_are_dropped(void **state)
{
    (void)state;
    const struct asker other = {.slot = 7, .serial = 9};
    struct block_pool pool = {0};
    for (size_t sent = 0; sent <= 18; sent++) {
        struct journal j = {0};
        for (uint32_t i = 0; i < 6; i++) { /* aaa bbb ccc ddd eee fff, the odd ones by another */
            char text[4] = {(char)('a' + i), (char)('a' + i), (char)('a' + i), 0};
            journal_begin(&j, &get, i % 2 == 0 ? someone : other);
            journal_append(&j, &pool, NULL, slice_str(text));
            journal_end(&j);
        }
        journal_sent(&j, sent);
        uint32_t begun = (uint32_t)(sent + 2) / 3, dropped = 0;
        for (uint32_t i = begun; i < 6; i++) {
            dropped += i % 2;
        }
        assert_int_equal(journal_drop_unsent(&j, other), dropped);
        assert_int_equal(j.count, 6 - dropped);
        assert_int_equal(j.queued, 3 * (6 - dropped));
        assert_int_equal(j.bytes.len, 3 * (6 - dropped));
        for (uint32_t i = 0, k = 0; i < 6; i++) {
            if (i < begun || i % 2 == 0) {
                char bytes[4];
                const struct record *r = journal_at(&j, k++);
                assert_int_equal(journal_bytes(&j, r), 3);
                journal_copy(&j, r, bytes);
                assert_int_equal(bytes[0], 'a' + i);
                assert_int_equal(bytes[2], 'a' + i);
            }
        }
        journal_finish_partial(&j);
        for (uint32_t i = 0; i < j.count; i++) {
            bool was_begun = i < begun;
            assert_int_equal(journal_state(&j, journal_at(&j, i)),
                             was_begun ? RECORD_SENT : RECORD_UNSENT);
        }
        journal_begin(&j, &get, someone); /* and it goes on */
        journal_append(&j, &pool, NULL, slice_str("next"));
        journal_end(&j);
        journal_sent(&j, journal_unsent(&j));
        journal_answered_all(&j, j.count);
        assert_int_equal(j.bytes.len, 0);
        journal_clear(&j);
    }
    block_pool_clear(&pool);
}

static void test_large_is_forgotten(void **state)
{
    (void)state;
    struct block_pool pool = {0};
    struct journal j = {0};
    journal_begin(&j, &get, someone);
    const struct record *r = journal_at(&j, 0);
    journal_append(&j, &pool, NULL, slice_str("0123456789"));
    journal_sent(&j, 6);
    assert_int_equal(journal_state(&j, r), RECORD_PARTIAL);
    journal_forget_sent(&j);
    assert_false(journal_has(&j, r));
    assert_int_equal(journal_bytes(&j, r), 0);
    assert_int_equal(j.bytes.len, 4);
    journal_append(&j, &pool, NULL, slice_str("abc"));
    journal_end(&j);
    assert_int_equal(journal_state(&j, r), RECORD_PARTIAL); /* one missing byte is enough */
    journal_sent(&j, 6);
    assert_int_equal(journal_state(&j, r), RECORD_PARTIAL);
    journal_sent(&j, 1);
    assert_int_equal(journal_state(&j, r), RECORD_SENT);
    journal_answered(&j);
    assert_int_equal(j.bytes.len, 0);
    /* What follows is kept as usual. */
    journal_begin(&j, &get, someone);
    r = journal_at(&j, 0);
    journal_append(&j, &pool, NULL, slice_str("next"));
    journal_end(&j);
    assert_true(journal_has(&j, r));
    assert_int_equal(journal_bytes(&j, r), 4);
    journal_clear(&j);
    block_pool_clear(&pool);
}

static void test_keep_first(void **state)
{
    (void)state;
    struct block_pool pool = {0};
    struct journal j = {0};
    write_frames(&j, &pool);
    journal_sent(&j, strlen(frames[0]) + 1);
    journal_keep_first(&j);
    assert_int_equal(j.count, 1);
    assert_int_equal(journal_state(&j, journal_at(&j, 0)), RECORD_SENT);
    journal_answered(&j);
    assert_int_equal(j.count, 0);
    journal_clear(&j);
    block_pool_clear(&pool);
}

/* What `some` has of `all`, whose records with a bit in `which` it adopted. */
static void assert_adopted(const struct journal *some, const struct journal *all, unsigned which)
{
    uint32_t k = 0;
    for (uint32_t i = 0; i < all->count; i++) {
        if ((which & 1u << i) == 0) {
            continue;
        }
        const struct record *from = journal_at(all, i), *to = journal_at(some, k++);
        assert_int_equal(journal_state(some, to), journal_state(all, from));
        assert_ptr_equal(to->command, from->command);
        assert_int_equal(to->asker.serial, someone.serial);
        char bytes[64];
        assert_int_equal(journal_bytes(some, to), strlen(frames[i]));
        journal_copy(some, to, bytes);
        assert_memory_equal(bytes, frames[i], strlen(frames[i]));
    }
    assert_int_equal(some->count, k);
}

static void adopt_some(struct block_pool *pool, unsigned which, size_t sent)
{
    struct journal all = {0}, some = {0};
    write_frames(&all, pool);
    journal_sent(&all, sent);
    for (uint32_t i = 0; i < all.count; i++) {
        if ((which & 1u << i) != 0) {
            journal_adopt(&some, pool, &all, journal_at(&all, i));
        }
    }
    assert_adopted(&some, &all, which);
    journal_clear(&all);
    journal_clear(&some);
}

/* A link that several share is lost: what each of them had on it, with all that was known of it. */
static void test_adopted(void **state)
{
    (void)state;
    struct block_pool pool = {0};
    size_t total = 0;
    for (size_t i = 0; i < ARRAY_LEN(frames); i++) {
        total += strlen(frames[i]);
    }
    for (unsigned which = 1; which < 1u << ARRAY_LEN(frames); which++) {
        for (size_t sent = 0; sent <= total; sent++) {
            adopt_some(&pool, which, sent);
        }
    }
    block_pool_clear(&pool);
}

/* Under TLS: of what was given the last bytes are held. A request is sent once its last byte is not
 * among them, and unsent only if none of it was given. */
static void check_held(struct block_pool *pool, size_t given, size_t held)
{
    struct journal j = {0}, all = {0};
    size_t begin = 0, sent = given - held;
    write_frames(&j, pool);
    journal_given(&j, given, given);
    journal_settle(&j, held);
    for (uint32_t i = 0; i < j.count; i++) {
        const struct record *r = journal_at(&j, i);
        size_t end = begin + strlen(frames[i]);
        enum record_state want = given <= begin ? RECORD_UNSENT
                                 : sent < end   ? RECORD_PARTIAL
                                                : RECORD_SENT;
        assert_int_equal(journal_state(&j, r), want);
        journal_adopt(&all, pool, &j, r);
        begin = end;
    }
    for (uint32_t i = 0; i < j.count; i++) {
        assert_int_equal(journal_state(&all, journal_at(&all, i)),
                         journal_state(&j, journal_at(&j, i)));
    }
    /* What was given goes on its way whatever becomes of its session. */
    uint32_t unsent = 0;
    for (uint32_t i = 0; i < j.count; i++) {
        unsent += journal_state(&j, journal_at(&j, i)) == RECORD_UNSENT ? 1 : 0;
    }
    assert_int_equal(journal_drop_unsent(&j, someone), unsent);
    assert_int_equal(journal_unsent(&j) > 0, held > 0 || j.queued > given);
    journal_finish_partial(&all);
    for (uint32_t i = 0; i < all.count; i++) {
        assert_true(journal_state(&all, journal_at(&all, i)) != RECORD_PARTIAL);
    }
    journal_clear(&j);
    journal_clear(&all);
}

static void test_held_is_not_sent(void **state)
{
    (void)state;
    struct block_pool pool = {0};
    size_t total = 0;
    for (size_t i = 0; i < ARRAY_LEN(frames); i++) {
        total += strlen(frames[i]);
    }
    for (size_t given = 0; given <= total; given++) {
        for (size_t held = 0; held <= given; held++) {
            check_held(&pool, given, held);
        }
    }
    block_pool_clear(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_answers_drop_bytes),
        cmocka_unit_test(test_several_at_once),
        cmocka_unit_test(test_large_is_forgotten),
        cmocka_unit_test(test_unsent_are_dropped),
        cmocka_unit_test(test_keep_first),
        cmocka_unit_test(test_adopted),
        cmocka_unit_test(test_held_is_not_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
