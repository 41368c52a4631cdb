/* rpc/grpc/env.h - the environment over gRPC, as the files of this folder see it.
 *
 * Locks, in the order in which they are taken: the core lock (one per environment), the fence lock (one per
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
#include "rpc/rpc.h"

/* What gRPC hands back when a batch is done. Embedded; `on_done` runs inside. */
struct tag {
    void (*on_done)(struct tag *tag, bool is_ok);
};

enum seat_holder { SEAT_FREE, SEAT_PUMP, SEAT_CALLER };

/* seat.c: who sits in the queue. Fields are under the core lock, unless said otherwise. */
struct seat {
    grpc_completion_queue *queue;
    enum seat_holder holder;
    atomic_bool is_waiting; /* somebody is in grpc_completion_queue_next, until `until_ns`; read by the fence
                               thread too */
    int64_t until_ns;
    int64_t free_since_ns; /* when a caller last gave it back; 0: the pump is to take it at once */
    int n_wanting;         /* callers waiting for it */
    pthread_cond_t freed;  /* for them */
    pthread_cond_t pump_may_sit;
    pthread_t pump;
    bool is_stopping;
    grpc_channel
        *lame; /* the doorbell: a call that goes nowhere, on which an empty batch returns its tag at once */
    grpc_call *bell;
    struct tag bell_tag;
    pthread_mutex_t bell_lock;
    atomic_bool is_rung; /* the tag is on its way */
};

/* inbox.c: what waits for the user's thread. */
struct inbox {
    int fd;
    bool is_polled; /* core lock: a thread is awake in rpc_poll and will look before it sleeps or returns */
    pthread_mutex_t lock;
    struct list notes;   /* changed inside and under the inbox lock: to read it, either is enough */
    struct list running; /* inbox lock, as below: taken out by rpc_poll, not yet run */
    bool is_raised;      /* fd is readable */
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
    unsigned fork_depth; /* of the process that made it */
    pthread_mutex_t core;
    sigset_t outer_mask; /* of the thread that is inside by rpc_enter */
    struct seat seat;
    struct inbox inbox;
    struct arena arena;     /* of the reply whose callback is running */
    struct list in_envs;    /* fence lock, as the next three */
    struct list due_fences; /* to be told */
    bool is_to_ring;        /* fences were added to it, and nobody has been told so yet */
    bool is_pinned;         /* the fence thread is ringing: must not be freed */
    atomic_bool has_due;    /* due_fences is not empty; written under the fence lock, read without */
    uint64_t random[32];    /* the first n_random have not been given out; 256 bytes are never cut short by a
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
/* Wakes whoever has to know of what was done inside. Inside, last thing before unlocking. */
void env_ring_due(struct env *env);

/* ---- library.c: gRPC itself, counted. Signals blocked. ---- */

/* 0, or LUN_EINVALID in a child forked from a process that had gRPC running. */
int library_acquire(struct lun_err *ret_err);
void library_release(void);

/* ---- seat.c ---- */

/* 0 or LUN_EUNAVAILABLE. Starts the pump. Outside, signals blocked. */
int seat_init(struct env *env, struct lun_err *ret_err);
/* Joins the pump and drains the queue. Outside, signals blocked. */
void seat_fini(struct env *env);
/* Wakes whoever waits in the queue. Any thread, no lock needed, signals blocked. */
void seat_ring(struct env *env);
/* Takes the seat and drives until the inbox holds something, `until_ns` has passed or its time is up. Inside;
 * gives up the lock meanwhile. */
void seat_drive(struct env *env, int64_t until_ns);

/* ---- inbox.c ---- */

int inbox_init(struct inbox *inbox, struct lun_err *ret_err);
void inbox_fini(struct inbox *inbox);
/* Makes the descriptor readable. Any thread; takes the inbox lock. */
void inbox_raise(struct inbox *inbox);
/* Inside. */
bool inbox_is_empty(struct env *env);
/* Makes the descriptor tell the truth. Inside. */
void inbox_settle(struct env *env);

void env_post(struct rpc *rpc, struct rpc_note *note);
void env_unpost(struct rpc *rpc, struct rpc_note *note);
int env_poll(struct rpc *rpc, int64_t until_ns);
int env_fd(struct rpc *rpc);

/* ---- fence.c ---- */

/* Counts environments; the thread lives while there is one. Outside, signals blocked. 0 or LUN_EUNAVAILABLE. */
int fence_join(struct env *env, struct lun_err *ret_err);
void fence_part(struct env *env);
/* Calls on_due of every fence that is due. Inside. */
void fence_tell_due(struct env *env);

void env_fence_changed(struct rpc_fence *fence, bool is_new);
void env_fence_stopped(struct rpc_fence *fence);

/* ---- message.c ---- */

grpc_byte_buffer *message_copy(struct lun_bytes packed);
grpc_byte_buffer *message_pack(const ProtobufCMessage *message);
/* NULL when it does not unpack. In the arena: gone with arena_clear, which is due in either case. */
ProtobufCMessage *message_unpack(const ProtobufCMessageDescriptor *descriptor, grpc_byte_buffer *buffer,
                                 struct arena *arena);

/* ---- peer.c ---- */

struct peer {
    struct rpc_peer peer;
    grpc_channel *channel;
    void *methods[RPC_N_METHODS]; /* registered at first use; the channel's */
};

int env_peer_open(struct rpc *rpc, const char *address, struct rpc_peer **ret_peer, struct lun_err *ret_err);
void env_peer_close(struct rpc_peer *peer);

/* ---- call.c, stream.c ---- */

/* What calls and streams share: gRPC's call, the metadata that goes with it, and how it ended. */
struct wire {
    struct env *env;
    grpc_call *call;
    const struct rpc_method_info *info;
    grpc_metadata metadata[2];
    size_t n_metadata;
    grpc_metadata_array initial, trailing;
    grpc_status_code status;
    grpc_slice details;
    const char *error; /* gRPC's own account of a failure, NULL when there was none */
};

/* wire.c. 0, or LUN_EINVALID for a token that cannot be a header. Inside. */
int wire_open(struct wire *wire, struct peer *peer, enum rpc_method method,
              const struct rpc_options *options);
void wire_close(struct wire *wire);
void wire_op_send_metadata(struct wire *wire, grpc_op *op);
void wire_op_receive_metadata(struct wire *wire, grpc_op *op);
void wire_op_receive_status(struct wire *wire, grpc_op *op);
/* False when gRPC refuses the batch: then the tag does not come. */
bool wire_start(struct wire *wire, const grpc_op *ops, size_t n_ops, struct tag *tag);
/* The result; `ret_text` owns what result->message points to, and is freed with gpr_free after the callback. */
void wire_result(struct wire *wire, struct rpc_result *ret_result, char **ret_text);

int env_call(struct rpc_peer *peer, enum rpc_method method, struct lun_bytes request,
             const struct rpc_options *options, rpc_reply_cb on_reply, void *arg, struct rpc_call **ret_call);
void env_cancel(struct rpc_call *call);
int env_stream_open(struct rpc_peer *peer, enum rpc_method method, const struct rpc_options *options,
                    const struct rpc_stream_callbacks *callbacks, void *arg, struct rpc_stream **ret_stream);
int env_stream_send(struct rpc_stream *stream, const ProtobufCMessage *message);
void env_stream_cancel(struct rpc_stream *stream);

#endif
