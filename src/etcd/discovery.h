/* etcd/discovery.h - endpoints that are found by DNS: "srv://example.com" instead of addresses. For the files of this folder
 * only; etcd_discover (etcd.h) begins it. */
#ifndef LUN_ETCD_DISCOVERY_H
#define LUN_ETCD_DISCOVERY_H

#include <stdbool.h>
#include <stdint.h>

#include "etcd/endpoint.h"
#include "rpc/rpc.h"

struct etcd;
struct etcd_member;

struct discovery {
    struct etcd *etcd;
    struct etcd_member *placeholder; /* stands for the members until some are found; NULL: they were given */
    bool is_tls;
    bool is_asking_for_other;  /* for records of the other scheme, as there were none of ours: to say so */
    struct rpc_lookup *lookup; /* NULL: none is under way */
    struct rpc_timer timer;    /* to look at it, or to ask again */
    int64_t look_ns;           /* how long until the next look */
    int64_t asked_ns;
    unsigned n_failures;
    /* Of the latest lookup; empty: none has failed. */
    char error[2 * ENDPOINT_ADDRESS_BYTES + RPC_LOOKUP_ERROR_BYTES + 8];
};

/* 0 or LUN_ENOMEM. */
int discovery_init(struct discovery *discovery, struct etcd *etcd);
/* Takes one that is all zero. */
void discovery_fini(struct discovery *discovery);
void discovery_close(struct discovery *discovery);
/* All members have failed: DNS is asked again, unless it was lately. */
void discovery_prompt(struct discovery *discovery);
/* Why there are no members yet. */
const char *discovery_trouble(const struct discovery *discovery);

#endif
