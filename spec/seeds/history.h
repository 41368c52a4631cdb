/* spec/seeds/history.h - one history: a simulated etcd, a few machines with intentions, faults, an operator;
 * and the invariants, checked after every step. Everything follows from the seed.
 *
 * A history is a row of decisions: each fault, each deed of the operator, each intention of a machine has an id. One
 * can be left out without moving the chance that the others depend on: so a history that fails can be shortened. */
#ifndef LUN_SPEC_HISTORY_H
#define LUN_SPEC_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X(name, what must never happen). */
#define INVARIANTS(X)                                                                                        \
    X(one_owner, "two machines believe that they own one line")                                              \
    X(belief_ends_early, "etcd let go of a place by expiry while its owner believed in it")                  \
    X(win_is_first, "a place was won that did not stand first in line")                                      \
    X(win_is_alive, "a place was won whose key was gone when etcd was asked")                                \
    X(win_is_valid, "a win was told after the session was lost")                                             \
    X(tokens_rise, "a token was not higher than that of the owner before")                                   \
    X(held_key_is_safe, "the key of a held place was deleted by a client that was not asked to")             \
    X(guarded_write, "a guarded write landed from somebody who did not stand first")                         \
    X(proclaim_is_fenced, "a proclaim landed from somebody whose place was gone")                            \
    X(leader_is_obeyed, "a leader's write was refused, nothing being in the way")                            \
    X(loss_is_told, "an owner whose key was deleted was not told, nothing being in the way")                 \
    X(try_writes_nothing, "a try that was answered \"locked\" had written")                                  \
    X(answer_comes, "a call was not answered in time, or not once")                                          \
    X(leader_is_true, "somebody was named the leader who was not")                                           \
    X(observer_moves_on, "an observer went back in time")                                                    \
    X(observer_is_right, "an observer does not name the leader")                                             \
    X(watch_is_whole, "a watch left out an event, repeated one or changed their order")                      \
    X(waiter_is_served, "somebody waits although the faults are long over")                                  \
    X(queue_is_empty, "a key stands in line that nobody wants")                                              \
    X(close_ends, "a session or client that was closed does not end")                                        \
    X(nothing_is_left, "something was left in flight at the end")                                            \
    X(lease_lapses, "a lease lives on that nobody renews")                                                   \
    X(revoked_is_true, "a session was told that its lease is gone, and it was not")                          \
    X(session_survives, "a session was lost although nothing was in the way")                                \
    X(waiting_is_cheap, "what idle waiters read grew with the line")                                         \
    X(replaced_is_true, "a session was lost to a new etcd, and it was the same")                             \
    X(old_sessions_end, "a session of an etcd that is no more goes on")                                      \
    X(refusal_is_true, "a session was lost for want of a right or a password, and there was none wanting")   \
    X(refusal_is_named, "a session whose user etcd refused was lost for another reason")                     \
    X(crashed, "the program died")                                                                           \
    X(hung, "the program did not come to an end")

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
    uint64_t digest; /* of everything that happened: equal for equal seeds */
    /* What there was to see. */
    unsigned n_wins, n_writes, n_lost, n_denied, n_kills, n_asked, n_refused, n_proclaims, n_observed;
};

/* What was decided, in that order; beyond DECISIONS_MAX they are taken but not written down. */
enum { DECISIONS_MAX = 8192 };
struct decisions {
    size_t n;
    uint64_t ids[DECISIONS_MAX];
};
/* The class of a decision, and whose it is: whole classes are the first that are left out. */
uint64_t decision_class(uint64_t id);

/* What some histories have besides: see extras.c. */
#define HISTORY_EXTRAS(X) X(anew) X(headers) X(numbers) X(far) X(crowd) X(slots) X(guests) X(users)
/* All histories from now on have those of this list, "anew,headers", besides those of their seeds. False: one is unknown. */
bool history_with(const char *list);

struct history_options {
    const struct decisions *omitted;                              /* sorted; NULL: none */
    struct decisions *taken;                                      /* filled in; NULL: not wanted */
    void (*on_line)(void *arg, int64_t now_ns, const char *line); /* the timeline; NULL: not wanted */
    void *arg;
};
/* `options` NULL: none. */
void history_run(uint64_t seed, const struct history_options *options, struct history *ret);

/* Prints a line of the timeline: when, who, what. */
void history_print(void *arg, int64_t now_ns, const char *line);

#endif
