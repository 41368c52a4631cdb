/* sim/world.h - what the simulator is made of. For the files of this folder only. */
#ifndef LUN_SIM_WORLD_H
#define LUN_SIM_WORLD_H

#include "base/heap.h"
#include "base/list.h"
#include "etcd.pb-c.h"
#include "sim/arena.h"
#include "sim/keys.h"
#include "sim/sim.h"

enum { SIM_EVENTS_MAX = 1 << 20 };
#define SIM_ELECTION_NS NS_PER_S
/* How long a member tries to serve a request. */
#define SIM_GIVE_UP_NS (5 * NS_PER_S + 2 * SIM_ELECTION_NS)

struct sim_change {
    bool is_delete;
    struct sim_kv kv;
    size_t before; /* the number of the change that this one undoes, from 1; 0: there was nothing */
};

struct sim_entry {
    int64_t revision; /* of the store, once it is carried out */
    size_t n_changes; /* of all, up to here */
};

struct sim_lease {
    int64_t id, ttl_s, expires_ns; /* the last: as the present leader counts */
    size_t granted_at, gone_at;    /* entries; gone_at 0: it lives */
    bool is_expiring;
};

struct sim_member {
    struct sim *sim;
    int index;
    bool is_frozen, is_cut, is_down;
    bool is_stale_leader; /* believes it leads, under an old term */
    bool has_leader;
    int64_t no_leader_since_ns, stalled_until_ns;
    uint64_t term;
    size_t applied; /* entries */
    struct sim_event apply, learn, slow_loop;
    struct list parked;  /* requests: arrived, or to be answered, while it does not run */
    struct list waiting; /* requests that wait until something is applied */
    struct list streams; /* the servers' ends */
};

struct sim {
    int64_t now_ns;
    uint64_t seed, first_seed;
    uint64_t *dice, turn_seed; /* those of the event under way: the world's own, or of its turn */
    struct heap events;
    bool is_ended;
    struct sim_faults faults;
    void (*on_line)(void *arg, int64_t now_ns, const char *line);
    void *on_line_arg;
    struct sim_watcher watcher;
    struct sim_fault_filter filter;
    /* what is committed */
    struct sim_keys keys;
    struct sim_entry *entries;
    size_t n_entries, entries_room;
    struct sim_change *changes;
    size_t n_changes, changes_room;
    struct sim_lease *leases;
    size_t n_leases, leases_room;
    int64_t revision, compacted_rev;
    bool is_full, has_auth, are_tokens_signed;
    unsigned n_auth_changes;
    int64_t auth_touched_ns, token_life_ns; /* the second 0: as usual */
    uint64_t n_keys_read;                   /* by the request under way */
    uint64_t cluster_id;
    unsigned n_beginnings; /* how often it began anew */
    struct sim_user *users;
    size_t n_users, users_room;
    struct sim_token *tokens;
    size_t n_tokens, tokens_room;
    enum sim_cause cause;
    /* who leads */
    struct sim_member members[SIM_MEMBERS];
    int leader; /* -1 before the first election */
    uint64_t term;
    int64_t leaderless_since_ns, election_after_ns, elected_ns, first_entry_ns;
    struct sim_event tick, expiry;
    struct list clients;
    struct sim_arena garbage, kept; /* until a reply is packed; as long as the world */
};

/* ---- memory: aborts rather than fails */
void *sim_alloc(size_t n_bytes);
void *sim_grow(void *array, size_t n, size_t *room, size_t size);
/* Lives until the reply under way has been packed. */
void *sim_take(struct sim *sim, size_t n_bytes);
void sim_drop_garbage(struct sim *sim);
void sim_die(const char *what) __attribute__((noreturn));
ProtobufCMessage *sim_unpack(const ProtobufCMessageDescriptor *descriptor, struct lun_bytes packed);
ProtobufCMessage *sim_copy(const ProtobufCMessage *message);
/* Whatever is drawn until the next event follows from these two: what happens elsewhere does not move it. */
void sim_turn(struct sim *sim, uint64_t seed, uint64_t number);
/* 64 bits of the sequence at `state`. */
uint64_t sim_draw(uint64_t *state);
int64_t sim_delay(struct sim *sim);

/* ---- store.c: what is committed */
/* A copy that lives as long as the world, and a zero behind it. */
const char *sim_keep(struct sim *sim, struct lun_bytes bytes);
void sim_put(struct sim *sim, const Etcdserverpb__PutRequest *request, int64_t revision);
void sim_delete_at(struct sim *sim, size_t i, int64_t revision);
int64_t sim_delete_range(struct sim *sim, const struct sim_range *range, int64_t revision);
/* One more entry of the log; its changes are made. */
void sim_commit(struct sim *sim);
/* What was there then. The caller ends it. */
void sim_keys_of_revision(const struct sim *sim, int64_t revision, struct sim_keys *ret_keys);

/* ---- answers: built of sim_take's memory and of what the store lends */
struct sim_answer {
    int status; /* RPC_OK: `reply` */
    const char *message;
    const ProtobufCMessage *reply;
};
static inline struct sim_answer sim_refusal(int status, const char *message) {
    return (struct sim_answer){status, message, NULL};
}
static inline struct sim_answer sim_reply(const ProtobufCMessage *reply) {
    return (struct sim_answer){RPC_OK, "", reply};
}
static inline ProtobufCBinaryData sim_lend(struct lun_bytes bytes) {
    return (ProtobufCBinaryData){bytes.len, (uint8_t *)(uintptr_t)bytes.data};
}
Etcdserverpb__ResponseHeader *sim_header(struct sim *sim);
/* As the member sees it. */
Etcdserverpb__ResponseHeader *sim_member_header(struct sim_member *member);

/* ---- range.c */
Etcdserverpb__KeyValue *sim_kv_message(struct sim *sim, const struct sim_kv *kv, bool has_value);
/* NULL: that revision can be read. */
const char *sim_refuses_revision(const struct sim *sim, int64_t revision);
/* As of `revision`, unless the request names another. Without a header. */
Etcdserverpb__RangeResponse *sim_read(struct sim *sim, const Etcdserverpb__RangeRequest *request,
                                      int64_t revision);

/* ---- txn.c */
struct sim_answer sim_range(struct sim *sim, const Etcdserverpb__RangeRequest *request, int64_t revision);
struct sim_answer sim_put_asked(struct sim *sim, const Etcdserverpb__PutRequest *request);
struct sim_answer sim_delete_asked(struct sim *sim, const Etcdserverpb__DeleteRangeRequest *request);
struct sim_answer sim_txn(struct sim *sim, const Etcdserverpb__TxnRequest *request);
bool sim_txn_writes(const Etcdserverpb__TxnRequest *request);
bool sim_txn_puts(const Etcdserverpb__TxnRequest *request);

/* ---- lease.c */
struct sim_lease *sim_find_lease(const struct sim *sim, int64_t id);
/* The lease that `member` knows by that id, whatever has become of it since. */
struct sim_lease *sim_lease_known(const struct sim_member *member, int64_t id);
void sim_end_lease(struct sim *sim, struct sim_lease *lease, enum sim_cause cause);
struct sim_answer sim_grant(struct sim *sim, const Etcdserverpb__LeaseGrantRequest *request);
struct sim_answer sim_revoke_asked(struct sim *sim, const Etcdserverpb__LeaseRevokeRequest *request);
struct sim_answer sim_time_to_live(struct sim *sim, const Etcdserverpb__LeaseTimeToLiveRequest *request);

/* ---- check.c */
/* What etcd refuses before anything else: RPC_OK, or why. */
struct sim_answer sim_check(struct sim *sim, enum rpc_method method, const ProtobufCMessage *request);

/* ---- auth.c */
struct sim_answer sim_authenticate(struct sim *sim, const Etcdserverpb__AuthenticateRequest *request);
/* RPC_OK: a request with that token (NULL: none) may be made at that member. A watch: the request to create it. */
struct sim_answer sim_authorize(struct sim_member *member, const char *token, enum rpc_method method,
                                const ProtobufCMessage *message);
void sim_auth_fini(struct sim *sim);
/* Nanoseconds since 1970, by which the servers date tokens. */
int64_t sim_calendar(const struct sim *sim);

/* ---- member.c */
struct sim_answer sim_tell_status(struct sim_member *member);
struct sim_answer sim_list_members(struct sim_member *member);

/* ---- apply.c */
/* Carries out a request on what is committed, through `member`, for a client that shows `token` (NULL: none); a
 * write makes an entry. */
struct sim_answer sim_carry_out(struct sim_member *member, const char *token, enum rpc_method method,
                                const ProtobufCMessage *request);
uint64_t sim_member_id(const struct sim_member *member);
int64_t sim_applied_rev(const struct sim_member *member);
bool sim_is_write(enum rpc_method method, const ProtobufCMessage *request);
/* Needs no leader: what the member has applied is good enough. */
bool sim_is_local(enum rpc_method method, const ProtobufCMessage *request);

/* ---- cluster.c */
void sim_cluster_init(struct sim *sim);
void sim_cluster_fini(struct sim *sim);
bool sim_can_run(const struct sim_member *member);
/* The leader has committed an entry of its own: until then it does not know all that was committed before it. */
bool sim_knows_committed(const struct sim *sim);
/* The leader leads, and `member` reaches it. */
bool sim_can_commit(const struct sim *sim, const struct sim_member *member);
bool sim_knows_lease(const struct sim_member *member, const struct sim_lease *lease);
void sim_committed(struct sim *sim);

/* ---- serve.c: requests on their way and at work */
struct sim_call;
struct sim_request {
    struct sim_event event;
    struct list in_member;
    struct sim *sim;
    struct sim_member *member;
    struct sim_client *client;
    struct sim_call *call; /* NULL: nobody waits any more */
    enum rpc_method method;
    ProtobufCMessage *message, *reply;
    char *token; /* ours, or NULL */
    bool has_leader, is_cancelled, is_answered;
    int status;
    char text[96];
    size_t needs; /* entries applied before it is answered */
    int64_t give_up_ns, served_ns;
    uint64_t seed, n_turns;
    uint64_t term;
    unsigned n_beginnings; /* of the world, when it was sent */
};
void sim_request_arrives(struct sim_event *event);
void sim_request_free(struct sim_request *request);
void sim_serve_parked(struct sim_member *member);
void sim_serve_waiting(struct sim_member *member);

/* ---- stream.c: the servers' ends of streams */
struct sim_stream;
struct sim_server_stream {
    struct list in_streams;
    struct sim *sim;
    struct sim_member *member;
    struct sim_stream *stream; /* NULL: the client's end is gone */
    enum rpc_method method;
    char *token; /* ours, or NULL */
    bool has_leader, is_busy, is_over;
    struct list inbound;
    int64_t asked_ns;
    size_t needs; /* entries that the leader applies before it answers */
    int64_t next_watch_id;
    struct sim_event work;
    struct list watches;
    uint64_t seed, n_turns;
};
struct sim_inbound {
    struct sim_event event;
    struct list in_queue;
    struct sim_server_stream *server;
    ProtobufCMessage *message;
};
struct sim_server_stream *sim_server_open(struct sim_member *member, enum rpc_method method,
                                          const struct rpc_options *options, struct sim_stream *stream);
void sim_server_free(struct sim_server_stream *server);
void sim_inbound_arrives(struct sim_event *event);
void sim_serve_streams(struct sim_member *member);
void sim_end_streams(struct sim_member *member, bool only_has_leader, const char *why);

/* Packs, sends, and drops what was taken for it. */
void sim_tell(struct sim_server_stream *server, const ProtobufCMessage *message);

/* ---- watch.c */
void sim_create_watch(struct sim_server_stream *server, const Etcdserverpb__WatchCreateRequest *request);
void sim_cancel_watch(struct sim_server_stream *server, int64_t id);
void sim_drop_watches(struct sim_server_stream *server);
/* Of what `member` has applied. */
void sim_tell_watches(struct sim_member *member, bool is_slow_loop);

/* ---- falsify.c */
/* The cluster, the member or the term is another's. False: a message without a header, which stays as it is. */
bool sim_falsify_header(struct sim *sim, ProtobufCMessage *message, uint64_t *dice);
/* One number, wherever it stands, becomes one that no etcd can mean. */
void sim_falsify_number(struct sim *sim, ProtobufCMessage *message, uint64_t *dice);

/* ---- client.c */
struct sim_client {
    struct rpc base;
    struct sim *sim;
    struct list in_clients;
    char name[16];
    int64_t rate_ppm, offset_ns;
    uint64_t seed;     /* what it draws itself */
    uint64_t way_seed; /* what is drawn for its messages and its thread: others' doings do not move it */
    unsigned n_hits[SIM_N_FAULTS], n_answers, n_false_headers;
    bool has_false_start; /* one of its first answers bore a false header */
    struct sim_load loads[RPC_N_METHODS];
    const struct sim_host *host; /* NULL: nobody polls, completions run as they come */
    void *host_arg;
    int64_t served_ns; /* of the answer being delivered */
    bool is_inside, is_paused, is_dead;
    size_t n_channels;
    int64_t held_until_ns[SIM_MEMBERS], answers_held_until_ns[SIM_MEMBERS];
    int64_t slow_ns[SIM_MEMBERS]; /* what its messages take longer, each way */
    struct list calls, streams, validities, inbox;
    struct sim_event wake;
};
void sim_client_free(struct sim_client *client);
/* Takes the reply over. `is_late`: besides the way it takes. */
void sim_answer_call(struct sim_call *call, int status, const char *text, bool is_unsent,
                     ProtobufCMessage *reply);
/* Sends to the client's end, in order. Takes the message over. NULL: the stream ends. */
void sim_say_on(struct sim_server_stream *server, ProtobufCMessage *message, int status, const char *text);

#endif
