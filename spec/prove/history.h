/* spec/prove/history.h - one history: a simulated etcd, a few machines with intentions, faults, an operator;
 * and the invariants, checked after every step. Everything follows from the seed. */
#ifndef LUN_SPEC_HISTORY_H
#define LUN_SPEC_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

/* X(name, what must never happen). */
#define INVARIANTS(X)                                                                                        \
    X(one_owner, "two machines believe that they own one line")                                              \
    X(belief_ends_early, "etcd let go of a place by expiry while its owner believed in it")                  \
    X(win_is_first, "a place was won that did not stand first in line")                                      \
    X(win_is_alive, "a place was won whose key was gone")                                                    \
    X(tokens_rise, "a token was not higher than that of the owner before")                                   \
    X(held_key_is_safe, "the key of a held place was deleted by a client that was not asked to")             \
    X(guarded_write, "a guarded write landed from somebody who did not stand first")                         \
    X(loss_is_told, "an owner whose key was deleted was not told, nothing being in the way")                 \
    X(waiter_is_served, "somebody waits although the faults are long over")                                  \
    X(queue_is_empty, "a key stands in line that nobody wants")                                              \
    X(close_ends, "a session or client that was closed does not end")                                        \
    X(nothing_is_left, "something was left in flight at the end")                                            \
    X(lease_lapses, "a lease lives on that nobody renews")                                                   \
    X(revoked_is_true, "a session was told that its lease is gone, and it was not")                          \
    X(session_survives, "a session was lost although nothing was in the way")

enum invariant {
    INVARIANT_NONE,
#define LUN_X(name, text) INVARIANT_##name,
    INVARIANTS(LUN_X)
#undef LUN_X
};
const char *invariant_name(enum invariant invariant);
const char *invariant_text(enum invariant invariant);

struct history {
    enum invariant broken; /* INVARIANT_NONE: it held */
    char text[240];
    int64_t ns; /* simulated */
    uint64_t n_steps;
    uint64_t digest;                            /* of everything that happened: equal for equal seeds */
    unsigned n_wins, n_writes, n_lost, n_kills; /* what there was to see */
};

void history_run(uint64_t seed, bool is_traced, struct history *ret);

#endif
