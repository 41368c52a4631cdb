/* sim/stream.c - the servers' ends of streams, and renewals, served one after another. Watches: watch.c. */
#include <stdlib.h>
#include <string.h>

#include "sim/world.h"

#define ASK_AGAIN_NS (50 * NS_PER_MS)
/* A new leader takes a while to become the one that keeps the leases. */
#define NEW_LESSOR_NS (300 * NS_PER_MS)

void sim_tell(struct sim_server_stream *server, const ProtobufCMessage *message) {
    sim_say_on(server, sim_copy(message), RPC_OK, "");
    sim_drop_garbage(server->sim);
}

/* ---- renewals ------------------------------------------------------------------------------------------- */

static void ask_again(struct sim_server_stream *server) {
    struct sim *sim = server->sim;
    if (sim->now_ns - server->asked_ns > SIM_GIVE_UP_NS)
        sim_say_on(server, NULL, RPC_UNAVAILABLE,
                   server->member->has_leader ? "etcdserver: request timed out" : "etcdserver: no leader");
    else
        sim_at(sim, &server->work, sim->now_ns + ASK_AGAIN_NS);
}

static void answer_renewal(struct sim_server_stream *server, int64_t id, int64_t ttl_s) {
    Etcdserverpb__LeaseKeepAliveResponse response = ETCDSERVERPB__LEASE_KEEP_ALIVE_RESPONSE__INIT;
    response.header = sim_member_header(server->member);
    response.id = id;
    response.ttl = ttl_s;
    struct list *node = list_pop_front(&server->inbound);
    struct sim_inbound *inbound = CONTAINER_OF(node, struct sim_inbound, in_queue);
    protobuf_c_message_free_unpacked(inbound->message, NULL);
    free(inbound);
    server->is_busy = false;
    sim_tell(server, &response.base);
}

static void renew(struct sim_server_stream *server, int64_t id) {
    struct sim *sim = server->sim;
    struct sim_member *member = server->member;
    Etcdserverpb__LeaseKeepAliveRequest request = ETCDSERVERPB__LEASE_KEEP_ALIVE_REQUEST__INIT;
    request.id = id;
    struct sim_answer may = sim_authorize(member, server->token, RPC_LEASE_KEEP_ALIVE, &request.base);
    if (may.status) {
        sim_say_on(server, NULL, may.status, may.message);
        return;
    }
    if (member->is_stale_leader) {
        const struct sim_lease *known = sim_lease_known(member, id);
        sim_say(sim, "etcd: %s, no leader any more, answers a renewal of %llx", sim_addresses[member->index],
                (unsigned long long)id);
        answer_renewal(server, id, known ? known->ttl_s : 0);
        return;
    }
    struct sim_member *leader = sim->leader >= 0 ? &sim->members[sim->leader] : NULL;
    bool is_reached = leader && (leader == member || (!leader->is_cut && !member->is_cut));
    if (!is_reached || !sim_can_run(leader) || leader->is_stale_leader || !leader->has_leader) {
        ask_again(server);
        return;
    }
    if (sim->now_ns - sim->elected_ns < NEW_LESSOR_NS && sim_chance(sim, 100)) {
        sim_say_on(server, NULL, RPC_UNKNOWN, "not a primary lessor");
        return;
    }
    if (leader->applied < server->needs) {
        sim_at(sim, &server->work, sim->now_ns + NS_PER_MS);
        return;
    }
    struct sim_lease *lease = sim_lease_known(leader, id);
    if (lease && lease->expires_ns <= sim->now_ns) {
        ask_again(server); /* until it has been revoked, or another leads */
        return;
    }
    if (lease && !lease->gone_at)
        lease->expires_ns = sim->now_ns + lease->ttl_s * NS_PER_S;
    answer_renewal(server, id, lease ? lease->ttl_s : 0);
}

/* A renewal that another member forwards always waits for the leader to apply what it knows to be committed, one that the
 * leader gets itself only since etcd 3.4.20 and 3.5.3. */
static size_t needed(const struct sim_member *member) {
    struct sim *sim = member->sim;
    bool is_leader = member->index == sim->leader;
    bool is_by_what_is_applied =
        (is_leader || !sim_knows_committed(sim)) && sim_chance(sim, sim->faults.hasty);
    return is_by_what_is_applied ? 0 : sim->n_entries;
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
            server->needs = needed(member);
            sim_at(sim, &server->work, sim->now_ns + (member->index == sim->leader ? 0 : sim_delay(sim)));
            return;
        }
        list_remove(&inbound->in_queue);
        const Etcdserverpb__WatchRequest *request = (const Etcdserverpb__WatchRequest *)inbound->message;
        if (request->request_union_case == ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST)
            sim_create_watch(server, request->create_request);
        else
            sim_cancel_watch(server, request->cancel_request->watch_id);
        protobuf_c_message_free_unpacked(inbound->message, NULL);
        free(inbound);
    }
}

static void on_work(struct sim_event *event) {
    struct sim_server_stream *server = CONTAINER_OF(event, struct sim_server_stream, work);
    sim_turn(server->sim, server->seed, server->n_turns++);
    if (server->is_over || !sim_can_run(server->member))
        return;
    const struct sim_inbound *inbound = CONTAINER_OF(server->inbound.next, struct sim_inbound, in_queue);
    renew(server, ((const Etcdserverpb__LeaseKeepAliveRequest *)inbound->message)->id);
    if (!server->is_busy)
        serve(server);
}

void sim_inbound_arrives(struct sim_event *event) {
    struct sim_server_stream *server = CONTAINER_OF(event, struct sim_inbound, event)->server;
    sim_turn(server->sim, server->seed, server->n_turns++);
    serve(server);
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

struct sim_server_stream *sim_server_open(struct sim_member *member, enum rpc_method method,
                                          const struct rpc_options *options, struct sim_stream *stream) {
    struct sim_server_stream *server = sim_alloc(sizeof *server);
    server->sim = member->sim;
    server->member = member;
    server->stream = stream;
    server->method = method;
    server->has_leader = options->has_leader;
    server->token = options->token ? strdup(options->token) : NULL;
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
    sim_drop_watches(server);
    sim_off(server->sim, &server->work);
    list_remove(&server->in_streams);
    free(server->token);
    free(server);
}
