/* base/heap.h - an intrusive binary min-heap of instants: the timers. Of equal ones the first to be inserted comes first. */
#ifndef LUN_BASE_HEAP_H
#define LUN_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
    int64_t key;
    uint64_t turn; /* which insertion it was */
    size_t index;  /* place in heap->nodes, plus one; 0: in no heap */
};

struct heap {
    struct heap_node **nodes;
    size_t n, capacity;
    uint64_t n_turns;
};

void heap_init(struct heap *heap);
/* Frees the array; the nodes belong to others. */
void heap_fini(struct heap *heap);
/* Makes room for `n` nodes, so that heap_insert cannot fail up to there. 0 or LUN_ENOMEM. */
int heap_reserve(struct heap *heap, size_t n);
/* Inserts, or moves a node that is already in. Room must have been reserved for a new one. */
void heap_insert(struct heap *heap, struct heap_node *node, int64_t key);
/* Harmless for a node that is not in. */
void heap_remove(struct heap *heap, struct heap_node *node);
/* The node with the smallest key, left in; NULL when empty. */
struct heap_node *heap_first(const struct heap *heap);

#endif
