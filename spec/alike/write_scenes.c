/* spec/alike/write_scenes.c - single puts and deletions. */
#include "scene.h"

static void puts_count(struct party *party) {
    put(party, B("/k"), B("1"));
    put(party, B("/k"), B("2"));
    ask_op(party,
           &(struct lun_kv_op){.kind = LUN_OP_PUT, .key = B("/k"), .value = B("3"), .wants_prev_kv = true});
    ask_op(party,
           &(struct lun_kv_op){.kind = LUN_OP_PUT, .key = B("/new"), .value = B(""), .wants_prev_kv = true});
    get_all(party);
    del(party, B("/k"), B(""));
    put(party, B("/k"), B("reborn"));
    get_all(party);
    put(party, B(""), B("no key"));
}

static void deletions(struct party *party) {
    put(party, B("/d/2"), B("b"));
    put(party, B("/d/1"), B("a"));
    put(party, B("/d/3"), B("c"));
    del(party, B("/none"), B(""));
    ask_op(party, &(struct lun_kv_op){
                      .kind = LUN_OP_DELETE, .key = B("/d/"), .range_end = B("/d/3"), .wants_prev_kv = true});
    ask_op(party, &(struct lun_kv_op){.kind = LUN_OP_DELETE, .key = B("/d/1"), .wants_prev_kv = true});
    del(party, B("/d/9"), B("/d/0"));
    del(party, B(""), B(""));
    get_all(party);
    put(party, B("/e"), B(""));
    del(party, B("/d/3"), B("\0"));
    get_all(party);
}

static void kept_halves(struct party *party) {
    grant_lease(party, LEASE_PUT, 600);
    put_leased(party, B("/k"), B("value"), LEASE_PUT);
    Etcdserverpb__PutRequest request = ETCDSERVERPB__PUT_REQUEST__INIT;
    request.key = binary(B("/k"));
    request.ignore_value = 1;
    ask(party, RPC_PUT, &request.base); /* and no lease any more */
    get(party, B("/k"));
    put_leased(party, B("/k"), B("value"), LEASE_PUT);
    request.ignore_value = 0;
    request.ignore_lease = 1;
    request.prev_kv = 1;
    request.value = binary(B("other"));
    ask(party, RPC_PUT, &request.base);
    get(party, B("/k"));
    request.ignore_value = 1;
    ask(party, RPC_PUT, &request.base); /* a value is given */
    request.value = binary(B(""));
    request.lease = LEASE_PUT;
    ask(party, RPC_PUT, &request.base); /* a lease is given */
    request.lease = 0;
    request.key = binary(B("/nobody"));
    ask(party, RPC_PUT, &request.base);
    request.key = binary(B(""));
    ask(party, RPC_PUT, &request.base);
    revoke_lease(party, LEASE_PUT);
    get_all(party);
}

static void unknown_lease(struct party *party) {
    put_leased(party, B("/k"), B(""), 0x123456);
    put_leased(party, B("/k"), B(""), -1);
    get_all(party);
}

const struct scene write_scenes[] = {{"a put raises revision and version", puts_count},
                                     {"a deletion deletes what is there", deletions},
                                     {"a put may keep the value, or the lease", kept_halves},
                                     {"a put with an unknown lease is refused", unknown_lease},
                                     {0}};
