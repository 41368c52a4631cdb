/* spec/bench/floor/locks.h - sessions and locks as Go's client has them, a request for each step. */
#ifndef LUN_BENCH_FLOOR_LOCKS_H
#define LUN_BENCH_FLOOR_LOCKS_H

#include <stdbool.h>
#include <stdint.h>

#include "floor/wire.h"

enum { NAME_BYTES = 96 };

struct session {
    int64_t lease;
    struct stream renewals;
};

struct lock {
    char prefix[NAME_BYTES], end[NAME_BYTES], key[NAME_BYTES + 16];
    int64_t lease;
};

/* Borrows. */
ProtobufCBinaryData text_of(const char *text);

/* A lease of 60 s. */
int64_t session_grant(void);
/* With one renewal answered. */
void session_open(struct session *session);
void session_close(struct session *session);

void lock_name(struct lock *lock, int number, int64_t lease);
/* Go's transaction: if our key is absent put it, else get it; and get the owner. */
void lock_ask(struct lock *lock, struct unary *unary);
/* Our own create revision; whether it is the first. Frees the reply. */
int64_t lock_answer(struct unary *unary, bool *ret_is_owner);
void lock_take(struct lock *lock);
void unlock_ask(struct lock *lock, struct unary *unary);
void lock_release(struct lock *lock);

#endif
