/* sim/keys.c - the keys of the simulated etcd in order, and ranges of them. See keys.h. */
#include "sim/keys.h"

#include <stdlib.h>
#include <string.h>

#include "sim/world.h"

int sim_bytes_order(struct lun_bytes a, struct lun_bytes b) {
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n > 0 ? memcmp(a.data, b.data, n) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

void sim_keys_fini(struct sim_keys *keys) {
    free(keys->kvs);
    *keys = (struct sim_keys){0};
}

/* The first that is not before `key`. */
static size_t first_from(const struct sim_keys *keys, struct lun_bytes key) {
    size_t low = 0, high = keys->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (sim_bytes_order(sim_key_of(&keys->kvs[middle]), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_at(const struct sim_keys *keys, size_t i, struct lun_bytes key) {
    return i < keys->n && sim_bytes_order(sim_key_of(&keys->kvs[i]), key) == 0;
}

struct sim_kv *sim_keys_find(const struct sim_keys *keys, struct lun_bytes key) {
    size_t i = first_from(keys, key);
    return is_at(keys, i, key) ? &keys->kvs[i] : NULL;
}

void sim_keys_put(struct sim_keys *keys, const struct sim_kv *kv) {
    size_t i = first_from(keys, sim_key_of(kv));
    if (!is_at(keys, i, sim_key_of(kv))) {
        keys->kvs = sim_grow(keys->kvs, keys->n, &keys->room, sizeof *keys->kvs);
        memmove(&keys->kvs[i + 1], &keys->kvs[i], (keys->n - i) * sizeof *keys->kvs);
        keys->n++;
    }
    keys->kvs[i] = *kv;
}

void sim_keys_remove(struct sim_keys *keys, size_t i) {
    keys->n--;
    memmove(&keys->kvs[i], &keys->kvs[i + 1], (keys->n - i) * sizeof *keys->kvs);
}

struct sim_range sim_range_of(struct lun_bytes key, struct lun_bytes range_end) {
    return (struct sim_range){key, range_end, range_end.len == 1 && *(const char *)range_end.data == '\0'};
}

bool sim_range_has(const struct sim_range *range, struct lun_bytes key) {
    if (range->end.len == 0)
        return sim_bytes_order(key, range->from) == 0;
    return sim_bytes_order(key, range->from) >= 0 && (range->is_open || sim_bytes_order(key, range->end) < 0);
}

void sim_keys_slice(const struct sim_keys *keys, const struct sim_range *range, size_t *ret_from,
                    size_t *ret_to) {
    size_t from = first_from(keys, range->from), to = keys->n;
    if (range->end.len == 0)
        to = from + is_at(keys, from, range->from);
    else if (!range->is_open)
        to = first_from(keys, range->end);
    *ret_from = from;
    *ret_to = to > from ? to : from;
}
