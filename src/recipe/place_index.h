/* recipe/place_index.h - all places of one client, found by their key, and the lines they stand in, found by their name.
 *
 * A key that one of our places bears, or may still leave behind in etcd, is not used again. Places of one client in one
 * line know of each other: only the first of them has to ask etcd whom it waits for. Called with the lock held (rpc.h). */
#ifndef LUN_RECIPE_PLACE_INDEX_H
#define LUN_RECIPE_PLACE_INDEX_H

#include "base/bytes.h"
#include "recipe/line.h"
#include "recipe/pace.h"

struct index_node {
    struct index_node *next;
    struct lun_bytes key; /* memory of what it is a part of */
    uint64_t hash;
    bool is_in;
};

struct index_table {
    struct index_node **buckets;
    size_t n_buckets, n;
};

struct place_index {
    struct index_table places, lines;
    struct pace pace; /* of their safety reads */
};

void place_index_init(struct place_index *index);
/* Must be empty. */
void place_index_fini(struct place_index *index);

/* 0 or LUN_ENOMEM. node->key is set before, and no other node bears it. */
int place_index_add(struct place_index *index, struct index_node *node);
/* Harmless for one that is not in. */
void place_index_remove(struct place_index *index, struct index_node *node);
/* NULL: none of ours. */
struct index_node *place_index_find(const struct place_index *index, struct lun_bytes key);

/* The line of this name, with one more user; made if there is none. NULL: out of memory. */
struct line *place_index_line(struct place_index *index, struct lun_bytes name);
/* One user less; freed with the last. Takes NULL. */
void place_index_line_release(struct place_index *index, struct line *line);

#endif
