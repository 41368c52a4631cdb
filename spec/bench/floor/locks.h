/* spec/bench/floor/locks.h - sessions and locks as Go's client has them, a request for each step. */
#ifndef LUN_BENCH_FLOOR_LOCKS_H
#define LUN_BENCH_FLOOR_LOCKS_H

#include <stdbool.h>
#include <stdint.h>

#include "floor/wire.h"
#include "shared/lock.h"

struct session {
    int64_t lease;
    struct stream renewals;
};

/* A lease of 60 s. */
int64_t session_grant(void);
/* With one renewal answered. */
void session_open(struct session *session);
void session_close(struct session *session);

void lock_ask(struct lock_key *lock, struct unary *unary);
/* Our own create revision; whether it is the first. Frees the reply. */
int64_t lock_answer(struct unary *unary, bool *ret_is_owner);
void lock_take(struct lock_key *lock);
void unlock_ask(struct lock_key *lock, struct unary *unary);
void lock_release(struct lock_key *lock);

#endif
