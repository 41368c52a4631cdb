/* recipe/crowd.h - all places of one client, found by their key, and the pace they share.
 *
 * Two uses: a key that one of our places bears, or still owes something to, is not used again; and a
 * predecessor that is one of ours needs no watch. Inside (rpc.h). */
#ifndef LUN_RECIPE_CROWD_H
#define LUN_RECIPE_CROWD_H

#include "base/bytes.h"
#include "recipe/pace.h"

struct crowd_node {
    struct crowd_node *next;
    struct lun_bytes key; /* the place's own memory */
    uint64_t hash;
    bool is_in;
};

struct crowd {
    struct crowd_node **buckets;
    size_t n_buckets, n;
    struct pace pace; /* of their safety reads */
};

void crowd_init(struct crowd *crowd);
/* Must be empty. */
void crowd_fini(struct crowd *crowd);
/* 0 or LUN_ENOMEM. node->key is set before, and no other node bears it. */
int crowd_add(struct crowd *crowd, struct crowd_node *node);
/* Harmless for one that is not in. */
void crowd_remove(struct crowd *crowd, struct crowd_node *node);
/* NULL: none of ours. */
struct crowd_node *crowd_find(const struct crowd *crowd, struct lun_bytes key);

#endif
