/* base/reason.h - why a session or a place ended, and the states of a session that a user can see. */
#ifndef LUN_BASE_REASON_H
#define LUN_BASE_REASON_H

/* Why a session, lock or term ended, or has to end. */
enum lun_reason {
    LUN_NOT_LOST = 0,
    LUN_LOST_EXPIRED,         /* no renewal was confirmed in time */
    LUN_LOST_REVOKED,         /* the lease was revoked */
    LUN_LOST_KEY_DELETED,     /* our key was deleted */
    LUN_LOST_FROZEN,          /* this process was not running (stopped, suspended) */
    LUN_LOST_CLOSED,          /* the session or client was closed, the place given up */
    LUN_LOST_UNAUTHENTICATED, /* etcd accepts our credentials no more */
    LUN_LOST_REPLACED,        /* etcd began anew: restored, wiped or rebuilt */
    LUN_LOST_PERMISSION, /* etcd's user may not renew the lease any more: it has no right to one of its keys */
};
enum { LUN_N_REASONS = LUN_LOST_PERMISSION + 1 };
/* "expired", "revoked", "key_deleted", "frozen", "closed", "unauthenticated", "replaced", "permission_denied"; "" for
 * LUN_NOT_LOST. Static string. */
const char *lun_reason_name(enum lun_reason reason);

enum lun_session_state { LUN_SESSION_ALIVE, LUN_SESSION_JEOPARDY, LUN_SESSION_LOST, LUN_SESSION_CLOSED };
/* "alive", "jeopardy", "lost", "closed". Static string. */
const char *lun_session_state_name(enum lun_session_state state);

#endif
