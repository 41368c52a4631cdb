/* sim/serve.c - a request's way: it arrives, is carried out where a leader leads, and is answered once the
 * member asked has applied it. One that meets a member that does not run lies there. */
#include <stdio.h>
#include <stdlib.h>

#include "sim/world.h"

#define ASK_AGAIN_NS (50 * NS_PER_MS)

void sim_request_free(struct sim_request *request) {
    list_remove(&request->in_member);
    if (request->event.node.index)
        sim_off(request->sim, &request->event);
    protobuf_c_message_free_unpacked(request->message, NULL);
    if (request->reply)
        protobuf_c_message_free_unpacked(request->reply, NULL);
    free(request->token);
    free(request);
}

static void refuse(struct sim_request *request, int status, const char *text, bool is_unsent) {
    if (request->call)
        sim_answer_call(request->call, status, text, is_unsent, NULL);
    sim_request_free(request);
}

static void answer(struct sim_request *request) {
    struct sim_member *member = request->member;
    if (member->applied < request->needs) {
        list_push_back(&member->waiting, &request->in_member);
        return;
    }
    /* Every reply's header is its first field. */
    struct with_header {
        ProtobufCMessage base;
        Etcdserverpb__ResponseHeader *header;
    };
    if (request->reply) {
        Etcdserverpb__ResponseHeader *header = ((struct with_header *)(void *)request->reply)->header;
        header->member_id = sim_member_id(member);
        header->raft_term = member->term;
    }
    if (request->call) {
        ProtobufCMessage *reply = request->reply;
        request->reply = NULL;
        sim_answer_call(request->call, request->status, request->text, false, reply);
    }
    sim_request_free(request);
}

/* What etcd says depends on what it was waiting for; 3.4 gives that of a write no better status than "unknown". */
static void give_up(struct sim_request *request, bool is_write) {
    bool has_leader = request->member->has_leader;
    if (is_write && !has_leader)
        refuse(request, sim_chance(request->sim, 500) ? RPC_UNKNOWN : RPC_DEADLINE_EXCEEDED,
               "context deadline exceeded", false);
    else if (request->method == RPC_LEASE_TIME_TO_LIVE && !has_leader)
        refuse(request, RPC_UNAVAILABLE, "etcdserver: no leader", false);
    else
        refuse(request, RPC_UNAVAILABLE, "etcdserver: request timed out", false);
}

/* The leader is not there, or was another when this began. True: nothing more to do now. */
static bool is_hindered(struct sim_request *request) {
    struct sim *sim = request->sim;
    bool is_write = sim_is_write(request->method, request->message);
    if (!request->term) {
        request->term = request->member->term;
        request->give_up_ns = sim->now_ns + SIM_GIVE_UP_NS;
    }
    if (sim->now_ns > request->give_up_ns) {
        give_up(request, is_write);
        return true;
    }
    bool is_changed = request->term != sim->term;
    if (!sim_can_commit(sim, request->member)) {
        sim_at(sim, &request->event, sim->now_ns + ASK_AGAIN_NS);
        return true;
    }
    if (is_changed && !is_write && sim_chance(sim, 500)) {
        refuse(request, RPC_UNAVAILABLE, "etcdserver: leader changed", false);
        return true;
    }
    if (is_changed && is_write && sim_chance(sim, 300)) {
        refuse(request, RPC_UNAVAILABLE,
               "etcdserver: request timed out, possibly due to previous leader failure", false);
        return true;
    }
    return false;
}

static void count_load(struct sim_load *load, uint64_t n_keys) {
    load->n_requests++;
    load->n_keys += n_keys;
    if (n_keys > load->most_keys)
        load->most_keys = n_keys;
}

/* It was at work, or answered, when etcd began anew. */
static bool is_of_another_etcd(const struct sim_request *request) {
    return request->n_beginnings != request->sim->n_beginnings && (request->term || request->is_answered);
}

void sim_request_arrives(struct sim_event *event) {
    struct sim_request *request = CONTAINER_OF(event, struct sim_request, event);
    struct sim_member *member = request->member;
    struct sim *sim = request->sim;
    sim_turn(sim, request->seed, request->n_turns++);
    if (request->is_cancelled && !request->is_answered) {
        sim_request_free(request);
    } else if (member->is_down || is_of_another_etcd(request)) {
        bool is_unsent = !request->term && !request->is_answered;
        refuse(request, RPC_UNAVAILABLE,
               is_unsent              ? "failed to connect: Connection refused"
               : sim_chance(sim, 300) ? "etcdserver: server stopped"
                                      : "Socket closed",
               is_unsent);
    } else if (member->is_frozen) {
        list_push_back(&member->parked, &request->in_member);
    } else if (request->is_answered) {
        answer(request);
    } else if (request->has_leader && !member->has_leader) {
        refuse(request, RPC_UNAVAILABLE, "etcdserver: no leader", false);
    } else if (sim_is_local(request->method, request->message) || !is_hindered(request)) {
        sim->n_keys_read = 0;
        struct sim_answer done = sim_carry_out(member, request->token, request->method, request->message);
        count_load(&request->client->loads[request->method], sim->n_keys_read);
        request->is_answered = true;
        request->served_ns = sim->now_ns;
        request->status = done.status;
        (void)snprintf(request->text, sizeof request->text, "%s", done.message);
        request->reply = done.reply ? sim_copy(done.reply) : NULL;
        sim_drop_garbage(sim);
        request->needs = sim_is_local(request->method, request->message) ? 0 : sim->n_entries;
        sim_at(sim, event, sim->now_ns + sim_delay(sim) / 2);
    }
}

static void serve_all(struct sim_member *member, struct list *list) {
    struct list batch, *node;
    list_move(list, &batch);
    while ((node = list_pop_front(&batch)))
        sim_at(member->sim, &CONTAINER_OF(node, struct sim_request, in_member)->event,
               member->sim->now_ns + sim_below(member->sim, NS_PER_MS));
}

void sim_serve_parked(struct sim_member *member) {
    serve_all(member, &member->parked);
}

void sim_serve_waiting(struct sim_member *member) {
    serve_all(member, &member->waiting);
}
