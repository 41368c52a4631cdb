/* sim/falsify.c - what a server says that is not so: one number of a message becomes another. */
#include <string.h>

#include "sim/world.h"

enum { MAX_NUMBERS = 256 };

/* The numbers of a message, and of those in it. */
struct numbers {
    struct {
        const ProtobufCFieldDescriptor *field;
        void *at;
    } all[MAX_NUMBERS];
    size_t n;
};

static void *member_at(ProtobufCMessage *message, size_t offset) {
    return (char *)(void *)message + offset;
}

static bool is_there(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field) {
    return !(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) ||
           *(uint32_t *)member_at(message, field->quantifier_offset) == field->id;
}

static void collect(struct numbers *numbers, ProtobufCMessage *message);

static void collect_field(struct numbers *numbers, ProtobufCMessage *message,
                          const ProtobufCFieldDescriptor *field) {
    void *at = member_at(message, field->offset);
    bool is_message = field->type == PROTOBUF_C_TYPE_MESSAGE;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        size_t n = is_message ? *(size_t *)member_at(message, field->quantifier_offset) : 0;
        for (size_t i = 0; i < n; i++)
            collect(numbers, (*(ProtobufCMessage ***)at)[i]);
    } else if (is_message) {
        if (*(ProtobufCMessage **)at)
            collect(numbers, *(ProtobufCMessage **)at);
    } else if (numbers->n < MAX_NUMBERS &&
               (field->type == PROTOBUF_C_TYPE_INT64 || field->type == PROTOBUF_C_TYPE_UINT64 ||
                field->type == PROTOBUF_C_TYPE_ENUM)) {
        numbers->all[numbers->n].field = field;
        numbers->all[numbers->n++].at = at;
    }
}

static void collect(struct numbers *numbers, ProtobufCMessage *message) {
    for (unsigned i = 0; i < message->descriptor->n_fields; i++)
        if (is_there(message, &message->descriptor->fields[i]))
            collect_field(numbers, message, &message->descriptor->fields[i]);
}

/* Every reply's header is its first field. */
static Etcdserverpb__ResponseHeader *header_of(ProtobufCMessage *message) {
    const ProtobufCFieldDescriptor *first = &message->descriptor->fields[0];
    if (strcmp(first->name, "header") != 0)
        return NULL;
    return *(Etcdserverpb__ResponseHeader **)member_at(message, first->offset);
}

void sim_falsify_header(struct sim *sim, ProtobufCMessage *message, uint64_t *dice) {
    Etcdserverpb__ResponseHeader *header = header_of(message);
    if (!header)
        return;
    uint64_t wrong = 1 + sim_draw(dice) % 1000;
    uint64_t which = sim_draw(dice) % 3;
    if (which == 0)
        header->cluster_id += wrong;
    else if (which == 1)
        header->member_id += wrong;
    else
        header->raft_term += wrong;
    sim_say(sim, "fault: a header with a false %s, off by %llu",
            (const char *[]){"cluster id", "member id", "raft term"}[which], (unsigned long long)wrong);
}

void sim_falsify_number(struct sim *sim, ProtobufCMessage *message, uint64_t *dice) {
    static const int64_t impossible[] = {-1, INT64_MIN, INT64_MAX, INT64_MAX / NS_PER_S + 1, -7};
    struct numbers numbers = {.n = 0};
    collect(&numbers, message);
    if (numbers.n == 0)
        return;
    size_t i = sim_draw(dice) % numbers.n;
    int64_t number = impossible[sim_draw(dice) % (sizeof impossible / sizeof impossible[0])];
    if (numbers.all[i].field->type == PROTOBUF_C_TYPE_ENUM)
        *(int *)numbers.all[i].at = 7;
    else
        *(int64_t *)numbers.all[i].at = number;
    sim_say(sim, "fault: a false %s in a %s: %lld", numbers.all[i].field->name,
            message->descriptor->short_name, (long long)number);
}
