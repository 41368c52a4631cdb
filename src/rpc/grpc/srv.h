/* rpc/grpc/srv.h - SRV records, asked for on a thread of their own, which nobody waits for. */
#ifndef LUN_RPC_GRPC_SRV_H
#define LUN_RPC_GRPC_SRV_H

#include <netinet/in.h>

#include "rpc/rpc.h"

/* As rpc_lookup_start. */
int srv_lookup_start(struct rpc *rpc, const char *name, struct rpc_lookup **ret_lookup);

/* Asks and fills in all but is_done and release. Blocks for some seconds at the most. `server` NULL: those of this machine
 * (resolv.conf). */
void srv_query(const struct sockaddr_in *server, const char *name, struct rpc_lookup *lookup);

#endif
