/* module/view.h - what another thread of the process may ask of objects of lunarch.core while Lua is busy. The program
 * `lunarch` links no core: Lua hands these functions and the objects over as light userdata (term:view(), client:view()),
 * and keeps the objects alive for as long as they may be asked. */
#ifndef LUN_MODULE_VIEW_H
#define LUN_MODULE_VIEW_H

#include "lunarch.h"

/* As the functions of lunarch.h; any thread. */
struct lunarch_view {
    int64_t (*stop_at_ns)(struct lun_term *term);
    int64_t (*valid_until_ns)(struct lun_term *term);
    enum lun_reason (*reason)(struct lun_term *term);
    int (*stats)(struct lun_client *client, struct lun_stats *ret_stats);
    const char *(*reason_name)(enum lun_reason reason);
};

/* The functions of this module. */
extern const struct lunarch_view module_view;

#endif
