/* sim/messages.c - calls and streams on their way between a client and the members: how long that takes, what is lost or
 * false, and in which order it arrives. Whatever comes for a client that is paused is left lying. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/client_parts.h"

/* ---- chance: on its way, and when its thread gets to run ------------------------------------------------- */

int64_t sim_way_below(struct sim_client *client, int64_t n) {
    return (int64_t)(sim_draw(&client->way_seed) % (uint64_t)n);
}

bool sim_way_chance(struct sim_client *client, int per_mille) {
    return per_mille > 0 && sim_way_below(client, 1000) < per_mille;
}

static bool is_hit(struct sim_client *client, enum sim_fault fault, int per_mille) {
    const struct sim_fault_filter *filter = &client->sim->filter;
    if (!sim_way_chance(client, per_mille))
        return false;
    unsigned number = client->n_hits[fault]++;
    return !filter->may_hit || filter->may_hit(filter->arg, fault, client->name, number);
}

static bool is_carried_out_late(struct sim_client *client) {
    return is_hit(client, SIM_LATE_AFTER_CANCEL, client->sim->faults.late_after_cancel);
}

/* ---- calls ---------------------------------------------------------------------------------------------- */

/* On its way from or to that member, at the earliest. */
static int64_t crossing(struct sim_client *client, int member) {
    /* Mostly under 2 ms, with a tail. */
    int64_t at =
        client->sim->now_ns + 100000 + sim_way_below(client, 2 * NS_PER_MS) + client->slow_ns[member];
    if (is_hit(client, SIM_DELAYED, client->sim->faults.delayed))
        at += sim_way_below(client, sim_way_chance(client, 200) ? 3 * NS_PER_S : 200 * NS_PER_MS);
    int64_t held = client->held_until_ns[member];
    return at > held ? at : held + sim_way_below(client, 10 * NS_PER_MS);
}

static int64_t coming_back(struct sim_client *client, int member) {
    int64_t far_ns = client->sim->faults.far_ns;
    int64_t at = crossing(client, member) + (far_ns ? far_ns - sim_way_below(client, far_ns / 10 + 1) : 0);
    int64_t held = client->answers_held_until_ns[member];
    return at > held ? at : held;
}

void sim_call_forget(struct sim_call *call, bool is_cancelled) {
    if (!call->request)
        return;
    call->request->call = NULL;
    call->request->is_cancelled = is_cancelled;
    call->request = NULL;
}

void sim_call_settle(struct sim_call *call, int status, const char *text, int64_t at_ns) {
    call->is_settled = true;
    call->status = status;
    (void)snprintf(call->text, sizeof call->text, "%s", text);
    sim_at(call->client->sim, &call->done, at_ns);
}

void sim_call_complete(struct sim_call *call) {
    struct sim_client *client = call->client;
    sim_call_forget(call, !call->request || !is_carried_out_late(client));
    list_remove(&call->in_calls);
    sim_off(client->sim, &call->done);
    struct rpc_result result = {.status = call->status, .message = call->text, .is_unsent = call->is_unsent};
    client->served_ns = call->served_ns;
    rpc_enter(&client->base);
    call->on_reply(call->arg, &result, call->reply);
    rpc_leave(&client->base);
    if (call->reply)
        protobuf_c_message_free_unpacked(call->reply, NULL);
    free(call);
}

static void on_done(struct sim_event *event) {
    struct sim_call *call = CONTAINER_OF(event, struct sim_call, done);
    if (!call->client->is_paused)
        sim_call_complete(call);
}

static void falsify(struct sim_client *client, ProtobufCMessage *message) {
    struct sim *sim = client->sim;
    bool is_early = client->n_answers++ < SIM_MEMBERS;
    bool is_false = is_hit(client, SIM_FALSE_HEADER, sim->faults.false_header) &&
                    sim_falsify_header(sim, message, &client->way_seed);
    client->n_false_headers += is_false;
    client->has_false_start |= is_false && is_early;
    if (is_hit(client, SIM_FALSE_NUMBER, sim->faults.false_number))
        sim_falsify_number(sim, message, &client->way_seed);
}

void sim_answer_call(struct sim_call *call, int status, const char *text, bool is_unsent,
                     ProtobufCMessage *reply) {
    struct sim *sim = call->client->sim;
    call->served_ns = call->request->served_ns;
    call->request = NULL;
    if (call->is_settled || (!is_unsent && is_hit(call->client, SIM_REPLY_LOST, sim->faults.reply_lost))) {
        if (reply)
            protobuf_c_message_free_unpacked(reply, NULL);
        reply = NULL;
        status = RPC_UNAVAILABLE;
        text = "Socket closed";
    }
    if (call->is_settled)
        return;
    if (reply)
        falsify(call->client, reply);
    call->reply = reply;
    call->is_unsent = is_unsent;
    sim_call_settle(call, status, text, coming_back(call->client, call->member));
}

int sim_op_call(struct rpc_channel *base, enum rpc_method method, struct lun_bytes packed,
                const struct rpc_options *options, rpc_reply_cb on_reply, void *arg,
                struct rpc_call **ret_call) {
    struct sim_client *client = sim_client_of(base->rpc);
    struct sim *sim = client->sim;
    struct sim_call *call = sim_alloc(sizeof *call);
    call->base.rpc = base->rpc;
    call->client = client;
    call->member = CONTAINER_OF(base, struct sim_channel, base)->member;
    call->deadline_ns = options->deadline_ns;
    call->on_reply = on_reply;
    call->arg = arg;
    call->done.run = on_done;
    list_push_back(&client->calls, &call->in_calls);
    if (ret_call)
        *ret_call = &call->base;
    if (client->is_dead)
        return 0;
    if (is_hit(client, SIM_REQUEST_LOST, sim->faults.request_lost)) {
        if (options->deadline_ns == RPC_NEVER || sim_way_chance(client, 500))
            sim_call_settle(call, RPC_UNAVAILABLE, "Socket closed", crossing(client, call->member));
        return 0;
    }
    struct sim_request *request = sim_alloc(sizeof *request);
    list_init(&request->in_member);
    request->event.run = sim_request_arrives;
    request->sim = sim;
    request->member = &sim->members[call->member];
    request->client = client;
    request->call = call;
    request->method = method;
    request->message = sim_unpack(rpc_method_info(method)->request, packed);
    request->has_leader = options->has_leader;
    request->n_beginnings = sim->n_beginnings;
    request->seed = sim_draw(&client->way_seed);
    request->token = options->token ? strdup(options->token) : NULL;
    call->request = request;
    sim_at(sim, &request->event, crossing(client, call->member));
    return 0;
}

/* Ended here, whatever is on its way back; unless that is faster. */
void sim_op_cancel(struct rpc_call *base) {
    struct sim_call *call = CONTAINER_OF(base, struct sim_call, base);
    struct sim *sim = call->client->sim;
    int64_t at_ns = sim->now_ns + sim_way_below(call->client, NS_PER_MS);
    if (call->is_settled && (!call->done.node.index || call->done.node.key <= at_ns))
        return;
    sim_call_forget(call, !call->request || !is_carried_out_late(call->client));
    if (call->reply)
        protobuf_c_message_free_unpacked(call->reply, NULL);
    call->reply = NULL;
    call->is_unsent = false;
    sim_call_settle(call, RPC_CANCELLED, "Cancelled", at_ns);
}

/* ---- streams -------------------------------------------------------------------------------------------- */

static void drop_arrivals(struct sim_stream *stream) {
    struct list *node;
    while ((node = list_pop_front(&stream->arrivals))) {
        struct arrival *arrival = CONTAINER_OF(node, struct arrival, in_arrivals);
        sim_off(stream->client->sim, &arrival->event);
        if (arrival->message)
            protobuf_c_message_free_unpacked(arrival->message, NULL);
        free(arrival);
    }
}

void sim_stream_close(struct sim_stream *stream, int status, const char *text) {
    struct sim_client *client = stream->client;
    if (stream->server)
        sim_server_free(stream->server);
    list_remove(&stream->in_streams);
    struct rpc_result result = {.status = status, .message = text};
    rpc_enter(&client->base);
    stream->callbacks.on_close(stream->arg, &stream->base, &result);
    rpc_leave(&client->base);
    drop_arrivals(stream);
    free(stream);
}

/* What has arrived, in order. */
void sim_stream_take(struct sim_stream *stream) {
    struct sim_client *client = stream->client;
    while (!list_is_empty(&stream->arrivals)) {
        struct arrival *arrival = CONTAINER_OF(stream->arrivals.next, struct arrival, in_arrivals);
        if (arrival->event.node.index)
            return;
        list_remove(&arrival->in_arrivals);
        bool is_end = !arrival->message;
        if (is_end) {
            sim_stream_close(stream, arrival->status, arrival->text);
        } else {
            rpc_enter(&client->base);
            stream->callbacks.on_message(stream->arg, &stream->base, arrival->message);
            rpc_leave(&client->base);
            protobuf_c_message_free_unpacked(arrival->message, NULL);
        }
        free(arrival);
        if (is_end)
            return;
    }
}

static void on_arrival(struct sim_event *event) {
    struct arrival *arrival = CONTAINER_OF(event, struct arrival, event);
    if (!arrival->stream->client->is_paused)
        sim_stream_take(arrival->stream);
}

static void push_arrival(struct sim_stream *stream, ProtobufCMessage *message, int status, const char *text,
                         int64_t at_ns) {
    struct arrival *arrival = sim_alloc(sizeof *arrival);
    arrival->event.run = on_arrival;
    arrival->stream = stream;
    arrival->message = message;
    arrival->status = status;
    (void)snprintf(arrival->text, sizeof arrival->text, "%s", text);
    list_push_back(&stream->arrivals, &arrival->in_arrivals);
    stream->last_in_ns = at_ns > stream->last_in_ns ? at_ns : stream->last_in_ns + 1;
    sim_at(stream->client->sim, &arrival->event, stream->last_in_ns);
}

void sim_say_on(struct sim_server_stream *server, ProtobufCMessage *message, int status, const char *text) {
    struct sim_stream *stream = server->stream;
    struct sim *sim = server->sim;
    if (server->is_over || !stream) {
        if (message)
            protobuf_c_message_free_unpacked(message, NULL);
        return;
    }
    if (message && is_hit(stream->client, SIM_REPLY_LOST, sim->faults.reply_lost)) {
        protobuf_c_message_free_unpacked(message, NULL);
        message = NULL;
        status = RPC_UNAVAILABLE;
        text = "Socket closed";
    }
    server->is_over = !message;
    if (message)
        falsify(stream->client, message);
    push_arrival(stream, message, status, text, coming_back(stream->client, stream->member));
}

int sim_op_stream_open(struct rpc_channel *base, enum rpc_method method, const struct rpc_options *options,
                       const struct rpc_stream_callbacks *callbacks, void *arg,
                       struct rpc_stream **ret_stream) {
    struct sim_client *client = sim_client_of(base->rpc);
    struct sim *sim = client->sim;
    struct sim_stream *stream = sim_alloc(sizeof *stream);
    stream->base.rpc = base->rpc;
    stream->client = client;
    stream->member = CONTAINER_OF(base, struct sim_channel, base)->member;
    stream->callbacks = *callbacks;
    stream->arg = arg;
    list_init(&stream->arrivals);
    list_push_back(&client->streams, &stream->in_streams);
    *ret_stream = &stream->base;
    if (client->is_dead)
        return 0;
    struct sim_member *member = &sim->members[stream->member];
    stream->server = sim_server_open(member, method, options, stream);
    stream->server->seed = sim_draw(&client->way_seed);
    if (member->is_down)
        sim_say_on(stream->server, NULL, RPC_UNAVAILABLE, "failed to connect: Connection refused");
    return 0;
}

int sim_op_stream_send(struct rpc_stream *base, const ProtobufCMessage *message) {
    struct sim_stream *stream = CONTAINER_OF(base, struct sim_stream, base);
    struct sim *sim = stream->client->sim;
    if (stream->is_cancelled || !stream->server || stream->server->is_over)
        return 0;
    struct sim_inbound *inbound = sim_alloc(sizeof *inbound);
    inbound->event.run = sim_inbound_arrives;
    inbound->server = stream->server;
    inbound->message = sim_copy(message);
    stream->client->loads[stream->server->method].n_requests++;
    list_push_back(&stream->server->inbound, &inbound->in_queue);
    int64_t at = crossing(stream->client, stream->member);
    stream->last_out_ns = at > stream->last_out_ns ? at : stream->last_out_ns + 1;
    sim_at(sim, &inbound->event, stream->last_out_ns);
    return 0;
}

void sim_stream_break(struct sim_stream *stream, int status, const char *text) {
    struct sim *sim = stream->client->sim;
    drop_arrivals(stream);
    if (stream->server)
        sim_server_free(stream->server);
    stream->server = NULL;
    stream->last_in_ns = 0;
    push_arrival(stream, NULL, status, text, sim->now_ns + sim_way_below(stream->client, NS_PER_MS));
}

void sim_op_stream_cancel(struct rpc_stream *base) {
    struct sim_stream *stream = CONTAINER_OF(base, struct sim_stream, base);
    if (stream->is_cancelled)
        return;
    stream->is_cancelled = true;
    sim_stream_break(stream, RPC_CANCELLED, "Cancelled");
}
