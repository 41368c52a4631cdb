/* rpc/grpc/call_state.c - what calls and streams share: gRPC's call, the metadata that goes with it, and how it
 * ended. */
#include "rpc/grpc/env.h"

#include <string.h>

#include <grpc/grpc.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>

#include "base/clock.h"
#include "rpc/grpc/tsan.h"

/* gRPC has no CLOCK_BOOTTIME: the distance is measured now and laid onto its own clock. */
static gpr_timespec deadline_of(int64_t deadline_ns) {
    if (deadline_ns == RPC_NEVER)
        return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                        gpr_time_from_nanos(deadline_ns - clock_boottime_ns(), GPR_TIMESPAN));
}

static int add_metadata(struct call_state *state, const struct rpc_options *options) {
    if (options->has_leader)
        state->metadata[state->n_metadata++] =
            (grpc_metadata){.key = grpc_slice_from_static_string("hasleader"),
                            .value = grpc_slice_from_static_string("true")};
    if (options->token) {
        grpc_slice token = grpc_slice_from_copied_string(options->token);
        if (!grpc_header_nonbin_value_is_legal(token)) {
            grpc_slice_unref(token);
            return LUN_EINVALID;
        }
        state->metadata[state->n_metadata++] =
            (grpc_metadata){.key = grpc_slice_from_static_string("token"), .value = token};
    }
    return 0;
}

static void *method_of(struct channel *channel, enum rpc_method method) {
    if (!channel->methods[method])
        channel->methods[method] =
            grpc_channel_register_call(channel->grpc, rpc_method_info(method)->path, NULL, NULL);
    return channel->methods[method];
}

int call_state_open(struct call_state *state, struct channel *channel, enum rpc_method method,
                    const struct rpc_options *options) {
    channel_refresh(channel);
    *state = (struct call_state){.env = env_of(channel->base.rpc),
                                 .info = rpc_method_info(method),
                                 .status = GRPC_STATUS_UNKNOWN,
                                 .details = grpc_empty_slice()};
    int rc = add_metadata(state, options);
    if (rc) {
        call_state_close(state);
        return rc;
    }
    state->connection = connection_ref(channel->connection);
    state->n_channel = connection_use(state->connection, clock_boottime_ns());
    grpc_metadata_array_init(&state->initial);
    grpc_metadata_array_init(&state->trailing);
    state->call = grpc_channel_create_registered_call(channel->grpc, NULL, GRPC_PROPAGATE_DEFAULTS,
                                                      state->env->queue.cq, method_of(channel, method),
                                                      deadline_of(options->deadline_ns), NULL);
    state->env->n_out++;
    return 0;
}

void call_state_close(struct call_state *state) {
    for (size_t i = 0; i < state->n_metadata; i++)
        grpc_slice_unref(state->metadata[i].value);
    grpc_slice_unref(state->details);
    gpr_free((void *)state->error);
    connection_unref(state->connection);
    if (!state->call)
        return;
    grpc_metadata_array_destroy(&state->initial);
    grpc_metadata_array_destroy(&state->trailing);
    grpc_call_unref(state->call);
    state->env->n_out--;
}

void call_state_op_send_metadata(struct call_state *state, grpc_op *op) {
    *op = (grpc_op){.op = GRPC_OP_SEND_INITIAL_METADATA};
    op->data.send_initial_metadata.count = state->n_metadata;
    op->data.send_initial_metadata.metadata = state->metadata;
}

void call_state_op_receive_metadata(struct call_state *state, grpc_op *op) {
    *op = (grpc_op){.op = GRPC_OP_RECV_INITIAL_METADATA};
    op->data.recv_initial_metadata.recv_initial_metadata = &state->initial;
}

void call_state_op_receive_status(struct call_state *state, grpc_op *op) {
    *op = (grpc_op){.op = GRPC_OP_RECV_STATUS_ON_CLIENT};
    op->data.recv_status_on_client.trailing_metadata = &state->trailing;
    op->data.recv_status_on_client.status = &state->status;
    op->data.recv_status_on_client.status_details = &state->details;
    op->data.recv_status_on_client.error_string = &state->error;
}

bool call_state_start(struct call_state *state, const grpc_op *ops, size_t n_ops, struct tag *tag) {
    TSAN_RELEASE(tag);
    return grpc_call_start_batch(state->call, ops, n_ops, tag, NULL) == GRPC_CALL_OK;
}

static bool starts_with(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* A call that found no connection, or no address, fails with these words of gRPC's own; a server that says
 * the same is told apart by gRPC's account of the error, which names the peer it came from. */
static bool found_no_connection(const struct call_state *state, const char *text) {
    return state->status == GRPC_STATUS_UNAVAILABLE &&
           (starts_with(text, "failed to connect to ") || starts_with(text, "DNS resolution failed ")) &&
           state->error && !strstr(state->error, "eceived from peer");
}

static bool was_heard(const struct call_state *state) {
    return state->status == GRPC_STATUS_OK || (state->error && strstr(state->error, "eceived from peer"));
}

void call_state_heard(struct call_state *state) {
    connection_answered(state->connection, state->n_channel, clock_boottime_ns());
}

void call_state_result(struct call_state *state, bool was_never_sent, struct rpc_result *ret_result,
                       char **ret_text) {
    *ret_text = NULL;
    *ret_result = (struct rpc_result){.status = RPC_OK, .message = ""};
    if (was_heard(state))
        call_state_heard(state);
    if (state->status == GRPC_STATUS_OK)
        return;
    *ret_text = grpc_slice_to_c_string(state->details);
    bool has_failed = found_no_connection(state, *ret_text);
    *ret_result = (struct rpc_result){
        .status = (int)state->status, .message = *ret_text, .is_unsent = has_failed || was_never_sent};
    if (ret_result->is_unsent)
        ret_result->guess = connection_failed(state->connection, state->n_channel, state->env->tls,
                                              has_failed ? *ret_text : NULL, clock_boottime_ns());
}
