/* lab/fiber.h - a stack of its own: what runs on it waits by going back to its caller. So a script may
 * wait wherever it likes, in plain calls, in generators, in the middle of C. */
#ifndef LUN_LAB_FIBER_H
#define LUN_LAB_FIBER_H

struct fiber;

/* At the place of number `index`, the same in every run; elsewhere where that is taken. NULL: no memory. */
struct fiber *fiber_new(int index);
/* One that is in the middle of something is forgotten there: what it holds is its owner's to free. */
void fiber_free(struct fiber *fiber);
/* Sets it to the beginning of `run`, which never returns: its last act is fiber_leave. */
void fiber_set(struct fiber *fiber, void (*run)(void *arg), void *arg);
/* Goes on there until it leaves. Not from inside a fiber. */
void fiber_enter(struct fiber *fiber);
/* Inside: goes back; returns when entered again. */
void fiber_leave(struct fiber *fiber);

#endif
