/* spec/alike/scene.h - the scenes, each a sentence that the servers' answers spell out. Written once, played
 * to both parties. */
#ifndef LUN_CONFORM_SCENE_H
#define LUN_CONFORM_SCENE_H

#include "party.h"

struct scene {
    const char *name;
    void (*play)(struct party *party);
};

/* Ended by one without a name. */
extern const struct scene range_scenes[], write_scenes[], txn_scenes[], lease_scenes[], watch_scenes[],
    limit_scenes[];
/* Those that want an etcd of their own: full, with authentication, without a leader. */
extern const struct scene full_scenes[], auth_scenes[], fleeting_scenes[], signed_scenes[],
    leaderless_scenes[];

/* Lease ids of the scenes; no two share one. */
enum {
    LEASE_PUT = 0x1000,
    LEASE_TXN = 0x2000,
    LEASE_LEASE = 0x3000,
    LEASE_WATCH = 0x4000,
    LEASE_FULL = 0x5000,
    LEASE_AUTH = 0x6000
};

/* ---- small requests that many scenes make */

static inline int put(struct party *party, struct lun_bytes key, struct lun_bytes value) {
    return ask_op(party, &(struct lun_kv_op){.kind = LUN_OP_PUT, .key = key, .value = value});
}
static inline int put_leased(struct party *party, struct lun_bytes key, struct lun_bytes value,
                             int64_t lease) {
    return ask_op(party, &(struct lun_kv_op){.kind = LUN_OP_PUT, .key = key, .value = value, .lease = lease});
}
static inline int get(struct party *party, struct lun_bytes key) {
    return ask_op(party, &(struct lun_kv_op){.kind = LUN_OP_RANGE, .key = key});
}
static inline int get_all(struct party *party) {
    return ask_op(party, &(struct lun_kv_op){.kind = LUN_OP_RANGE, .key = B("\0"), .range_end = B("\0")});
}
static inline int del(struct party *party, struct lun_bytes key, struct lun_bytes range_end) {
    return ask_op(party, &(struct lun_kv_op){.kind = LUN_OP_DELETE, .key = key, .range_end = range_end});
}
int grant_lease(struct party *party, int64_t id, int64_t ttl_s);
int revoke_lease(struct party *party, int64_t id);
int time_to_live(struct party *party, int64_t id, bool wants_keys);
/* At a revision counted from the story's first. */
int compact(struct party *party, int64_t revision);

static inline ProtobufCBinaryData binary(struct lun_bytes bytes) {
    return (ProtobufCBinaryData){bytes.len, (uint8_t *)(uintptr_t)bytes.data};
}

#endif
