/* etcd/etcd.h - a cluster: its members, which of them is asked next, and what every reply tells about it.
 *
 * One channel to each member; the choice is ours: stay with the current one as long as it answers, move on
 * when it does not. Everything in this floor is called inside (rpc_enter), like rpc.h, and keeps its rules:
 * submit or complete, never both. */
#ifndef LUN_ETCD_ETCD_H
#define LUN_ETCD_ETCD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/trace.h"
#include "etcd/endpoint.h"
#include "rpc/rpc.h"

struct etcd;
struct etcd_tally;
struct etcd_member;

/* Given, and as many again that are learnt. */
enum { ETCD_MAX_MEMBERS = 2 * ENDPOINT_MAX };

/* `endpoints` are as endpoint.h says; at most ENDPOINT_MAX of them. The first asked is drawn at random. 0, LUN_ENOMEM,
 * LUN_EINVALID (which endpoint, and how one is written). */
int etcd_new(struct rpc *rpc, const char *const *endpoints, size_t n_endpoints, const struct trace *trace,
             struct etcd **ret_etcd, struct lun_err *ret_err);
/* Where sentences for a log go from now on: what an operator should mend although nothing fails for it. Borrowed. */
void etcd_set_warnings(struct etcd *etcd, const struct trace *warnings);
/* The user of every call from now on; before the first. Copies. 0 or LUN_ENOMEM. */
int etcd_set_user(struct etcd *etcd, const char *user, const char *password);
/* Puts `prefix` before every key, from now on; before the first call. Nothing above this floor sees it. NULL or empty:
 * none. 0 or LUN_ENOMEM. */
int etcd_set_prefix(struct etcd *etcd, const char *prefix);
/* Whether keys like these may be asked for, whatever calls do: 0, or LUN_EINVALID and why not, or LUN_ENOMEM. Any
 * thread, inside and outside. */
int etcd_check_key(const struct etcd *etcd, struct lun_bytes key, struct lun_bytes range_end,
                   struct lun_err *ret_err);
/* From now on members are learnt from the cluster's list, too (etcd/member_list.c). `is_tls`: TLS is spoken; members with
 * addresses of another scheme are left out. */
void etcd_learn_members(struct etcd *etcd, bool is_tls);
/* Begins to ask DNS for the members of an endpoint "srv://..."; nothing where there is none. `is_tls` as above. */
void etcd_discover(struct etcd *etcd, bool is_tls);
/* Starts ending: watchers are dropped without a word, the watch stream and confirmations are cancelled, calls
 * are cancelled (their callbacks come). `on_closed` is called, inside, when nothing is in flight any more;
 * etcd_free may be called then (or from it, last). */
void etcd_close(struct etcd *etcd, void (*on_closed)(void *arg), void *arg);
void etcd_free(struct etcd *etcd);
/* Asks every member once which cluster it belongs to; one that does not answer although another does is warned of, once. Once
 * two clusters are found every call fails with LUN_EINVALID, and sessions are lost; the members are then asked again by
 * themselves, every few seconds, until the list is of one cluster. 0 or LUN_ENOMEM. */
int etcd_survey(struct etcd *etcd);

/* What was counted so far; to be added to. */
struct etcd_tally *etcd_tally(struct etcd *etcd);
struct rpc *etcd_rpc(const struct etcd *etcd);
const struct trace *etcd_trace(const struct etcd *etcd);

/* ---- members ---------------------------------------------------------------------------------------- */

/* Those in use: given, or learnt and still listed. One that is not in use any more stays valid until the end. */
size_t etcd_n_members(const struct etcd *etcd);
/* The `i`th of them; the given ones first, in the order given. */
struct etcd_member *etcd_member_at(const struct etcd *etcd, size_t i);
bool etcd_member_is_learnt(const struct etcd_member *member);
const char *etcd_member_address(const struct etcd_member *member);

/* What was last wrong with it, and when: for as long as it lives. NULL: nothing ever was. */
const char *etcd_member_trouble(const struct etcd_member *member, int64_t *ret_ns);

/* The member to ask now: the current one, unless it failed lately and another did not. */
struct etcd_member *etcd_pick(struct etcd *etcd);
/* The one after `member`, in a circle. */
struct etcd_member *etcd_after(struct etcd *etcd, const struct etcd_member *member);
/* It answered: becomes trusted again. */
void etcd_member_answered(struct etcd_member *member);
/* It failed (why: short, "refused", "silent for 2 s", the server's words): the choice moves on, and so does a
 * watch stream that it carries. */
void etcd_member_failed(struct etcd_member *member, const char *why);

/* The highest raft term any reply has borne. A renewal confirmed under a lower one counts for nothing. */
uint64_t etcd_highest_term(const struct etcd *etcd);
/* The highest revision any reply has borne. */
int64_t etcd_highest_revision(const struct etcd *etcd);

/* ---- another etcd under the same addresses ---------------------------------------------------------- */

/* Etcd was restored, wiped or rebuilt: shown by an answer that bears a lower term or revision than one before it,
 * or by another cluster's id in every member's answers. Nothing that was sent before `began_ns` has reached it. */
#define ETCD_BEGAN_NEVER                                                                                     \
    INT64_MAX /* told instead of an instant: the endpoints are of two clusters, none is used */
struct etcd_follower {
    struct list in_etcd;
    /* Told soon, in a callback of its own, once for each beginning. May unfollow and free any follower. Watches
     * have ended by then (LUN_ECOMPACTED). */
    void (*on_began_anew)(struct etcd_follower *follower, int64_t began_ns);
};
void etcd_follow(struct etcd *etcd, struct etcd_follower *follower);
/* Harmless for one that does not follow, or is all zero. */
void etcd_unfollow(struct etcd_follower *follower);
/* When etcd last began anew; 0: never. */
int64_t etcd_began_ns(const struct etcd *etcd);

/* "127.0.0.1:2379 refused; 127.0.0.1:2380 silent for 2 s": for errors. `text` is always terminated. */
void etcd_describe_failures(const struct etcd *etcd, char *text, size_t n_bytes);

/* What a stream or call to this cluster carries: hasleader, and the token in force. */
struct rpc_options etcd_options(const struct etcd *etcd, int64_t deadline_ns);

#endif
