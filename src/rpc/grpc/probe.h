/* rpc/grpc/probe.h - whether there is what gRPC needs, tried before it is asked: without a thread it waits for ever,
 * without a descriptor it aborts the process. */
#ifndef LUN_RPC_GRPC_PROBE_H
#define LUN_RPC_GRPC_PROBE_H

#include <stdbool.h>

#include "base/err.h"

/* Opens the descriptors and, with `is_first` (gRPC does not run yet), starts the threads that an environment needs, and
 * gives them back. Outside, signals blocked. 0, or LUN_EUNAVAILABLE: what is missing, and which limit to raise. */
int probe_resources(bool is_first, struct lun_err *ret_err);

#endif
