/* spec/alike/print.c - see print.h. */
#include "print.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Longer values are told by their length and a sum. */
enum { SHOWN_BYTES = 48 };

static bool ends_in(const char *name, const char *end) {
    size_t n = strlen(name), n_end = strlen(end);
    return n >= n_end && strcmp(name + n - n_end, end) == 0;
}

static bool is_private(const ProtobufCFieldDescriptor *field) {
    static const char *const names[] = {"cluster_id", "member_id",  "raft_term",        "raftTerm",
                                        "raftIndex",  "leader",     "raftAppliedIndex", "dbSize",
                                        "token",      "dbSizeInUse"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(field->name, names[i]) == 0)
            return true;
    return strcmp(field->name, "version") == 0 && field->type == PROTOBUF_C_TYPE_STRING;
}

static void print_bytes(FILE *out, const uint8_t *data, size_t n) {
    (void)fputc('"', out);
    for (size_t i = 0; i < n && i < SHOWN_BYTES; i++)
        if (isprint(data[i]) && data[i] != '\\')
            (void)fputc(data[i], out);
        else
            (void)fprintf(out, "\\%02x", data[i]);
    (void)fputc('"', out);
    if (n <= SHOWN_BYTES)
        return;
    uint64_t sum = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < n; i++)
        sum = (sum ^ data[i]) * UINT64_C(0x100000001b3);
    (void)fprintf(out, "...%zu bytes, %016" PRIx64, n, sum);
}

static void print_integer(FILE *out, const ProtobufCFieldDescriptor *field, int64_t value, int64_t base_rev) {
    if (ends_in(field->name, "revision") && value > 0)
        (void)fprintf(out, "r%+" PRId64, value - base_rev);
    else if (strcmp(field->name, "ID") == 0 || strcmp(field->name, "lease") == 0)
        (void)fprintf(out, "%" PRIx64, (uint64_t)value);
    else
        (void)fprintf(out, "%" PRId64, value);
}

/* Returns false for what proto3 does not send. */
static bool is_given(const ProtobufCFieldDescriptor *field, const void *at) {
    switch (field->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        return *(ProtobufCMessage *const *)at != NULL;
    case PROTOBUF_C_TYPE_STRING: {
        const char *text = *(char *const *)at;
        return text && text[0] != '\0';
    }
    case PROTOBUF_C_TYPE_BYTES:
        return ((const ProtobufCBinaryData *)at)->len > 0;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64:
        return *(const int64_t *)at != 0;
    default:
        return *(const int *)at != 0;
    }
}

/* Some versions of etcd wrap a watcher's reason: "rpc error: code = ... desc = ...". */
static const char *bare(const char *text) {
    const char *inside = strncmp(text, "rpc error:", 10) == 0 ? strstr(text, "desc = ") : NULL;
    return inside ? inside + strlen("desc = ") : text;
}

static void print_value(FILE *out, const ProtobufCFieldDescriptor *field, const void *at, int64_t base_rev) {
    if (is_private(field)) {
        (void)fputc('*', out);
        return;
    }
    switch (field->type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        print_message(out, *(ProtobufCMessage *const *)at, base_rev);
        break;
    case PROTOBUF_C_TYPE_STRING: {
        const char *text = bare(*(char *const *)at);
        print_bytes(out, (const uint8_t *)text, strlen(text));
        break;
    }
    case PROTOBUF_C_TYPE_BYTES: {
        const ProtobufCBinaryData *bytes = at;
        print_bytes(out, bytes->data, bytes->len);
        break;
    }
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64:
        print_integer(out, field, *(const int64_t *)at, base_rev);
        break;
    case PROTOBUF_C_TYPE_ENUM:
        (void)fputs(protobuf_c_enum_descriptor_get_value(field->descriptor, *(const int *)at)->name, out);
        break;
    default:
        (void)fprintf(out, "%d", *(const int *)at);
    }
}

static size_t size_of(const ProtobufCFieldDescriptor *field) {
    switch (field->type) {
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_ENUM:
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(int);
    default:
        return sizeof(int64_t);
    }
}

static int by_bytes(const void *a, const void *b) {
    const ProtobufCBinaryData *x = a, *y = b;
    int order = memcmp(x->data, y->data, x->len < y->len ? x->len : y->len);
    return order ? order : (x->len > y->len) - (x->len < y->len);
}

/* A lease's keys come in no order that means anything. */
static void print_keys(FILE *out, const ProtobufCBinaryData *keys, size_t n) {
    ProtobufCBinaryData *sorted = calloc(n, sizeof *sorted);
    if (!sorted)
        abort();
    memcpy(sorted, keys, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_bytes);
    for (size_t i = 0; i < n; i++) {
        (void)fputs(i ? ", " : " keys=[", out);
        print_bytes(out, sorted[i].data, sorted[i].len);
    }
    (void)fputc(']', out);
    free(sorted);
}

static void print_field(FILE *out, const ProtobufCFieldDescriptor *field, const char *message,
                        int64_t base_rev) {
    const char *at = message + field->offset;
    if (field->label != PROTOBUF_C_LABEL_REPEATED) {
        bool is_one_of = (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
        if (is_one_of ? *(const uint32_t *)(const void *)(message + field->quantifier_offset) != field->id
                      : !is_given(field, at))
            return;
        (void)fprintf(out, " %s=", field->name);
        print_value(out, field, at, base_rev);
        return;
    }
    size_t n = *(const size_t *)(const void *)(message + field->quantifier_offset);
    const char *item = *(const char *const *)(const void *)at;
    if (n > 0 && field->type == PROTOBUF_C_TYPE_BYTES) {
        print_keys(out, (const ProtobufCBinaryData *)(const void *)item, n);
        return;
    }
    for (size_t i = 0; i < n; i++, item += size_of(field)) {
        (void)fprintf(out, "%s", i ? ", " : " ");
        if (i == 0)
            (void)fprintf(out, "%s=[", field->name);
        print_value(out, field, item, base_rev);
    }
    if (n > 0)
        (void)fputc(']', out);
}

void print_message(FILE *out, const ProtobufCMessage *message, int64_t base_rev) {
    if (!message) {
        (void)fputs("nothing", out);
        return;
    }
    (void)fputc('{', out);
    for (unsigned i = 0; i < message->descriptor->n_fields; i++)
        print_field(out, &message->descriptor->fields[i], (const char *)message, base_rev);
    (void)fputs(" }", out);
}
