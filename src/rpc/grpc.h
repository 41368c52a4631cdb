/* rpc/grpc.h - makes an rpc environment of the real kind: gRPC's C core, a background poller, the process's
 * validity thread.
 *
 * Threads per environment: one background poller (all signals blocked). Per process: one validity thread, and gRPC's own.
 * gRPC is initialised with the first environment and shut down with the last. Not to be used in a child
 * forked after it was made. */
#ifndef LUN_RPC_GRPC_H
#define LUN_RPC_GRPC_H

#include "base/err.h"

struct rpc;

/* Outside, any thread. 0, LUN_ENOMEM, LUN_EUNAVAILABLE (no thread or descriptor to be had). */
int rpc_grpc_new(struct rpc **ret_rpc, struct lun_err *ret_err);

#endif
