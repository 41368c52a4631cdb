/* rpc/rpc.h - the seam: everything the core may know of the world outside.
 *
 * Two implementations stand behind it: gRPC (rpc/grpc, threads and sockets) and the simulator (sim, virtual
 * time). What is above it - etcd, recipe, the door - is a set of state machines that know nothing of gRPC,
 * threads or wall clocks.
 *
 * Rules
 * - Everything here, unless said otherwise, is called between rpc_enter and rpc_leave ("inside"), and calls
 * back inside.
 * - Submit or complete, never both: a non-zero return means the callback never comes; zero means that it
 * comes exactly once, later, never during the call that asked for it.
 * - A request is borrowed for the length of rpc_call or rpc_stream_send; a reply for the length of its
 * callback.
 * - Calls and streams are allocated here, and freed here after their last callback has returned. Replies to
 * different calls have no order.
 * - Times are absolute nanoseconds of rpc_now's clock (CLOCK_BOOTTIME, or the simulator's). INT64_MAX means
 * never. */
#ifndef LUN_RPC_RPC_H
#define LUN_RPC_RPC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/heap.h"
#include "base/list.h"

#define RPC_NEVER INT64_MAX

/* gRPC's numbers. */
enum rpc_status {
    RPC_OK = 0,
    RPC_CANCELLED = 1,
    RPC_UNKNOWN = 2,
    RPC_INVALID_ARGUMENT = 3,
    RPC_DEADLINE_EXCEEDED = 4,
    RPC_NOT_FOUND = 5,
    RPC_ALREADY_EXISTS = 6,
    RPC_PERMISSION_DENIED = 7,
    RPC_RESOURCE_EXHAUSTED = 8,
    RPC_FAILED_PRECONDITION = 9,
    RPC_ABORTED = 10,
    RPC_OUT_OF_RANGE = 11,
    RPC_UNIMPLEMENTED = 12,
    RPC_INTERNAL = 13,
    RPC_UNAVAILABLE = 14,
    RPC_DATA_LOSS = 15,
    RPC_UNAUTHENTICATED = 16
};

enum rpc_method {
    RPC_RANGE,
    RPC_PUT,
    RPC_DELETE_RANGE,
    RPC_TXN,
    RPC_COMPACT,
    RPC_LEASE_GRANT,
    RPC_LEASE_REVOKE,
    RPC_LEASE_TIME_TO_LIVE,
    RPC_AUTHENTICATE,
    RPC_MEMBER_LIST,
    RPC_MEMBER_STATUS,
    RPC_LEASE_KEEP_ALIVE, /* stream */
    RPC_WATCH,            /* stream */
    RPC_N_METHODS
};

struct rpc_method_info {
    const char *path; /* "/etcdserverpb.KV/Range" */
    const ProtobufCMessageDescriptor *request;
    const ProtobufCMessageDescriptor *reply;
    bool is_stream;
};
/* rpc/method.c. Any thread. */
const struct rpc_method_info *rpc_method_info(enum rpc_method method);

struct rpc;
struct rpc_channel;
struct rpc_call;
struct rpc_stream;

/* ---- entering and leaving: the core lock ------------------------------------------------------------ */

/* Masks signals and locks the core. Any thread, not from inside, never from a signal handler. */
void rpc_enter(struct rpc *rpc);
/* Wakes for what is due (an earlier timer: the thread in the queue; completions: the descriptor), unlocks,
 * unmasks. */
void rpc_leave(struct rpc *rpc);

/* ---- now, random, timers ---------------------------------------------------------------------------- */

int64_t rpc_now(struct rpc *rpc); /* also outside; any thread */
/* Nanoseconds since 1970 by the machine's calendar, which may be wrong and may jump: for what etcd dates by its own. */
int64_t rpc_calendar(struct rpc *rpc);
uint64_t
rpc_random(struct rpc *rpc); /* 64 uniform bits: lease ids, suffixes, jitter; one seed in the simulator */

struct rpc_timer {
    struct heap_node node;
    struct rpc *rpc;
    void (*on_due)(struct rpc_timer *timer); /* may start, stop or fini any timer, this one included */
};
/* Makes room, so that starting cannot fail. 0 or LUN_ENOMEM. */
int rpc_timer_init(struct rpc *rpc, struct rpc_timer *timer, void (*on_due)(struct rpc_timer *timer));
/* Stops and gives the room back. Takes one that is all zero (never initialised). */
void rpc_timer_fini(struct rpc_timer *timer);
/* (Re)starts. An instant that has passed is due at once, though never during this call. RPC_NEVER stops. */
void rpc_timer_start(struct rpc_timer *timer, int64_t at_ns);
void rpc_timer_stop(struct rpc_timer *timer);
static inline bool rpc_timer_is_running(const struct rpc_timer *timer) {
    return timer->node.index != 0;
}

/* ---- channels: one channel to one member --------------------------------------------------------------- */

/* `address` is host:port, [IPv6]:port or unix:/path, as etcd/endpoint.h yields it; or begins with "srv:": then it is nobody's, and calls
 * fail as they do where nothing listens. Nothing is connected before the first call. 0, LUN_ENOMEM, LUN_EINVALID. */
int rpc_channel_open(struct rpc *rpc, const char *address, struct rpc_channel **ret_channel,
                     struct lun_err *ret_err);
/* Calls and streams still out on it end as they would. */
void rpc_channel_close(struct rpc_channel *channel);
const char *rpc_channel_address(const struct rpc_channel *channel);

/* ---- calls ------------------------------------------------------------------------------------------ */

struct rpc_options {
    int64_t deadline_ns; /* RPC_NEVER: none */
    bool has_leader;     /* metadata hasleader: refused at once by a member that knows no leader */
    const char *token;   /* metadata token, or NULL; borrowed for the call that passes it */
};

struct rpc_result {
    int status;          /* enum rpc_status */
    const char *message; /* the server's or the transport's words; never NULL; borrowed for the callback */
    bool is_unsent;      /* certain that no byte of the request reached a server (there was no connection) */
    const char
        *guess; /* is_unsent: why, found by a look from outside; NULL: nothing found. Borrowed likewise */
};

/* `reply` is NULL unless status is RPC_OK. A reply that does not unpack comes as RPC_INTERNAL. */
typedef void (*rpc_reply_cb)(void *arg, const struct rpc_result *result, const ProtobufCMessage *reply);

/* Sends one request. Completes with the server's status, or RPC_DEADLINE_EXCEEDED, RPC_CANCELLED,
 * RPC_UNAVAILABLE. 0, LUN_ENOMEM, or LUN_EINVALID (a token no header can hold). `ret_call` may be NULL; it is
 * valid until on_reply has been called. */
int rpc_call(struct rpc_channel *channel, enum rpc_method method, const ProtobufCMessage *request,
             const struct rpc_options *options, rpc_reply_cb on_reply, void *arg, struct rpc_call **ret_call);
/* The same for a request that is packed already: one that may have to be sent again is packed once. */
int rpc_call_packed(struct rpc_channel *channel, enum rpc_method method, struct lun_bytes request,
                    const struct rpc_options *options, rpc_reply_cb on_reply, void *arg,
                    struct rpc_call **ret_call);
/* on_reply still comes (RPC_CANCELLED, or the real reply if that was faster). The server is told. */
void rpc_cancel(struct rpc_call *call);

/* ---- lookups: SRV records of DNS -------------------------------------------------------------------- */

enum { RPC_SRV_MOST = 15, RPC_HOST_BYTES = 256, RPC_LOOKUP_ERROR_BYTES = 160 };

struct rpc_srv {
    char host[RPC_HOST_BYTES]; /* without the dot at the end */
    uint16_t port, priority, weight;
};

/* Under way on another thread, which nobody waits for: looked at now and then. */
struct rpc_lookup {
    atomic_bool is_done;                /* the rest is settled then, and does not change any more */
    bool is_missing;                    /* DNS has answered that there is no such record */
    char error[RPC_LOOKUP_ERROR_BYTES]; /* empty: there are records */
    size_t n;
    struct rpc_srv
        records[RPC_SRV_MOST]; /* lowest priority first, those of one priority drawn by their weights */
    void (*release)(struct rpc_lookup *lookup); /* the implementation's */
};

/* Asks for the SRV records of `name`. Takes some seconds at the most. 0, LUN_ENOMEM (no thread, too), LUN_EINVALID (there is no
 * DNS in the simulator). */
int rpc_lookup_start(struct rpc *rpc, const char *name, struct rpc_lookup **ret_lookup);
/* Done or not. NULL is taken. */
void rpc_lookup_free(struct rpc_lookup *lookup);

/* ---- streams ---------------------------------------------------------------------------------------- */

struct rpc_stream_callbacks {
    void (*on_message)(void *arg, struct rpc_stream *stream, const ProtobufCMessage *message);
    void (*on_close)(void *arg, struct rpc_stream *stream,
                     const struct rpc_result *result); /* once; the stream is gone afterwards */
};
/* Opens a two-way stream. `options->deadline_ns` is normally RPC_NEVER. 0, LUN_ENOMEM, LUN_EINVALID as above. */
int rpc_stream_open(struct rpc_channel *channel, enum rpc_method method, const struct rpc_options *options,
                    const struct rpc_stream_callbacks *callbacks, void *arg, struct rpc_stream **ret_stream);
/* Queues a message; sent in order, at once where nothing is before it. After the stream broke it is dropped
 * (on_close follows). 0, LUN_ENOMEM. */
int rpc_stream_send(struct rpc_stream *stream, const ProtobufCMessage *message);
/* Ends it: no on_message any more; on_close comes later. May be called again. */
void rpc_stream_cancel(struct rpc_stream *stream);

/* ---- validity: a clock reading -------------------------------------------------------------------------- */

/* One per session. `valid_until_ns` is 0 once lost, and stays 0. It is reported by on_due, inside, once
 * when valid_until - grace has passed (is_lost false) and once when it has been found lost (is_lost true;
 * possibly without the first). on_due may be called late (nobody polls): answers about ownership must come
 * from rpc_validity_read, which reads the clock. A raise that moves stop_at into the future before on_due was
 * called for it takes the notice back; one called already is not taken back by this floor. */
struct rpc_validity {
    _Atomic int64_t valid_until_ns;
    _Atomic int64_t grace_ns;
    int64_t
        late_ns; /* when found lost by the validity thread: how much later than valid_until that was (we were not
                        running) */
    void (*on_due)(struct rpc_validity *validity, bool is_lost);
    struct rpc *rpc;
    struct list in_validities;     /* the implementation's: list of all, under its own lock */
    struct list in_due;            /* the implementation's: due and not yet told */
    _Atomic int64_t last_valid_ns; /* the implementation's: what valid_until_ns was before it was lost;
                                      RPC_NEVER when dropped */
    int64_t told_stop_for; /* the implementation's: the valid_until that on_due(false) was last queued for */
    bool is_told_lost;     /* the implementation's */
    _Atomic int64_t *shared; /* see rpc_validity_share; NULL: not shared */
};

/* Starts guarding. Inside. */
void rpc_validity_start(struct rpc *rpc, struct rpc_validity *validity, int64_t valid_until_ns,
                        int64_t grace_ns, void (*on_due)(struct rpc_validity *validity, bool is_lost));
/* Raises valid_until (never lowers it). False, and lost, when it had passed already. Inside. */
bool rpc_validity_raise(struct rpc_validity *validity, int64_t valid_until_ns);
/* Makes it lost now. on_due(true) follows. Inside. */
void rpc_validity_drop(struct rpc_validity *validity);
/* No on_due any more. Inside. Takes one that was never started (all zero). */
void rpc_validity_stop(struct rpc_validity *validity);
/* The valid_until in force, or 0 when lost: compares with the clock itself, and makes a passed one lost. Any
 * thread, no lock. */
int64_t rpc_validity_read(struct rpc_validity *validity);
/* A word that forked children see too: valid_until_ns as it rises, 0 once dropped or stopped; what has passed by the clock is
 * not made 0 there. The same one each time; NULL: no memory. Inside. */
const _Atomic int64_t *rpc_validity_share(struct rpc_validity *validity);
/* Before the validity's memory goes; in children the word stays. Takes one that was never shared. */
void rpc_validity_unshare(struct rpc_validity *validity);

/* ---- poll: the user's thread ------------------------------------------------------------------------ */

/* Something for the user's thread. Embedded by its owner. */
struct rpc_completion {
    struct list in_inbox;
    void (*on_poll)(struct rpc_completion
                        *completion); /* outside, on the thread that polls; the completion is out of the inbox
                                               and may be freed */
};
static inline void rpc_completion_init(struct rpc_completion *completion,
                                       void (*on_poll)(struct rpc_completion *completion)) {
    list_init(&completion->in_inbox);
    completion->on_poll = on_poll;
}
/* Hands it over; one that is in the inbox already stays where it is. Inside. */
void rpc_deliver(struct rpc *rpc, struct rpc_completion *completion);
/* Takes it back if it is still in the inbox. Inside. */
void rpc_withdraw(struct rpc *rpc, struct rpc_completion *completion);

/* Runs due validities, then every completion delivered, on the calling thread, outside. When there is none waits for one
 * until `until_ns` (0: does not wait), driving the queue meanwhile. Returns the number of completions
 * run, or LUN_EINTR when a signal arrived first. One thread at a time. */
int rpc_poll(struct rpc *rpc, int64_t until_ns);
/* Readable while rpc_poll(rpc, 0) would have something to do. The same number for the life of `rpc`. */
int rpc_fd(struct rpc *rpc);

/* Ends the environment: outside, not from a callback. All channels closed, all calls, streams, timers, validities
 * gone by then (a bug of ours otherwise). Joins its thread. */
void rpc_free(struct rpc *rpc);

/* ---- for the implementations ------------------------------------------------------------------------ */

struct rpc_ops {
    int64_t (*now)(struct rpc *rpc);
    int64_t (*calendar)(struct rpc *rpc);
    uint64_t (*random)(struct rpc *rpc);
    void (*enter)(struct rpc *rpc);
    void (*leave)(struct rpc *rpc);
    int (*channel_open)(struct rpc *rpc, const char *address, struct rpc_channel **ret_channel,
                        struct lun_err *ret_err);
    void (*channel_close)(struct rpc_channel *channel);
    int (*call)(struct rpc_channel *channel, enum rpc_method method, struct lun_bytes request,
                const struct rpc_options *options, rpc_reply_cb on_reply, void *arg,
                struct rpc_call **ret_call);
    void (*cancel)(struct rpc_call *call);
    int (*lookup_start)(struct rpc *rpc, const char *name, struct rpc_lookup **ret_lookup); /* NULL: no DNS */
    int (*stream_open)(struct rpc_channel *channel, enum rpc_method method, const struct rpc_options *options,
                       const struct rpc_stream_callbacks *callbacks, void *arg,
                       struct rpc_stream **ret_stream);
    int (*stream_send)(struct rpc_stream *stream, const ProtobufCMessage *message);
    void (*stream_cancel)(struct rpc_stream *stream);
    void (*validity_changed)(struct rpc_validity *validity, bool is_new); /* added, or its instants moved */
    void (*validity_stopped)(struct rpc_validity *validity);
    void (*deliver)(struct rpc *rpc, struct rpc_completion *completion);
    void (*withdraw)(struct rpc *rpc, struct rpc_completion *completion);
    int (*poll)(struct rpc *rpc, int64_t until_ns);
    int (*fd)(struct rpc *rpc);
    void (*free)(struct rpc *rpc);
};

/* What every implementation begins with. */
struct rpc {
    const struct rpc_ops *ops;
    struct heap timers;
    size_t n_timers;  /* initialised: the room reserved in the heap */
    int64_t round_ns; /* rpc_timers_run is at work, with this instant; else INT64_MIN */
};
struct rpc_channel {
    struct rpc *rpc;
    char *address;
};
struct rpc_call {
    struct rpc *rpc;
};
struct rpc_stream {
    struct rpc *rpc;
};

void rpc_init(struct rpc *rpc, const struct rpc_ops *ops);
void rpc_fini(struct rpc *rpc);
/* The instant of the earliest timer, RPC_NEVER when there is none. Inside. */
int64_t rpc_timers_next(const struct rpc *rpc);
/* Runs every timer due at `now_ns`, the earliest first (ties in no order). One started meanwhile, however long ago its
 * instant, waits for the next round. Inside. */
void rpc_timers_run(struct rpc *rpc, int64_t now_ns);
/* Looks at the clock for the thread that guards the validities: swaps a passed valid_until for 0, and says
 * whether there is something to tell now (each thing once; the validity then belongs in the list of due ones).
 * Returns the instant of the next look, RPC_NEVER: none. Under the lock that guards the implementation's
 * fields. */
int64_t rpc_validity_look(struct rpc_validity *validity, bool *ret_is_due);
/* On taking a validity out of the list of due ones: false when a raise has taken the notice back, else what
 * on_due is to be called with. Under the same lock; on_due itself without it. */
bool rpc_validity_settle(struct rpc_validity *validity, bool *ret_is_lost);

#endif
