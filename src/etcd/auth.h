/* etcd/auth.h - one user's token: asked for once however many calls wait for it, replaced when a member refuses it, renewed
 * before a signed one (JWT) ends; one that has ended by its own word is not sent any more. For the files of this folder only.
 *
 * A token belongs to the cluster: members know each other's. Each one has a generation, so that a call whose token was refused
 * can tell whether a newer one is in force already. */
#ifndef LUN_ETCD_AUTH_H
#define LUN_ETCD_AUTH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"
#include "etcd/status_class.h"
#include "rpc/rpc.h"

struct etcd;
struct etcd_call;

struct auth {
    struct etcd *etcd;
    char *user, *password;  /* NULL: no user, no token is ever sent */
    char *token;            /* in force; NULL: none */
    unsigned generation;    /* counts tokens, and their ends */
    bool is_off;            /* etcd said that authentication is not enabled */
    struct etcd_call *call; /* Authenticate, while it is in flight */
    struct list waiting;    /* struct auth_waiter */
    struct rpc_timer
        timer; /* something is due: an answer to those who wait, the next attempt, the renewal, its end */
    int64_t asked_ns;     /* when it was last asked for */
    int64_t ends_ns;      /* of a signed one, by its own word; RPC_NEVER: not known */
    int64_t retry_ns;     /* not asked again before; what waits until then is answered with `err` */
    unsigned n_refused;   /* in a row */
    struct lun_err err;   /* of the latest attempt */
    unsigned n_silent;    /* calls in a row that carried the token and were not answered in time */
    int64_t suspected_ns; /* when a token was last given up for that */
};

struct auth_waiter {
    struct list in_auth;
    /* `err` NULL: go on, with the token or without. Inside, later than auth_wait. May free the waiter. */
    void (*on_token)(struct auth_waiter *waiter, const struct lun_err *err);
};

/* 0 or LUN_ENOMEM. */
int auth_init(struct auth *auth, struct etcd *etcd);
void auth_fini(struct auth *auth);
/* Copies. Before the first call. 0 or LUN_ENOMEM. */
int auth_set_user(struct auth *auth, const char *user, const char *password);

static inline bool auth_has_user(const struct auth *auth) {
    return auth->user != NULL;
}
/* A request that needs a token has to wait for one. */
static inline bool auth_is_needed(const struct auth *auth) {
    return auth->user && !auth->token && !auth->is_off;
}
/* Needed, and asked for, or about to be: what could do nothing without it waits. Not after a refusal, until it is asked for
 * again. */
bool auth_is_to_come(const struct auth *auth);
/* For a stream that was opened while a token was needed (`was_bare`): a member that knows the client by its certificate refuses
 * the right of the certificate's name then, where it would otherwise ask for a user. A token mends both. */
static inline void auth_judge_bare(bool was_bare, struct status_class *class) {
    if (was_bare && class->code == LUN_EPERMISSION)
        class->is_token_stale = true;
}
/* Asks for a token if there is none, for what can wait by itself (streams). */
void auth_prompt(struct auth *auth);
/* on_token follows, unless the waiter is taken out of its list before. */
void auth_wait(struct auth *auth, struct auth_waiter *waiter);
/* A member refused the token of that generation: it is given up, unless a newer one is in force. */
void auth_refused(struct auth *auth, unsigned generation);
/* A call that carried a token was not answered in time. A token of an etcd that was restored can make calls hang instead of being refused: two
 * in a row, and a new one is asked for, at most one in 10 s. */
void auth_silent(struct auth *auth, unsigned generation);
static inline void auth_answered(struct auth *auth) {
    auth->n_silent = 0;
}
/* Does etcd refuse this client for good, as `err`, the answer to something that carried the token in force or none, seems to
 * say? Not before a new token was refused too. */
bool auth_is_refused(const struct auth *auth, const struct lun_err *err);
/* Adds to the text of a refusal what the reader can do, or which user it was. */
void auth_explain(const struct auth *auth, struct lun_err *err);

#endif
