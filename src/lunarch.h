/* lunarch.h - liblunarch: sessions, mutexes and elections on etcd, for C programs.
 *
 * Words. This project uses each of them for one thing.
 *   lease            etcd's: keys bound to it are deleted when it ends. It ends when it is revoked, or not renewed for
 *                    its TTL (time to live, seconds; the one that etcd grants counts, not the one asked for).
 *   session          a lease of ours that is renewed in the background, and the knowledge of how long it surely lasts.
 *   jeopardy         half a TTL has passed without a renewal: still safe, until stop_at.
 *   stop_at          valid_until - grace: from here on work has to stop. Grace: a setting, TTL/6 by default.
 *   valid_until      latest confirmed renewal, counted from its sending, + TTL - margin: from here on every answer about
 *                    ownership is "lost". Margin: TTL/10, at least 100 ms, so clock rates may differ by 10 %.
 *   expiry           the earliest instant at which etcd itself may end the lease. Always later than valid_until.
 *   confirm          to prove that the member which renewed a lease was not left behind by its cluster: one read through
 *                    the same member, sent after the renewal.
 *   line             all keys below one etcd prefix `<name>/`, in the order in which they were created.
 *   place            one key of ours in a line, bound to the lease of its session. The first place holds the line.
 *   fencing token    the create revision of the key of a place. Later owners have larger tokens: a resource that
 *                    remembers the largest one it saw refuses owners of the past.
 *   mutex            a line whose first place owns the lock. Enter: lock. Leave: unlock.
 *   election         a line whose first place leads. A candidate *campaigns*: it enters with a value and waits.
 *   leader, term     the candidate that was elected; the time from then until it resigns, stops or loses.
 *   proclaim         to change the value of the leader's place. Resign: to give the place up.
 *   observe          to follow who leads, without taking part.
 *   guarded write    a transaction that etcd refuses unless the writer's place is still there (term:put, term:txn).
 *   lost             a session or place that is over, though its owner did not give it up. Final, and has a reason.
 *   unknown          the reply to a write was lost: it may have been carried out. It is never sent twice.
 *   adopt, orphan    to take over an existing lease; to stop renewing one and leave it to lapse.
 *   watch, revision, compaction, member: as in etcd.
 *
 * How it waits. Every call that needs etcd is *asked*: it returns at once, and its answer comes later,
 * through the callback in its `struct lun_ask`, run by lun_client_poll on the thread that polls - never on a
 * thread of ours, never during the call that asked. A program with a loop of its own polls with timeout 0
 * whenever lun_client_fd is readable; one without simply polls until it has its answer.
 *
 * Rules for all
 * - Submit or complete, never both: an asking call that returns non-zero has asked nothing, and its callback
 * never comes; after 0 it comes exactly once.
 * - Any thread may call; one thread at a time polls a client. Callbacks may call anything but lun_client_poll of
 * their client.
 * - Strings and slices passed in are borrowed for the call; what a result points to is borrowed for the
 * callback, but for handles, which are yours.
 * - Times are milliseconds; a timeout below 0 means none. Deadlines of ownership are nanoseconds of
 * CLOCK_BOOTTIME.
 * - Handles are freed with their _free, in any order, their client last; freeing starts what closing needs
 * and waits for nothing. NULL is taken.
 * - Nothing here prints, exits, or asserts on what comes from outside. Arguments are checked at the call, but for
 * handles: those must be live. A client is of no use in a forked child: every call there returns LUN_ECLOSED,
 * nothing is held there, and freeing there does nothing.
 * - `ret_err` may be NULL. */
#ifndef LUNARCH_H
#define LUNARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/kv.h"
#include "base/reason.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LUN_VERSION "0.1.0"

struct lun_client;
struct lun_session;
struct lun_mutex;
struct lun_election;
struct lun_term;
struct lun_observer;
struct lun_watch;
struct lun_op;

/* ---- asking ----------------------------------------------------------------------------------------- */

struct lun_leader {
    struct lun_bytes key, value;
    int64_t token;    /* create revision: the fencing token */
    int64_t revision; /* mod revision: rises with each proclaim */
};

struct lun_event {
    bool is_delete;
    struct lun_kv kv, prev_kv; /* prev_kv.key.len 0: none */
};

struct lun_member {
    const char *endpoint;
    bool is_learnt;      /* from the cluster's list of members; false: it was given */
    const char *error;   /* NULL: it answered */
    const char *trouble; /* what was last wrong with it, though it may answer again; NULL: nothing, so far */
    int64_t trouble_ns;  /* and when */
    int64_t round_trip_ns; /* of this very question; 0: not answered */
    const char *version;
    const char *alarms; /* "": none; else "NOSPACE", "CORRUPT" or both, with a comma */
    uint64_t member_id, leader_id;
    int64_t db_size_bytes, raft_index;
    uint64_t raft_term;
    int64_t revision;
};

/* The answer. Only the fields that the call names are set. */
struct lun_result {
    const struct lun_err *err;           /* NULL: success */
    struct lun_session *session;         /* session open: yours */
    struct lun_term *term;               /* campaign: yours */
    int64_t token;                       /* lock, try_lock, campaign */
    int64_t revision;                    /* kv, txn, lease, proclaim: of etcd's reply */
    bool is_success;                     /* txn: the compares held */
    const struct lun_kv_result *results; /* kv: one; txn: one per operation of the branch taken */
    size_t n_results;
    const struct lun_leader *leader; /* leader, owner, observe: NULL: there is none */
    const struct lun_event *events;  /* watch */
    size_t n_events;
    int64_t lease, ttl_s, granted_ttl_s; /* lease grant, time to live */
    const struct lun_member *members;    /* status */
    size_t n_members;
    int64_t position;             /* position: 1 is first */
    enum lun_reason reason;       /* await loss */
    enum lun_session_state state; /* session await */
};
typedef void lun_done_cb(void *arg, const struct lun_result *result);

struct lun_ask {
    int64_t timeout_ms; /* below 0: none */
    lun_done_cb *on_done;
    void *arg;
};

/* Its callback comes soon, with LUN_ECANCELLED, unless the answer was faster. What it had begun is undone: a
 * place it may have entered is given up in the background. `op` is valid until its callback. */
void lun_op_cancel(struct lun_op *op);

/* For programs that use an answer later than its callback. Called in the callback: the answer outlives it, and so does
 * the op, until lun_op_take or lun_op_free, which have to come before the client is freed. */
void lun_op_keep(struct lun_op *op);
/* The answer of a kept op, as it is now: what stated that something is ours (lock, try_lock, campaign, session open)
 * asks the clock again, and is LUN_ELOST once that has passed. Borrowed until the op goes. */
const struct lun_result *lun_op_result(struct lun_op *op);
/* Frees the op. What the answer brought is yours: the lock, and the handle in it. */
void lun_op_take(struct lun_op *op);
/* Frees the op. What the answer brought is given back: unlocked, resigned, closed, in the background. In a callback
 * too, kept or not. NULL is taken. */
void lun_op_free(struct lun_op *op);

/* Asking calls give their `struct lun_op *` through `ret_op`, which may be NULL. They return 0, LUN_EINVALID
 * (what is wrong, in ret_err), LUN_ECLOSED, LUN_ENOMEM; further ones are named with them. All complete with:
 * success, LUN_ETIMEOUT, LUN_ECANCELLED, LUN_ECLOSED, LUN_EUNAVAILABLE, LUN_EUNAUTHENTICATED,
 * LUN_EPERMISSION, LUN_ENOSPACE, LUN_ENOMEM; further ones are named with them. */

/* ---- client ----------------------------------------------------------------------------------------- */

struct lun_config {
    /* Members of etcd, or some of them: "host:port", "http://host:port", "https://host:port", "[IPv6]:port", "unix:///path";
     * one text may hold several, separated by commas. Or "srv://domain" alone, or "srv://domain/name": those that DNS names in the SRV
     * records of _etcd-client._tcp.domain, over TLS (where one of its options is set) of _etcd-client-ssl._tcp.domain. NULL: 127.0.0.1:2379 */
    const char *const *endpoints;
    size_t n_endpoints;
    const char *name; /* of this program, shown to others that find its locks held; NULL: its own */
    /* TLS, spoken when an endpoint begins with "https://" or one of these is set. Each is a path or the PEM text itself; files are read again when
     * they are replaced. NULL or empty: none. */
    const char *cacert;      /* authorities to trust; none: the system's */
    const char *cert, *key;  /* of this client: both or neither */
    const char *server_name; /* expected in the servers' certificates, in place of each endpoint's host */
    const char *user,
        *password; /* one of etcd's users; NULL or empty user: none (a client's certificate may name one) */
    /* "/team-a": this client sees, watches and writes only keys that begin with it, and knows them without it, names of
     * locks and elections included. It is put before each key as it is; where it does not end in '/', keys and names
     * have to begin with one. NULL or empty: none. */
    const char *prefix;
    bool insecure_skip_tls_verify; /* accepts any certificate: no protection against a false server */
    /* Members that are not among `endpoints` are learnt from the cluster's list a second after the first answer, and again when a
     * member fails: at most 16, those alone that answer at the address listed and show that they belong to this cluster. Set:
     * nothing is learnt. */
    bool only_given_endpoints;
    /* Both are called from lun_client_poll; NULL: none. Trace: one line for each step of the core. Warning: a sentence for a log, once for
     * each thing that an operator should mend though nothing fails for it: an endpoint that cannot be used. */
    void (*on_trace)(void *arg, const char *line);
    void (*on_warning)(void *arg, const char *sentence);
    void *trace_arg;
};

/* Reads endpoints as lun_client_open does, without opening anything, and calls `on_endpoint` for each address once, written
 * in full. Any thread. 0, LUN_EINVALID (which is wrong, and why). */
int lun_endpoints(const char *const *endpoints, size_t n_endpoints,
                  void (*on_endpoint)(void *arg, const char *text), void *arg, struct lun_err *ret_err);
/* The strings of it that a program may take from its user as they are, by name. */
#define LUN_CONFIG_STRINGS(X) X(cacert) X(cert) X(key) X(server_name) X(user) X(password) X(prefix)

/* Makes a client; connects when first needed. Starts its thread. 0, LUN_EINVALID, LUN_ENOMEM,
 * LUN_EUNAVAILABLE (no thread or descriptor). */
int lun_client_open(const struct lun_config *config, struct lun_client **ret_client, struct lun_err *ret_err);
/* Closes every session (their leases are revoked, for at most the timeout), answers every request still out
 * with LUN_ECLOSED, and completes when nothing is in flight. Again: joins a closing under way, whose limit is the
 * earlier of the two; succeeds at once when it is closed. */
int lun_client_close(struct lun_client *client, const struct lun_ask *ask, struct lun_op **ret_op,
                     struct lun_err *ret_err);
/* Ends it and frees it. In one of its callbacks: no other comes any more, and it is freed when lun_client_poll, which called
 * that, returns. What lun_client_close has not ended is cut off (leases then
 * lapse). Waits only for our own thread: milliseconds. No callback comes any more. */
void lun_client_free(struct lun_client *client);
/* Like close and free in one, in the background: leases are revoked for at most 5 s. For finalisers: waits
 * for nothing. */
void lun_client_abandon(struct lun_client *client);
/* Waits until every abandoned client has ended, at most `timeout_ms`, then cuts off the rest. Before the
 * process exits. */
void lun_shutdown(int64_t timeout_ms);

/* Readable while lun_client_poll(client, 0) has something to do. For poll loops: never read from it, never
 * close it. -1 in a forked child. */
int lun_client_fd(const struct lun_client *client);
/* Runs the callbacks that are due; waits for the first at most `timeout_ms`. The number run, 0 on timeout,
 * LUN_EINTR (a signal; nothing lost: call again), LUN_ECLOSED. */
int lun_client_poll(struct lun_client *client, int64_t timeout_ms);

/* CLOCK_BOOTTIME, nanoseconds. */
int64_t lun_now_ns(void);

/* ---- the plain store -------------------------------------------------------------------------------- */

/* One operation. A put or delete whose reply was lost completes with LUN_EUNKNOWN: it is never sent twice.
 * LUN_ECOMPACTED (range), LUN_ELOST (put: the lease does not exist). */
int lun_kv(struct lun_client *client, const struct lun_kv_op *op, const struct lun_ask *ask,
           struct lun_op **ret_op, struct lun_err *ret_err);
/* A transaction; LUN_EUNKNOWN, LUN_ELOST as above. */
int lun_txn(struct lun_client *client, const struct lun_txn *txn, const struct lun_ask *ask,
            struct lun_op **ret_op, struct lun_err *ret_err);
/* `lease` 0: one of our own choosing. Nobody renews it. */
int lun_lease_grant(struct lun_client *client, int64_t lease, int64_t ttl_s, const struct lun_ask *ask,
                    struct lun_op **ret_op, struct lun_err *ret_err);
/* Success too when it is gone already. */
int lun_lease_revoke(struct lun_client *client, int64_t lease, const struct lun_ask *ask,
                     struct lun_op **ret_op, struct lun_err *ret_err);
/* ttl_s -1: there is no such lease. */
int lun_lease_time_to_live(struct lun_client *client, int64_t lease, const struct lun_ask *ask,
                           struct lun_op **ret_op, struct lun_err *ret_err);
/* Asks every member how it is. Completes with success even if none answers: see members[i].error. */
int lun_status(struct lun_client *client, const struct lun_ask *ask, struct lun_op **ret_op,
               struct lun_err *ret_err);

/* What this client has done and met since it was opened, in all its sessions. */
struct lun_stats {
    size_t n_sessions;   /* not ended */
    size_t n_waits;      /* locks and campaigns that wait: lun_client_waits */
    uint64_t n_renewals; /* confirmed */
    int64_t renewal_ns, renewal_mean_ns,
        renewal_most_ns;                 /* from sending one until it was confirmed; 0: none was */
    uint64_t n_confirmed, n_unconfirmed; /* reads that confirm a member's raft term, and those that did not */
    int64_t
        least_slack_ns; /* the least that was left until a session's stop_at when a renewal was confirmed; below 0: it
                               came after that. INT64_MAX: none was */
    uint64_t n_losses[LUN_N_REASONS]; /* of sessions, by enum lun_reason */
    uint64_t n_retries;               /* attempts of calls after their first */
    uint64_t
        n_streams_replaced; /* streams of watches and renewals that broke, or were left for their silence */
};
/* At once, from memory; any thread. 0 or LUN_ECLOSED (in a forked child). */
int lun_client_stats(struct lun_client *client, struct lun_stats *ret_stats);
struct lun_wait {
    char name[256]; /* cut, if need be */
    bool is_campaign;
    int64_t waited_ns, token; /* 0: not entered yet */
    char behind
        [LUN_ERR_TEXT_BYTES]; /* "locked by web-2 (pid 4711)", "blocked by ...": as last seen; "": not known */
};
/* At once, from memory; any thread. Fills in at most `n_waits`, the oldest first; how many. */
size_t lun_client_waits(struct lun_client *client, struct lun_wait *ret_waits, size_t n_waits);

struct lun_watch_options {
    struct lun_bytes key, range_end; /* range_end.len 0: the one key */
    int64_t start_rev;               /* 0: from now on */
    bool wants_prev_kv;
    bool is_deletes_only;
};
/* Watches; survives broken streams and members. Events wait for lun_watch_next, at most LUN_MAX_WATCH_EVENTS
 * of them: then it ends with LUN_EUNAVAILABLE. */
int lun_watch_open(struct lun_client *client, const struct lun_watch_options *options,
                   struct lun_watch **ret_watch, struct lun_err *ret_err);
enum { LUN_MAX_WATCH_EVENTS = 100000 };
/* The events that came since; waits for the first. One call at a time. LUN_ECOMPACTED: start again with a
 * later revision. */
int lun_watch_next(struct lun_watch *watch, const struct lun_ask *ask, struct lun_op **ret_op,
                   struct lun_err *ret_err);
/* Completes once the server knows the watch (again): what is written afterwards will be seen. */
int lun_watch_ready(struct lun_watch *watch, const struct lun_ask *ask, struct lun_op **ret_op,
                    struct lun_err *ret_err);
void lun_watch_free(struct lun_watch *watch);

/* ---- session ---------------------------------------------------------------------------------------- */

/* A lease, kept alive, and the knowledge of how long it certainly is. Three instants order its end:
 *     stop_at = valid_until - grace       work is told to stop
 *     valid_until                         from here on every answer is "lost"
 *     (expiry)                            the earliest instant at which etcd may end the lease */
enum { LUN_MAX_TTL_S = 86400 };

struct lun_session_options {
    int64_t ttl_s; /* 0: 10. etcd raises what is below its minimum (2 by default): the granted one counts */
    int64_t grace_ms; /* below 0: a sixth of the granted TTL */
    /* 0: a new one; else an existing one is adopted (ttl_s then means nothing), and not revoked at the end. Where two clients
     * renew one lease, etcd may refuse one of them (its password, or its rights): its session is lost, and cannot delete its
     * keys. It tries again until it is closed. What is left then stays in line, and others wait, until the other client stops
     * renewing, or an operator revokes the lease or deletes the key. */
    int64_t lease;
};
/* Completes with `session`. LUN_EINVALID (TTL, grace), LUN_ELOST (the adopted lease does not exist). */
int lun_session_open(struct lun_client *client, const struct lun_session_options *options,
                     const struct lun_ask *ask, struct lun_op **ret_op, struct lun_err *ret_err);
/* Gives up all its places, revokes the lease (an adopted one only with `is_revoked`), and completes when etcd
 * has answered. Requests still out on its mutexes and elections are answered with LUN_ECLOSED. Success too
 * when it was lost, or closed with its client before. */
int lun_session_close(struct lun_session *session, bool is_revoked, const struct lun_ask *ask,
                      struct lun_op **ret_op, struct lun_err *ret_err);
/* Stops renewing and leaves the lease to lapse: a client that knows it may adopt it. The session is closed at once. 0,
 * LUN_ECLOSED. */
int lun_session_orphan(struct lun_session *session, struct lun_err *ret_err);
/* Completes when its state is other than `known`, with the new state. LUN_ETIMEOUT otherwise. */
int lun_session_await(struct lun_session *session, enum lun_session_state known, const struct lun_ask *ask,
                      struct lun_op **ret_op, struct lun_err *ret_err);
/* These answer at once, from memory and the clock; any thread. */
int64_t lun_session_lease(const struct lun_session *session);
int64_t lun_session_ttl_s(const struct lun_session *session);    /* granted */
int64_t lun_session_valid_until_ns(struct lun_session *session); /* 0: lost */
int64_t lun_session_stop_at_ns(struct lun_session *session);     /* 0: lost */
/* For processes that this one forks, and that must end something in time though this one may be stopped or killed: a word
 * that they share, with valid_until_ns as it is raised by each renewal, and 0 once the session is over for another reason. To
 * be compared with CLOCK_BOOTTIME. The same word each time; it goes with the session here, and stays in the children. NULL: no
 * memory, or the client is closed or another process's. Any thread. */
const _Atomic int64_t *lun_session_share(struct lun_session *session);
/* How long etcd may be away (stopped, restarted, out of reach) without stop_at being reached, whenever that begins: what the
 * TTL leaves after margin, grace, the age of a renewal and the time it takes to renew all sessions again. 0: not at all. */
int64_t lun_session_away_limit_ns(const struct lun_session *session);
enum lun_session_state lun_session_state(struct lun_session *session);
enum lun_reason lun_session_reason(struct lun_session *session);
/* What etcd said when it refused to renew the lease, or did not accept the user any more (LUN_LOST_PERMISSION,
 * LUN_LOST_UNAUTHENTICATED): with the user and a key, "" if it did not; until a renewal is confirmed again, or for good when the
 * session was lost. `text` is terminated and at most `n_bytes` long; its whole length is returned. */
int lun_session_refusal(struct lun_session *session, char *text, size_t n_bytes);
/* Also closes it, in the background, if it is not closed; an adopted lease is left to lapse. */
void lun_session_free(struct lun_session *session);

/* ---- mutex ------------------------------------------------------------------------------------------ */

enum { LUN_MAX_NAME_BYTES = 4096 }; /* of a mutex or election */

/* One object is one owner: two objects on one name exclude each other, of one session too. `name`: not empty,
 * no '/' at the end. 0, LUN_EINVALID, LUN_ENOMEM, LUN_ECLOSED. */
int lun_mutex_new(struct lun_session *session, const char *name, bool is_reentrant,
                  struct lun_mutex **ret_mutex, struct lun_err *ret_err);
/* Completes with `token` once we own it. LUN_ETIMEOUT (text names the owner), LUN_ELOST. Returns LUN_EINVALID
 * when already locked, being locked or unlocked (a reentrant one counts instead, and completes). */
int lun_mutex_lock(struct lun_mutex *mutex, const struct lun_ask *ask, struct lun_op **ret_op,
                   struct lun_err *ret_err);
/* Writes nothing when the line is not empty: LUN_ELOCKED, text "locked by web-2 (pid 4711)". Otherwise like lock. */
int lun_mutex_try_lock(struct lun_mutex *mutex, const struct lun_ask *ask, struct lun_op **ret_op,
                       struct lun_err *ret_err);
/* Completes once etcd has answered. Deletes this very place and no other, however often and late the request
 * is carried out. LUN_ENOTOWNER (the key had gone), LUN_ELOST (so had the session), LUN_ETIMEOUT (goes on in
 * the background until answered). The object is free to be locked again in each case. Returns LUN_ENOTOWNER
 * when not locked. */
int lun_mutex_unlock(struct lun_mutex *mutex, const struct lun_ask *ask, struct lun_op **ret_op,
                     struct lun_err *ret_err);
/* Unlocks in the background (a reentrant one once): the object is free to be locked again at once, behind its old
 * place if need be. Harmless when not locked. */
void lun_mutex_release(struct lun_mutex *mutex);
/* Completes with `leader`: key, value and token of the present owner; NULL: it is free. */
int lun_mutex_owner(struct lun_mutex *mutex, const struct lun_ask *ask, struct lun_op **ret_op,
                    struct lun_err *ret_err);
/* Completes with `position` in the line: 1 owns it. Etcd reads the whole line for it. Returns LUN_ENOTOWNER where this
 * object has no place there: it is neither locked nor waiting. */
int lun_mutex_position(struct lun_mutex *mutex, const struct lun_ask *ask, struct lun_op **ret_op,
                       struct lun_err *ret_err);
/* Completes with `reason` when work under the lock has to stop: at stop_at, at a loss, when the key was
 * deleted, or closed or unlocked (LUN_LOST_CLOSED). */
int lun_mutex_await_loss(struct lun_mutex *mutex, const struct lun_ask *ask, struct lun_op **ret_op,
                         struct lun_err *ret_err);
/* At once, any thread. */
bool lun_mutex_is_held(struct lun_mutex *mutex);        /* ours, and valid now */
int64_t lun_mutex_token(const struct lun_mutex *mutex); /* 0: not held */
int64_t lun_mutex_stop_at_ns(struct lun_mutex *mutex);  /* 0: not held */
/* While it waits: is the key before it no lock of this name? It may be plain data, which stays until it is deleted, or
 * the place of a lock whose name lies below this one. `ret_text`: "blocked by the key /jobs/config, ...", cut to
 * `n_bytes`; LUN_ERR_TEXT_BYTES are enough. False: no, or not known. */
bool lun_mutex_blocked_by(struct lun_mutex *mutex, char *ret_text, size_t n_bytes);
/* The key of its place, borrowed until unlocked; len 0: none. */
struct lun_bytes lun_mutex_key(const struct lun_mutex *mutex);
/* Unlocks in the background, if locked. */
void lun_mutex_free(struct lun_mutex *mutex);

/* ---- election --------------------------------------------------------------------------------------- */

/* One object is one candidate. `name` as for a mutex. */
int lun_election_new(struct lun_session *session, const char *name, struct lun_election **ret_election,
                     struct lun_err *ret_err);
/* Enters with `value` and waits; completes with `term` and `token` once elected. LUN_ELOST (session or key vanished
 * while waiting), LUN_ETIMEOUT. Returns LUN_EINVALID while an earlier campaign or term of this object lasts. */
int lun_election_campaign(struct lun_election *election, struct lun_bytes value, const struct lun_ask *ask,
                          struct lun_op **ret_op, struct lun_err *ret_err);
/* Completes with `leader`; NULL: there is none. */
int lun_election_leader(struct lun_election *election, const struct lun_ask *ask, struct lun_op **ret_op,
                        struct lun_err *ret_err);
/* As lun_mutex_position. */
int lun_election_position(struct lun_election *election, const struct lun_ask *ask, struct lun_op **ret_op,
                          struct lun_err *ret_err);
/* At once, any thread: as lun_mutex_blocked_by, while a campaign waits. */
bool lun_election_blocked_by(struct lun_election *election, char *ret_text, size_t n_bytes);
void lun_election_free(struct lun_election *election);

/* Follows the leader. Needs a client only: no session, no lease. */
int lun_observer_open(struct lun_client *client, const char *name, struct lun_observer **ret_observer,
                      struct lun_err *ret_err);
/* Completes with `leader` (NULL: there is none) when it differs from the last answer; the first time at once. Only the
 * latest leader is told, not every one in between; where etcd has been silent for 15 s, it is read anew first. One call
 * at a time. */
int lun_observer_next(struct lun_observer *observer, const struct lun_ask *ask, struct lun_op **ret_op,
                      struct lun_err *ret_err);
void lun_observer_free(struct lun_observer *observer);

/* A term lasts from being elected until resigned, lost or stopped. */
int64_t lun_term_token(const struct lun_term *term);
struct lun_bytes lun_term_key(const struct lun_term *term);
/* At once, any thread: 0 when it is over, or has been told to stop. */
int64_t lun_term_stop_at_ns(struct lun_term *term);
int64_t lun_term_valid_until_ns(struct lun_term *term);
enum lun_reason lun_term_reason(struct lun_term *term);
/* Completes with `reason` when the work has to stop: at stop_at, or at any loss. From then on
 * lun_term_stop_at_ns is 0, for good. */
int lun_term_await_loss(struct lun_term *term, const struct lun_ask *ask, struct lun_op **ret_op,
                        struct lun_err *ret_err);
/* Completes with success once at least `span_ms` are left until valid_until: at once, or after a renewal that is sent now.
 * LUN_ELOST (the term is over, or has been told to stop), LUN_EUNAVAILABLE (no renewal in time; etcd renews too slowly for
 * so much to be left). Some time passes until the answer is taken: look at lun_term_valid_until_ns then. Returns
 * LUN_EINVALID for more than the TTL less its margin, LUN_ELOST. */
int lun_term_ensure(struct lun_term *term, int64_t span_ms, const struct lun_ask *ask, struct lun_op **ret_op,
                    struct lun_err *ret_err);
/* Changes the value; compared with our create and mod revisions. LUN_ENOTLEADER, LUN_ELOST, LUN_EUNKNOWN
 * never (it is safe to send again). */
int lun_term_proclaim(struct lun_term *term, struct lun_bytes value, const struct lun_ask *ask,
                      struct lun_op **ret_op, struct lun_err *ret_err);
/* A transaction of yours, carried out only if we are still the leader: LUN_ENOTLEADER otherwise; `is_success`
 * tells of your own compares. Success says that it was carried out while we led, not that we still lead: ask
 * lun_term_valid_until_ns. LUN_EUNKNOWN. Returns LUN_EINVALID for keys inside the election itself,
 * LUN_ELOST when the term is over. */
int lun_term_txn(struct lun_term *term, const struct lun_txn *txn, const struct lun_ask *ask,
                 struct lun_op **ret_op, struct lun_err *ret_err);
/* Gives the place up; completes once etcd has answered (or LUN_ETIMEOUT: goes on in the background). Success
 * too when it was lost, or closed with its client before. */
int lun_term_resign(struct lun_term *term, const struct lun_ask *ask, struct lun_op **ret_op,
                    struct lun_err *ret_err);
/* Resigns in the background, if it lasts. */
void lun_term_free(struct lun_term *term);

#ifdef __cplusplus
}
#endif

#endif
