/* base/list.h - an intrusive, circular, doubly linked list. A node that is in no list points to itself. */
#ifndef LUN_BASE_LIST_H
#define LUN_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};

#define CONTAINER_OF(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static inline void list_init(struct list *list) {
    list->next = list->prev = list;
}

static inline bool list_is_empty(const struct list *list) {
    return list->next == list;
}

static inline void list_push_back(struct list *list, struct list *node) {
    node->prev = list->prev;
    node->next = list;
    list->prev->next = node;
    list->prev = node;
}

/* Takes a node out of whatever list it is in; harmless for one that is in none. */
static inline void list_remove(struct list *node) {
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

/* The first node, taken out; NULL when empty. */
static inline struct list *list_pop_front(struct list *list) {
    struct list *node = list->next;
    if (node == list)
        return NULL;
    list_remove(node);
    return node;
}

/* Moves all nodes of `from` to the empty `to`. Callbacks that may change a list are run from such a copy. */
static inline void list_move(struct list *from, struct list *to) {
    list_init(to);
    if (list_is_empty(from))
        return;
    *to = *from;
    to->next->prev = to;
    to->prev->next = to;
    list_init(from);
}

/* Moves all nodes of `from` behind those of `to`. */
static inline void list_append(struct list *from, struct list *to) {
    if (list_is_empty(from))
        return;
    from->next->prev = to->prev;
    from->prev->next = to;
    to->prev->next = from->next;
    to->prev = from->prev;
    list_init(from);
}

#endif
