/* rpc/grpc/message.c - protobuf-c messages to gRPC's byte buffers and back, without a copy in between where
 * there need be none. */
#include "rpc/grpc/env.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/slice.h>

static grpc_byte_buffer *buffer_of(grpc_slice slice) {
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}

grpc_byte_buffer *message_copy(struct lun_bytes packed) {
    return buffer_of(grpc_slice_from_copied_buffer(packed.data, packed.len));
}

grpc_byte_buffer *message_pack(const ProtobufCMessage *message) {
    grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(message));
    (void)protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    return buffer_of(slice);
}

static ProtobufCMessage *unpack(const ProtobufCMessageDescriptor *descriptor, grpc_slice slice,
                                struct arena *arena) {
    return protobuf_c_message_unpack(descriptor, &arena->allocator, GRPC_SLICE_LENGTH(slice),
                                     GRPC_SLICE_START_PTR(slice));
}

ProtobufCMessage *message_unpack(const ProtobufCMessageDescriptor *descriptor, grpc_byte_buffer *buffer,
                                 struct arena *arena) {
    grpc_byte_buffer_reader reader;
    if (!buffer || !grpc_byte_buffer_reader_init(&reader, buffer))
        return NULL;
    ProtobufCMessage *message;
    const size_t len = grpc_byte_buffer_length(buffer);
    grpc_slice *first;
    if (len == 0) {
        message = unpack(descriptor, grpc_empty_slice(), arena);
    } else if (grpc_byte_buffer_reader_peek(&reader, &first) && GRPC_SLICE_LENGTH(*first) == len) {
        message = unpack(descriptor, *first, arena);
    } else {
        grpc_byte_buffer_reader_destroy(&reader);
        (void)grpc_byte_buffer_reader_init(&reader, buffer);
        grpc_slice all = grpc_byte_buffer_reader_readall(&reader);
        message = unpack(descriptor, all, arena);
        grpc_slice_unref(all);
    }
    grpc_byte_buffer_reader_destroy(&reader);
    return message;
}
