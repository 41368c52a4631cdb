/* host/overdue.c - work that goes on after the end of its term while Lua is busy: see overdue.h.
 *
 * For each term there are two things to say, each once it is due:
 *
 *   due ---> the loop is asked ---no pat within its time---> said
 *    ^                |
 *    +----- a pat ----+   Lua runs, and says it itself; but it may block later */
#include "host/overdue.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "host/facts.h"
#include "host/stamp.h"
#include "host/streams.h"
#include "host/watchdog.h"

/* As in lua/lunarch/candidate/overdue.lua: how long work may take to end before it is talked about. */
enum { SOON_MS = 250, SOON_PART = 4, STEP_MS = 50, LONGEST_MS = 1000, NEVER_MS = 3600000 };

/* ---- lines ------------------------------------------------------------------------------------------ */

static bool is_own_handler(const struct fact *fact, const struct fact *running, const char *handler) {
    return running == fact && fact->handler[0] && strcmp(handler, fact->handler) == 0;
}

static const char *reason_of(const struct fact *fact) {
    if (fact->over[0])
        return fact->over;
    enum lun_reason reason = fact->view->reason(fact->term);
    return fact->view->reason_name(reason == LUN_NOT_LOST ? LUN_LOST_EXPIRED : reason);
}

/* "do_work", "on_leader of B", or what it must be otherwise. */
static void name_blocker(char *text, size_t size, const struct fact *fact, const struct fact *running,
                         const char *handler) {
    if (!handler[0])
        (void)snprintf(text, size, "a task or a callback of the script");
    else if (running == fact || !running)
        (void)snprintf(text, size, "%s", handler);
    else
        (void)snprintf(text, size, "%s of %s", handler, running->name);
}

static void say(const struct fact *fact, enum fact_saying what, int64_t left_ns) {
    static const enum fact_line lines[FACT_N_SAYINGS][2] = {{FACT_IS_HELD_UP, FACT_GOES_ON},
                                                            {FACT_LAPSED_HELD_UP, FACT_LAPSED}};
    char line[2048], blocker[512], left[32];
    const struct fact *running;
    const char *handler = facts_running(&running);
    bool is_own = is_own_handler(fact, running, handler);
    if (stamp_line(line, sizeof line, fact->lines[lines[what][is_own]], fact->is_utc) == 0)
        return;
    name_blocker(blocker, sizeof blocker, fact, running, handler);
    (void)snprintf(left, sizeof left, "%.1f", (double)left_ns / NS_PER_S);
    stamp_fill(line, sizeof line, "@HANDLER@", blocker);
    stamp_fill(line, sizeof line, "@WHY@", reason_of(fact));
    stamp_fill(line, sizeof line, "@LEFT@", left);
    streams_log(line, strlen(line));
}

/* ---- looking ---------------------------------------------------------------------------------------- */

/* Whether nothing of Lua's has answered for so long. The loop is asked first. */
static bool is_loop_silent(struct fact *fact, enum fact_saying what, int waited_ms, int patience_ms) {
    unsigned now = watchdog_pats();
    if (fact->watched[what].is_asked && fact->watched[what].pats == now) {
        fact->watched[what].asked_ms += waited_ms;
        return fact->watched[what].asked_ms >= patience_ms;
    }
    fact->watched[what].is_asked = true;
    fact->watched[what].pats = now;
    fact->watched[what].asked_ms = 0;
    watchdog_ask_loop();
    return false;
}

/* Milliseconds, rounded up, and no more than a second: the instants may move, and the machine be suspended. */
static int ms_until(int64_t at_ns, int64_t now_ns) {
    int64_t ms = (at_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS;
    return ms < 1 ? 1 : ms < LONGEST_MS ? (int)ms : LONGEST_MS;
}

static int look(struct fact *fact, int waited_ms) {
    if (!fact->term || !fact->is_entered || fact->is_said[FACT_SAY_LAPSED])
        return NEVER_MS;
    int64_t now_ns = clock_boottime_ns();
    int64_t stop_at_ns = fact->view->stop_at_ns(fact->term);
    int64_t valid_until_ns = fact->view->valid_until_ns(fact->term);
    if (stop_at_ns > now_ns)
        return ms_until(stop_at_ns, now_ns);
    if (valid_until_ns > now_ns) {
        int64_t left_ns = valid_until_ns - now_ns, soon_ms = left_ns / NS_PER_MS / SOON_PART;
        if (fact->is_said[FACT_SAY_GOES_ON])
            return ms_until(valid_until_ns, now_ns);
        if (is_loop_silent(fact, FACT_SAY_GOES_ON, waited_ms, soon_ms < SOON_MS ? (int)soon_ms : SOON_MS)) {
            fact->is_said[FACT_SAY_GOES_ON] = true;
            say(fact, FACT_SAY_GOES_ON, left_ns);
        }
        int ms = ms_until(valid_until_ns, now_ns);
        return ms < STEP_MS ? ms : STEP_MS;
    }
    /* One that was known to be silent is not waited for once more. */
    int patience_ms =
        fact->is_said[FACT_SAY_GOES_ON] && fact->watched[FACT_SAY_GOES_ON].pats == watchdog_pats() ? 0
                                                                                                   : SOON_MS;
    if (is_loop_silent(fact, FACT_SAY_LAPSED, waited_ms, patience_ms)) {
        fact->is_said[FACT_SAY_GOES_ON] = fact->is_said[FACT_SAY_LAPSED] = true;
        say(fact, FACT_SAY_LAPSED, 0);
        return NEVER_MS;
    }
    return patience_ms == 0 ? 1 : STEP_MS;
}

int overdue_look(int waited_ms) {
    int next_ms = NEVER_MS;
    facts_enter();
    for (struct list *node = facts_all()->next; node != facts_all(); node = node->next) {
        int ms = look(fact_of(node), waited_ms);
        if (ms < next_ms)
            next_ms = ms;
    }
    facts_leave();
    return next_ms;
}
