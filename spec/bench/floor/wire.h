/* spec/bench/floor/wire.h - one channel to etcd, by gRPC's C core and protobuf-c alone, driven by the calling thread. Nothing
 * here is robust: whatever fails ends the program. */
#ifndef LUN_BENCH_FLOOR_WIRE_H
#define LUN_BENCH_FLOOR_WIRE_H

#include <stdbool.h>
#include <stddef.h>

#include <grpc/grpc.h>
#include <protobuf-c/protobuf-c.h>

enum method { RANGE, DELETE, TXN, GRANT, REVOKE, KEEP_ALIVE, WATCH, N_METHODS };

struct tag {
    void (*on_done)(struct tag *tag, bool is_ok);
};

struct unary {
    struct tag tag;
    grpc_call *call;
    grpc_metadata_array initial, trailing;
    grpc_byte_buffer *buffer;
    grpc_status_code status;
    grpc_slice details;
    const ProtobufCMessageDescriptor *descriptor;
    void *reply; /* whoever waited frees it */
    void (*then)(struct unary *unary);
    bool is_done;
};

struct stream {
    struct tag on_read, on_written, on_status;
    grpc_call *call;
    grpc_metadata_array initial, trailing;
    grpc_byte_buffer *buffer;
    grpc_status_code status;
    grpc_slice details;
    const ProtobufCMessageDescriptor *descriptor;
    void (*on_message)(void *message);
    bool has_begun, is_writing, is_over;
    int n_out;
};

/* "host:port", or "https://host:port": then LUNARCH_CACERT, and LUNARCH_CERT with LUNARCH_KEY, name files. */
void wire_connect(const char *endpoint);
void wire_disconnect(void);
/* Takes one event, or waits for it until then. */
void wire_turn(gpr_timespec until);
void wire_drive_until(const bool *is_done);
void wire_drive_for_ms(int ms);

/* Sends a request; `then`, if there is one, follows in a turn, and the reply is freed by the reader. */
void unary_ask(struct unary *unary, enum method method, const ProtobufCMessage *request,
               const ProtobufCMessageDescriptor *descriptor);
void *unary_wait(struct unary *unary);
void reply_free(void *reply);

/* on_message borrows its message. */
void stream_open(struct stream *stream, enum method method, const ProtobufCMessageDescriptor *descriptor,
                 void (*on_message)(void *message));
void stream_send(struct stream *stream, const ProtobufCMessage *message);
void stream_close(struct stream *stream);

#endif
