/* spec/alike/party_parts.h - what party.c, ask.c and talk.c share. */
#ifndef LUN_CONFORM_PARTY_PARTS_H
#define LUN_CONFORM_PARTY_PARTS_H

#include "party.h"

/* No wait is longer. */
#define PARTY_LIMIT_NS (10 * NS_PER_S)

void party_die(const char *what) __attribute__((noreturn));
/* A counter that callbacks count up. */
int party_peek(struct party *party, const int *counter);
struct rpc_options party_options(const struct party *party);

#endif
