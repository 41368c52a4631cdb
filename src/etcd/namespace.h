/* etcd/namespace.h - the part of the keys that is a client's own: all that begin with its prefix. Requests are moved
 * below it as they are packed, pairs that come back are moved out again. Nothing above this floor sees a key with it.
 *
 * The prefix is put before each key as it is. Where it does not end in '/', keys begin with one, for "/team-a" and "b"
 * would make a key of "/team-ab". Ranges are cut to what is the client's own, at both ends. */
#ifndef LUN_ETCD_NAMESPACE_H
#define LUN_ETCD_NAMESPACE_H

#include "etcd.pb-c.h"

#include "base/bytes.h"
#include "base/err.h"
#include "rpc/rpc.h"

struct namespace {
    struct bytes prefix;     /* empty: none */
    struct bytes begin, end; /* what is ours: [begin, end) */
};

enum { NAMESPACE_MAX_BYTES = 1024 };

/* `prefix` NULL or empty: none. 0 or LUN_ENOMEM. */
int namespace_init(struct namespace *space, const char *prefix);
void namespace_fini(struct namespace *space);

/* May keys like that be asked for? `range_end` as etcd has it, empty for a single key. 0, or LUN_EINVALID and why not. */
int namespace_check(const struct namespace *space, struct lun_bytes key, struct lun_bytes range_end,
                    struct lun_err *ret_err);
/* Moves the keys of a request, whatever it is, below the prefix: to be called before it is packed. They point into
 * `*ret_memory` then (NULL without a prefix), to be freed afterwards. 0, LUN_ENOMEM, LUN_EINVALID (see above). */
int namespace_enter(const struct namespace *space, enum rpc_method method, ProtobufCMessage *request,
                    void **ret_memory);
/* The first key there can be, as etcd has it. */
struct lun_bytes namespace_first(const struct namespace *space);
/* The key without the prefix. False: it is none of ours. */
bool namespace_leave(const struct namespace *space, ProtobufCBinaryData from, struct lun_bytes *ret_key);

#endif
