/* base/sm.h - state machines: a table of lawful arcs, and the one function that moves along them.
 *
 * A machine embeds `struct sm`, describes its states in a table, and changes state by sm_move alone, which
 * checks the arc (a wrong one is a bug of ours: it aborts) and traces both names. */
#ifndef LUN_BASE_SM_H
#define LUN_BASE_SM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/trace.h"

struct sm;

struct sm_state {
    const char *name;
    uint32_t arcs; /* bit i: state i may follow */
};

struct sm_class {
    const char *name; /* "line", "session" */
    const struct sm_state *states;
    int n_states;
    /* What is true in each state: asked after each move, for the state moved to. NULL: nothing is checked. */
    bool (*invariant)(const struct sm *sm);
};

struct sm {
    const struct sm_class *class;
    const struct trace *trace; /* may be NULL */
    int state;
    uint32_t id; /* tells machines of one class apart in a trace */
};

#define SM_ARC(state) (UINT32_C(1) << (state))

void sm_init(struct sm *sm, const struct sm_class *class, const struct trace *trace, int state);
/* Moves to `state`. Aborts when the arc is not lawful, or the invariant of the class does not hold then. */
void sm_move(struct sm *sm, int state);
const char *sm_name(const struct sm *sm);

#endif
