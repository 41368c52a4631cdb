/* etcd/reply.h - from etcd's messages to plain data. What a server sends is not trusted: missing parts are
 * errors, never crashes. */
#ifndef LUN_ETCD_REPLY_H
#define LUN_ETCD_REPLY_H

#include "etcd.pb-c.h"

#include "etcd/kv.h"
#include "etcd/namespace.h"
#include "etcd/request.h"

enum { REPLY_FEW_RESULTS = 4, REPLY_FEW_KVS = 8 };

/* Room for what a reply points to: small ones without any allocation. */
struct reply_room {
    struct lun_kv_result few_results[REPLY_FEW_RESULTS];
    struct lun_kv few_kvs[REPLY_FEW_KVS];
    struct lun_kv_result *results;
    struct lun_kv *kvs;
};

const Etcdserverpb__ResponseHeader *reply_header(enum rpc_method method, const ProtobufCMessage *message);
/* Fills in all but who answered and when. Slices point into `message` and `room`. `kinds`: as request_kinds
 * gave them. 0, LUN_ENOMEM, LUN_EUNAVAILABLE (malformed: the text goes on where the member's name left off,
 * "sent ..."). */
int reply_read(struct reply_room *room, const struct namespace *space, const struct request_meta *meta,
               const uint8_t *kinds, const ProtobufCMessage *message, struct etcd_reply *ret_reply,
               struct lun_err *ret_err);
/* To be called after reply_read, whatever it returned. */
void reply_room_fini(struct reply_room *room);

/* With the key as the client knows it. `message` NULL: an empty pair. 0, or LUN_EUNAVAILABLE (malformed: the key is none
 * of the client's). */
int reply_kv(const struct namespace *space, const Etcdserverpb__KeyValue *message, struct lun_kv *ret_kv,
             struct lun_err *ret_err);

#endif
