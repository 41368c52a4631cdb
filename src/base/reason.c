/* base/reason.c - the names of reasons and session states, as users read them. See reason.h. */
#include "base/reason.h"

#include <stddef.h>

static const char *const reasons[] = {"",       "expired",         "revoked",  "key_deleted",      "frozen",
                                      "closed", "unauthenticated", "replaced", "permission_denied"};
static const char *const states[] = {"alive", "jeopardy", "lost", "closed"};

const char *lun_reason_name(enum lun_reason reason) {
    return (size_t)reason < sizeof reasons / sizeof reasons[0] ? reasons[reason] : "";
}

const char *lun_session_state_name(enum lun_session_state state) {
    return (size_t)state < sizeof states / sizeof states[0] ? states[state] : "";
}
