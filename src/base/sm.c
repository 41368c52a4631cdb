/* base/sm.c - moves a state machine along a lawful arc, checks its invariant, and traces the names of the states.
 * See sm.h. */
#include "base/sm.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static _Atomic uint32_t next_id = 1;

void sm_init(struct sm *sm, const struct sm_class *class, const struct trace *trace, int state) {
    *sm = (struct sm){.class = class, .trace = trace, .state = state};
    sm->id = atomic_fetch_add_explicit(&next_id, 1, memory_order_relaxed);
}

const char *sm_name(const struct sm *sm) {
    return sm->class->states[sm->state].name;
}

void sm_move(struct sm *sm, int state) {
    const struct sm_class *class = sm->class;
    if (state < 0 || state >= class->n_states || !(class->states[sm->state].arcs & SM_ARC(state))) {
        (void)fprintf(stderr, "lunarch: %s %u: no arc from %s to %s\n", class->name, sm->id, sm_name(sm),
                      state >= 0 && state < class->n_states ? class->states[state].name : "?");
        abort();
    }
    trace_line(sm->trace, "%s %u: %s -> %s", class->name, sm->id, sm_name(sm), class->states[state].name);
    sm->state = state;
    if (class->invariant && !class->invariant(sm)) {
        (void)fprintf(stderr, "lunarch: %s %u: the invariant of %s does not hold\n", class->name, sm->id,
                      sm_name(sm));
        abort();
    }
}
