/* rpc/grpc/env.h - the environment over gRPC, as the files of this folder see it.
 *
 * Locks, in the order in which they are taken: the core lock (one per environment), the validity lock (one per
 * process), the inbox lock (one per environment). Under the last two there are only list operations, clock
 * readings and system calls. */
#ifndef LUN_RPC_GRPC_ENV_H
#define LUN_RPC_GRPC_ENV_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/types.h>

#include <grpc/grpc.h>

#include "base/list.h"
#include "rpc/grpc/connection.h"
#include "rpc/grpc/tls.h"
#include "rpc/rpc.h"

/* What gRPC hands back when a batch is done. Embedded; `on_done` runs inside. */
struct tag {
    void (*on_done)(struct tag *tag, bool is_ok);
};

enum queue_holder { QUEUE_FREE, QUEUE_POLLER, QUEUE_CALLER };

/* queue.c: which thread waits in the completion queue. Fields are under the core lock, unless said otherwise. */
struct queue {
    grpc_completion_queue *cq;
    enum queue_holder holder;
    atomic_bool
        is_waiting; /* a thread is in grpc_completion_queue_next, until `until_ns`; read by the validity
                               thread too */
    int64_t until_ns;
    int64_t
        free_since_ns; /* when a caller last gave it back; 0: the background poller is to take it at once */
    int n_wanting;     /* callers waiting for it */
    pthread_cond_t freed; /* for them */
    pthread_cond_t poller_may_enter;
    pthread_t poller;
    bool is_stopping;
    grpc_channel
        *lame; /* the wake-up: a call that goes nowhere, on which an empty batch returns its tag at once */
    grpc_call *wakeup;
    struct tag wakeup_tag;
    pthread_mutex_t wakeup_lock;
    atomic_bool is_waking; /* the tag is on its way */
};

/* inbox.c: what waits for the user's thread. */
struct inbox {
    int fd;
    bool is_polled; /* core lock: a thread is awake in rpc_poll and will look before it sleeps or returns */
    pthread_mutex_t lock;
    struct list completions; /* changed inside and under the inbox lock: to read it, either is enough */
    struct list running;     /* inbox lock, as below: taken out by rpc_poll, not yet run */
    bool is_raised;          /* fd is readable */
};

/* arena.c: memory of one unpacked reply at a time. */
enum { ARENA_BYTES = 8192 };
struct piece;
struct arena {
    ProtobufCAllocator allocator;
    size_t used;
    struct piece *pieces; /* what found no room */
    _Alignas(max_align_t) char room[ARENA_BYTES];
};
void arena_init(struct arena *arena);
/* Frees whatever was allocated. */
void arena_clear(struct arena *arena);

struct env {
    struct rpc rpc;
    struct tls *tls;     /* NULL: plaintext */
    unsigned fork_depth; /* of the process that made it */
    pthread_mutex_t core;
    sigset_t outer_mask; /* of the thread that is inside by rpc_enter */
    struct queue queue;
    struct inbox inbox;
    struct arena arena;         /* of the reply whose callback is running */
    struct list in_envs;        /* validity lock, as the next three */
    struct list due_validities; /* to be told */
    bool is_to_wake;            /* validities were added to it, and no thread has been woken for them yet */
    bool is_pinned;             /* the validity thread is waking it: must not be freed */
    atomic_bool has_due; /* due_validities is not empty; written under the validity lock, read without */
    uint64_t random[32]; /* the first n_random have not been given out; 256 bytes are never cut short by a
                               signal */
    size_t n_random;
    size_t n_calls; /* out, without streams */
    size_t n_out;   /* calls and streams not yet freed */
};

static inline struct env *env_of(struct rpc *rpc) {
    return CONTAINER_OF(rpc, struct env, rpc);
}

/* ---- env.c ---- */

/* Blocks all signals that can be waited with (not those a fault of our own raises). Any thread. */
void env_block_signals(sigset_t *ret_outer);
void env_unblock_signals(const sigset_t *outer);
/* Wakes the threads that have to know of what was done inside. Inside, last thing before unlocking. */
void env_wake_due(struct env *env);
/* What pthread_create returned, as an error that says which limit to raise: LUN_EUNAVAILABLE. */
int env_lacks_thread(int error, struct lun_err *ret_err);

/* ---- library.c: gRPC itself, counted. Signals blocked. ---- */

/* 0, LUN_EINVALID in a child forked from a process that had gRPC running, or LUN_EUNAVAILABLE: too few threads or
 * descriptors for it. */
int library_acquire(struct lun_err *ret_err);
/* Before OpenSSL is used for the first time: it would otherwise take itself down at exit(), while gRPC's threads are in the middle of handshakes.
 * Where the program has begun with it before us, it is the program's. Any thread. */
void library_begin_openssl(void);
void library_release(void);

/* ---- queue.c ---- */

/* 0 or LUN_EUNAVAILABLE. Starts the background poller. Outside, signals blocked. */
int queue_init(struct env *env, struct lun_err *ret_err);
/* Joins the background poller and drains the queue. Outside, signals blocked. */
void queue_fini(struct env *env);
/* Wakes the thread that waits in the queue. Any thread, no lock needed, signals blocked. */
void queue_wake(struct env *env);
/* Takes the queue and drives it until the inbox holds something, `until_ns` has passed or its time is up. Inside;
 * gives up the lock meanwhile. */
void queue_drive(struct env *env, int64_t until_ns);

/* ---- inbox.c ---- */

int inbox_init(struct inbox *inbox, struct lun_err *ret_err);
void inbox_fini(struct inbox *inbox);
/* Makes the descriptor readable. Any thread; takes the inbox lock. */
void inbox_raise(struct inbox *inbox);
/* Inside. */
bool inbox_is_empty(struct env *env);
/* Makes the descriptor tell the truth. Inside. */
void inbox_settle(struct env *env);

void env_deliver(struct rpc *rpc, struct rpc_completion *completion);
void env_withdraw(struct rpc *rpc, struct rpc_completion *completion);
int env_poll(struct rpc *rpc, int64_t until_ns);
int env_fd(struct rpc *rpc);

/* ---- validity_thread.c ---- */

/* Counts environments; the thread lives while there is one. Outside, signals blocked. 0 or LUN_EUNAVAILABLE. */
int validity_thread_join(struct env *env, struct lun_err *ret_err);
void validity_thread_part(struct env *env);
/* Calls on_due of every validity that is due. Inside. */
void validity_tell_due(struct env *env);

void env_validity_changed(struct rpc_validity *validity, bool is_new);
void env_validity_stopped(struct rpc_validity *validity);

/* ---- message.c ---- */

grpc_byte_buffer *message_copy(struct lun_bytes packed);
grpc_byte_buffer *message_pack(const ProtobufCMessage *message);
/* NULL when it does not unpack. In the arena: gone with arena_clear, which is due in either case. */
ProtobufCMessage *message_unpack(const ProtobufCMessageDescriptor *descriptor, grpc_byte_buffer *buffer,
                                 struct arena *arena);

/* ---- channel.c ---- */

struct channel {
    struct rpc_channel base;
    grpc_channel *grpc;
    void *methods[RPC_N_METHODS]; /* registered at first use; the channel's */
    char *target;                 /* as gRPC calls the address */
    unsigned generation;          /* of the certificates it was made with */
    struct connection *connection;
};

int env_channel_open(struct rpc *rpc, const char *address, struct rpc_channel **ret_channel,
                     struct lun_err *ret_err);
void env_channel_close(struct rpc_channel *channel);
/* Before a call is made: replaces gRPC's channel when there are new certificates, or when its attempts to connect are too short. Calls and streams that are out go on. */
void channel_refresh(struct channel *channel);
/* Cheap: a flag of gRPC's. */
bool channel_is_connected(const struct channel *channel);

/* ---- call.c, stream.c ---- */

/* What calls and streams share: gRPC's call, the metadata that goes with it, and how it ended. */
struct call_state {
    struct env *env;
    grpc_call *call;
    const struct rpc_method_info *info;
    grpc_metadata metadata[2];
    size_t n_metadata;
    grpc_metadata_array initial, trailing;
    grpc_status_code status;
    grpc_slice details;
    struct connection *connection; /* shared with the channel, which may be closed before */
    unsigned n_channel;            /* which of gRPC's channels it goes through (connection_use) */
    const char *error;             /* gRPC's own account of a failure, NULL when there was none */
};

/* call_state.c. 0, or LUN_EINVALID for a token that cannot be a header. Inside. */
int call_state_open(struct call_state *state, struct channel *channel, enum rpc_method method,
                    const struct rpc_options *options);
void call_state_close(struct call_state *state);
void call_state_op_send_metadata(struct call_state *state, grpc_op *op);
void call_state_op_receive_metadata(struct call_state *state, grpc_op *op);
void call_state_op_receive_status(struct call_state *state, grpc_op *op);
/* False when gRPC refuses the batch: then the tag does not come. */
bool call_state_start(struct call_state *state, const grpc_op *ops, size_t n_ops, struct tag *tag);
/* The server has said something. */
void call_state_heard(struct call_state *state);
/* The result; `ret_text` owns what result->message points to, and is freed with gpr_free after the callback. `was_never_sent`: certain by
 * other signs than gRPC's words. */
void call_state_result(struct call_state *state, bool was_never_sent, struct rpc_result *ret_result,
                       char **ret_text);

int env_call(struct rpc_channel *channel, enum rpc_method method, struct lun_bytes request,
             const struct rpc_options *options, rpc_reply_cb on_reply, void *arg, struct rpc_call **ret_call);
void env_cancel(struct rpc_call *call);
int env_stream_open(struct rpc_channel *channel, enum rpc_method method, const struct rpc_options *options,
                    const struct rpc_stream_callbacks *callbacks, void *arg, struct rpc_stream **ret_stream);
int env_stream_send(struct rpc_stream *stream, const ProtobufCMessage *message);
void env_stream_cancel(struct rpc_stream *stream);

#endif
