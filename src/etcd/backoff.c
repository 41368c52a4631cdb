/* etcd/backoff.c - delays drawn at random, and delays that grow with each failure. See backoff.h. */
#include "etcd/backoff.h"

int64_t backoff_early(struct rpc *rpc, int64_t span_ns, int64_t part) {
    return span_ns - (int64_t)(rpc_random(rpc) % (uint64_t)(span_ns / part + 1));
}

int64_t backoff_around(struct rpc *rpc, int64_t span_ns) {
    return span_ns / 2 + (int64_t)(rpc_random(rpc) % (uint64_t)(span_ns + 1));
}

int64_t backoff_grown(int64_t least_ns, int64_t most_ns, unsigned n_failures) {
    int64_t delay_ns = least_ns;
    while (n_failures-- > 0 && delay_ns < most_ns)
        delay_ns *= 2;
    return delay_ns < most_ns ? delay_ns : most_ns;
}
