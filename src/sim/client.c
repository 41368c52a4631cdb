/* sim/client.c - the seam as a client sees it: its clock, its calls and streams, its validities and completions.
 *
 * Whatever reaches a client comes as an event of the world. While it is paused these are left lying; when it
 * runs again they are taken up in an order that is drawn. Timers, validities and deadlines are looked at by one
 * event, `wake`, set anew whenever the core is left. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/world.h"

enum { MAX_ROUNDS = 100000 };
#define BASE_NS (1000 * NS_PER_S)
#define FAR_NS (3600 * NS_PER_S)

struct sim_channel {
    struct rpc_channel base;
    int member;
};

struct sim_call {
    struct rpc_call base;
    struct list in_calls;
    struct sim_client *client;
    int member;
    struct sim_request *request; /* NULL: answered, or lost */
    struct sim_event done;
    bool is_settled; /* the result stands; `done` brings it */
    int64_t deadline_ns, served_ns;
    rpc_reply_cb on_reply;
    void *arg;
    int status;
    bool is_unsent;
    char text[96];
    ProtobufCMessage *reply;
};

struct sim_stream {
    struct rpc_stream base;
    struct list in_streams;
    struct sim_client *client;
    int member;
    struct sim_server_stream *server; /* NULL: gone */
    bool is_cancelled, is_ending;
    int64_t last_in_ns, last_out_ns;
    struct list arrivals;
    struct rpc_stream_callbacks callbacks;
    void *arg;
};

struct arrival {
    struct sim_event event;
    struct list in_arrivals;
    struct sim_stream *stream;
    ProtobufCMessage *message; /* NULL: the end */
    int status;
    char text[96];
};

static struct sim_client *client_of(struct rpc *rpc) {
    return CONTAINER_OF(rpc, struct sim_client, base);
}

static struct sim_call *call_at(struct list *node) {
    return CONTAINER_OF(node, struct sim_call, in_calls);
}

static struct sim_stream *stream_at(struct list *node) {
    return CONTAINER_OF(node, struct sim_stream, in_streams);
}

/* ---- its clock ------------------------------------------------------------------------------------------ */

static int64_t op_now(struct rpc *rpc) {
    const struct sim_client *client = client_of(rpc);
    return BASE_NS + client->offset_ns +
           (client->sim->now_ns - BASE_NS) / 1000 * (1000000 + client->rate_ppm) / 1000;
}

/* When its clock will show that; RPC_NEVER: not before long. */
static int64_t world_instant(struct sim_client *client, int64_t local_ns) {
    int64_t ahead = local_ns - op_now(&client->base);
    if (ahead > FAR_NS)
        return RPC_NEVER;
    if (ahead <= 0)
        return client->sim->now_ns;
    return client->sim->now_ns + ahead / (1000000 + client->rate_ppm) * 1000000 + 2000000 / 1000 +
           ahead % (1000000 + client->rate_ppm) * 1000000 / (1000000 + client->rate_ppm);
}

static uint64_t op_random(struct rpc *rpc) {
    return sim_draw(&client_of(rpc)->seed);
}

/* ---- chance: on its way, and when its thread gets to run ------------------------------------------------- */

static int64_t below(struct sim_client *client, int64_t n) {
    return (int64_t)(sim_draw(&client->way_seed) % (uint64_t)n);
}

static bool chance(struct sim_client *client, int per_mille) {
    return per_mille > 0 && below(client, 1000) < per_mille;
}

static bool is_hit(struct sim_client *client, enum sim_fault fault, int per_mille) {
    const struct sim_fault_filter *filter = &client->sim->filter;
    if (!chance(client, per_mille))
        return false;
    unsigned number = client->n_hits[fault]++;
    return !filter->may_hit || filter->may_hit(filter->arg, fault, client->name, number);
}

static bool is_carried_out_late(struct sim_client *client) {
    return is_hit(client, SIM_LATE_AFTER_CANCEL, client->sim->faults.late_after_cancel);
}

static int64_t earlier(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* When the validity has something to tell; does not change it. */
static int64_t validity_instant(const struct rpc_validity *validity) {
    int64_t until = atomic_load(&validity->valid_until_ns);
    if (until == 0)
        return validity->is_told_lost ? RPC_NEVER : 0;
    return validity->told_stop_for == until ? until : until - atomic_load(&validity->grace_ns);
}

static int64_t next_instant(const struct sim_client *client) {
    int64_t at = rpc_timers_next(&client->base);
    for (struct list *node = client->calls.next; node != &client->calls; node = node->next)
        at = earlier(at, call_at(node)->deadline_ns);
    for (struct list *node = client->validities.next; node != &client->validities; node = node->next)
        at = earlier(at, validity_instant(CONTAINER_OF(node, struct rpc_validity, in_validities)));
    return client->host || list_is_empty(&client->inbox) ? at : 0;
}

/* Whoever is woken runs a little later, now and then much later. */
static void set_wake(struct sim_client *client) {
    struct sim *sim = client->sim;
    int64_t at = world_instant(client, next_instant(client));
    if (client->is_dead || client->is_paused || at == RPC_NEVER) {
        sim_off(sim, &client->wake);
        return;
    }
    at += below(client, chance(client, 20) ? 30 * NS_PER_MS : NS_PER_MS / 2);
    sim_at(sim, &client->wake, at);
}

static void op_enter(struct rpc *rpc) {
    if (client_of(rpc)->is_inside)
        sim_die("rpc_enter from inside");
    client_of(rpc)->is_inside = true;
}

static void op_leave(struct rpc *rpc) {
    client_of(rpc)->is_inside = false;
    set_wake(client_of(rpc));
}

/* ---- channels ---------------------------------------------------------------------------------------------- */

static int op_channel_open(struct rpc *rpc, const char *address, struct rpc_channel **ret_channel,
                           struct lun_err *ret_err) {
    for (int i = 0; i < SIM_MEMBERS; i++) {
        if (strcmp(address, sim_addresses[i]) != 0)
            continue;
        struct sim_channel *channel = sim_alloc(sizeof *channel);
        channel->base = (struct rpc_channel){rpc, strdup(address)};
        channel->member = i;
        client_of(rpc)->n_channels++;
        *ret_channel = &channel->base;
        return 0;
    }
    return lun_err_set(ret_err, LUN_EINVALID, "%s: no member of the simulated cluster has this address",
                       address);
}

static void op_channel_close(struct rpc_channel *base) {
    client_of(base->rpc)->n_channels--;
    free(base->address);
    free(CONTAINER_OF(base, struct sim_channel, base));
}

/* ---- calls ---------------------------------------------------------------------------------------------- */

/* On its way from or to that member, at the earliest. */
static int64_t crossing(struct sim_client *client, int member) {
    /* Mostly under 2 ms, with a tail. */
    int64_t at = client->sim->now_ns + 100000 + below(client, 2 * NS_PER_MS) + client->slow_ns[member];
    if (is_hit(client, SIM_DELAYED, client->sim->faults.delayed))
        at += below(client, chance(client, 200) ? 3 * NS_PER_S : 200 * NS_PER_MS);
    int64_t held = client->held_until_ns[member];
    return at > held ? at : held + below(client, 10 * NS_PER_MS);
}

static int64_t coming_back(struct sim_client *client, int member) {
    int64_t far_ns = client->sim->faults.far_ns;
    int64_t at = crossing(client, member) + (far_ns ? far_ns - below(client, far_ns / 10 + 1) : 0);
    int64_t held = client->answers_held_until_ns[member];
    return at > held ? at : held;
}

static void forget_request(struct sim_call *call, bool is_cancelled) {
    if (!call->request)
        return;
    call->request->call = NULL;
    call->request->is_cancelled = is_cancelled;
    call->request = NULL;
}

static void settle(struct sim_call *call, int status, const char *text, int64_t at_ns) {
    call->is_settled = true;
    call->status = status;
    (void)snprintf(call->text, sizeof call->text, "%s", text);
    sim_at(call->client->sim, &call->done, at_ns);
}

static void complete(struct sim_call *call) {
    struct sim_client *client = call->client;
    forget_request(call, !call->request || !is_carried_out_late(client));
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
        complete(call);
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
    settle(call, status, text, coming_back(call->client, call->member));
}

static int op_call(struct rpc_channel *base, enum rpc_method method, struct lun_bytes packed,
                   const struct rpc_options *options, rpc_reply_cb on_reply, void *arg,
                   struct rpc_call **ret_call) {
    struct sim_client *client = client_of(base->rpc);
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
        if (options->deadline_ns == RPC_NEVER || chance(client, 500))
            settle(call, RPC_UNAVAILABLE, "Socket closed", crossing(client, call->member));
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
static void op_cancel(struct rpc_call *base) {
    struct sim_call *call = CONTAINER_OF(base, struct sim_call, base);
    struct sim *sim = call->client->sim;
    int64_t at_ns = sim->now_ns + below(call->client, NS_PER_MS);
    if (call->is_settled && (!call->done.node.index || call->done.node.key <= at_ns))
        return;
    forget_request(call, !call->request || !is_carried_out_late(call->client));
    if (call->reply)
        protobuf_c_message_free_unpacked(call->reply, NULL);
    call->reply = NULL;
    call->is_unsent = false;
    settle(call, RPC_CANCELLED, "Cancelled", at_ns);
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

static void close_stream(struct sim_stream *stream, int status, const char *text) {
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
static void take_arrivals(struct sim_stream *stream) {
    struct sim_client *client = stream->client;
    while (!list_is_empty(&stream->arrivals)) {
        struct arrival *arrival = CONTAINER_OF(stream->arrivals.next, struct arrival, in_arrivals);
        if (arrival->event.node.index)
            return;
        list_remove(&arrival->in_arrivals);
        bool is_end = !arrival->message;
        if (is_end) {
            close_stream(stream, arrival->status, arrival->text);
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
        take_arrivals(arrival->stream);
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

static int op_stream_open(struct rpc_channel *base, enum rpc_method method, const struct rpc_options *options,
                          const struct rpc_stream_callbacks *callbacks, void *arg,
                          struct rpc_stream **ret_stream) {
    struct sim_client *client = client_of(base->rpc);
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

static int op_stream_send(struct rpc_stream *base, const ProtobufCMessage *message) {
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

static void break_off(struct sim_stream *stream, int status, const char *text) {
    struct sim *sim = stream->client->sim;
    drop_arrivals(stream);
    if (stream->server)
        sim_server_free(stream->server);
    stream->server = NULL;
    stream->last_in_ns = 0;
    push_arrival(stream, NULL, status, text, sim->now_ns + below(stream->client, NS_PER_MS));
}

static void op_stream_cancel(struct rpc_stream *base) {
    struct sim_stream *stream = CONTAINER_OF(base, struct sim_stream, base);
    if (stream->is_cancelled)
        return;
    stream->is_cancelled = true;
    break_off(stream, RPC_CANCELLED, "Cancelled");
}

/* ---- validities and completions ----------------------------------------------------------------------------------- */

static void op_validity_changed(struct rpc_validity *validity, bool is_new) {
    if (is_new)
        list_push_back(&client_of(validity->rpc)->validities, &validity->in_validities);
}

static void op_validity_stopped(struct rpc_validity *validity) {
    list_remove(&validity->in_validities);
}

static void op_deliver(struct rpc *rpc, struct rpc_completion *completion) {
    struct sim_client *client = client_of(rpc);
    if (!list_is_empty(&completion->in_inbox))
        return;
    list_push_back(&client->inbox, &completion->in_inbox);
    if (client->host)
        client->host->on_note(client->host_arg);
}

static void op_withdraw(struct rpc *rpc, struct rpc_completion *completion) {
    (void)rpc;
    list_remove(&completion->in_inbox);
}

static int run_inbox(struct sim_client *client) {
    int n = 0;
    struct list batch, *node;
    list_move(&client->inbox, &batch);
    while ((node = list_pop_front(&batch))) {
        struct rpc_completion *completion = CONTAINER_OF(node, struct rpc_completion, in_inbox);
        completion->on_poll(completion);
        n++;
    }
    return n;
}

/* Whoever frees a dead client polls until nothing is in flight. */
static int op_poll(struct rpc *rpc, int64_t until_ns) {
    struct sim_client *client = client_of(rpc);
    if (client->is_dead)
        sim_client_drain(client);
    int n = run_inbox(client);
    if (n > 0 || client->is_dead || !client->host || until_ns <= op_now(rpc))
        return n;
    client->host->wait(client->host_arg, until_ns);
    return run_inbox(client);
}

static int op_fd(struct rpc *rpc) {
    (void)rpc;
    return -1;
}

static void op_free(struct rpc *rpc) {
    (void)rpc; /* the world frees its clients */
}

static const struct rpc_ops ops = {
    .now = op_now,
    .random = op_random,
    .enter = op_enter,
    .leave = op_leave,
    .channel_open = op_channel_open,
    .channel_close = op_channel_close,
    .call = op_call,
    .cancel = op_cancel,
    .stream_open = op_stream_open,
    .stream_send = op_stream_send,
    .stream_cancel = op_stream_cancel,
    .validity_changed = op_validity_changed,
    .validity_stopped = op_validity_stopped,
    .deliver = op_deliver,
    .withdraw = op_withdraw,
    .poll = op_poll,
    .fd = op_fd,
    .free = op_free,
};

/* ---- running ---------------------------------------------------------------------------------------------- */

static bool run_timers(struct sim_client *client) {
    int64_t now_ns = op_now(&client->base);
    if (rpc_timers_next(&client->base) > now_ns)
        return false;
    rpc_enter(&client->base);
    rpc_timers_run(&client->base, now_ns);
    rpc_leave(&client->base);
    return true;
}

static bool run_fences(struct sim_client *client) {
    for (struct list *node = client->validities.next; node != &client->validities; node = node->next) {
        struct rpc_validity *validity = CONTAINER_OF(node, struct rpc_validity, in_validities);
        bool is_due;
        (void)rpc_validity_look(validity, &is_due);
        if (!is_due)
            continue;
        rpc_enter(&client->base);
        validity->on_due(validity, validity->is_told_lost);
        rpc_leave(&client->base);
        return true;
    }
    return false;
}

static bool run_calls(struct sim_client *client) {
    int64_t now_ns = op_now(&client->base);
    for (struct list *node = client->calls.next; node != &client->calls; node = node->next) {
        struct sim_call *call = call_at(node);
        bool is_here = call->is_settled && !call->done.node.index;
        if (!is_here && call->deadline_ns > now_ns)
            continue;
        if (!is_here) {
            if (call->reply)
                protobuf_c_message_free_unpacked(call->reply, NULL);
            call->reply = NULL;
            call->is_unsent = false;
            call->status = RPC_DEADLINE_EXCEEDED;
            (void)strcpy(call->text, "Deadline Exceeded");
        }
        complete(call);
        return true;
    }
    return false;
}

static bool run_streams(struct sim_client *client) {
    for (struct list *node = client->streams.next; node != &client->streams; node = node->next) {
        struct sim_stream *stream = stream_at(node);
        if (list_is_empty(&stream->arrivals) ||
            CONTAINER_OF(stream->arrivals.next, struct arrival, in_arrivals)->event.node.index)
            continue;
        take_arrivals(stream);
        return true;
    }
    return false;
}

static bool run_completions(struct sim_client *client) {
    return (client->is_dead || !client->host) && run_inbox(client) > 0;
}

static void on_wake(struct sim_event *event) {
    struct sim_client *client = CONTAINER_OF(event, struct sim_client, wake);
    static bool (*const runners[])(struct sim_client *) = {run_timers, run_fences, run_calls, run_streams,
                                                           run_completions};
    enum { N = sizeof runners / sizeof runners[0] };
    for (int round = 0; !client->is_paused && !client->is_dead; round++) {
        if (round > MAX_ROUNDS)
            sim_die("a client does not come to rest");
        bool is_busy = false;
        int64_t from = below(client, N);
        for (int64_t i = 0; i < N; i++)
            is_busy = runners[(from + i) % N](client) || is_busy;
        if (!is_busy)
            break;
    }
    set_wake(client);
}

void sim_client_pause(struct sim_client *client) {
    client->is_paused = true;
    sim_say(client->sim, "fault: %s paused", client->name);
    set_wake(client);
}

void sim_client_resume(struct sim_client *client) {
    if (!client->is_paused)
        return;
    client->is_paused = false;
    sim_say(client->sim, "fault: %s runs again", client->name);
    sim_at(client->sim, &client->wake, client->sim->now_ns);
}

void sim_client_hold(struct sim_client *client, int member, int64_t for_ns) {
    client->held_until_ns[member] = client->sim->now_ns + for_ns;
    sim_say(client->sim, "fault: nothing between %s and %s for %lld ms", client->name, sim_addresses[member],
            (long long)(for_ns / NS_PER_MS));
}

void sim_client_lag(struct sim_client *client, int member, int64_t for_ns) {
    client->answers_held_until_ns[member] = client->sim->now_ns + for_ns;
    sim_say(client->sim, "fault: answers of %s to %s take %lld ms", sim_addresses[member], client->name,
            (long long)(for_ns / NS_PER_MS));
}

void sim_client_reset(struct sim_client *client, int member) {
    struct sim *sim = client->sim;
    sim_say(sim, "fault: %s loses its connection to %s", client->name, sim_addresses[member]);
    for (struct list *node = client->calls.next; node != &client->calls; node = node->next) {
        struct sim_call *call = call_at(node);
        if (call->member != member || call->is_settled)
            continue;
        forget_request(call, chance(client, 500));
        settle(call, RPC_UNAVAILABLE, "Socket closed", sim->now_ns + below(client, NS_PER_MS));
    }
    for (struct list *node = client->streams.next; node != &client->streams; node = node->next) {
        struct sim_stream *stream = stream_at(node);
        if (stream->member == member && !stream->is_cancelled)
            break_off(stream, RPC_UNAVAILABLE, "Socket closed");
    }
}

/* ---- the end ---------------------------------------------------------------------------------------------- */

void sim_client_kill(struct sim_client *client) {
    client->is_paused = false;
    client->is_dead = true;
    for (struct list *node = client->calls.next; node != &client->calls; node = node->next)
        forget_request(call_at(node), chance(client, 500));
    for (struct list *node = client->streams.next; node != &client->streams; node = node->next)
        if (!stream_at(node)->is_cancelled)
            break_off(stream_at(node), RPC_UNAVAILABLE, "killed");
    set_wake(client);
}

void sim_client_drain(struct sim_client *client) {
    for (int round = 0; round < MAX_ROUNDS; round++) {
        if (!list_is_empty(&client->calls)) {
            struct sim_call *call = call_at(client->calls.next);
            if (!call->is_settled) {
                call->status = RPC_CANCELLED;
                (void)strcpy(call->text, "killed");
            }
            complete(call);
        } else if (!list_is_empty(&client->streams)) {
            close_stream(stream_at(client->streams.next), RPC_CANCELLED, "killed");
        } else if (rpc_timers_next(&client->base) != RPC_NEVER) {
            int64_t ahead = rpc_timers_next(&client->base) - op_now(&client->base);
            client->offset_ns += ahead > 0 ? ahead : 0;
            (void)run_timers(client);
        } else if (!run_fences(client) && !run_completions(client)) {
            return;
        }
    }
    sim_die("a killed client does not come to rest");
}

int64_t sim_client_served_ns(const struct sim_client *client) {
    return client->served_ns;
}

bool sim_client_is_misled(const struct sim_client *client) {
    return client->n_false_headers > 1 || client->has_false_start;
}

struct sim_load sim_client_load(const struct sim_client *client, enum rpc_method method) {
    return client->loads[method];
}

const char *sim_client_leftovers(const struct sim_client *client) {
    if (client->n_channels > 0)
        return "a channel";
    if (!list_is_empty(&client->calls))
        return "a call";
    if (!list_is_empty(&client->streams))
        return "a stream";
    if (client->base.n_timers > 0)
        return "a timer";
    if (!list_is_empty(&client->validities))
        return "a validity";
    if (!list_is_empty(&client->inbox))
        return "a completion";
    return NULL;
}

/* A client's fortunes follow from its name, and from how many bore it before: not from what others do. */
static uint64_t seed_of(struct sim *sim, const char *name) {
    uint64_t hash = sim->first_seed;
    for (struct list *node = sim->clients.next; node != &sim->clients; node = node->next)
        hash += strcmp(CONTAINER_OF(node, struct sim_client, in_clients)->name, name) == 0;
    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
    return sim_draw(&hash);
}

struct sim_client *sim_client_new(struct sim *sim, const char *name, int64_t rate_ppm) {
    struct sim_client *client = sim_alloc(sizeof *client);
    uint64_t seed = seed_of(sim, name);
    rpc_init(&client->base, &ops);
    client->sim = sim;
    (void)snprintf(client->name, sizeof client->name, "%s", name);
    client->rate_ppm = rate_ppm;
    client->seed = sim_draw(&seed);
    client->way_seed = sim_draw(&seed);
    client->offset_ns = below(client, 1000 * NS_PER_S);
    client->wake.run = on_wake;
    list_init(&client->calls);
    list_init(&client->streams);
    list_init(&client->validities);
    list_init(&client->inbox);
    list_push_back(&sim->clients, &client->in_clients);
    return client;
}

struct rpc *sim_client_rpc(struct sim_client *client) {
    return &client->base;
}

void sim_client_join(struct sim_client *client, const struct sim_client *other, const struct sim_host *host,
                     void *host_arg) {
    client->rate_ppm = other->rate_ppm;
    client->offset_ns = other->offset_ns;
    client->host = host;
    client->host_arg = host_arg;
}

int64_t sim_client_instant(struct sim_client *client, int64_t local_ns) {
    return world_instant(client, local_ns);
}

void sim_client_free(struct sim_client *client) {
    sim_off(client->sim, &client->wake);
    rpc_fini(&client->base);
    free(client);
}
