/* spec/alike/limit_scenes.c - how much a request may weigh, and what a member says of itself. */
#include <stdlib.h>
#include <string.h>

#include "scene.h"

static void put_of(struct party *party, char *memory, size_t n) {
    put(party, B("/big"), (struct lun_bytes){memory, n});
}

static void weights(struct party *party) {
    enum { MOST = 3 << 20, LIMIT = 1536 * 1024 };
    char *memory = malloc(MOST);
    if (!memory)
        abort();
    memset(memory, 'x', MOST);
    put_of(party, memory, LIMIT - 1024);
    put_of(party, memory, LIMIT);
    put_of(party, memory, LIMIT + 1024);
    put_of(party, memory, LIMIT + 512 * 1024 - 20);
    put_of(party, memory, LIMIT + 512 * 1024);
    put_of(party, memory, MOST);
    struct lun_kv_op ops[] = {
        {.kind = LUN_OP_PUT, .key = B("/1"), .value = {memory, LIMIT / 2}},
        {.kind = LUN_OP_PUT, .key = B("/2"), .value = {memory, LIMIT / 2 + 1}},
    };
    ask_txn(party, &(struct lun_txn){.success = ops, .n_success = 2});
    /* Not taken, and weighs all the same. */
    ask_txn(party, &(struct lun_txn){.success = &ops[0], .n_success = 0, .failure = ops, .n_failure = 2});
    put(party, (struct lun_bytes){memory, 100000}, B("a long key"));
    get_all(party);
    free(memory);
    del(party, B("\0"), B("\0"));
}

static void status(struct party *party) {
    Etcdserverpb__StatusRequest request = ETCDSERVERPB__STATUS_REQUEST__INIT;
    put(party, B("/k"), B(""));
    ask(party, RPC_MEMBER_STATUS, &request.base);
}

const struct scene limit_scenes[] = {
    {"a request has a weight it may have", weights}, {"a member tells how it is", status}, {0}};
