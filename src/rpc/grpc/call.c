/* rpc/grpc/call.c - one request, one reply: all in one batch, so one tag. Where there is no connection yet, what opens the call is a
 * batch of its own: by its tag a call that ended before it was sent is known for certain.
 *
 * The deadline is a timer of ours, not gRPC's: for one of gRPC's, and the header that tells the server of it, every
 * call would pay a twentieth more. The server learns of it as of any other cancellation. */
#include "rpc/grpc/env.h"

#include <stdlib.h>

#include <grpc/byte_buffer.h>
#include <grpc/support/alloc.h>

#include "base/clock.h"

struct call {
    struct rpc_call call;
    struct call_state state;
    struct tag on_done;
    struct tag on_sent;
    bool is_apart; /* what opens it is a batch of its own */
    bool is_sending, was_sent, is_done;
    grpc_byte_buffer *reply;
    struct rpc_timer deadline;
    bool is_overdue; /* cancelled for it */
    bool is_refused; /* gRPC has not taken the request: there is no status */
    rpc_reply_cb on_reply;
    void *arg;
};

static void on_deadline(struct rpc_timer *timer) {
    struct call *call = CONTAINER_OF(timer, struct call, deadline);
    call->is_overdue = true;
    (void)grpc_call_cancel(call->state.call, NULL);
}

/* Both tags are back. */
static void finish(struct call *call) {
    struct env *env = call->state.env;
    env->n_calls--;
    rpc_timer_fini(&call->deadline);
    struct rpc_result result;
    char *text;
    if (call->is_refused)
        call->state.status = GRPC_STATUS_UNAVAILABLE;
    call_state_result(&call->state, call->is_refused || (call->is_apart && !call->was_sent), &result, &text);
    if (call->is_overdue && result.status == RPC_CANCELLED)
        result = (struct rpc_result){.status = RPC_DEADLINE_EXCEEDED,
                                     .message = "deadline exceeded",
                                     .is_unsent = result.is_unsent,
                                     .guess = result.guess};
    ProtobufCMessage *reply = NULL;
    if (result.status == RPC_OK) {
        reply = message_unpack(call->state.info->reply, call->reply, &env->arena);
        if (!reply)
            result = (struct rpc_result){.status = RPC_INTERNAL, .message = "the reply does not unpack"};
    }
    call->on_reply(call->arg, &result, reply);
    arena_clear(&env->arena);
    gpr_free(text);
    grpc_byte_buffer_destroy(call->reply);
    call_state_close(&call->state);
    free(call);
}

/* A batch that receives a status is always ok. */
static void on_done(struct tag *tag, bool is_ok) {
    (void)is_ok;
    struct call *call = CONTAINER_OF(tag, struct call, on_done);
    call->is_done = true;
    if (!call->is_sending)
        finish(call);
}

/* Not ok: no connection has taken the call before it ended. */
static void on_sent(struct tag *tag, bool is_ok) {
    struct call *call = CONTAINER_OF(tag, struct call, on_sent);
    call->was_sent = is_ok;
    call->is_sending = false;
    if (call->is_done)
        finish(call);
}

static bool start(struct call *call, struct lun_bytes request) {
    grpc_op ops[6], *rest = ops;
    size_t n = 6;
    call_state_op_send_metadata(&call->state, &ops[0]);
    ops[1] = (grpc_op){.op = GRPC_OP_SEND_MESSAGE};
    ops[1].data.send_message.send_message = message_copy(request);
    ops[2] = (grpc_op){.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};
    call_state_op_receive_metadata(&call->state, &ops[3]);
    ops[4] = (grpc_op){.op = GRPC_OP_RECV_MESSAGE};
    ops[4].data.recv_message.recv_message = &call->reply;
    call_state_op_receive_status(&call->state, &ops[5]);
    if (call->is_apart) {
        call->is_sending = call_state_start(&call->state, ops, 1, &call->on_sent);
        rest++;
        n--;
    }
    bool is_started =
        (call->is_sending || !call->is_apart) && call_state_start(&call->state, rest, n, &call->on_done);
    grpc_byte_buffer_destroy(ops[1].data.send_message.send_message);
    if (is_started || !call->is_sending)
        return is_started;
    (void)grpc_call_cancel(call->state.call, NULL); /* on_sent comes still, and finishes it */
    call->is_done = call->is_refused = true;
    return true;
}

int env_call(struct rpc_channel *channel, enum rpc_method method, struct lun_bytes request,
             const struct rpc_options *options, rpc_reply_cb on_reply, void *arg,
             struct rpc_call **ret_call) {
    struct call *call = malloc(sizeof *call);
    if (!call)
        return LUN_ENOMEM;
    *call = (struct call){.call.rpc = channel->rpc,
                          .on_done.on_done = on_done,
                          .on_sent.on_done = on_sent,
                          .on_reply = on_reply,
                          .arg = arg};
    struct rpc_options grpc_options = *options;
    if (options->deadline_ns > clock_boottime_ns()) /* one that has passed is gRPC's: it sends nothing then */
        grpc_options.deadline_ns = RPC_NEVER;
    struct channel *own = CONTAINER_OF(channel, struct channel, base);
    int rc = rpc_timer_init(channel->rpc, &call->deadline, on_deadline);
    if (!rc)
        rc = call_state_open(&call->state, own, method, &grpc_options);
    if (!rc)
        call->is_apart = !channel_is_connected(own);
    if (!rc && !start(call, request)) {
        call_state_close(&call->state);
        rc = LUN_EINVALID;
    }
    if (rc) {
        rpc_timer_fini(&call->deadline);
        free(call);
        return rc;
    }
    rpc_timer_start(&call->deadline, options->deadline_ns);
    env_of(channel->rpc)->n_calls++;
    if (ret_call)
        *ret_call = &call->call;
    return 0;
}

void env_cancel(struct rpc_call *rpc_call) {
    struct call *call = CONTAINER_OF(rpc_call, struct call, call);
    (void)grpc_call_cancel(call->state.call, NULL);
}
