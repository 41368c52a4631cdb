/* module/view.c - the functions of the core that the program may call on objects of the module. See view.h. */
#include "module/view.h"

const struct lunarch_view module_view = {
    .stop_at_ns = lun_term_stop_at_ns,
    .valid_until_ns = lun_term_valid_until_ns,
    .reason = lun_term_reason,
    .stats = lun_client_stats,
    .reason_name = lun_reason_name,
};
