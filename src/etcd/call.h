/* etcd/call.h - one request, sent to one member after another until it is answered. For the files of this
 * folder only. */
#ifndef LUN_ETCD_CALL_H
#define LUN_ETCD_CALL_H

#include "etcd/kv.h"
#include "etcd/request.h"

/* `kinds`: n_success + n_failure bytes, NULL where a reply is not checked against them. The keys of `request` are moved
 * below the client's prefix: it is of no use afterwards. Else as etcd_do. */
int call_start(struct etcd *etcd, const struct request_meta *meta, const uint8_t *kinds,
               ProtobufCMessage *request, const struct etcd_call_options *how, etcd_reply_cb on_reply,
               void *arg, struct etcd_call **ret_call);

#endif
