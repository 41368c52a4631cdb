/* spec/bench/shared/lock.h - a lock as Go's client has it: its key, and the requests of its two steps. */
#ifndef LUN_BENCH_SHARED_LOCK_H
#define LUN_BENCH_SHARED_LOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "etcd.pb-c.h"

enum { NAME_BYTES = 96, N_LOCKS = 64, WARM_UP = 200 };

struct lock_key {
    char prefix[NAME_BYTES], end[NAME_BYTES], key[NAME_BYTES + 16];
    int64_t lease;
};

/* Borrows. */
ProtobufCBinaryData text_of(const char *text);

void lock_name(struct lock_key *lock, const char *bench, int number, int64_t lease);
/* Go's transaction: if our key is absent put it, else get it; and get the owner. The request lives as long as `send` runs. */
void lock_request(const struct lock_key *lock,
                  void (*send)(void *arg, const Etcdserverpb__TxnRequest *request), void *arg);
/* Borrows the key. */
Etcdserverpb__DeleteRangeRequest unlock_request(const struct lock_key *lock);
/* Whether the place that the transaction made is the first one. */
bool lock_is_won(const Etcdserverpb__TxnResponse *reply);

#endif
