/* recipe/pace.c - spreads the safety reads of all places of one client over time. See pace.h. */
#include "recipe/pace.h"

enum { MOST_OUT = 8, STRETCH = 20 };
/* What takes longer shows that etcd, or this process, was away, and nothing about how long answers take: a place that
 * waits would else not read for minutes. */
#define SLOWEST_NS (1500 * NS_PER_MS)

static int64_t most(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

int64_t pace_slot(struct pace *pace, int64_t now_ns, int64_t spacing_ns) {
    int64_t at_ns = most(now_ns, pace->next_ns);
    pace->next_ns = at_ns + most(spacing_ns, pace->answer_ns / 2);
    return at_ns;
}

bool pace_has_room(const struct pace *pace) {
    return pace->n_out < MOST_OUT;
}

void pace_begin(struct pace *pace) {
    pace->n_out++;
}

void pace_end(struct pace *pace, int64_t took_ns) {
    pace->n_out--;
    pace->answer_ns += (least(took_ns, SLOWEST_NS) - pace->answer_ns) / 4;
}

void pace_drop(struct pace *pace) {
    pace->n_out--;
}

int64_t pace_stretched(const struct pace *pace, int64_t span_ns) {
    return most(span_ns, pace->answer_ns * STRETCH);
}
