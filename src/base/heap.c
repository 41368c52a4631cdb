/* base/heap.c - a binary min-heap of instants, for the timers. See heap.h. */
#include "base/heap.h"

#include <stdlib.h>

#include "base/err.h"

void heap_init(struct heap *heap) {
    *heap = (struct heap){NULL, 0, 0, 0};
}

void heap_fini(struct heap *heap) {
    free(heap->nodes);
    heap_init(heap);
}

int heap_reserve(struct heap *heap, size_t n) {
    if (n <= heap->capacity)
        return 0;
    size_t capacity = heap->capacity ? heap->capacity * 2 : 16;
    while (capacity < n)
        capacity *= 2;
    struct heap_node **nodes = realloc(heap->nodes, capacity * sizeof(struct heap_node *));
    if (!nodes)
        return LUN_ENOMEM;
    heap->nodes = nodes;
    heap->capacity = capacity;
    return 0;
}

static void place(struct heap *heap, struct heap_node *node, size_t i) {
    heap->nodes[i] = node;
    node->index = i + 1;
}

static bool is_before(const struct heap_node *a, const struct heap_node *b) {
    return a->key != b->key ? a->key < b->key : a->turn < b->turn;
}

static void sift_up(struct heap *heap, struct heap_node *node, size_t i) {
    while (i > 0 && is_before(node, heap->nodes[(i - 1) / 2])) {
        place(heap, heap->nodes[(i - 1) / 2], i);
        i = (i - 1) / 2;
    }
    place(heap, node, i);
}

static void sift_down(struct heap *heap, struct heap_node *node, size_t i) {
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= heap->n)
            break;
        if (child + 1 < heap->n && is_before(heap->nodes[child + 1], heap->nodes[child]))
            child++;
        if (is_before(node, heap->nodes[child]))
            break;
        place(heap, heap->nodes[child], i);
        i = child;
    }
    place(heap, node, i);
}

void heap_remove(struct heap *heap, struct heap_node *node) {
    if (node->index == 0)
        return;
    size_t i = node->index - 1;
    node->index = 0;
    struct heap_node *last = heap->nodes[--heap->n];
    if (last == node)
        return;
    sift_down(heap, last, i);
    sift_up(heap, last, last->index - 1);
}

void heap_insert(struct heap *heap, struct heap_node *node, int64_t key) {
    heap_remove(heap, node);
    node->key = key;
    node->turn = heap->n_turns++;
    sift_up(heap, node, heap->n++);
}

struct heap_node *heap_first(const struct heap *heap) {
    return heap->n > 0 ? heap->nodes[0] : NULL;
}
