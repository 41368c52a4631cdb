/* etcd/window.h - how much one member is asked at a time. For the files of this folder only.
 *
 * What counts is what the server may be working on: the requests in flight, and those that were given up (their
 * time was over, or they were cancelled) until the member has answered one that was sent later. After a few of
 * these in a row the server is behind: then single requests probe it, at growing distances, until one is
 * answered. A server that answers slowly is given less of what only looks or reads whole ranges. */
#ifndef LUN_ETCD_WINDOW_H
#define LUN_ETCD_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

/* What is counted together, per member. Requests of class ETCD_LEASE are in none of them. */
enum window_kind {
    WINDOW_USER, /* what a caller waits for: writes, and reads of one key */
    WINDOW_SCAN, /* its reads of ranges: each may cost the server much */
    WINDOW_LOOK, /* class ETCD_LOOK */
    WINDOW_N_KINDS
};

enum window_end {
    WINDOW_ANSWERED,
    WINDOW_FAILED,   /* by the server's word or with the connection: no measure of its speed */
    WINDOW_GIVEN_UP, /* the server may be working on it still */
    WINDOW_UNSENT    /* there is no connection */
};

enum { WINDOW_MOST_GIVEN_UP = 8 };

struct window {
    enum window_kind kind;
    unsigned n_out;                            /* in flight */
    unsigned n_given_up;                       /* and not known to be done with */
    int64_t given_up_ns[WINDOW_MOST_GIVEN_UP]; /* when, oldest first; the last one stands for all after it */
    unsigned n_probes;                         /* since the last answer */
    int64_t probe_at_ns;
    int64_t answer_ns;   /* how long an answer takes: measured, smoothed; 0: not known */
    struct list waiting; /* call.c: for room, in the order in which they came */
};

void window_init(struct window *window, enum window_kind kind);
/* May another request be sent now? */
bool window_has_room(const struct window *window, int64_t now_ns);
/* When to ask again whether there is room, though no request comes back until then; INT64_MAX: never. */
int64_t window_room_at_ns(const struct window *window);
void window_began(struct window *window, int64_t now_ns);
void window_ended(struct window *window, int64_t sent_ns, int64_t now_ns, enum window_end how);

#endif
