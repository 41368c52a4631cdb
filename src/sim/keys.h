/* sim/keys.h - keys and what they hold, in the order of their bytes; and ranges of them, as etcd reads them.
 * For the files of this folder only. */
#ifndef LUN_SIM_KEYS_H
#define LUN_SIM_KEYS_H

#include <protobuf-c/protobuf-c.h>

#include "base/bytes.h"
#include "sim/sim.h"

/* The strings belong to the store and live as long as it. */
struct sim_keys {
    struct sim_kv *kvs; /* by key */
    size_t n, room;
};
void sim_keys_fini(struct sim_keys *keys);
/* NULL: not there. */
struct sim_kv *sim_keys_find(const struct sim_keys *keys, struct lun_bytes key);
/* Adds it, or takes the place of the one with its key. */
void sim_keys_put(struct sim_keys *keys, const struct sim_kv *kv);
void sim_keys_remove(struct sim_keys *keys, size_t i);

/* Borrows. No end: the one key. An end of a single zero byte: all from the key on. */
struct sim_range {
    struct lun_bytes from, end;
    bool is_open;
};
struct sim_range sim_range_of(struct lun_bytes key, struct lun_bytes range_end);
bool sim_range_has(const struct sim_range *range, struct lun_bytes key);
/* Those inside are kvs[*ret_from] to kvs[*ret_to - 1]. */
void sim_keys_slice(const struct sim_keys *keys, const struct sim_range *range, size_t *ret_from,
                    size_t *ret_to);

/* As memcmp, the shorter first. */
int sim_bytes_order(struct lun_bytes a, struct lun_bytes b);
static inline struct lun_bytes sim_bytes(ProtobufCBinaryData data) {
    return (struct lun_bytes){data.data, data.len};
}
static inline struct lun_bytes sim_key_of(const struct sim_kv *kv) {
    return (struct lun_bytes){kv->key, kv->key_bytes};
}

#endif
