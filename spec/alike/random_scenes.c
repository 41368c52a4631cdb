/* spec/alike/random_scenes.c - requests that nobody thought of: drawn from a seed, a handful of keys, and few
 * enough values that much of it collides. */
#include "random_scenes.h"

#include <stdio.h>

#include "scene.h"

enum { STEPS = 60, MAX_OPS = 5, MAX_COMPARES = 3, LEASES = 3, WATCHES = 8, FIRST_LEASE = 0x9000 };

struct dice {
    struct party *party;
    uint64_t seed;
    int64_t n_writes; /* at most so many revisions have been */
    struct talk *talk;
    int n_watches;
};

static int64_t below(struct dice *dice, int64_t n) {
    uint64_t z = dice->seed += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (int64_t)((z ^ (z >> 31)) % (uint64_t)n);
}

static bool one_in(struct dice *dice, int64_t n) {
    return below(dice, n) == 0;
}

static struct lun_bytes draw_key(struct dice *dice) {
    static const struct lun_bytes keys[] = {B("/a"),   B("/a/1"), B("/a/10"),  B("/a/2"), B("/a0"), B("/b"),
                                            B("/b/1"), B("\0"),   B("/b/1\0"), B("\xff"), B("/a/"), B("z")};
    return keys[below(dice, sizeof keys / sizeof keys[0])];
}

static struct lun_bytes draw_end(struct dice *dice) {
    switch (below(dice, 4)) {
    case 0:
        return B("\0");
    case 1:
        return draw_key(dice);
    default:
        return B("");
    }
}

static struct lun_bytes draw_value(struct dice *dice) {
    static const struct lun_bytes values[] = {B(""), B("v"), B("v\0"), B("w"), B("\xff\xfe")};
    return values[below(dice, sizeof values / sizeof values[0])];
}

static int64_t draw_rev(struct dice *dice) {
    return dice->party->base_rev + below(dice, dice->n_writes + 2);
}

static int64_t draw_lease(struct dice *dice) {
    return FIRST_LEASE + below(dice, LEASES);
}

static struct lun_kv_op draw_range(struct dice *dice) {
    struct lun_kv_op op = {.kind = LUN_OP_RANGE, .key = draw_key(dice), .range_end = draw_end(dice)};
    op.limit = one_in(dice, 2) ? 1 + below(dice, 4) : 0;
    op.sort_order = (enum lun_sort_order)below(dice, 3);
    /* Go's sort leaves equal ones in no order: versions and values are left to the other scenes. */
    static const enum lun_sort_target targets[] = {LUN_SORT_KEY, LUN_SORT_CREATE, LUN_SORT_MOD};
    op.sort_target = targets[below(dice, 3)];
    op.is_keys_only = one_in(dice, 3);
    op.is_count_only = one_in(dice, 6);
    op.is_serializable = one_in(dice, 6);
    op.revision = one_in(dice, 4) ? draw_rev(dice) : 0;
    op.max_create_rev = one_in(dice, 5) ? draw_rev(dice) : 0;
    op.min_create_rev = one_in(dice, 9) ? draw_rev(dice) : 0;
    op.max_mod_rev = one_in(dice, 9) ? draw_rev(dice) : 0;
    op.min_mod_rev = one_in(dice, 9) ? draw_rev(dice) : 0;
    return op;
}

static struct lun_kv_op draw_op(struct dice *dice) {
    int64_t kind = below(dice, 6);
    if (kind < 2)
        return draw_range(dice);
    dice->n_writes++;
    if (kind == 2)
        return (struct lun_kv_op){.kind = LUN_OP_DELETE,
                                  .key = draw_key(dice),
                                  .range_end = draw_end(dice),
                                  .wants_prev_kv = one_in(dice, 3)};
    return (struct lun_kv_op){.kind = LUN_OP_PUT,
                              .key = draw_key(dice),
                              .value = draw_value(dice),
                              .lease = one_in(dice, 3) ? draw_lease(dice) : 0,
                              .wants_prev_kv = one_in(dice, 3)};
}

static struct lun_cmp draw_compare(struct dice *dice) {
    struct lun_cmp cmp = {.target = (enum lun_cmp_target)below(dice, 5),
                          .result = (enum lun_cmp_result)below(dice, 4),
                          .key = draw_key(dice),
                          .range_end = draw_end(dice),
                          .value = draw_value(dice)};
    bool is_rev = cmp.target == LUN_CMP_CREATE || cmp.target == LUN_CMP_MOD;
    cmp.number = cmp.target == LUN_CMP_LEASE ? draw_lease(dice) : below(dice, 4);
    if (is_rev)
        cmp.number = draw_rev(dice);
    if (one_in(dice, 3))
        cmp.number = 0;
    return cmp;
}

static void draw_txn(struct dice *dice) {
    struct lun_cmp compares[MAX_COMPARES];
    struct lun_kv_op ops[2 * MAX_OPS];
    struct lun_txn txn = {.compares = compares, .success = ops};
    txn.n_compares = (size_t)below(dice, MAX_COMPARES);
    txn.n_success = (size_t)below(dice, MAX_OPS);
    txn.n_failure = (size_t)below(dice, MAX_OPS);
    txn.failure = ops + txn.n_success;
    for (size_t i = 0; i < txn.n_compares; i++)
        compares[i] = draw_compare(dice);
    /* Two reasons to refuse: which comes first depends on etcd's version. */
    bool has_leases = one_in(dice, 2);
    for (size_t i = 0; i < txn.n_success + txn.n_failure; i++) {
        ops[i] = draw_op(dice);
        *(has_leases ? &ops[i].revision : &ops[i].lease) = 0;
    }
    ask_txn(dice->party, &txn);
}

static void draw_lease_request(struct dice *dice) {
    int64_t id = draw_lease(dice), kind = below(dice, 4);
    if (kind < 2)
        grant_lease(dice->party, id, 1000);
    else if (kind == 2)
        revoke_lease(dice->party, id);
    else
        time_to_live(dice->party, id, true);
    dice->n_writes++;
}

/* What travels on the stream has no order against calls: each waits for the other. */
static void draw_watch(struct dice *dice) {
    if (dice->n_watches == WATCHES)
        return;
    Etcdserverpb__WatchCreateRequest request = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    Etcdserverpb__WatchCreateRequest__FilterType filter =
        (Etcdserverpb__WatchCreateRequest__FilterType)below(dice, 2);
    request.key = binary(draw_key(dice));
    request.range_end = binary(draw_end(dice));
    request.start_revision = one_in(dice, 2) ? draw_rev(dice) + 1 : 0;
    request.filters = &filter;
    request.n_filters = one_in(dice, 3) ? 1 : 0;
    request.prev_kv = one_in(dice, 2);
    talk_watch(dice->talk, &request);
    talk_await_created(dice->talk, ++dice->n_watches);
}

static void draw_step(struct dice *dice) {
    int64_t kind = below(dice, 20);
    if (kind < 6) {
        draw_txn(dice);
    } else if (kind < 8) {
        draw_lease_request(dice);
    } else if (kind < 10 && dice->talk) {
        draw_watch(dice);
    } else if (kind == 10 && !dice->talk) {
        compact(dice->party, below(dice, dice->n_writes + 2));
    } else {
        struct lun_kv_op op = draw_op(dice);
        ask_op(dice->party, &op);
    }
}

void play_random(struct party *party, uint64_t seed, int *heard) {
    struct dice dice = {.party = party, .seed = seed * UINT64_C(0x2545f4914f6cdd1d)};
    /* Compaction and watches of the past race each other. */
    if (one_in(&dice, 3))
        dice.talk = talk_open_by_event(party);
    for (int i = 0; i < STEPS; i++)
        draw_step(&dice);
    get_all(party);
    for (int i = 0; i < LEASES; i++)
        revoke_lease(party, FIRST_LEASE + i);
    get_all(party);
    if (!dice.talk)
        return;
    if (party->sim)
        party_pause(party, NS_PER_S);
    if (party->sim)
        *heard = talk_n_heard(dice.talk);
    talk_tell(dice.talk, *heard);
    talk_drop(dice.talk);
}
