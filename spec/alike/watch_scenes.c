/* spec/alike/watch_scenes.c - watches. */
#include "scene.h"

#define CREATE(...) (&(struct create){__VA_ARGS__})

struct create {
    struct lun_bytes key, range_end;
    int64_t from; /* counted from the story's first revision; 0: from now on */
    bool has_no_puts, has_no_deletes, wants_prev_kv;
    int64_t id;
};

static void watch(struct talk *talk, struct party *party, const struct create *create) {
    Etcdserverpb__WatchCreateRequest request = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    Etcdserverpb__WatchCreateRequest__FilterType filters[2];
    request.key = binary(create->key);
    request.range_end = binary(create->range_end);
    request.start_revision = create->from ? party->base_rev + create->from : 0;
    request.filters = filters;
    if (create->has_no_puts)
        filters[request.n_filters++] = ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NOPUT;
    if (create->has_no_deletes)
        filters[request.n_filters++] = ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NODELETE;
    request.prev_kv = create->wants_prev_kv;
    request.watch_id = create->id;
    talk_watch(talk, &request);
}

static void from_now(struct party *party) {
    put(party, B("/k"), B("before"));
    struct talk *talk = talk_open(party, RPC_WATCH);
    watch(talk, party, CREATE(.key = B("/k")));
    talk_tell(talk, 1);
    put(party, B("/k"), B("1"));
    put(party, B("/l"), B("not asked for"));
    put(party, B("/k"), B("2"));
    del(party, B("/k"), B(""));
    del(party, B("/k"), B(""));
    put(party, B("/k"), B("3"));
    talk_tell(talk, 4);
    talk_close(talk);
}

/* Those of the past come by the slow loop, all in one message. */
static void from_then(struct party *party) {
    put(party, B("/k/1"), B("1"));
    put(party, B("/k/2"), B("2"));
    del(party, B("/k/1"), B(""));
    put(party, B("/k/3"), B("3"));
    struct talk *talk = talk_open(party, RPC_WATCH);
    for (int64_t from = 1; from <= 4; from++) {
        watch(talk, party, CREATE(.key = B("/k/"), .range_end = B("/k0"), .from = from));
        talk_tell(talk, 2);
    }
    watch(talk, party, CREATE(.key = B("/k/"), .range_end = B("/k0"), .from = 5));
    watch(talk, party, CREATE(.key = B("/k/"), .range_end = B("/k0"), .from = 7));
    talk_tell(talk, 2);
    put(party, B("/k/4"), B("4"));
    put(party, B("/k/5"), B("5"));
    put(party, B("/k/6"), B("6"));
    talk_tell(talk, 4 * 3 + 3 + 1);
    talk_close(talk);
}

static void filtered(struct party *party) {
    put(party, B("/k"), B("1"));
    struct talk *talk = talk_open(party, RPC_WATCH);
    watch(talk, party, CREATE(.key = B("/k"), .has_no_puts = true));
    watch(talk, party, CREATE(.key = B("/k"), .has_no_deletes = true));
    watch(talk, party, CREATE(.key = B("/k"), .has_no_puts = true, .has_no_deletes = true));
    watch(talk, party, CREATE(.key = B("/k"), .wants_prev_kv = true));
    talk_tell(talk, 4);
    put(party, B("/k"), B("2"));
    del(party, B("/k"), B(""));
    put(party, B("/k"), B("3"));
    put(party, B("/k"), B("4"));
    del(party, B("/k"), B(""));
    talk_tell(talk, 2 + 3 + 5);
    talk_close(talk);
}

/* It begins in the past: the slow loop may come round between two writes, and tells in one message what was before. */
static void filtered_past(struct party *party) {
    put(party, B("/k"), B("1"));
    struct talk *talk = talk_open_by_event(party);
    watch(talk, party, CREATE(.key = B("/k"), .has_no_puts = true, .wants_prev_kv = true, .from = 1));
    talk_tell(talk, 1);
    put(party, B("/k"), B("2"));
    del(party, B("/k"), B(""));
    put(party, B("/k"), B("3"));
    del(party, B("/k"), B(""));
    talk_tell(talk, 2);
    talk_close(talk);
}

static void ranges(struct party *party) {
    struct talk *talk = talk_open(party, RPC_WATCH);
    watch(talk, party, CREATE(.key = B("/b"), .range_end = B("/d")));
    watch(talk, party, CREATE(.key = B("/c"), .range_end = B("\0")));
    watch(talk, party, CREATE(.key = B(""), .range_end = B("\0")));
    watch(talk, party, CREATE(.key = B("")));
    watch(talk, party, CREATE(.key = B("\0"), .range_end = B("/b")));
    talk_tell(talk, 5);
    put(party, B("/a"), B("1"));
    put(party, B("/b"), B("2"));
    put(party, B("/c"), B("3"));
    put(party, B("/d"), B("4"));
    put(party, B("\0"), B("5"));
    talk_tell(talk, 2 + 2 + 5 + 1 + 2);
    watch(talk, party, CREATE(.key = B("/d"), .range_end = B("/b")));
    watch(talk, party, CREATE(.key = B("/d"), .range_end = B("/d")));
    talk_tell(talk, 2);
    talk_close(talk);
}

/* All of one revision in one message, in the order in which it was done. */
static void one_revision(struct party *party) {
    put(party, B("/k/9"), B("old"));
    struct talk *talk = talk_open(party, RPC_WATCH);
    watch(talk, party, CREATE(.key = B("/k/"), .range_end = B("/k0"), .wants_prev_kv = true));
    watch(talk, party, CREATE(.key = B("/k/2")));
    talk_tell(talk, 2);
    struct lun_kv_op ops[] = {{.kind = LUN_OP_PUT, .key = B("/k/2"), .value = B("b")},
                              {.kind = LUN_OP_PUT, .key = B("/k/1"), .value = B("a")},
                              {.kind = LUN_OP_DELETE, .key = B("/k/9")},
                              {.kind = LUN_OP_PUT, .key = B("/k/3"), .value = B("c")}};
    ask_txn(party, &(struct lun_txn){.success = ops, .n_success = 4});
    del(party, B("/k/"), B("/k0"));
    talk_tell(talk, 2 + 2);
    grant_lease(party, LEASE_WATCH, 600);
    put_leased(party, B("/k/2"), B(""), LEASE_WATCH);
    put_leased(party, B("/k/1"), B(""), LEASE_WATCH);
    revoke_lease(party, LEASE_WATCH);
    talk_tell(talk, 3 + 2);
    watch(talk, party, CREATE(.key = B("/k/"), .range_end = B("/k0"), .from = 2, .wants_prev_kv = true));
    talk_tell(talk, 2);
    talk_close(talk);
}

static void compacted(struct party *party) {
    for (int i = 0; i < 5; i++)
        put(party, B("/k"), B("x"));
    compact(party, 4);
    struct talk *talk = talk_open(party, RPC_WATCH);
    watch(talk, party, CREATE(.key = B("/k"), .from = 2));
    talk_tell(talk, 2);
    watch(talk, party, CREATE(.key = B("/k"), .from = 3));
    talk_tell(talk, 2);
    watch(talk, party, CREATE(.key = B("/k"), .from = 4, .wants_prev_kv = true));
    talk_tell(talk, 2);
    put(party, B("/k"), B("y"));
    talk_tell(talk, 1);
    talk_close(talk);
}

static void cancelled(struct party *party) {
    struct talk *talk = talk_open(party, RPC_WATCH);
    watch(talk, party, CREATE(.key = B("/k")));
    watch(talk, party, CREATE(.key = B("/k")));
    talk_tell(talk, 2);
    put(party, B("/k"), B("1"));
    talk_tell(talk, 2);
    talk_unwatch(talk, 0);
    talk_unwatch(talk, 0);
    talk_unwatch(talk, 77);
    talk_tell(talk, 1);
    put(party, B("/k"), B("2"));
    talk_tell(talk, 1);
    watch(talk, party, CREATE(.key = B("/l")));
    talk_tell(talk, 1);
    talk_close(talk);
}

static void own_ids(struct party *party) {
    struct talk *talk = talk_open(party, RPC_WATCH);
    watch(talk, party, CREATE(.key = B("/k"), .id = 7));
    watch(talk, party, CREATE(.key = B("/k")));
    watch(talk, party, CREATE(.key = B("/k"), .id = 1));
    watch(talk, party, CREATE(.key = B("/k")));
    watch(talk, party, CREATE(.key = B("/k"), .id = 7));
    talk_tell(talk, 5);
    put(party, B("/k"), B("1"));
    talk_tell(talk, 4);
    talk_close(talk);
}

const struct scene watch_scenes[] = {
    {"a watch from now on tells what comes", from_now},
    {"a watch from a revision tells what was, then what comes", from_then},
    {"a watch leaves out what it is told to, and brings what was before", filtered},
    {"a watch from a revision leaves out what it is told to", filtered_past},
    {"watches have their bounds", ranges},
    {"one revision comes in one message", one_revision},
    {"a watch from a compacted revision is created, then cancelled", compacted},
    {"a cancelled watch ends alone", cancelled},
    {"a watch may bring its own id", own_ids},
    {0}};
