/* spec/bench/floor/wire.c - see wire.h. */
#include "floor/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>

#include "shared/figures.h"

static const char *const paths[N_METHODS] = {
    "/etcdserverpb.KV/Range",         "/etcdserverpb.KV/DeleteRange",    "/etcdserverpb.KV/Txn",
    "/etcdserverpb.Lease/LeaseGrant", "/etcdserverpb.Lease/LeaseRevoke", "/etcdserverpb.Lease/LeaseKeepAlive",
    "/etcdserverpb.Watch/Watch",
};

static grpc_channel *channel;
static grpc_completion_queue *queue;
static void *methods[N_METHODS];

/* What our own channels ask for too, as far as it costs or saves time. */
static grpc_arg args[] = {
    {.type = GRPC_ARG_INTEGER, .key = (char *)"grpc.enable_http_proxy", .value.integer = 0},
    {.type = GRPC_ARG_INTEGER, .key = (char *)"grpc.enable_retries", .value.integer = 0},
};

/* NULL where the environment names no file. */
static char *text_of_file(const char *variable) {
    const char *path = getenv(variable);
    if (!path)
        return NULL;
    FILE *file = fopen(path, "r");
    if (!file)
        fail(path);
    enum { MOST_BYTES = 1 << 16 };
    char *text = calloc(1, MOST_BYTES);
    if (!text || fread(text, 1, MOST_BYTES - 1, file) == 0)
        fail(path);
    fclose(file);
    return text;
}

static grpc_channel_credentials *credentials_of_files(void) {
    char *cacert = text_of_file("LUNARCH_CACERT"), *cert = text_of_file("LUNARCH_CERT");
    char *key = text_of_file("LUNARCH_KEY");
    grpc_ssl_pem_key_cert_pair pair = {.private_key = key, .cert_chain = cert};
    grpc_channel_credentials *credentials =
        grpc_ssl_credentials_create_ex(cacert, cert ? &pair : NULL, NULL, NULL);
    free(cacert);
    free(cert);
    free(key);
    return credentials;
}

void wire_connect(const char *endpoint) {
    static const char https[] = "https://";
    bool is_secure = strncmp(endpoint, https, strlen(https)) == 0;
    char target[128];
    snprintf(target, sizeof target, "ipv4:%s", endpoint + (is_secure ? strlen(https) : 0));
    grpc_init();
    queue = grpc_completion_queue_create_for_next(NULL);
    grpc_channel_credentials *credentials =
        is_secure ? credentials_of_files() : grpc_insecure_credentials_create();
    channel =
        grpc_channel_create(target, credentials, &(grpc_channel_args){sizeof args / sizeof *args, args});
    grpc_channel_credentials_release(credentials);
    for (int i = 0; i < N_METHODS; i++)
        methods[i] = grpc_channel_register_call(channel, paths[i], NULL, NULL);
}

void wire_disconnect(void) {
    grpc_channel_destroy(channel);
    grpc_completion_queue_shutdown(queue);
    while (grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
           GRPC_QUEUE_SHUTDOWN) {
    }
    grpc_completion_queue_destroy(queue);
    grpc_shutdown();
}

static gpr_timespec in_ms(int64_t ms) {
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(ms, GPR_TIMESPAN));
}

void wire_turn(gpr_timespec until) {
    grpc_event event = grpc_completion_queue_next(queue, until, NULL);
    if (event.type != GRPC_OP_COMPLETE)
        return;
    struct tag *tag = event.tag;
    tag->on_done(tag, event.success);
}

void wire_drive_until(const bool *is_done) {
    while (!*is_done)
        wire_turn(gpr_inf_future(GPR_CLOCK_MONOTONIC));
}

void wire_drive_for_ms(int ms) {
    for (double end = now_us() + ms * 1e3; now_us() < end;)
        wire_turn(in_ms(ms > 20 ? 10 : 1));
}

static grpc_byte_buffer *pack(const ProtobufCMessage *message) {
    grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(message));
    protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}

static void *unpack(const ProtobufCMessageDescriptor *descriptor, grpc_byte_buffer *buffer) {
    grpc_byte_buffer_reader reader;
    if (!buffer || !grpc_byte_buffer_reader_init(&reader, buffer))
        return NULL;
    grpc_slice all = grpc_byte_buffer_reader_readall(&reader);
    void *message =
        protobuf_c_message_unpack(descriptor, NULL, GRPC_SLICE_LENGTH(all), GRPC_SLICE_START_PTR(all));
    grpc_slice_unref(all);
    grpc_byte_buffer_reader_destroy(&reader);
    return message;
}

static void on_unary(struct tag *tag, bool is_ok) {
    struct unary *unary = (struct unary *)tag;
    if (!is_ok || unary->status != GRPC_STATUS_OK)
        fail("a request failed");
    unary->reply = unpack(unary->descriptor, unary->buffer);
    if (!unary->reply)
        fail("a reply does not unpack");
    grpc_byte_buffer_destroy(unary->buffer);
    grpc_metadata_array_destroy(&unary->initial);
    grpc_metadata_array_destroy(&unary->trailing);
    grpc_slice_unref(unary->details);
    grpc_call_unref(unary->call);
    unary->is_done = true;
    if (unary->then)
        unary->then(unary);
}

void unary_ask(struct unary *unary, enum method method, const ProtobufCMessage *request,
               const ProtobufCMessageDescriptor *descriptor) {
    unary->tag.on_done = on_unary;
    unary->descriptor = descriptor;
    unary->is_done = false;
    unary->buffer = NULL;
    unary->call = grpc_channel_create_registered_call(channel, NULL, GRPC_PROPAGATE_DEFAULTS, queue,
                                                      methods[method], in_ms(5000), NULL);
    grpc_metadata_array_init(&unary->initial);
    grpc_metadata_array_init(&unary->trailing);
    unary->details = grpc_empty_slice();
    grpc_byte_buffer *packed = pack(request);
    grpc_op ops[6] = {{.op = GRPC_OP_SEND_INITIAL_METADATA},
                      {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = packed},
                      {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT},
                      {.op = GRPC_OP_RECV_INITIAL_METADATA},
                      {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &unary->buffer},
                      {.op = GRPC_OP_RECV_STATUS_ON_CLIENT}};
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &unary->initial;
    ops[5].data.recv_status_on_client.trailing_metadata = &unary->trailing;
    ops[5].data.recv_status_on_client.status = &unary->status;
    ops[5].data.recv_status_on_client.status_details = &unary->details;
    if (grpc_call_start_batch(unary->call, ops, 6, &unary->tag, NULL) != GRPC_CALL_OK)
        fail("a batch is refused");
    grpc_byte_buffer_destroy(packed);
}

void *unary_wait(struct unary *unary) {
    wire_drive_until(&unary->is_done);
    return unary->reply;
}

void reply_free(void *reply) {
    protobuf_c_message_free_unpacked(reply, NULL);
}

#define STREAM_OF(tag, member) ((struct stream *)(void *)((char *)(tag)-offsetof(struct stream, member)))

static void start(struct stream *stream, const grpc_op *ops, size_t n, struct tag *tag) {
    stream->n_out++;
    if (grpc_call_start_batch(stream->call, ops, n, tag, NULL) != GRPC_CALL_OK)
        fail("a batch is refused");
}

static void on_stream_status(struct tag *tag, bool is_ok) {
    (void)is_ok;
    struct stream *stream = STREAM_OF(tag, on_status);
    stream->n_out--;
    stream->is_over = true;
}

static void on_stream_written(struct tag *tag, bool is_ok) {
    (void)is_ok;
    struct stream *stream = STREAM_OF(tag, on_written);
    stream->n_out--;
    stream->is_writing = false;
}

static void on_stream_read(struct tag *tag, bool is_ok) {
    struct stream *stream = STREAM_OF(tag, on_read);
    stream->n_out--;
    if (!is_ok || !stream->buffer)
        return;
    void *message = unpack(stream->descriptor, stream->buffer);
    grpc_byte_buffer_destroy(stream->buffer);
    stream->buffer = NULL;
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &stream->buffer};
    start(stream, &op, 1, &stream->on_read);
    if (!message)
        fail("a message does not unpack");
    stream->on_message(message);
    reply_free(message);
}

void stream_open(struct stream *stream, enum method method, const ProtobufCMessageDescriptor *descriptor,
                 void (*on_message)(void *message)) {
    *stream = (struct stream){.on_read.on_done = on_stream_read,
                              .on_written.on_done = on_stream_written,
                              .on_status.on_done = on_stream_status,
                              .descriptor = descriptor,
                              .on_message = on_message,
                              .details = grpc_empty_slice()};
    stream->call =
        grpc_channel_create_registered_call(channel, NULL, GRPC_PROPAGATE_DEFAULTS, queue, methods[method],
                                            gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    grpc_metadata_array_init(&stream->initial);
    grpc_metadata_array_init(&stream->trailing);
    grpc_op ops[2] = {{.op = GRPC_OP_RECV_STATUS_ON_CLIENT}};
    ops[0].data.recv_status_on_client.trailing_metadata = &stream->trailing;
    ops[0].data.recv_status_on_client.status = &stream->status;
    ops[0].data.recv_status_on_client.status_details = &stream->details;
    start(stream, ops, 1, &stream->on_status);
    ops[0] = (grpc_op){.op = GRPC_OP_RECV_INITIAL_METADATA};
    ops[0].data.recv_initial_metadata.recv_initial_metadata = &stream->initial;
    ops[1] = (grpc_op){.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &stream->buffer};
    start(stream, ops, 2, &stream->on_read);
}

void stream_send(struct stream *stream, const ProtobufCMessage *message) {
    while (stream->is_writing)
        wire_turn(gpr_inf_future(GPR_CLOCK_MONOTONIC));
    grpc_op ops[2] = {{.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = pack(message)},
                      {.op = GRPC_OP_SEND_INITIAL_METADATA}};
    start(stream, ops, stream->has_begun ? 1 : 2, &stream->on_written);
    grpc_byte_buffer_destroy(ops[0].data.send_message.send_message);
    stream->has_begun = stream->is_writing = true;
}

void stream_close(struct stream *stream) {
    grpc_call_cancel(stream->call, NULL);
    while (stream->n_out > 0)
        wire_turn(gpr_inf_future(GPR_CLOCK_MONOTONIC));
    grpc_metadata_array_destroy(&stream->initial);
    grpc_metadata_array_destroy(&stream->trailing);
    grpc_slice_unref(stream->details);
    grpc_call_unref(stream->call);
}
