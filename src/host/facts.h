/* host/facts.h - what the candidates of this process do, as Lua has published it, for threads that answer or warn while
 * Lua is busy: the watchdog (overdue.h) and the HTTP server (http.c).
 *
 * Lua publishes what only it knows (a handler has begun, the work has to stop). Whether a term still holds is never
 * published: the thread that reads asks the core for it, by the clock, at that moment. So a fact is never staler than
 * the clock where ownership is concerned, also in a process that was frozen. */
#ifndef LUN_HOST_FACTS_H
#define LUN_HOST_FACTS_H

#include <stdbool.h>
#include <stdint.h>

#include <lua.h>

#include "base/list.h"
#include "module/view.h"

/* Reasons beyond these count as "other". */
enum { FACT_WORD_BYTES = 48, FACT_MAX_LOSSES = 24 };

struct fact_loss {
    char reason[FACT_WORD_BYTES];
    uint64_t n;
};

/* What is said while a handler blocks the thread: patterns for stamp_line, see overdue.h. */
enum fact_line { FACT_GOES_ON, FACT_IS_HELD_UP, FACT_LAPSED, FACT_LAPSED_HELD_UP, FACT_N_LINES };
enum fact_saying { FACT_SAY_GOES_ON, FACT_SAY_LAPSED, FACT_N_SAYINGS };

/* One candidate. To be read and changed inside: between facts_enter and facts_leave. */
struct fact {
    struct list link;
    char *name, *election;
    bool is_namesake; /* one before it in the list has the same name in the same election */
    char *lines[FACT_N_LINES];
    bool is_utc;
    char state[FACT_WORD_BYTES];
    const struct lunarch_view *view; /* NULL: neither term nor client yet */
    struct lun_client *client;       /* NULL: none */
    struct lun_term *term;           /* NULL: no term */
    int64_t token, elected_at_ns;
    bool is_entered, is_ready;  /* on_elected was called; it has returned */
    char over[FACT_WORD_BYTES]; /* why the work has to end; "": it need not */
    int64_t over_at_ns;
    char handler[FACT_WORD_BYTES]; /* of the term, in progress; "": none */
    bool is_said[FACT_N_SAYINGS];  /* about this term, by Lua or by the watchdog */
    uint64_t n_terms, n_failures;
    struct fact_loss losses[FACT_MAX_LOSSES + 1]; /* the last one: "other" */
    uint64_t n_handovers;
    /* From the end of the work being due until the place was given up: the last, and all of them. */
    int64_t handover_ns, handover_sum_ns;
    struct { /* the watchdog's own, see overdue.c */
        unsigned pats;
        int asked_ms;
        bool is_asked;
    } watched[FACT_N_SAYINGS];
};

static inline struct fact *fact_of(const struct list *node) {
    return CONTAINER_OF(node, struct fact, link);
}

void facts_enter(void);
void facts_leave(void);
/* Inside: a list of struct fact. */
struct list *facts_all(void);
/* Inside: the handler that Lua runs at this moment, "" for none, and its candidate, or NULL. */
const char *facts_running(const struct fact **ret_fact);
/* Inside: the seconds from `now_ns` until the leader has to stop, by the clock; 0: it leads no longer, or does not lead yet
 * (on_elected has not returned). */
double facts_remaining_s(const struct fact *fact, int64_t now_ns);

/* Adds new_fact() and running() to the table at the top, and `facts`: the access below. */
void facts_register(lua_State *L);

/* For the module with the HTTP server, which is not linked with the program. */
struct facts_access {
    void (*enter)(void);
    void (*leave)(void);
    struct list *(*all)(void);
    double (*remaining_s)(const struct fact *fact, int64_t now_ns);
    bool (*is_silent)(void); /* watchdog_is_silent */
};

#endif
