/* rpc/grpc/probe.c - tries whether there are threads and descriptors for gRPC, before gRPC is asked. See probe.h. */
#include "rpc/grpc/probe.h"

#include <sys/sysinfo.h>

#include "base/limits.h"

/* gRPC's pollsets, wake-ups and resolver, and the sockets to a few members. */
enum { N_DESCRIPTORS = 24 };
/* gRPC starts two kinds of threads, 2 to 32 of each by the number of cores, and a few more; we start two. */
enum { LEAST_CORES = 2, MOST_CORES = 32, MORE_THREADS = 6 };

static int n_threads(void) {
    int cores = get_nprocs_conf();
    cores = cores < LEAST_CORES ? LEAST_CORES : cores > MOST_CORES ? MOST_CORES : cores;
    return 2 * cores + MORE_THREADS;
}

int probe_resources(bool is_first, struct lun_err *ret_err) {
    char why[LIMITS_TEXT_BYTES];
    if (limits_allow_descriptors(N_DESCRIPTORS, why) && (!is_first || limits_allow_threads(n_threads(), why)))
        return 0;
    return lun_err_set(ret_err, LUN_EUNAVAILABLE, "%s", why);
}
