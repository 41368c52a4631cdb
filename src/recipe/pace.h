/* recipe/pace.h - the pace at which the places of one client read for safety alone.
 *
 * A safety read is one that nothing has caused: the first 150 ms of a watch, the slow re-read. However many places
 * there are, few such reads are in flight together, they are spread over time, and a server that answers slowly is
 * asked less often. Called with the lock held (rpc.h). */
#ifndef LUN_RECIPE_PACE_H
#define LUN_RECIPE_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

struct pace {
    unsigned n_out;    /* in flight */
    int64_t next_ns;   /* the next free slot */
    int64_t answer_ns; /* how long an answer takes, smoothed */
};

#define PACE_IDLE_NS (20 * NS_PER_MS)  /* between the slow re-reads of a client */
#define PACE_URGENT_NS (2 * NS_PER_MS) /* between reads that make good a watch that ended */

#define PACE_FULL_NS (50 * NS_PER_MS) /* until the next try when as many as may are in flight */

/* Takes the next slot: the instant at which the read may go, now or later. `spacing_ns` is what the next one keeps from
 * it, more where answers are slow. */
int64_t pace_slot(struct pace *pace, int64_t now_ns, int64_t spacing_ns);
/* May one more be in flight? */
bool pace_has_room(const struct pace *pace);
void pace_begin(struct pace *pace);
/* Answered, or etcd gave it up, after `took_ns`. */
void pace_end(struct pace *pace, int64_t took_ns);
/* Not sent, or cancelled: that says nothing about how long an answer takes. */
void pace_drop(struct pace *pace);
/* `span_ns`, or longer where answers are slow. */
int64_t pace_stretched(const struct pace *pace, int64_t span_ns);

#endif
