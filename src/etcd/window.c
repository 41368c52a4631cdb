/* etcd/window.c - bounds how much one member is asked at a time, by how fast it answers. See window.h. */
#include "etcd/window.h"

#include <string.h>

#include "base/clock.h"
#include "etcd/backoff.h"

static const unsigned limits[WINDOW_N_KINDS] = {[WINDOW_USER] = 128, [WINDOW_SCAN] = 16, [WINDOW_LOOK] = 32};
/* From this answer time on looks and scans are fewer, in proportion, down to a share of the limit. */
#define SLOW_NS (100 * NS_PER_MS)
enum { LEAST_SHARE = 8 };
#define PROBE_LEAST_NS (50 * NS_PER_MS)
#define PROBE_MOST_NS (2 * NS_PER_S)
/* Each answer's weight in the smoothed answer time. */
enum { ANSWER_WEIGHT = 8 };

void window_init(struct window *window, enum window_kind kind) {
    *window = (struct window){.kind = kind};
    list_init(&window->waiting);
}

static unsigned limit_of(const struct window *window) {
    unsigned limit = limits[window->kind];
    if (window->kind == WINDOW_USER || window->answer_ns <= SLOW_NS)
        return limit;
    unsigned share = (unsigned)(limit * SLOW_NS / window->answer_ns);
    return share > limit / LEAST_SHARE ? share : limit / LEAST_SHARE;
}

static bool is_behind(const struct window *window) {
    return window->n_given_up == WINDOW_MOST_GIVEN_UP || window->n_given_up >= limit_of(window);
}

bool window_has_room(const struct window *window, int64_t now_ns) {
    if (is_behind(window))
        return now_ns >= window->probe_at_ns && window->n_out < limits[window->kind];
    return window->n_out + window->n_given_up < limit_of(window);
}

int64_t window_room_at_ns(const struct window *window) {
    return is_behind(window) && window->n_out < limits[window->kind] ? window->probe_at_ns : INT64_MAX;
}

void window_began(struct window *window, int64_t now_ns) {
    window->n_out++;
    if (!is_behind(window))
        return;
    window->probe_at_ns = now_ns + backoff_grown(PROBE_LEAST_NS, PROBE_MOST_NS, window->n_probes++);
}

/* The member has answered what was sent at `sent_ns`: what had been given up by then no longer counts. */
static void settle(struct window *window, int64_t sent_ns) {
    unsigned n = 0;
    while (n < window->n_given_up && window->given_up_ns[n] <= sent_ns)
        n++;
    window->n_given_up -= n;
    memmove(window->given_up_ns, window->given_up_ns + n, window->n_given_up * sizeof window->given_up_ns[0]);
    window->n_probes = 0;
    window->probe_at_ns = 0;
}

static void give_up(struct window *window, int64_t now_ns) {
    if (window->n_given_up < WINDOW_MOST_GIVEN_UP)
        window->n_given_up++;
    window->given_up_ns[window->n_given_up - 1] = now_ns;
}

void window_ended(struct window *window, int64_t sent_ns, int64_t now_ns, enum window_end how) {
    int64_t took_ns = now_ns - sent_ns;
    window->n_out--;
    switch (how) {
    case WINDOW_ANSWERED:
        window->answer_ns += window->answer_ns ? (took_ns - window->answer_ns) / ANSWER_WEIGHT : took_ns;
        settle(window, sent_ns);
        break;
    case WINDOW_FAILED:
        settle(window, sent_ns);
        break;
    case WINDOW_GIVEN_UP:
        give_up(window, now_ns);
        break;
    case WINDOW_UNSENT:
        settle(window, now_ns);
        break;
    }
}
