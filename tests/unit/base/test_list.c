#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proxy/base/list.h"

struct item {
    int number;
    struct list_node node;
};

/* The list holds just these numbers, forwards and backwards. */
static void assert_list(const struct list *list, const int *numbers, size_t n)
{
    const struct list_node *node = list->first;
    assert_int_equal(list->count, n);
    for (size_t i = 0; i < n; i++, node = node->next) {
        assert_non_null(node);
        assert_ptr_equal(node->owner, list);
        assert_int_equal(
            ((const struct item *)(const void *)((const char *)node - offsetof(struct item, node)))
                ->number,
            numbers[i]);
        assert_ptr_equal(i == 0 ? list->first : node->prev->next, node);
    }
    assert_null(node);
    if (n > 0) {
        assert_null(list->first->prev);
        assert_null(list->last->next);
    } else {
        assert_null(list->first);
        assert_null(list->last);
    }
}

static void keeps_order(void **state)
{
    struct list list = {0};
    struct item items[5] = {
        {.number = 0}, {.number = 1}, {.number = 2}, {.number = 3}, {.number = 4}};
    (void)state;
    assert_list(&list, NULL, 0);
    assert_null(list_pop(&list));
    for (size_t i = 0; i < 5; i++) {
        assert_false(list_on(&items[i].node));
        list_append(&list, &items[i].node);
        assert_true(list_on(&items[i].node));
    }
    assert_list(&list, (int[]){0, 1, 2, 3, 4}, 5);
    list_remove(&items[2].node);
    assert_list(&list, (int[]){0, 1, 3, 4}, 4);
    list_remove(&items[2].node);
    assert_list(&list, (int[]){0, 1, 3, 4}, 4);
    list_remove(&items[0].node);
    list_remove(&items[4].node);
    assert_list(&list, (int[]){1, 3}, 2);
    list_append(&list, &items[0].node);
    assert_list(&list, (int[]){1, 3, 0}, 3);
    assert_ptr_equal(list_pop(&list), &items[1].node);
    assert_false(list_on(&items[1].node));
    assert_ptr_equal(list_pop(&list), &items[3].node);
    assert_ptr_equal(list_pop(&list), &items[0].node);
    assert_null(list_pop(&list));
    assert_list(&list, NULL, 0);
}

static void moves_between_lists(void **state)
{
    struct list a = {0}, b = {0};
    struct item items[3] = {{.number = 0}, {.number = 1}, {.number = 2}};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        list_append(&a, &items[i].node);
    }
    list_remove(&items[1].node);
    list_append(&b, &items[1].node);
    assert_list(&a, (int[]){0, 2}, 2);
    assert_list(&b, (int[]){1}, 1);
    list_remove(&items[1].node);
    assert_list(&a, (int[]){0, 2}, 2);
    assert_list(&b, NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_order),
        cmocka_unit_test(moves_between_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
