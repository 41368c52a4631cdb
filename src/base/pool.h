/* base/pool.h - memory for objects of one kind that come in bursts, and go soon.
 *
 * Ten thousand that are freed one by one between others that stay leave holes, which the system does not get back. So what
 * is beyond the first few lies in blocks of its own, and a block whose last object is freed is given back. One thread at a
 * time. */
#ifndef LUN_BASE_POOL_H
#define LUN_BASE_POOL_H

#include <stddef.h>

#include "base/list.h"

struct pool {
    size_t cell_bytes; /* larger ones, and the first few, are malloc's */
    size_t n_alive;
    struct list with_room; /* blocks that have a free cell */
};

/* `cell_bytes`: what most objects fit into. Nothing to end when all objects are freed. */
void pool_init(struct pool *pool, size_t cell_bytes);
/* As malloc: aligned for anything; NULL when there is no memory. */
void *pool_alloc(struct pool *pool, size_t n_bytes);
/* Takes NULL. */
void pool_free(struct pool *pool, void *object);

#endif
