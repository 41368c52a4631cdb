/* sim/stream.c - the servers' ends of streams: renewals, served one after another, and watches. */
#include <stdlib.h>
#include <string.h>

#include "sim/world.h"

#define ASK_AGAIN_NS (50 * NS_PER_MS)
#define GIVE_UP_NS (5 * NS_PER_S)

static Etcdserverpb__ResponseHeader *header_of(struct sim_member *member) {
    Etcdserverpb__ResponseHeader *header = sim_header(member->sim);
    header->revision = sim_applied_rev(member);
    header->raft_term = member->term;
    return header;
}

static void say(struct sim_server_stream *server, const ProtobufCMessage *message) {
    sim_say_on(server, sim_copy(message), RPC_OK, "");
    sim_drop_garbage(server->sim);
}

/* ---- renewals ------------------------------------------------------------------------------------------- */

static void ask_again(struct sim_server_stream *server) {
    struct sim *sim = server->sim;
    if (sim->now_ns - server->asked_ns > GIVE_UP_NS)
        sim_say_on(server, NULL, RPC_UNAVAILABLE,
                   server->member->has_leader ? "etcdserver: request timed out" : "etcdserver: no leader");
    else
        sim_at(sim, &server->work, sim->now_ns + ASK_AGAIN_NS);
}

static void answer_renewal(struct sim_server_stream *server, int64_t id, int64_t ttl_s) {
    Etcdserverpb__LeaseKeepAliveResponse response = ETCDSERVERPB__LEASE_KEEP_ALIVE_RESPONSE__INIT;
    response.header = header_of(server->member);
    response.id = id;
    response.ttl = ttl_s;
    struct list *node = list_pop_front(&server->inbound);
    struct sim_inbound *inbound = CONTAINER_OF(node, struct sim_inbound, in_queue);
    protobuf_c_message_free_unpacked(inbound->message, NULL);
    free(inbound);
    server->is_busy = false;
    say(server, &response.base);
}

/* The lease that `member` knows by that id, whatever has become of it since. */
static struct sim_lease *lease_known(struct sim_member *member, int64_t id) {
    struct sim *sim = member->sim;
    for (size_t i = sim->n_leases; i-- > 0;)
        if (sim->leases[i].id == id && sim_knows_lease(member, &sim->leases[i]))
            return &sim->leases[i];
    return NULL;
}

static void renew(struct sim_server_stream *server, int64_t id) {
    struct sim *sim = server->sim;
    struct sim_member *member = server->member;
    if (member->is_stale_leader) {
        const struct sim_lease *known = lease_known(member, id);
        sim_say(sim, "etcd: %s, no leader any more, answers a renewal of %llx", sim_addresses[member->index],
                (unsigned long long)id);
        answer_renewal(server, id, known ? known->ttl_s : 0);
        return;
    }
    struct sim_member *leader = sim->leader >= 0 ? &sim->members[sim->leader] : NULL;
    bool is_reached = leader && (leader == member || (!leader->is_cut && !member->is_cut));
    if (!is_reached || !sim_can_run(leader) || leader->is_stale_leader) {
        ask_again(server);
        return;
    }
    struct sim_lease *lease = lease_known(leader, id);
    if (lease && lease->expires_ns <= sim->now_ns) {
        ask_again(server); /* until it has been revoked, or another leads */
        return;
    }
    if (lease && !lease->gone_at)
        lease->expires_ns = sim->now_ns + lease->ttl_s * NS_PER_S;
    answer_renewal(server, id, lease ? lease->ttl_s : 0);
}

/* ---- watches -------------------------------------------------------------------------------------------- */

static struct lun_bytes own(struct lun_bytes bytes) {
    char *copy = sim_alloc(bytes.len + 1);
    if (bytes.len > 0)
        memcpy(copy, bytes.data, bytes.len);
    return (struct lun_bytes){copy, bytes.len};
}

static void create(struct sim_server_stream *server, const Etcdserverpb__WatchCreateRequest *request) {
    struct sim *sim = server->sim;
    struct sim_member *member = server->member;
    struct sim_watch *watch = sim_alloc(sizeof *watch);
    watch->id = server->n_watches_made++;
    watch->range = sim_range_of(own(sim_bytes(request->key)), own(sim_bytes(request->range_end)));
    for (size_t i = 0; i < request->n_filters; i++) {
        watch->has_no_puts |= request->filters[i] == ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NOPUT;
        watch->has_no_deletes |=
            request->filters[i] == ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NODELETE;
    }
    watch->wants_prev_kv = request->prev_kv;
    watch->next_rev = request->start_revision ? request->start_revision : sim_applied_rev(member) + 1;
    /* "From now on" becomes a number before the watcher is registered: now and then somebody writes between.
     */
    watch->is_slow =
        watch->next_rev <= sim_applied_rev(member) || (!request->start_revision && sim_chance(sim, 30));
    list_push_back(&server->watches, &watch->in_watches);
    Etcdserverpb__WatchResponse response = ETCDSERVERPB__WATCH_RESPONSE__INIT;
    response.header = header_of(member);
    response.created = 1;
    response.watch_id = watch->id;
    say(server, &response.base);
}

static void drop_watch(struct sim_watch *watch) {
    list_remove(&watch->in_watches);
    free((void *)(uintptr_t)watch->range.from.data);
    free((void *)(uintptr_t)watch->range.end.data);
    free(watch);
}

static void cancel(struct sim_server_stream *server, int64_t id) {
    for (struct list *node = server->watches.next; node != &server->watches; node = node->next) {
        struct sim_watch *watch = CONTAINER_OF(node, struct sim_watch, in_watches);
        if (watch->id != id)
            continue;
        drop_watch(watch);
        Etcdserverpb__WatchResponse response = ETCDSERVERPB__WATCH_RESPONSE__INIT;
        response.header = header_of(server->member);
        response.canceled = 1;
        response.watch_id = id;
        say(server, &response.base);
        return;
    }
}

static size_t first_change_at(const struct sim *sim, int64_t revision) {
    size_t low = 0, high = sim->n_changes;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (sim->changes[middle].kv.mod_rev < revision)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static Etcdserverpb__Event *event_of(struct sim *sim, const struct sim_watch *watch,
                                     const struct sim_change *change) {
    Etcdserverpb__Event *event = sim_take(sim, sizeof *event);
    etcdserverpb__event__init(event);
    event->type =
        change->is_delete ? ETCDSERVERPB__EVENT__EVENT_TYPE__DELETE : ETCDSERVERPB__EVENT__EVENT_TYPE__PUT;
    event->kv = sim_kv_message(sim, &change->kv, true);
    if (watch->wants_prev_kv && change->before && change->kv.mod_rev > sim->compacted_rev)
        event->prev_kv = sim_kv_message(sim, &sim->changes[change->before - 1].kv, true);
    return event;
}

static void tell(struct sim_server_stream *server, struct sim_watch *watch) {
    struct sim *sim = server->sim;
    struct sim_member *member = server->member;
    if (watch->is_slow && watch->next_rev < sim->compacted_rev) {
        Etcdserverpb__WatchResponse gone = ETCDSERVERPB__WATCH_RESPONSE__INIT;
        gone.header = header_of(member);
        gone.canceled = 1;
        gone.watch_id = watch->id;
        gone.compact_revision = sim->compacted_rev;
        drop_watch(watch);
        say(server, &gone.base);
        return;
    }
    watch->is_slow = false;
    if (member->applied == 0 || watch->next_rev > sim_applied_rev(member))
        return;
    size_t end = sim->entries[member->applied - 1].n_changes;
    size_t i = first_change_at(sim, watch->next_rev);
    watch->next_rev = sim_applied_rev(member) + 1;
    Etcdserverpb__WatchResponse response = ETCDSERVERPB__WATCH_RESPONSE__INIT;
    response.events = end > i ? sim_take(sim, (end - i) * sizeof *response.events) : NULL;
    for (; i < end; i++) {
        const struct sim_change *change = &sim->changes[i];
        if (!sim_range_has(&watch->range, sim_key_of(&change->kv)) ||
            (change->is_delete ? watch->has_no_deletes : watch->has_no_puts))
            continue;
        if (change->is_delete && sim_chance(sim, sim->faults.event_dropped)) {
            sim_say(sim, "fault: %s forgets to tell of %s", sim_addresses[member->index], change->kv.key);
            continue;
        }
        response.events[response.n_events++] = event_of(sim, watch, change);
    }
    if (response.n_events > 0) {
        response.header = header_of(member);
        response.watch_id = watch->id;
        say(server, &response.base);
    }
    sim_drop_garbage(sim);
}

void sim_tell_watches(struct sim_member *member, bool is_slow_loop) {
    struct list *stream_node, *stream_next;
    for (stream_node = member->streams.next; stream_node != &member->streams; stream_node = stream_next) {
        stream_next = stream_node->next;
        struct sim_server_stream *server = CONTAINER_OF(stream_node, struct sim_server_stream, in_streams);
        struct list *node, *next;
        for (node = server->watches.next; node != &server->watches; node = next) {
            next = node->next;
            struct sim_watch *watch = CONTAINER_OF(node, struct sim_watch, in_watches);
            if (watch->is_slow == is_slow_loop && !server->is_over)
                tell(server, watch);
        }
    }
}

/* ---- streams -------------------------------------------------------------------------------------------- */

static void serve(struct sim_server_stream *server) {
    struct sim *sim = server->sim;
    struct sim_member *member = server->member;
    while (!server->is_over && sim_can_run(member) && !server->is_busy && !list_is_empty(&server->inbound)) {
        struct sim_inbound *inbound = CONTAINER_OF(server->inbound.next, struct sim_inbound, in_queue);
        if (inbound->event.node.index)
            return; /* on its way yet */
        if (server->has_leader && !member->has_leader) {
            sim_say_on(server, NULL, RPC_UNAVAILABLE, "etcdserver: no leader");
            return;
        }
        if (server->method == RPC_LEASE_KEEP_ALIVE) {
            server->is_busy = true;
            server->asked_ns = sim->now_ns;
            sim_at(sim, &server->work, sim->now_ns + (member->index == sim->leader ? 0 : sim_delay(sim)));
            return;
        }
        list_remove(&inbound->in_queue);
        const Etcdserverpb__WatchRequest *request = (const Etcdserverpb__WatchRequest *)inbound->message;
        if (request->request_union_case == ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST)
            create(server, request->create_request);
        else
            cancel(server, request->cancel_request->watch_id);
        protobuf_c_message_free_unpacked(inbound->message, NULL);
        free(inbound);
    }
}

static void on_work(struct sim_event *event) {
    struct sim_server_stream *server = CONTAINER_OF(event, struct sim_server_stream, work);
    if (server->is_over || !sim_can_run(server->member))
        return;
    const struct sim_inbound *inbound = CONTAINER_OF(server->inbound.next, struct sim_inbound, in_queue);
    renew(server, ((const Etcdserverpb__LeaseKeepAliveRequest *)inbound->message)->id);
    if (!server->is_busy)
        serve(server);
}

void sim_inbound_arrives(struct sim_event *event) {
    serve(CONTAINER_OF(event, struct sim_inbound, event)->server);
}

/* After a freeze: what was at work goes on, what came meanwhile is served. */
void sim_serve_streams(struct sim_member *member) {
    struct list *node, *next;
    for (node = member->streams.next; node != &member->streams; node = next) {
        next = node->next;
        struct sim_server_stream *server = CONTAINER_OF(node, struct sim_server_stream, in_streams);
        if (server->is_busy && !server->work.node.index)
            sim_at(member->sim, &server->work, member->sim->now_ns);
        else
            serve(server);
    }
}

void sim_end_streams(struct sim_member *member, bool only_has_leader, const char *why) {
    struct list *node, *next;
    for (node = member->streams.next; node != &member->streams; node = next) {
        next = node->next;
        struct sim_server_stream *server = CONTAINER_OF(node, struct sim_server_stream, in_streams);
        if (server->has_leader || !only_has_leader)
            sim_say_on(server, NULL, RPC_UNAVAILABLE, why);
    }
}

struct sim_server_stream *sim_server_open(struct sim_member *member, enum rpc_method method, bool has_leader,
                                          struct sim_stream *stream) {
    struct sim_server_stream *server = sim_alloc(sizeof *server);
    server->sim = member->sim;
    server->member = member;
    server->stream = stream;
    server->method = method;
    server->has_leader = has_leader;
    server->work.run = on_work;
    list_init(&server->inbound);
    list_init(&server->watches);
    list_push_back(&member->streams, &server->in_streams);
    return server;
}

void sim_server_free(struct sim_server_stream *server) {
    struct list *node;
    while ((node = list_pop_front(&server->inbound))) {
        struct sim_inbound *inbound = CONTAINER_OF(node, struct sim_inbound, in_queue);
        sim_off(server->sim, &inbound->event);
        protobuf_c_message_free_unpacked(inbound->message, NULL);
        free(inbound);
    }
    while (!list_is_empty(&server->watches))
        drop_watch(CONTAINER_OF(server->watches.next, struct sim_watch, in_watches));
    sim_off(server->sim, &server->work);
    list_remove(&server->in_streams);
    free(server);
}
