/* etcd/backoff.h - the one source of delays that are drawn at random, and of those that grow with each failure.
 *
 * Clients that failed together must not come back together; a server in trouble must be asked ever less. Pure, but for
 * the random numbers, which are the seam's: one seed in the simulator. All times are nanoseconds. */
#ifndef LUN_ETCD_BACKOFF_H
#define LUN_ETCD_BACKOFF_H

#include <stdint.h>

#include "rpc/rpc.h"

/* `span_ns` less up to one `part`-th of it: for what has to come in time. `span_ns` above 0. */
int64_t backoff_early(struct rpc *rpc, int64_t span_ns, int64_t part);
/* Between 0.5 and 1.5 times `span_ns`. */
int64_t backoff_around(struct rpc *rpc, int64_t span_ns);
/* `least_ns`, doubled for each of `n_failures`, at most `most_ns`. */
int64_t backoff_grown(int64_t least_ns, int64_t most_ns, unsigned n_failures);

#endif
