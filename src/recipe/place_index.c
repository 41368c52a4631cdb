/* recipe/place_index.c - the places and lines of a client, found by key and by name. See place_index.h.
 *
 * Hash tables with chains, doubled when they hold as many nodes as buckets. */
#include "recipe/place_index.h"

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

static struct index_node **bucket_of(struct index_node **buckets, size_t n_buckets, uint64_t hash) {
    return &buckets[hash & (n_buckets - 1)];
}

static void push(struct index_node **buckets, size_t n_buckets, struct index_node *node) {
    struct index_node **bucket = bucket_of(buckets, n_buckets, node->hash);
    node->next = *bucket;
    *bucket = node;
}

static int grow(struct index_table *table) {
    size_t n_buckets = table->n_buckets ? table->n_buckets * 2 : FIRST_BUCKETS;
    struct index_node **buckets = calloc(n_buckets, sizeof(struct index_node *));
    if (!buckets)
        return LUN_ENOMEM;
    for (size_t i = 0; i < table->n_buckets; i++) {
        struct index_node *node;
        while ((node = table->buckets[i])) {
            table->buckets[i] = node->next;
            push(buckets, n_buckets, node);
        }
    }
    free(table->buckets);
    table->buckets = buckets;
    table->n_buckets = n_buckets;
    return 0;
}

static int add(struct index_table *table, struct index_node *node) {
    if (table->n == table->n_buckets && grow(table) && table->n_buckets == 0)
        return LUN_ENOMEM;
    node->hash = hash_of(node->key);
    node->is_in = true;
    push(table->buckets, table->n_buckets, node);
    table->n++;
    return 0;
}

static void take_out(struct index_table *table, struct index_node *node) {
    struct index_node **link = bucket_of(table->buckets, table->n_buckets, node->hash);
    while (*link != node)
        link = &(*link)->next;
    *link = node->next;
    node->is_in = false;
    table->n--;
}

static struct index_node *find(const struct index_table *table, struct lun_bytes key) {
    if (table->n == 0)
        return NULL;
    uint64_t hash = hash_of(key);
    for (struct index_node *node = *bucket_of(table->buckets, table->n_buckets, hash); node;
         node = node->next)
        if (node->hash == hash && lun_bytes_equal(node->key, key))
            return node;
    return NULL;
}

void place_index_init(struct place_index *index) {
    *index = (struct place_index){.places = {.n = 0}};
}

void place_index_fini(struct place_index *index) {
    assert(index->places.n == 0 && index->lines.n == 0);
    free(index->places.buckets);
    free(index->lines.buckets);
    place_index_init(index);
}

int place_index_add(struct place_index *index, struct index_node *node) {
    return add(&index->places, node);
}

void place_index_remove(struct place_index *index, struct index_node *node) {
    if (node->is_in)
        take_out(&index->places, node);
}

struct index_node *place_index_find(const struct place_index *index, struct lun_bytes key) {
    return find(&index->places, key);
}

/* ---- lines ------------------------------------------------------------------------------------------ */

struct indexed_line {
    struct index_node in_lines; /* by its name */
    struct line line;           /* must be the last */
};

struct line *place_index_line(struct place_index *index, struct lun_bytes name) {
    struct index_node *node = find(&index->lines, name);
    struct indexed_line *indexed = node ? CONTAINER_OF(node, struct indexed_line, in_lines) : NULL;
    if (!indexed) {
        indexed = malloc(sizeof *indexed + line_text_bytes(name.len));
        if (!indexed)
            return NULL;
        line_init(&indexed->line, name);
        indexed->in_lines.key = (struct lun_bytes){indexed->line.text, name.len};
        if (add(&index->lines, &indexed->in_lines)) {
            free(indexed);
            return NULL;
        }
    }
    indexed->line.n_users++;
    return &indexed->line;
}

void place_index_line_release(struct place_index *index, struct line *line) {
    if (!line || --line->n_users > 0)
        return;
    struct indexed_line *indexed = CONTAINER_OF(line, struct indexed_line, line);
    assert(list_is_empty(&line->places));
    take_out(&index->lines, &indexed->in_lines);
    free(line->owner_text);
    free(indexed);
}
