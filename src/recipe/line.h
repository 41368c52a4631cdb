/* recipe/line.h - a line: a prefix of keys that are bound to leases, in the order of their creation. */
#ifndef LUN_RECIPE_LINE_H
#define LUN_RECIPE_LINE_H

#include "base/kv.h"

/* The read that shows who stands first: one key and its value, or none. The slices are borrowed. */
static inline struct lun_kv_op line_first(struct lun_bytes prefix, struct lun_bytes prefix_end) {
    return (struct lun_kv_op){.kind = LUN_OP_RANGE,
                              .key = prefix,
                              .range_end = prefix_end,
                              .sort_target = LUN_SORT_CREATE,
                              .sort_order = LUN_SORT_ASCEND,
                              .limit = 1};
}

#endif
