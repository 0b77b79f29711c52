/* Intrusive doubly linked list that knows its length. A node is on one list or on none. */
#ifndef VEDETTE_BASE_LIST_H
#define VEDETTE_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "proxy/base/check.h"

struct list_node {
    struct list_node *prev, *next;
    struct list *owner; /* NULL when on no list */
};

struct list {
    struct list_node *first, *last;
    size_t count;
};

static inline bool list_on(const struct list_node *node)
{
    return node->owner != NULL;
}

static inline void list_append(struct list *list, struct list_node *node)
{
    CHECK(node->owner == NULL);
    node->owner = list;
    node->next = NULL;
    node->prev = list->last;
    if (list->last != NULL) {
        list->last->next = node;
    } else {
        list->first = node;
    }
    list->last = node;
    list->count++;
}

/* Takes node off the list it is on; does nothing when it is on none. */
static inline void list_remove(struct list_node *node)
{
    struct list *list = node->owner;
    if (list == NULL) {
        return;
    }
    if (node->prev != NULL) {
        node->prev->next = node->next;
    } else {
        list->first = node->next;
    }
    if (node->next != NULL) {
        node->next->prev = node->prev;
    } else {
        list->last = node->prev;
    }
    list->count--;
    node->prev = node->next = NULL;
    node->owner = NULL;
}

/* Takes the first node off and returns it; NULL when the list is empty. */
static inline struct list_node *list_pop(struct list *list)
{
    struct list_node *node = list->first;
    if (node != NULL) {
        /* The analyzer takes a list's next node for the one just freed. */
        CHECK(node->owner == list); /* NOLINT(clang-analyzer-unix.Malloc) */
        list_remove(node);
    }
    return node;
}

#endif
