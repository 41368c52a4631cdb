/* claim.h - what every holding shares: a place in a line, from asking for it until it is given up or lost. A mutex has one
 * claim, again and again; a term is one claim, once. Everything here is called inside (rpc.h) unless said otherwise.
 *
 *   FREE --enter--> ENTERING --> HELD --stop_at--> STOPPED
 *    ^                 |          | `------+---------'
 *    |                 |          |        +--leave--> LEAVING --answered, or given up--.
 *    |                 |          `--------+--lost---> LOST --the owner knows-----------.
 *    `--(given up)-----+----------------------------------------------------------------'
 *
 * Only ENTERING and LEAVING wait for something, and there `op` is the call that is answered at their end. In HELD and
 * STOPPED the place is ours as far as the machine knows: every answer asks the clock beside it. */
#ifndef LUN_CLIENT_CLAIM_H
#define LUN_CLIENT_CLAIM_H

#include "base/sm.h"
#include "client/client.h"

enum claim_state { CLAIM_FREE, CLAIM_ENTERING, CLAIM_HELD, CLAIM_STOPPED, CLAIM_LEAVING, CLAIM_LOST };

struct claim;

/* How one kind of holding differs from another. The functions may be NULL. */
struct claim_class {
    const char *enter, *leave;  /* verbs: "lock", "unlock" */
    const char *none, *busy[6]; /* "locked"; and what it is, by state: "being locked" */
    bool is_term;               /* held once: a stop is final, and a place that has gone was given up well */
    void (*on_held)(struct claim *claim, struct lun_op *op); /* before `op` is answered with success */
    void (*on_failed)(struct claim *claim);                  /* not entered; may free the claim */
    void (*on_stopped)(struct claim *claim);                 /* stop_at has come */
    void (*on_over)(struct claim *claim);                    /* lost, left, or dropped while it was held */
    void (*drop)(struct claim *claim); /* nobody took the win: undo it. NULL: gives the place up */
};

struct claim {
    struct sm sm;
    const struct claim_class *class;
    struct line_rule rule;       /* of its line; another than one holder is set after claim_init */
    struct lun_session *session; /* referenced */
    char *name;
    struct place *place;    /* NULL: none */
    struct bytes key;       /* of the place; of a term also when it is over */
    int64_t token;          /* of the latest one */
    int64_t entered_ns;     /* when it was asked for */
    enum lun_reason reason; /* why it is over, or has to stop */
    struct lun_op *op;      /* ENTERING, LEAVING: the call under way */
    struct list loss_ops;   /* those who await the loss */
    struct list untaken;    /* answers that say it is held, and are not taken */
};

/* 0 or LUN_ENOMEM. */
int claim_init(struct claim *claim, const struct claim_class *class, struct lun_session *session,
               const char *name);
/* Drops it; what is still to be taken is a loss. */
void claim_fini(struct claim *claim);

/* FREE: enters the line for `op`. 0 or an error, wrapped. */
int claim_enter(struct claim *claim, struct lun_op *op, struct lun_bytes value, enum place_mode mode,
                struct lun_err *ret_err);
/* on_give_up of that op, and of the one that leaves. */
void claim_give_up(struct lun_op *op, int code);
/* HELD or STOPPED: gives the place up for `op`. */
void claim_leave(struct claim *claim, struct lun_op *op);
/* To FREE from any state, in the background; who awaits the loss is told `reason`, unless another is known. */
void claim_drop(struct claim *claim, enum lun_reason reason);
/* Makes `op` the answer that says it is held: asked again when it is taken. */
void claim_set_held(struct claim *claim, struct lun_op *op);

/* Ours, and valid now. */
bool claim_is_held(const struct claim *claim);
enum claim_state claim_state(const struct claim *claim);
enum lun_reason claim_reason(const struct claim *claim); /* by the clock, too */

/* What it waits for, where that is no place of its line: "blocked by ...", terminated. False: nothing is known to. */
bool claim_is_blocked(const struct claim *claim, char *ret_text, size_t n_bytes);

/* Begins the call that completes with `position`; `claim` NULL: there is none. 0 or an error, wrapped. */
int claim_start_position(struct lun_op *op, const struct claim *claim, const char *name,
                         struct lun_err *ret_err);
/* Asks for the loss: completes with `reason`. Outside. */
int claim_await_loss(struct claim *claim, const struct lun_ask *ask, struct lun_op **ret_op,
                     struct lun_err *ret_err);
/* Asks for the first place of its line. Outside. */
int claim_ask_leader(const struct claim *claim, const char *what, const struct lun_ask *ask,
                     struct lun_op **ret_op, struct lun_err *ret_err);

static inline struct lun_client *claim_client(const struct claim *claim) {
    return claim->session->client;
}

#endif
