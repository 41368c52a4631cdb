/* sim/sim.h - the second implementation of the seam: an etcd of several members in memory, under virtual time.
 *
 * Nothing sleeps and nothing is random but by the seed: the same seed and the same callers give the same
 * history. Every client is a `struct rpc` of its own, with a clock of its own rate; what travels between it
 * and a member is delayed, reordered, lost, repeated late, as the faults in force have it. One thread. */
#ifndef LUN_SIM_SIM_H
#define LUN_SIM_SIM_H

#include "base/clock.h"
#include "rpc/rpc.h"

struct sim;
struct sim_client;

enum { SIM_MEMBERS = 3 };

/* ---- the world ---------------------------------------------------------------------------------------- */

/* Time begins at 1000 s. Aborts when memory runs out: a simulator has no use for half a world. */
struct sim *sim_new(uint64_t seed);
/* All clients must have ended (sim_client_leftovers). */
void sim_free(struct sim *sim);

int64_t sim_now(const struct sim *sim);
uint64_t sim_random(struct sim *sim);
/* Below `n`. */
int64_t sim_below(struct sim *sim, int64_t n);
bool sim_chance(struct sim *sim, int per_mille);
/* Calls `on_line` with all that happens; NULL: no more. `line` is borrowed. */
void sim_trace(struct sim *sim, void (*on_line)(void *arg, int64_t now_ns, const char *line), void *arg);
void sim_say(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Something that happens at an instant of the world's time. Its starter's memory. */
struct sim_event {
    struct heap_node node;
    void (*run)(struct sim_event *event);
};
void sim_at(struct sim *sim, struct sim_event *event, int64_t at_ns);
void sim_off(struct sim *sim, struct sim_event *event);

/* Lets the next thing happen. An event may call it: what comes next then happens within. */
void sim_step(struct sim *sim);

/* ---- faults: what may go wrong while they are on ------------------------------------------------------- */

/* Per mille, per message. False headers name another cluster, member or term, as one of another etcd would; false
 * numbers are such as no etcd can mean (below zero, beyond every limit). */
struct sim_faults {
    int reply_lost, request_lost, delayed, late_after_cancel, event_dropped;
    int busy; /* a write is refused before it is proposed: too many requests */
    int false_header, false_number;
    int64_t far_ns; /* how much longer all answers take, within a tenth: members that are far away */
    /* A leader carries out late, and one that is asked itself answers renewals by that: etcd before 3.4.20 and 3.5.3. */
    int hasty;
};
void sim_set_faults(struct sim *sim, const struct sim_faults *faults);

/* Each fault that hits a message to or from a client has a name: its kind, the client, and a number that counts
 * those of its kind at that client. A history that leaves one out says so; NULL: none. */
enum sim_fault {
    SIM_REPLY_LOST,
    SIM_REQUEST_LOST,
    SIM_DELAYED,
    SIM_LATE_AFTER_CANCEL,
    SIM_FALSE_HEADER,
    SIM_FALSE_NUMBER,
    SIM_N_FAULTS
};
struct sim_fault_filter {
    bool (*may_hit)(void *arg, enum sim_fault fault, const char *client, unsigned number);
    void *arg;
};
void sim_filter_faults(struct sim *sim, const struct sim_fault_filter *filter);

int sim_leader(const struct sim *sim); /* -1: none */
/* Another leads, for no reason: leases live on for a full TTL and more. */
void sim_elect(struct sim *sim);
void sim_freeze(struct sim *sim, int member);
void sim_thaw(struct sim *sim, int member);
/* A follower carries out nothing for that long, unless it comes to lead. */
void sim_stall(struct sim *sim, int member, int64_t for_ns);
/* Alone among its peers; clients still reach it. */
void sim_cut(struct sim *sim, int member);
void sim_join(struct sim *sim, int member);
void sim_stop(struct sim *sim, int member);
void sim_start(struct sim *sim, int member);
bool sim_is_well(const struct sim *sim, int member);

/* Another etcd under the same addresses: wiped, or restored from a snapshot of `revision` with the keys and leases it
 * had then. */
struct sim_beginning {
    uint64_t cluster_id; /* 0: as before, which is what the same flags give */
    int64_t revision;    /* leases granted before the next one are in the snapshot; 0: empty */
};
/* All members stop; the caller starts them again (sim_start). Terms begin again at 2, and the old etcd's answers that
 * are on their way arrive yet. on_delete is not told what is not there any more. */
void sim_begin_anew(struct sim *sim, const struct sim_beginning *beginning);
int64_t sim_revision(const struct sim *sim);

/* ---- what an operator does ----------------------------------------------------------------------------- */

void sim_delete(struct sim *sim, const char *key);
void sim_revoke(struct sim *sim, int64_t lease);
void sim_compact(struct sim *sim);

/* No room any more: grants and puts are refused, all else works. */
void sim_set_full(struct sim *sim, bool is_full);
/* A user may read and write the keys that begin with `prefix`, "" being all. */
void sim_add_user(struct sim *sim, const char *name, const char *password, const char *prefix);
/* What that user may do with the keys that begin with `prefix` is from now on that and no more; other prefixes stay as
 * they are. Its tokens stay good. */
enum { SIM_READ = 1, SIM_WRITE = 2 };
void sim_allow(struct sim *sim, const char *name, const char *prefix, unsigned rights);
/* Its tokens are worth nothing any more. */
void sim_set_password(struct sim *sim, const char *name, const char *password);
/* Before the first is given: tokens are signed (JWT). They are good on every member until they end, but not after a change
 * of users or roles. */
void sim_sign_tokens(struct sim *sim);
/* How long a token is good that nobody shows: 300 s unless this is called, before the first is given. */
void sim_set_token_life(struct sim *sim, int64_t life_ns);
/* From now on everybody shows a token. */
void sim_enable_auth(struct sim *sim);
/* Nobody has to, and all tokens are forgotten. */
void sim_disable_auth(struct sim *sim);
/* A user or a role is changed: what is asked in that moment has to be asked again. */
void sim_touch_auth(struct sim *sim);
/* That member knows none any more; it does so too when it is stopped. */
void sim_forget_tokens(struct sim *sim, int member);

/* ---- what is in the store, seen from above ------------------------------------------------------------- */

/* Behind key and value stands a zero that their lengths do not count. Both live as long as the world. */
struct sim_kv {
    const char *key, *value;
    size_t key_bytes, value_bytes;
    int64_t create_rev, mod_rev, version, lease;
    size_t change; /* the simulator's */
};
/* In the order of their keys. */
size_t sim_n_kvs(const struct sim *sim);
const struct sim_kv *sim_kv_at(const struct sim *sim, size_t i);
/* The place first in line; NULL: nobody. */
const struct sim_kv *sim_first(const struct sim *sim, const char *prefix);
size_t sim_n_leases(const struct sim *sim);
bool sim_has_lease(const struct sim *sim, int64_t lease);
/* It is there, and always was since it was granted first (a late copy of the grant can bring it back). */
bool sim_never_lost_lease(const struct sim *sim, int64_t lease);

enum sim_cause { SIM_BY_REQUEST, SIM_BY_REVOKE, SIM_BY_EXPIRY, SIM_BY_OPERATOR };
struct sim_watcher {
    /* Before a key is deleted, and before it is put. */
    void (*on_delete)(void *arg, const struct sim_kv *kv, enum sim_cause cause);
    void (*on_put)(void *arg, const char *key, const char *value);
    /* After something was committed. NULL: not wanted. */
    void (*on_commit)(void *arg);
    void *arg;
};
void sim_look_on(struct sim *sim, const struct sim_watcher *watcher);

/* ---- clients ------------------------------------------------------------------------------------------- */

/* `rate_ppm` is how much faster than the world its clock goes. Ended by sim_free, after sim_client_end. */
struct sim_client *sim_client_new(struct sim *sim, const char *name, int64_t rate_ppm);
struct rpc *sim_client_rpc(struct sim_client *client);
/* Code that lives on a client's thread, as a user's does. Its completions then run in rpc_poll and nowhere else. */
struct sim_host {
    void (*on_note)(void *arg); /* rpc_poll would have something to do. Inside: only takes note of it */
    /* rpc_poll waits: returns after on_note was called, or once the client's clock shows `until_ns`. */
    void (*wait)(void *arg, int64_t until_ns);
};
/* A further client of a process: it has the clock of `other`, and that host. Before anything is asked of it. */
void sim_client_join(struct sim_client *client, const struct sim_client *other, const struct sim_host *host,
                     void *host_arg);
/* When its clock will show that, as the world counts; RPC_NEVER: not within an hour. */
int64_t sim_client_instant(struct sim_client *client, int64_t local_ns);
/* Nothing of it runs. */
void sim_client_pause(struct sim_client *client);
void sim_client_resume(struct sim_client *client);
/* Nothing leaves it or arrives any more; what it sent may yet be carried out. Its memory can then be tidied
 * up from inside, with sim_client_drain. */
void sim_client_kill(struct sim_client *client);
/* Runs what is due at a killed one, until nothing is in flight. */
void sim_client_drain(struct sim_client *client);
/* Messages to and from that member wait that long. */
void sim_client_hold(struct sim_client *client, int member, int64_t for_ns);
/* What that member answers waits that long. */
void sim_client_lag(struct sim_client *client, int member, int64_t for_ns);
/* All its connections to that member break. */
void sim_client_reset(struct sim_client *client, int member);
/* From now on messages to and from that member take so much longer. */
void sim_client_slow(struct sim_client *client, int member, int64_t by_ns);
/* From now on its clock goes faster than the world's by so much. */
void sim_client_set_rate(struct sim_client *client, int64_t rate_ppm);
/* What a client's requests of one kind cost etcd. The keys are those that etcd reads: of a range that is sorted,
 * filtered or only counted, and of a compare over a range, every key inside, whatever the limit. A request counts when
 * it is carried out, also when its client does not wait for it any more; a message on a stream, when it is sent. */
struct sim_load {
    uint64_t n_requests, n_keys, most_keys; /* the last: by one request */
};
struct sim_load sim_client_load(const struct sim_client *client, enum rpc_method method);
/* It was sent more than one false header, or one right at its start: it cannot have seen through that. */
bool sim_client_is_misled(const struct sim_client *client);
/* When etcd carried out what is being answered now: inside a callback of the core's. */
int64_t sim_client_served_ns(const struct sim_client *client);
/* What is left of calls, streams, channels, timers, validities and completions: NULL, or which. */
const char *sim_client_leftovers(const struct sim_client *client);

extern const char *const sim_addresses[SIM_MEMBERS];

/* ---- an etcd that stands still: its store, for tests that carry the messages themselves ------------------ */

/* Of one never used otherwise. Sets the time; leases that have run out by then end. */
void sim_still_set(struct sim *sim, int64_t now_ns);
/* Carries the request out. The reply is the caller's, to be freed by protobuf_c_message_free_unpacked; NULL: refused
 * with that status and message, valid until the next call. */
ProtobufCMessage *sim_still_ask(struct sim *sim, enum rpc_method method, const ProtobufCMessage *request,
                                int *ret_status, const char **ret_message);
/* Like sim_begin_anew, but it is led at once. */
void sim_still_begin_anew(struct sim *sim, const struct sim_beginning *beginning);
/* The TTL granted; 0: there is no such lease. */
int64_t sim_still_renew(struct sim *sim, int64_t lease);
/* The first change inside the range at or after `from_rev`; false: none. A deleted key has version 0. */
bool sim_still_event(const struct sim *sim, const char *key, const char *range_end, int64_t from_rev,
                     bool are_puts_wanted, struct sim_kv *ret_kv);

#endif
