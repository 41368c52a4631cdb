/* term.h - elections and terms. A candidacy is a term that is not held yet: the place belongs to the term from the start. */
#ifndef LUN_CLIENT_TERM_H
#define LUN_CLIENT_TERM_H

#include "client/claim.h"

struct lun_election {
    struct lun_session *session; /* referenced */
    char *name;
    struct lun_term *term; /* standing or leading; NULL: neither */
};

struct lun_term {
    struct claim claim;
    struct lun_election *election; /* NULL: freed, or this term is over */
    int64_t mod_rev;
    bool is_mod_unsure; /* a proclaim was not answered: a change of the value may be our own */
    struct lun_op *proclaim_op;
    struct list txn_ops;
};

/* ensure.c: answers the calls that wait for more time of this term. */
void ensure_give_up(struct lun_term *term, int code);

/* NULL: out of memory. */
struct lun_term *term_new(struct lun_election *election);

static inline struct lun_term *term_of(struct claim *claim) {
    return CONTAINER_OF(claim, struct lun_term, claim);
}

#endif
