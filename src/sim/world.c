/* sim/world.c - time, chance, memory: see sim.h and world.h. The files of this floor stand in a circle, for one reason: events of
 * the world call the parts of etcd, and these plan further events. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/world.h"

const char *const sim_addresses[SIM_MEMBERS] = {"a:1", "b:1", "c:1"};

enum { FIRST_CLUSTER_ID = 77 };

void sim_die(const char *what) {
    (void)fprintf(stderr, "sim: %s\n", what);
    abort();
}

void *sim_alloc(size_t n_bytes) {
    void *memory = calloc(1, n_bytes + 1);
    if (!memory)
        sim_die("out of memory");
    return memory;
}

void *sim_grow(void *array, size_t n, size_t *room, size_t size) {
    if (n < *room)
        return array;
    *room = *room ? *room * 2 : 64;
    array = realloc(array, *room * size);
    if (!array)
        sim_die("out of memory");
    return array;
}

void *sim_take(struct sim *sim, size_t n_bytes) {
    return sim_arena_take(&sim->garbage, n_bytes);
}

void sim_drop_garbage(struct sim *sim) {
    sim_arena_reset(&sim->garbage);
}

ProtobufCMessage *sim_unpack(const ProtobufCMessageDescriptor *descriptor, struct lun_bytes packed) {
    ProtobufCMessage *message = protobuf_c_message_unpack(descriptor, NULL, packed.len, packed.data);
    if (!message)
        sim_die("a message does not unpack");
    return message;
}

ProtobufCMessage *sim_copy(const ProtobufCMessage *message) {
    size_t n = protobuf_c_message_get_packed_size(message);
    uint8_t *packed = sim_alloc(n);
    (void)protobuf_c_message_pack(message, packed);
    ProtobufCMessage *copy = sim_unpack(message->descriptor, (struct lun_bytes){packed, n});
    free(packed);
    return copy;
}

/* ---- chance -------------------------------------------------------------------------------------------- */

/* splitmix64. */
uint64_t sim_draw(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void sim_turn(struct sim *sim, uint64_t seed, uint64_t number) {
    sim->turn_seed = seed ^ number * UINT64_C(0xd6e8feb86659fd93);
    sim->dice = &sim->turn_seed;
}

uint64_t sim_random(struct sim *sim) {
    return sim_draw(sim->dice);
}

int64_t sim_below(struct sim *sim, int64_t n) {
    return (int64_t)(sim_random(sim) % (uint64_t)n);
}

bool sim_chance(struct sim *sim, int per_mille) {
    return per_mille > 0 && sim_below(sim, 1000) < per_mille;
}

/* One way: mostly under 2 ms, with a tail. */
int64_t sim_delay(struct sim *sim) {
    int64_t ns = 100000 + sim_below(sim, 2 * NS_PER_MS);
    if (sim_chance(sim, sim->faults.delayed))
        ns += sim_below(sim, sim_chance(sim, 200) ? 3 * NS_PER_S : 200 * NS_PER_MS);
    return ns;
}

/* ---- time ---------------------------------------------------------------------------------------------- */

int64_t sim_now(const struct sim *sim) {
    return sim->now_ns;
}

void sim_at(struct sim *sim, struct sim_event *event, int64_t at_ns) {
    if (heap_reserve(&sim->events, sim->events.n + 1))
        sim_die("out of memory");
    if (sim->events.n > SIM_EVENTS_MAX)
        sim_die("too much happens");
    heap_insert(&sim->events, &event->node, at_ns > sim->now_ns ? at_ns : sim->now_ns);
}

void sim_off(struct sim *sim, struct sim_event *event) {
    heap_remove(&sim->events, &event->node);
}

void sim_step(struct sim *sim) {
    struct heap_node *first = heap_first(&sim->events);
    if (!first)
        return;
    sim->now_ns = first->key;
    heap_remove(&sim->events, first);
    sim->dice = &sim->seed;
    struct sim_event *event = CONTAINER_OF(first, struct sim_event, node);
    event->run(event);
}

void sim_trace(struct sim *sim, void (*on_line)(void *arg, int64_t now_ns, const char *line), void *arg) {
    sim->on_line = on_line;
    sim->on_line_arg = arg;
}

void sim_say(struct sim *sim, const char *format, ...) {
    if (!sim->on_line)
        return;
    char line[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    sim->on_line(sim->on_line_arg, sim->now_ns, line);
}

void sim_set_faults(struct sim *sim, const struct sim_faults *faults) {
    sim->faults = *faults;
}

void sim_filter_faults(struct sim *sim, const struct sim_fault_filter *filter) {
    sim->filter = *filter;
}

void sim_look_on(struct sim *sim, const struct sim_watcher *watcher) {
    sim->watcher = *watcher;
}

/* ---- beginning and end --------------------------------------------------------------------------------- */

struct sim *sim_new(uint64_t seed) {
    struct sim *sim = sim_alloc(sizeof *sim);
    sim->seed = sim->first_seed = seed * UINT64_C(0x2545f4914f6cdd1d) + 1;
    sim->dice = &sim->seed;
    sim->now_ns = 1000 * NS_PER_S;
    heap_init(&sim->events);
    list_init(&sim->clients);
    sim->revision = 1;
    sim->cluster_id = FIRST_CLUSTER_ID;
    sim_cluster_init(sim);
    return sim;
}

void sim_free(struct sim *sim) {
    sim->is_ended = true;
    struct list *node;
    while ((node = list_pop_front(&sim->clients)))
        sim_client_free(CONTAINER_OF(node, struct sim_client, in_clients));
    sim_cluster_fini(sim);
    /* What is left is on its way: requests nobody waits for any more, and what they carry. */
    struct heap_node *first;
    while ((first = heap_first(&sim->events))) {
        heap_remove(&sim->events, first);
        struct sim_event *event = CONTAINER_OF(first, struct sim_event, node);
        if (event->run == sim_request_arrives) {
            sim_request_free(CONTAINER_OF(event, struct sim_request, event));
        } else if (event->run == sim_inbound_arrives) {
            struct sim_inbound *inbound = CONTAINER_OF(event, struct sim_inbound, event);
            protobuf_c_message_free_unpacked(inbound->message, NULL);
            free(inbound);
        }
    }
    heap_fini(&sim->events);
    sim_arena_fini(&sim->garbage);
    sim_arena_fini(&sim->kept);
    sim_keys_fini(&sim->keys);
    sim_auth_fini(sim);
    free(sim->entries);
    free(sim->changes);
    free(sim->leases);
    free(sim);
}
