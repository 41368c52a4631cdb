/* rpc/grpc/wire.c - what calls and streams share: gRPC's call, the metadata that goes with it, and how it
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

static int add_metadata(struct wire *wire, const struct rpc_options *options) {
    if (options->has_leader)
        wire->metadata[wire->n_metadata++] =
            (grpc_metadata){.key = grpc_slice_from_static_string("hasleader"),
                            .value = grpc_slice_from_static_string("true")};
    if (options->token) {
        grpc_slice token = grpc_slice_from_copied_string(options->token);
        if (!grpc_header_nonbin_value_is_legal(token)) {
            grpc_slice_unref(token);
            return LUN_EINVALID;
        }
        wire->metadata[wire->n_metadata++] =
            (grpc_metadata){.key = grpc_slice_from_static_string("token"), .value = token};
    }
    return 0;
}

static void *method_of(struct peer *peer, enum rpc_method method) {
    if (!peer->methods[method])
        peer->methods[method] =
            grpc_channel_register_call(peer->channel, rpc_method_info(method)->path, NULL, NULL);
    return peer->methods[method];
}

int wire_open(struct wire *wire, struct peer *peer, enum rpc_method method,
              const struct rpc_options *options) {
    *wire = (struct wire){.env = env_of(peer->peer.rpc),
                          .info = rpc_method_info(method),
                          .status = GRPC_STATUS_UNKNOWN,
                          .details = grpc_empty_slice()};
    int rc = add_metadata(wire, options);
    if (rc) {
        wire_close(wire);
        return rc;
    }
    grpc_metadata_array_init(&wire->initial);
    grpc_metadata_array_init(&wire->trailing);
    wire->call = grpc_channel_create_registered_call(peer->channel, NULL, GRPC_PROPAGATE_DEFAULTS,
                                                     wire->env->seat.queue, method_of(peer, method),
                                                     deadline_of(options->deadline_ns), NULL);
    wire->env->n_out++;
    return 0;
}

void wire_close(struct wire *wire) {
    for (size_t i = 0; i < wire->n_metadata; i++)
        grpc_slice_unref(wire->metadata[i].value);
    grpc_slice_unref(wire->details);
    gpr_free((void *)wire->error);
    if (!wire->call)
        return;
    grpc_metadata_array_destroy(&wire->initial);
    grpc_metadata_array_destroy(&wire->trailing);
    grpc_call_unref(wire->call);
    wire->env->n_out--;
}

void wire_op_send_metadata(struct wire *wire, grpc_op *op) {
    *op = (grpc_op){.op = GRPC_OP_SEND_INITIAL_METADATA};
    op->data.send_initial_metadata.count = wire->n_metadata;
    op->data.send_initial_metadata.metadata = wire->metadata;
}

void wire_op_receive_metadata(struct wire *wire, grpc_op *op) {
    *op = (grpc_op){.op = GRPC_OP_RECV_INITIAL_METADATA};
    op->data.recv_initial_metadata.recv_initial_metadata = &wire->initial;
}

void wire_op_receive_status(struct wire *wire, grpc_op *op) {
    *op = (grpc_op){.op = GRPC_OP_RECV_STATUS_ON_CLIENT};
    op->data.recv_status_on_client.trailing_metadata = &wire->trailing;
    op->data.recv_status_on_client.status = &wire->status;
    op->data.recv_status_on_client.status_details = &wire->details;
    op->data.recv_status_on_client.error_string = &wire->error;
}

bool wire_start(struct wire *wire, const grpc_op *ops, size_t n_ops, struct tag *tag) {
    TSAN_RELEASE(tag);
    return grpc_call_start_batch(wire->call, ops, n_ops, tag, NULL) == GRPC_CALL_OK;
}

static bool starts_with(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* A call that found no connection, or no address, fails with these words of gRPC's own; a server that says
 * the same is told apart by gRPC's account of the error, which names the peer it came from. A deadline that
 * passes while still connecting proves nothing. */
static bool is_unsent(const struct wire *wire, const char *text) {
    return wire->status == GRPC_STATUS_UNAVAILABLE &&
           (starts_with(text, "failed to connect to ") || starts_with(text, "DNS resolution failed ")) &&
           wire->error && !strstr(wire->error, "eceived from peer");
}

void wire_result(struct wire *wire, struct rpc_result *ret_result, char **ret_text) {
    if (wire->status == GRPC_STATUS_OK) {
        *ret_text = NULL;
        *ret_result = (struct rpc_result){.status = RPC_OK, .message = ""};
        return;
    }
    *ret_text = grpc_slice_to_c_string(wire->details);
    *ret_result = (struct rpc_result){
        .status = (int)wire->status, .message = *ret_text, .is_unsent = is_unsent(wire, *ret_text)};
}
