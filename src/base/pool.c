/* base/pool.c - memory for objects that come in bursts: the first few from malloc, the rest in blocks that are given back
 * whole. See pool.h. */
#include "base/pool.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { BLOCK_BYTES = 128 << 10 };
#ifdef __SANITIZE_ADDRESS__
#define FEW SIZE_MAX /* a use after the end of an object is found in malloc's memory only */
#else
#define FEW 64
#endif

struct block {
    struct list in_pool; /* with_room; linked by itself when it is full */
    struct cell *unused;
    size_t n_used, n_touched; /* cells in use; cells that ever were */
};

/* Stands before each object. */
struct cell {
    union {
        struct block *block; /* NULL: malloc's */
        struct cell *next;   /* unused */
        max_align_t align;
    };
};

static size_t cell_bytes(const struct pool *pool) {
    return sizeof(struct cell) + pool->cell_bytes;
}

static struct cell *nth_cell(const struct pool *pool, struct block *block, size_t i) {
    size_t head = (sizeof *block + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    return (struct cell *)(void *)((char *)block + head + i * cell_bytes(pool));
}

static bool has_room(const struct pool *pool, struct block *block) {
    char *end = (char *)nth_cell(pool, block, block->n_touched + 1);
    return block->unused || end <= (char *)block + BLOCK_BYTES;
}

void pool_init(struct pool *pool, size_t n_bytes) {
    size_t unit = sizeof(max_align_t);
    *pool = (struct pool){.cell_bytes = (n_bytes + unit - 1) / unit * unit};
    list_init(&pool->with_room);
}

static struct block *block_new(struct pool *pool) {
    struct block *block = mmap(NULL, BLOCK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED)
        return NULL;
    list_init(&block->in_pool);
    list_push_back(&pool->with_room, &block->in_pool);
    return block;
}

static struct cell *cell_of_block(struct pool *pool) {
    struct block *block = list_is_empty(&pool->with_room)
                              ? block_new(pool)
                              : CONTAINER_OF(pool->with_room.next, struct block, in_pool);
    if (!block)
        return NULL;
    struct cell *cell = block->unused;
    if (cell)
        block->unused = cell->next;
    else
        cell = nth_cell(pool, block, block->n_touched++);
    block->n_used++;
    if (!has_room(pool, block))
        list_remove(&block->in_pool);
    cell->block = block;
    return cell;
}

static struct cell *cell_of_malloc(size_t n_bytes) {
    struct cell *cell = malloc(sizeof *cell + n_bytes);
    if (cell)
        cell->block = NULL;
    return cell;
}

void *pool_alloc(struct pool *pool, size_t n_bytes) {
    bool is_plain = pool->n_alive < FEW || n_bytes > pool->cell_bytes;
    struct cell *cell = is_plain ? cell_of_malloc(n_bytes) : cell_of_block(pool);
    if (!cell)
        return NULL;
    pool->n_alive++;
    return cell + 1;
}

void pool_free(struct pool *pool, void *object) {
    if (!object)
        return;
    struct cell *cell = (struct cell *)object - 1;
    struct block *block = cell->block;
    pool->n_alive--;
    if (!block) {
        free(cell);
        return;
    }
    if (list_is_empty(&block->in_pool))
        list_push_back(&pool->with_room, &block->in_pool);
    cell->next = block->unused;
    block->unused = cell;
    if (--block->n_used == 0) {
        list_remove(&block->in_pool);
        (void)munmap(block, BLOCK_BYTES);
    }
}
