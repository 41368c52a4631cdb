/* recipe/crowd.c - see crowd.h. A hash table with chains, doubled when it holds as many nodes as buckets. */
#include "recipe/crowd.h"

#include <assert.h>
#include <stdlib.h>

#include "base/err.h"

enum { FIRST_BUCKETS = 16 };

/* FNV-1a. */
static uint64_t hash_of(struct lun_bytes key) {
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < key.len; i++)
        hash = (hash ^ ((const unsigned char *)key.data)[i]) * UINT64_C(1099511628211);
    return hash;
}

static struct crowd_node **bucket_of(struct crowd_node **buckets, size_t n_buckets, uint64_t hash) {
    return &buckets[hash & (n_buckets - 1)];
}

static void push(struct crowd_node **buckets, size_t n_buckets, struct crowd_node *node) {
    struct crowd_node **bucket = bucket_of(buckets, n_buckets, node->hash);
    node->next = *bucket;
    *bucket = node;
}

static int grow(struct crowd *crowd) {
    size_t n_buckets = crowd->n_buckets ? crowd->n_buckets * 2 : FIRST_BUCKETS;
    struct crowd_node **buckets = calloc(n_buckets, sizeof(struct crowd_node *));
    if (!buckets)
        return LUN_ENOMEM;
    for (size_t i = 0; i < crowd->n_buckets; i++) {
        struct crowd_node *node;
        while ((node = crowd->buckets[i])) {
            crowd->buckets[i] = node->next;
            push(buckets, n_buckets, node);
        }
    }
    free(crowd->buckets);
    crowd->buckets = buckets;
    crowd->n_buckets = n_buckets;
    return 0;
}

void crowd_init(struct crowd *crowd) {
    *crowd = (struct crowd){.n = 0};
}

void crowd_fini(struct crowd *crowd) {
    assert(crowd->n == 0);
    free(crowd->buckets);
    crowd_init(crowd);
}

int crowd_add(struct crowd *crowd, struct crowd_node *node) {
    if (crowd->n == crowd->n_buckets && grow(crowd) && crowd->n_buckets == 0)
        return LUN_ENOMEM;
    node->hash = hash_of(node->key);
    node->is_in = true;
    push(crowd->buckets, crowd->n_buckets, node);
    crowd->n++;
    return 0;
}

void crowd_remove(struct crowd *crowd, struct crowd_node *node) {
    if (!node->is_in)
        return;
    struct crowd_node **link = bucket_of(crowd->buckets, crowd->n_buckets, node->hash);
    while (*link != node)
        link = &(*link)->next;
    *link = node->next;
    node->is_in = false;
    crowd->n--;
}

struct crowd_node *crowd_find(const struct crowd *crowd, struct lun_bytes key) {
    if (crowd->n == 0)
        return NULL;
    uint64_t hash = hash_of(key);
    for (struct crowd_node *node = *bucket_of(crowd->buckets, crowd->n_buckets, hash); node;
         node = node->next)
        if (node->hash == hash && lun_bytes_equal(node->key, key))
            return node;
    return NULL;
}
