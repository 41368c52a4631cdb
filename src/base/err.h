/* base/err.h - one list of error codes, and the error that carries a code and a sentence.
 *
 * A function that can fail returns 0 or a negative LUN_E code; where it takes a `struct lun_err *`, that is
 * filled in on failure and left alone on success. Text is wrapped outward as the error rises: "lock /jobs:
 * enter: etcdserver: requested lease not found". */
#ifndef LUN_BASE_ERR_H
#define LUN_BASE_ERR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/* X(symbol, number, name, sentence). `name` is what Lua shows as `code`, and never changes. */
#define LUN_ERRORS(X)                                                                                        \
    X(LUN_ELOCKED, -1, "locked", "another holds it")                                                         \
    X(LUN_ETIMEOUT, -2, "timeout", "the time allowed for it has passed")                                     \
    X(LUN_ECANCELLED, -3, "cancelled", "it was cancelled")                                                   \
    X(LUN_ELOST, -4, "lost", "the session or the place is lost")                                             \
    X(LUN_ECLOSED, -5, "closed", "the handle is closed")                                                     \
    X(LUN_EUNAVAILABLE, -6, "unavailable", "no etcd member answered")                                        \
    X(LUN_EUNKNOWN, -7, "unknown", "the reply to a write was lost: it may or may not have happened")         \
    X(LUN_ENOLEADER, -8, "no_leader", "there is no leader")                                                  \
    X(LUN_ENOTLEADER, -9, "not_leader", "we are not the leader")                                             \
    X(LUN_ENOTOWNER, -10, "not_owner", "we do not hold it")                                                  \
    X(LUN_ECOMPACTED, -11, "compacted", "the revision asked for has been compacted")                         \
    X(LUN_EUNAUTHENTICATED, -12, "unauthenticated", "etcd does not accept the credentials")                  \
    X(LUN_EPERMISSION, -13, "permission_denied", "the user may not do this")                                 \
    X(LUN_ENOSPACE, -14, "no_space", "etcd's database is full")                                              \
    X(LUN_EINVALID, -15, "invalid", "the request is not valid")                                              \
    X(LUN_ENOMEM, -16, "no_memory", "out of memory")                                                         \
    X(LUN_EINTR, -17, "interrupted", "a signal arrived while waiting")

enum lun_errno {
#define LUN_X(symbol, number, name, sentence) symbol = number,
    LUN_ERRORS(LUN_X)
#undef LUN_X
};

enum { LUN_ERR_TEXT_BYTES = 384 };

struct lun_err {
    int code;                /* negative LUN_E..., 0 when empty */
    int status;              /* gRPC status the error came from, -1 when from elsewhere */
    bool is_retriable;       /* the same request may be sent again, here or to another member */
    bool is_outcome_unknown; /* a write that may have been carried out */
    char text[LUN_ERR_TEXT_BYTES];
};

/* The stable lower-case name of a code ("lost"), "ok" for 0, "unknown" for a number not in the list. Static
 * string. */
const char *lun_strerror_name(int code);
/* The sentence of a code. Static string. */
const char *lun_strerror(int code);

/* Sets code and text (cut at LUN_ERR_TEXT_BYTES, always terminated); status -1, flags false. `err` may be
 * NULL. Returns `code`. No control character gets into a text, whatever server, key or certificate it came from
 * (text_tame). */
int lun_err_set(struct lun_err *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Puts "prefix: " before the text. `err` may be NULL. Returns err->code, or 0. */
int lun_err_wrap(struct lun_err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
