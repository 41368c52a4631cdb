/* spec/alike/range_scenes.c - reading. */
#include "scene.h"

static void range(struct party *party, struct lun_kv_op op) {
    op.kind = LUN_OP_RANGE;
    (void)ask_op(party, &op);
}

static void fill(struct party *party) {
    put(party, B("/a/2"), B("two"));
    put(party, B("/a/1"), B("one"));
    put(party, B("/a/3"), B("three"));
    put(party, B("/a/1"), B("uno"));
    put(party, B("/b"), B(""));
    put(party, B("/a"), B("outside"));
    put(party, B("/a/10"), B("ten"));
}

static void bounds(struct party *party) {
    fill(party);
    get(party, B("/a/1"));
    get(party, B("/a/4"));
    range(party, (struct lun_kv_op){.key = B("/a/"), .range_end = B("/a0")});
    range(party, (struct lun_kv_op){.key = B("/a/1"), .range_end = B("/a/2")});
    range(party, (struct lun_kv_op){.key = B("/a/2"), .range_end = B("\0")});
    range(party, (struct lun_kv_op){.key = B("\0"), .range_end = B("\0")});
    range(party, (struct lun_kv_op){.key = B("/a/3"), .range_end = B("/a/1")});
    range(party, (struct lun_kv_op){.key = B("/a/3"), .range_end = B("/a/3")});
    range(party, (struct lun_kv_op){.key = B("/zzz"), .range_end = B("\0")});
    range(party, (struct lun_kv_op){.key = B("")});
    range(party, (struct lun_kv_op){.key = B(""), .range_end = B("\0")});
}

static void orders(struct party *party) {
    fill(party);
    for (int target = LUN_SORT_KEY; target <= LUN_SORT_VALUE; target++)
        for (int order = LUN_SORT_NONE; order <= LUN_SORT_DESCEND; order++)
            for (int64_t limit = 0; limit <= 3; limit += 3)
                range(party, (struct lun_kv_op){.key = B("/a/"),
                                                .range_end = B("/a0"),
                                                .limit = limit,
                                                .sort_order = (enum lun_sort_order)order,
                                                .sort_target = (enum lun_sort_target)target});
}

static void limits(struct party *party) {
    fill(party);
    for (int64_t limit = 1; limit <= 5; limit++)
        range(party, (struct lun_kv_op){.key = B("/a/"), .range_end = B("/a0"), .limit = limit});
    range(party,
          (struct lun_kv_op){.key = B("/a/"), .range_end = B("/a0"), .limit = 2, .is_count_only = true});
    range(party, (struct lun_kv_op){.key = B("/a/"), .range_end = B("/a0"), .is_count_only = true});
    range(party,
          (struct lun_kv_op){.key = B("/a/"), .range_end = B("/a0"), .limit = 2, .is_keys_only = true});
    range(party, (struct lun_kv_op){.key = B("/a/1"), .limit = 1, .is_keys_only = true});
    range(party, (struct lun_kv_op){.key = B("/a/"), .range_end = B("/a0"), .limit = -1});
}

static void filters(struct party *party) {
    fill(party);
    int64_t base = party->base_rev;
    struct lun_kv_op all = {.key = B("/a/"), .range_end = B("/a0")};
    for (int64_t rev = base; rev <= base + 8; rev += 2) {
        struct lun_kv_op op = all;
        op.max_create_rev = rev;
        range(party, op);
        op.sort_order = LUN_SORT_DESCEND;
        op.sort_target = LUN_SORT_CREATE;
        op.limit = 1;
        range(party, op);
        op = all;
        op.min_create_rev = rev;
        range(party, op);
        op.limit = 1;
        range(party, op);
        op = all;
        op.max_mod_rev = rev;
        range(party, op);
        op.is_count_only = true;
        range(party, op);
        op = all;
        op.min_mod_rev = rev;
        range(party, op);
    }
}

static void past(struct party *party) {
    fill(party);
    del(party, B("/a/2"), B(""));
    put(party, B("/a/2"), B("again"));
    for (int64_t rev = 0; rev <= 10; rev++)
        range(party,
              (struct lun_kv_op){.key = B("/a/"), .range_end = B("/a0"), .revision = party->base_rev + rev});
    range(party, (struct lun_kv_op){.key = B("/a/2"), .revision = -1});
    range(party,
          (struct lun_kv_op){.key = B("/a/2"), .revision = party->base_rev + 3, .is_serializable = true});
}

static void compaction(struct party *party) {
    fill(party);
    del(party, B("/a/3"), B(""));
    compact(party, 4);
    for (int64_t rev = 2; rev <= 5; rev++)
        range(party,
              (struct lun_kv_op){.key = B("/a/"), .range_end = B("/a0"), .revision = party->base_rev + rev});
    compact(party, 4);
    compact(party, 3);
    compact(party, 9);
    compact(party, 8);
    range(party, (struct lun_kv_op){.key = B("/a/"), .range_end = B("/a0"), .revision = party->base_rev + 7});
    range(party, (struct lun_kv_op){.key = B("/a/3"), .revision = party->base_rev + 8});
}

static void any_bytes(struct party *party) {
    put(party, B("\0\0\x01"), B("a\0b"));
    put(party, B("\xff\xff"), B("\xff\0"));
    put(party, B("a\0"), B("zero at the end"));
    put(party, B("a"), B(""));
    get(party, B("a\0"));
    range(party, (struct lun_kv_op){.key = B("a"), .range_end = B("b")});
    range(party, (struct lun_kv_op){.key = B("\xff"), .range_end = B("\0")});
    get_all(party);
    range(party, (struct lun_kv_op){.key = B("\0"), .range_end = B("\0"), .sort_order = LUN_SORT_DESCEND});
}

const struct scene range_scenes[] = {{"ranges have their bounds", bounds},
                                     {"ranges come in the order asked for", orders},
                                     {"a limit cuts off, and says so", limits},
                                     {"ranges are filtered by revision", filters},
                                     {"a range of the past", past},
                                     {"what is compacted is gone", compaction},
                                     {"keys and values are any bytes", any_bytes},
                                     {0}};
