/* etcd/tally.h - what a client has done and met so far, counted where it happens, for lun_client_stats. Inside (rpc.h). */
#ifndef LUN_ETCD_TALLY_H
#define LUN_ETCD_TALLY_H

#include <stdint.h>

#include "base/reason.h"

struct etcd_tally {
    uint64_t n_retries;          /* attempts of calls after their first */
    uint64_t n_streams_replaced; /* watch and renewal streams that broke or were left for their silence */
    uint64_t n_confirmed, n_unconfirmed;                          /* reads that confirm a member's term */
    uint64_t n_renewals;                                          /* confirmed, of all sessions */
    int64_t round_trip_ns, round_trip_sum_ns, round_trip_most_ns; /* of these: sent until confirmed */
    /* What was left until stop_at when a renewal was confirmed, at the least; INT64_MAX: none was. */
    int64_t least_slack_ns;
    uint64_t n_losses[LUN_N_REASONS]; /* of sessions, by reason */
};

static inline void tally_renewal(struct etcd_tally *tally, int64_t round_trip_ns, int64_t slack_ns) {
    tally->n_renewals++;
    tally->round_trip_ns = round_trip_ns;
    tally->round_trip_sum_ns += round_trip_ns;
    if (round_trip_ns > tally->round_trip_most_ns)
        tally->round_trip_most_ns = round_trip_ns;
    if (slack_ns < tally->least_slack_ns)
        tally->least_slack_ns = slack_ns;
}

#endif
