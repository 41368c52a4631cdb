/* host/overdue.h - says what Lua cannot say while a handler blocks the thread: that the term has ended and work goes on,
 * and that another may lead now. Called by the watchdog's thread.
 *
 * Lua says the same where its loop turns (lua/lunarch/candidate/overdue.lua); what is said by one is not said by the
 * other. Whether the loop turns is found out by asking it: watchdog_ask_loop makes a descriptor readable, and Lua pats.
 *
 * Time is counted in the thread's own waits, not by the clock: in a process that was stopped nobody was late. */
#ifndef LUN_HOST_OVERDUE_H
#define LUN_HOST_OVERDUE_H

/* The lines of a fact, in which "@HANDLER@", "@WHY@" and "@LEFT@" are filled in:
 *   FACT_GOES_ON, FACT_LAPSED                   a handler of the term blocks
 *   FACT_IS_HELD_UP, FACT_LAPSED_HELD_UP        something else does, and on_lost cannot be called */

/* Looks at all terms; `waited_ms` have been waited since the last call. The milliseconds after which to call again, at
 * most; also when a term begins. */
int overdue_look(int waited_ms);

#endif
