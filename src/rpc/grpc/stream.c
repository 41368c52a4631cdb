/* rpc/grpc/stream.c - a two-way stream.
 *
 * gRPC allows one read and one write in flight: a read is always out until the end, writes queue. Three tags:
 * status (asked for at once, comes last of all that matters), read, write. When the status is in and no tag
 * is out any more, on_close is called, once, and the stream is freed. A failed read or write says nothing by
 * itself: the status follows. */
#include "rpc/grpc/env.h"

#include <stdlib.h>

#include <grpc/byte_buffer.h>
#include <grpc/support/alloc.h>

struct outgoing {
    struct list in_queue;
    grpc_byte_buffer *message;
};

struct stream {
    struct rpc_stream stream;
    struct call_state state;
    struct tag on_status, on_read, on_written;
    int n_out;         /* tags */
    bool is_over;      /* the status is in */
    bool is_cancelled; /* by us: no on_message any more */
    bool is_garbled;   /* a message did not unpack */
    bool is_writing;
    bool is_broken; /* a write failed: nothing will be written any more */
    grpc_byte_buffer *incoming;
    struct list queue;
    struct rpc_stream_callbacks callbacks;
    void *arg;
};

static bool start(struct stream *stream, const grpc_op *ops, size_t n_ops, struct tag *tag) {
    if (!call_state_start(&stream->state, ops, n_ops, tag))
        return false;
    stream->n_out++;
    return true;
}

static void drop_queue(struct stream *stream) {
    for (struct list *node; (node = list_pop_front(&stream->queue));) {
        struct outgoing *outgoing = CONTAINER_OF(node, struct outgoing, in_queue);
        grpc_byte_buffer_destroy(outgoing->message);
        free(outgoing);
    }
}

static void stream_free(struct stream *stream) {
    drop_queue(stream);
    grpc_byte_buffer_destroy(stream->incoming);
    call_state_close(&stream->state);
    free(stream);
}

/* One tag is back. Touch nothing afterwards. */
static void settle(struct stream *stream) {
    if (--stream->n_out > 0 || !stream->is_over)
        return;
    struct rpc_result result;
    char *text;
    call_state_result(&stream->state, false, &result, &text);
    if (stream->is_garbled)
        result =
            (struct rpc_result){.status = RPC_INTERNAL, .message = "a message of the stream does not unpack"};
    stream->callbacks.on_close(stream->arg, &stream->stream, &result);
    gpr_free(text);
    stream_free(stream);
}

static void on_status(struct tag *tag, bool is_ok) {
    (void)is_ok;
    struct stream *stream = CONTAINER_OF(tag, struct stream, on_status);
    stream->is_over = true;
    settle(stream);
}

static void write_next(struct stream *stream) {
    struct list *node;
    if (stream->is_writing || stream->is_broken || !(node = list_pop_front(&stream->queue)))
        return;
    struct outgoing *outgoing = CONTAINER_OF(node, struct outgoing, in_queue);
    grpc_op op = {.op = GRPC_OP_SEND_MESSAGE};
    op.data.send_message.send_message = outgoing->message;
    stream->is_writing = start(stream, &op, 1, &stream->on_written);
    stream->is_broken = !stream->is_writing;
    grpc_byte_buffer_destroy(outgoing->message);
    free(outgoing);
}

static void on_written(struct tag *tag, bool is_ok) {
    struct stream *stream = CONTAINER_OF(tag, struct stream, on_written);
    stream->is_writing = false;
    stream->is_broken |= !is_ok;
    if (stream->is_broken)
        drop_queue(stream);
    write_next(stream);
    settle(stream);
}

static void read_next(struct stream *stream) {
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
    op.data.recv_message.recv_message = &stream->incoming;
    (void)start(stream, &op, 1, &stream->on_read);
}

static void deliver(struct stream *stream) {
    struct arena *arena = &stream->state.env->arena;
    ProtobufCMessage *message = message_unpack(stream->state.info->reply, stream->incoming, arena);
    grpc_byte_buffer_destroy(stream->incoming);
    stream->incoming = NULL;
    if (message) {
        stream->callbacks.on_message(stream->arg, &stream->stream, message);
    } else {
        stream->is_garbled = true;
        env_stream_cancel(&stream->stream);
    }
    arena_clear(arena);
}

static void on_read(struct tag *tag, bool is_ok) {
    struct stream *stream = CONTAINER_OF(tag, struct stream, on_read);
    bool is_end = !is_ok || !stream->incoming; /* gRPC's way of saying so */
    if (!is_end)
        call_state_heard(&stream->state);
    if (!is_end && !stream->is_cancelled)
        deliver(stream);
    if (!is_end && !stream->is_cancelled)
        read_next(stream);
    settle(stream);
}

/* The status batch goes first: once it is out, the stream ends by its tag whatever becomes of the others. */
static bool open_batches(struct stream *stream) {
    grpc_op ops[2];
    call_state_op_send_metadata(&stream->state, &ops[0]);
    call_state_op_receive_status(&stream->state, &ops[1]);
    if (!start(stream, ops, 2, &stream->on_status))
        return false;
    call_state_op_receive_metadata(&stream->state, &ops[0]);
    ops[1] = (grpc_op){.op = GRPC_OP_RECV_MESSAGE};
    ops[1].data.recv_message.recv_message = &stream->incoming;
    if (!start(stream, ops, 2, &stream->on_read))
        (void)grpc_call_cancel(stream->state.call, NULL);
    return true;
}

int env_stream_open(struct rpc_channel *channel, enum rpc_method method, const struct rpc_options *options,
                    const struct rpc_stream_callbacks *callbacks, void *arg, struct rpc_stream **ret_stream) {
    struct stream *stream = malloc(sizeof *stream);
    if (!stream)
        return LUN_ENOMEM;
    *stream = (struct stream){.stream.rpc = channel->rpc,
                              .on_status.on_done = on_status,
                              .on_read.on_done = on_read,
                              .on_written.on_done = on_written,
                              .callbacks = *callbacks,
                              .arg = arg};
    list_init(&stream->queue);
    int rc = call_state_open(&stream->state, CONTAINER_OF(channel, struct channel, base), method, options);
    if (rc) {
        free(stream);
        return rc;
    }
    if (!open_batches(stream)) {
        stream_free(stream);
        return LUN_EINVALID;
    }
    *ret_stream = &stream->stream;
    return 0;
}

int env_stream_send(struct rpc_stream *rpc_stream, const ProtobufCMessage *message) {
    struct stream *stream = CONTAINER_OF(rpc_stream, struct stream, stream);
    if (stream->is_broken || stream->is_over || stream->is_cancelled)
        return 0;
    struct outgoing *outgoing = malloc(sizeof *outgoing);
    if (!outgoing)
        return LUN_ENOMEM;
    outgoing->message = message_pack(message);
    list_push_back(&stream->queue, &outgoing->in_queue);
    write_next(stream);
    return 0;
}

void env_stream_cancel(struct rpc_stream *rpc_stream) {
    struct stream *stream = CONTAINER_OF(rpc_stream, struct stream, stream);
    if (stream->is_cancelled)
        return;
    stream->is_cancelled = true;
    drop_queue(stream);
    (void)grpc_call_cancel(stream->state.call, NULL);
}
