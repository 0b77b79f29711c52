/* Blocks and chains: copies, shared views, splits at every place, and what is given back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/block.h"
#include "proxy/base/held.h"

static char pattern(size_t i)
{
    return (char)('a' + i % 23);
}

static void fill(char *to, size_t from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        to[i] = pattern(from + i);
    }
}

static void assert_holds(const struct chain *c, size_t first, size_t n)
{
    assert_int_equal(c->len, n);
    char *flat = malloc(n + 1);
    chain_peek(c, 0, n, flat);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(flat[i], pattern(first + i));
    }
    struct iovec iov[64];
    size_t pieces = chain_iov(c, 0, n, iov, 64), at = 0;
    for (size_t i = 0; i < pieces; i++) {
        assert_memory_equal(iov[i].iov_base, flat + at, iov[i].iov_len);
        at += iov[i].iov_len;
    }
    assert_true(at == n || pieces == 64);
    free(flat);
}

static void test_copies_join(void **state)
{
    (void)state;
    struct block_pool pool = {0};
    struct chain c = {0};
    char bytes[300];
    size_t total = 0;
    for (size_t n = 1; n < 300; n++) {
        fill(bytes, total, n);
        chain_copy(&c, &pool, slice_of(bytes, n));
        total += n;
    }
    assert_holds(&c, 0, total);
    /* Consumed in odd pieces, the rest stays right. */
    size_t gone = 0;
    while (gone < total) {
        size_t n = total - gone < 77 ? total - gone : 77;
        chain_consume(&c, n);
        gone += n;
        assert_holds(&c, gone, total - gone);
    }
    chain_clear(&c);
    block_pool_clear(&pool);
}

static void test_shared_views(void **state)
{
    (void)state;
    struct block_pool pool = {0};
    struct block *b = block_new(&pool, BLOCK_64K);
    fill(b->data, 0, b->cap);
    b->used = b->cap;
    struct chain one = {0}, two = {0};
    for (size_t at = 0; at < 50000; at += 5000) {
        chain_share(&one, b, slice_of(b->data + at, 5000));
    }
    assert_int_equal(one.count, 1); /* neighbours are one view */
    assert_int_equal(b->refs, 2);
    chain_share(&two, b, slice_of(b->data + 100, 50));
    chain_share(&two, b, slice_of(b->data + 610, 50));
    chain_share(&two, b, slice_of(b->data + 1120, 50));
    assert_int_equal(two.count, 3);
    assert_int_equal(b->refs, 5);
    assert_holds(&one, 0, 50000);
    assert_holds(&two, 100, 150);
    block_unref(b);
    chain_clear(&one);
    assert_holds(&two, 100, 150);
    chain_clear(&two);
    assert_int_equal(pool.cached[BLOCK_64K], 1);
    block_pool_clear(&pool);
}

static void test_a_view_is_never_written_over(void **state)
{
    (void)state;
    struct block_pool pool = {0};
    struct chain first = {0}, second = {0};
    chain_copy(&first, &pool, slice_str("abc"));
    struct iovec iov;
    assert_int_equal(chain_iov(&first, 0, 3, &iov, 1), 1);
    /* Another chain looks at the same block: what is appended to the first goes elsewhere. */
    chain_share(&second, first.small[0].block, slice_of(iov.iov_base, 3));
    chain_copy(&first, &pool, slice_str("def"));
    chain_copy(&second, &pool, slice_str("xyz"));
    char flat[6];
    chain_peek(&first, 0, 6, flat);
    assert_memory_equal(flat, "abcdef", 6);
    chain_peek(&second, 0, 6, flat);
    assert_memory_equal(flat, "abcxyz", 6);
    chain_clear(&first);
    chain_clear(&second);
    block_pool_clear(&pool);
}

static void test_lent_views_are_settled(void **state)
{
    (void)state;
    struct block_pool pool = {0};
    struct block *b = block_new(&pool, BLOCK_256K);
    fill(b->data, 0, b->cap);
    b->used = b->cap;
    struct chain c = {0};
    chain_lend(&c, &pool, b, slice_of(b->data, 10));
    chain_lend(&c, &pool, b, slice_of(b->data + 10, 100000)); /* right behind it: one view */
    assert_int_equal(c.count, 1);
    chain_settle(&c, &pool); /* more than a quarter of the block: it stays */
    assert_int_equal(b->refs, 2);
    chain_lend(&c, &pool, NULL, slice_of(b->data + 100010, 5)); /* lies nowhere: a copy */
    chain_lend(&c, &pool, b, slice_of(b->data + 100015, 7));    /* no room for a view: a copy */
    assert_int_equal(c.count, 2);
    chain_lend(&c, &pool, b, slice_of(b->data + 100022, 20000)); /* large: a view all the same */
    assert_int_equal(c.count, 3);
    assert_int_equal(b->refs, 3);
    chain_settle(&c, &pool);
    assert_int_equal(b->refs, 2);
    assert_holds(&c, 0, 120022);
    chain_consume(&c, 50000); /* less than a quarter is left of it */
    chain_lend(&c, &pool, b, slice_of(b->data + 120022, 3));
    chain_settle(&c, &pool);
    assert_holds(&c, 50000, 70025);
    chain_clear(&c);
    assert_int_equal(b->refs, 1);
    block_unref(b);
    block_pool_clear(&pool);
}

static void test_cut_out_of_the_middle(void **state)
{
    (void)state;
    static const size_t edges[] = {0, 1, 500, 992, 1000, 17000, 60000, 100000, 149999, 150000};
    size_t n = 150000;
    char *bytes = malloc(n), *flat = malloc(n);
    fill(bytes, 0, n);
    struct block_pool pool = {0};
    for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
        for (size_t k = i; k < ARRAY_LEN(edges); k++) {
            struct chain c = {0};
            for (size_t at = 0; at < n; at += 500) { /* blocks of every size */
                chain_copy(&c, &pool, slice_of(bytes + at, 500));
            }
            chain_cut(&c, edges[i], edges[k]);
            chain_copy(&c, &pool, slice_str("end"));
            size_t left = n - (edges[k] - edges[i]);
            assert_int_equal(c.len, left + 3);
            chain_peek(&c, 0, left, flat);
            assert_memory_equal(flat, bytes, edges[i]);
            assert_memory_equal(flat + edges[i], bytes + edges[k], n - edges[k]);
            chain_clear(&c);
        }
    }
    block_pool_clear(&pool);
    free(bytes);
    free(flat);
}

static void test_iov_of_a_part(void **state)
{
    (void)state;
    struct block_pool pool = {0};
    struct chain c = {0};
    size_t n = 200000;
    char *bytes = malloc(n);
    fill(bytes, 0, n);
    chain_copy(&c, &pool, slice_of(bytes, n));
    assert_true(c.count > 2);
    static const size_t edges[] = {0, 1, 65535, 65536, 65537, 131072, 199999, 200000};
    for (size_t i = 0; i < ARRAY_LEN(edges); i++) {
        for (size_t k = i; k < ARRAY_LEN(edges); k++) {
            struct iovec iov[8];
            size_t pieces = chain_iov(&c, edges[i], edges[k], iov, 8), at = edges[i];
            for (size_t p = 0; p < pieces; p++) {
                assert_memory_equal(iov[p].iov_base, bytes + at, iov[p].iov_len);
                at += iov[p].iov_len;
            }
            assert_int_equal(at, edges[k]);
        }
    }
    free(bytes);
    chain_clear(&c);
    block_pool_clear(&pool);
}

static void test_what_is_held_is_counted(void **state)
{
    (void)state;
    struct block_pool pool = {0};
    struct chain c = {0}, view = {0};
    int64_t before = held_by_thread;
    char bytes[20000];
    fill(bytes, 0, sizeof bytes);
    for (size_t i = 0; i < 50; i++) {
        chain_copy(&c, &pool, slice_of(bytes, sizeof bytes));
        struct block *first = (c.spans != NULL ? c.spans : c.small)[0].block;
        chain_share(&view, first, slice_of(first->data, 100));
    }
    assert_true(held_by_thread - before >= (int64_t)(50 * sizeof bytes));
    assert_true(held_by_thread - before < (int64_t)(60 * sizeof bytes)); /* a view holds nothing */
    int64_t most = held_by_thread;
    chain_consume(&c, c.len / 2);
    assert_true(held_by_thread < most);
    chain_clear(&c);
    chain_clear(&view);
    assert_int_equal(held_by_thread, before); /* what is kept for later is not held */
    block_pool_clear(&pool);
    assert_int_equal(held_by_thread, before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copies_join),
        cmocka_unit_test(test_shared_views),
        cmocka_unit_test(test_a_view_is_never_written_over),
        cmocka_unit_test(test_lent_views_are_settled),
        cmocka_unit_test(test_cut_out_of_the_middle),
        cmocka_unit_test(test_iov_of_a_part),
        cmocka_unit_test(test_what_is_held_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
