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

bool sim_falsify_header(struct sim *sim, ProtobufCMessage *message, uint64_t *dice) {
    Etcdserverpb__ResponseHeader *header = header_of(message);
    if (!header)
        return false;
    uint64_t wrong = 1 + sim_draw(dice) % 1000;
    uint64_t which = sim_draw(dice) % 4;
    if (which == 0)
        header->cluster_id += wrong;
    else if (which == 1)
        header->member_id += wrong;
    else if (which == 2)
        header->raft_term += wrong;
    else
        header->revision += (int64_t)wrong;
    sim_say(sim, "fault: a header with a false %s, off by %llu",
            (const char *[]){"cluster id", "member id", "raft term", "revision"}[which],
            (unsigned long long)wrong);
    return true;
}

/* What no etcd can mean by a number of that name. Others (the lease of a key, a cluster's id) may be anything. */
static size_t impossible(const char *name, const int64_t **ret_numbers) {
    static const int64_t below_zero[] = {-7, INT64_MIN, -1}, neither[] = {-7, INT64_MIN, -1, INT64_MAX},
                         times[] = {-7, INT64_MIN, INT64_MAX, INT64_MAX / NS_PER_S + 1};
    static const struct {
        const char *name;
        const int64_t *numbers;
        size_t n;
    } of_name[] = {{"ttl", times, 4},
                   {"grantedttl", times, 4},
                   {"revision", neither, 4},
                   {"raft_term", neither, 4},
                   {"mod_revision", neither, 4},
                   {"create_revision", neither, 4},
                   {"compact_revision", neither, 4},
                   {"watch_id", neither, 4},
                   {"id", neither, 4},
                   {"count", below_zero, 3},
                   {"deleted", below_zero, 3},
                   {"version", below_zero, 3}};
    for (size_t i = 0; i < sizeof of_name / sizeof of_name[0]; i++)
        if (strcmp(of_name[i].name, name) == 0) {
            *ret_numbers = of_name[i].numbers;
            return of_name[i].n;
        }
    return 0;
}

void sim_falsify_number(struct sim *sim, ProtobufCMessage *message, uint64_t *dice) {
    struct numbers numbers = {.n = 0};
    collect(&numbers, message);
    if (numbers.n == 0)
        return;
    size_t i = sim_draw(dice) % numbers.n;
    const ProtobufCFieldDescriptor *field = numbers.all[i].field;
    const int64_t *all;
    size_t n = impossible(field->name, &all);
    int64_t number = n > 0 ? all[sim_draw(dice) % n] : 7;
    if (field->type == PROTOBUF_C_TYPE_ENUM)
        *(int *)numbers.all[i].at = (int)number;
    else if (n > 0)
        *(int64_t *)numbers.all[i].at = number;
    else
        return;
    sim_say(sim, "fault: a false %s in a %s: %lld", field->name, message->descriptor->short_name,
            (long long)number);
}
