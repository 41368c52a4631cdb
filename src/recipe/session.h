/* recipe/session.h - a lease kept alive, and the knowledge of how long it certainly is.
 *
 *     stop_at      = valid_until - grace
 *     valid_until  = confirmed_send + TTL - margin, margin = max(100 ms, TTL / 10)
 *
 * All of it is called inside (rpc.h), but for the questions that say otherwise. */
#ifndef LUN_RECIPE_SESSION_H
#define LUN_RECIPE_SESSION_H

#include "base/clock.h"
#include "base/list.h"
#include "base/reason.h"
#include "base/sm.h"
#include "etcd/kv.h"
#include "etcd/renewal.h"
#include "recipe/place_index.h"

struct place;
struct session;

enum { SESSION_DEFAULT_TTL_S = 10, SESSION_MAX_TTL_S = 86400 };

struct session_options {
    int64_t ttl_s;             /* asked for */
    int64_t grace_ns;          /* below 0: a sixth of the granted TTL */
    int64_t lease;             /* 0: a new one; else adopted */
    struct place_index *index; /* of the client; NULL: its own */
};

/* Never called during the call that caused them. */
struct session_callbacks {
    /* Once, after session_start. `err` NULL: alive. Otherwise it is over, and on_ended follows. */
    void (*on_opened)(struct session *session, const struct lun_err *err);
    /* The state that a user sees has changed. */
    void (*on_state)(struct session *session);
    /* Once, at the end: closed, etcd has answered (or the lease is surely gone, or nobody waits: killed), and
     * nothing is in flight. The memory may be freed. */
    void (*on_ended)(struct session *session);
    /* A renewal was confirmed: valid_until is later than before. May be NULL. */
    void (*on_renewed)(struct session *session);
};

struct session {
    struct sm sm;
    struct etcd *etcd;
    struct rpc *rpc;
    const struct session_callbacks *callbacks;
    int64_t lease, ttl_s, asked_ttl_s;
    int64_t grace_ns, asked_grace_ns;
    /* Closed without revoking: until then places are removed, and late copies of what they sent awaited. */
    int64_t closing_until_ns, debts_until_ns;
    int64_t alive_sent_ns;     /* of the grant, or first renewal, that made it alive */
    int64_t confirmed_send_ns; /* of the latest confirmed grant or renewal */
    struct rpc_validity validity;
    struct rpc_timer jeopardy_timer;
    struct rpc_timer
        end_timer; /* defers on_ended out of whatever call led there; REVOKING: when to ask again */
    struct renewal renewal;
    struct etcd_follower follower;
    struct etcd_call *call;  /* grant or revoke in flight */
    int64_t revoke_until_ns; /* the lease has surely lapsed by then */
    struct list places;
    struct place_index *index, own_index;
    enum lun_reason reason;
    /* By etcd, since the latest renewal: why no other was confirmed; LUN_NOT_LOST: no. */
    enum lun_reason refused;
    char *refusal; /* its words; NULL: none, or no memory for them */
    bool is_adopted;
    bool is_opened_told;
    bool is_in_jeopardy;
    bool is_revoked;      /* closing: revoke the lease, rather than leave each place */
    bool is_lease_gone;   /* certain: confirmed TTL 0, revoked, not found */
    bool is_grant_unsure; /* the grant's reply was lost */
    bool is_visiting;     /* telling all places something: must not end meanwhile */
};

/* `session` is the caller's memory. 0, LUN_ENOMEM, LUN_EINVALID. On 0 on_opened follows. */
int session_start(struct session *session, struct etcd *etcd, const struct session_options *options,
                  const struct session_callbacks *callbacks, struct lun_err *ret_err);
/* From any state: tells every place that it is over; with `is_revoked` revokes the lease, else removes the
 * places one by one; on_ended follows. Once called, again is harmless. */
void session_close(struct session *session, bool is_revoked);
/* Closes without a word to etcd: renewals stop, keys and lease stay until they lapse. on_ended follows. */
void session_orphan(struct session *session);
/* Whatever it was doing: nothing more is sent; on_ended follows when what is in flight is back. */
void session_kill(struct session *session);

/* Any thread, no lock. */
int64_t session_valid_until_ns(struct session *session); /* 0: lost or closed */
/* The same in memory shared with forked children, see rpc_validity_share. NULL: no memory. Inside; for an opened one. */
const _Atomic int64_t *session_share(struct session *session);
int64_t session_stop_at_ns(struct session *session); /* 0: lost or closed */

/* How long etcd may be away, from the last instant at which it answered until it answers again, without a holder being
 * told to stop; never longer than promised by the granted TTL and the grace alone. 0: not at all. */
int64_t session_away_limit_ns(const struct session *session);

/* The most that is ever left until valid_until: TTL less margin. */
int64_t session_longest_ns(const struct session *session);
bool session_is_over(const struct session *session); /* lost, closing or closed */
/* Over, but its adopted lease may live on, renewed by another program: places are removed one by one. */
bool session_is_dispersing(const struct session *session);
enum lun_session_state session_state(const struct session *session);
/* By the clock too: the machine may not have been told yet. */
enum lun_reason session_reason(struct session *session);
/* Why it is lost if no renewal is confirmed from now on. */
enum lun_reason session_lapse_reason(const struct session *session);
/* What etcd said when it refused to renew, or to know us: for LUN_LOST_UNAUTHENTICATED and LUN_LOST_PERMISSION. "": nothing. */
const char *session_refusal(const struct session *session);

/* ---- for places
 * ------------------------------------------------------------------------------------------------------- */

/* Something was seen that may mean that the lease is gone (our key vanished): renew now, to know. False: the
 * session is over, valid_until having passed, and has told all its places, which may be freed by now. */
bool session_suspect(struct session *session);
/* etcd said, while it carried out a write of ours, that there is no such lease. */
void session_on_lease_not_found(struct session *session);
/* A place has come to its end. */
void session_on_place_ended(struct session *session);

#endif
