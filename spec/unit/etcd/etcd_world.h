/* spec/unit/etcd/etcd_world.h - a cluster on the seam played by the test, and the replies a server would give. */
#ifndef LUN_UNIT_ETCD_WORLD_H
#define LUN_UNIT_ETCD_WORLD_H

#include "etcd.pb-c.h"

#include "base/clock.h"
#include "etcd/etcd.h"
#include "etcd/kv.h"

#include "check.h"
#include "fake_rpc.h"

enum { OUR_CLUSTER = 0xc1, OTHER_CLUSTER = 0xc2 };

struct world {
    struct fake *fake;
    struct rpc *rpc;
    struct etcd *etcd;
    int n_closed;
};

static inline void world_enter(struct world *world) {
    rpc_enter(world->rpc);
}

static inline void world_leave(struct world *world) {
    rpc_leave(world->rpc);
}

static const char *const world_addresses[] = {"a:1", "b:1", "c:1"};

/* `n` members a:1, b:1, c:1; the choice falls on the first. */
static inline struct world world_of(size_t n) {
    struct world world = {.fake = fake_new()};
    world.rpc = fake_rpc(world.fake);
    struct lun_err err;
    do { /* the first to be asked is drawn: draw again until it is a */
        if (world.etcd) {
            rpc_enter(world.rpc);
            etcd_free(world.etcd);
            rpc_leave(world.rpc);
        }
        rpc_enter(world.rpc);
        if (etcd_new(world.rpc, world_addresses, n, NULL, &world.etcd, &err))
            abort();
        rpc_leave(world.rpc);
    } while (etcd_pick(world.etcd) != etcd_member_at(world.etcd, 0));
    return world;
}

static inline void world_on_closed(void *arg) {
    (*(int *)arg)++;
}

/* Closes, lets everything end, and checks that nothing was left. */
static inline void world_close(struct world *world) {
    rpc_enter(world->rpc);
    etcd_close(world->etcd, world_on_closed, &world->n_closed);
    rpc_leave(world->rpc);
    fake_run(world->fake);
    CHECK(world->n_closed == 1);
    rpc_enter(world->rpc);
    etcd_free(world->etcd);
    rpc_leave(world->rpc);
    fake_free(world->fake);
}

static inline struct etcd_member *world_member(struct world *world, size_t i) {
    return etcd_member_at(world->etcd, i);
}

/* ---- replies ---------------------------------------------------------------------------------------- */

static inline Etcdserverpb__ResponseHeader header_of(uint64_t cluster_id, int64_t revision,
                                                     uint64_t raft_term) {
    Etcdserverpb__ResponseHeader header = ETCDSERVERPB__RESPONSE_HEADER__INIT;
    header.cluster_id = cluster_id;
    header.member_id = 7;
    header.revision = revision;
    header.raft_term = raft_term;
    return header;
}

static inline ProtobufCBinaryData text_data(const char *text) {
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

/* A Range reply with one pair, or none if `key` is NULL. */
static inline void reply_range(struct fake_call *call, const char *key, int64_t revision) {
    Etcdserverpb__ResponseHeader header = header_of(OUR_CLUSTER, revision, 2);
    Etcdserverpb__RangeResponse range = ETCDSERVERPB__RANGE_RESPONSE__INIT;
    Etcdserverpb__KeyValue kv = ETCDSERVERPB__KEY_VALUE__INIT, *kvs = &kv;
    range.header = &header;
    if (key) {
        kv.key = text_data(key);
        kv.value = text_data("value");
        kv.create_revision = kv.mod_revision = revision;
        kv.version = 1;
        range.kvs = &kvs;
        range.n_kvs = 1;
        range.count = 1;
    }
    fake_reply(call, &range.base);
}

static inline void reply_put(struct fake_call *call, uint64_t cluster_id) {
    Etcdserverpb__ResponseHeader header = header_of(cluster_id, 5, 2);
    Etcdserverpb__PutResponse response = ETCDSERVERPB__PUT_RESPONSE__INIT;
    response.header = &header;
    fake_reply(call, &response.base);
}

static inline void reply_status(struct fake_call *call, uint64_t cluster_id) {
    Etcdserverpb__ResponseHeader header = header_of(cluster_id, 5, 2);
    Etcdserverpb__StatusResponse response = ETCDSERVERPB__STATUS_RESPONSE__INIT;
    response.header = &header;
    response.version = (char *)(uintptr_t) "3.4.23";
    response.leader = 7;
    response.raftindex = 9;
    response.dbsize = 100;
    fake_reply(call, &response.base);
}

/* ---- what came back of calls ------------------------------------------------------------------------ */

struct got {
    int n;
    int code;
    struct lun_err err;
    struct etcd_reply reply;             /* its pointers are dead */
    char address[64], text[64], key[64]; /* key: of the first pair */
    struct lun_kv_result results[8];
    int64_t revs[8]; /* create revision of each result's first pair */
};

static inline void got_reply(void *arg, const struct etcd_reply *reply) {
    struct got *got = arg;
    got->n++;
    got->key[0] = '\0';
    if (reply->n_results > 0 && reply->results[0].n_kvs > 0)
        (void)snprintf(got->key, sizeof got->key, "%.*s", (int)reply->results[0].kvs[0].key.len,
                       (const char *)reply->results[0].kvs[0].key.data);
    got->reply = *reply;
    got->code = reply->err ? reply->err->code : 0;
    got->err = reply->err ? *reply->err : (struct lun_err){0};
    for (size_t i = 0; i < reply->n_results && i < 8; i++) {
        got->results[i] = reply->results[i];
        if (reply->results[i].n_kvs > 0)
            got->revs[i] = reply->results[i].kvs[0].create_rev;
    }
    (void)snprintf(got->address, sizeof got->address, "%s",
                   reply->member ? etcd_member_address(reply->member) : "");
    (void)snprintf(got->text, sizeof got->text, "%s", reply->version ? reply->version : "");
}

#endif
