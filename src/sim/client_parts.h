/* sim/client_parts.h - what client.c and messages.c share: a client's calls and streams. */
#ifndef LUN_SIM_CLIENT_PARTS_H
#define LUN_SIM_CLIENT_PARTS_H

#include "sim/world.h"

struct sim_channel {
    struct rpc_channel base;
    int member;
};

struct sim_call {
    struct rpc_call base;
    struct list in_calls;
    struct sim_client *client;
    int member;
    struct sim_request *request; /* NULL: answered, or lost */
    struct sim_event done;
    bool is_settled; /* the result stands; `done` brings it */
    int64_t deadline_ns, served_ns;
    rpc_reply_cb on_reply;
    void *arg;
    int status;
    bool is_unsent;
    char text[96];
    ProtobufCMessage *reply;
};

struct sim_stream {
    struct rpc_stream base;
    struct list in_streams;
    struct sim_client *client;
    int member;
    struct sim_server_stream *server; /* NULL: gone */
    bool is_cancelled, is_ending;
    int64_t last_in_ns, last_out_ns;
    struct list arrivals;
    struct rpc_stream_callbacks callbacks;
    void *arg;
};

struct arrival {
    struct sim_event event;
    struct list in_arrivals;
    struct sim_stream *stream;
    ProtobufCMessage *message; /* NULL: the end */
    int status;
    char text[96];
};

static inline struct sim_client *sim_client_of(struct rpc *rpc) {
    return CONTAINER_OF(rpc, struct sim_client, base);
}

static inline struct sim_call *call_at(struct list *node) {
    return CONTAINER_OF(node, struct sim_call, in_calls);
}

static inline struct sim_stream *stream_at(struct list *node) {
    return CONTAINER_OF(node, struct sim_stream, in_streams);
}

/* Drawn for a client's messages and its thread. */
int64_t sim_way_below(struct sim_client *client, int64_t n);
bool sim_way_chance(struct sim_client *client, int per_mille);

/* The result stands, and comes then. */
void sim_call_settle(struct sim_call *call, int status, const char *text, int64_t at_ns);
/* Tells it, and frees the call. */
void sim_call_complete(struct sim_call *call);
void sim_call_forget(struct sim_call *call, bool is_cancelled);
/* What has arrived, in order. */
void sim_stream_take(struct sim_stream *stream);
void sim_stream_break(struct sim_stream *stream, int status, const char *text);
void sim_stream_close(struct sim_stream *stream, int status, const char *text);

/* Of struct rpc_ops. */
int sim_op_call(struct rpc_channel *base, enum rpc_method method, struct lun_bytes packed,
                const struct rpc_options *options, rpc_reply_cb on_reply, void *arg,
                struct rpc_call **ret_call);
void sim_op_cancel(struct rpc_call *base);
int sim_op_stream_open(struct rpc_channel *base, enum rpc_method method, const struct rpc_options *options,
                       const struct rpc_stream_callbacks *callbacks, void *arg,
                       struct rpc_stream **ret_stream);
int sim_op_stream_send(struct rpc_stream *base, const ProtobufCMessage *message);
void sim_op_stream_cancel(struct rpc_stream *base);

#endif
