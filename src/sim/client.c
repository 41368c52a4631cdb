/* sim/client.c - the seam as a client sees it: its clock, its channels, its validities and completions, and when it
 * runs. Its calls and streams: messages.c.
 *
 * Whatever reaches a client comes as an event of the world. While it is paused these are left lying; when it
 * runs again they are taken up in an order that is drawn. Timers, validities and deadlines are looked at by one
 * event, `wake`, set anew whenever the core is left. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/client_parts.h"

enum { MAX_ROUNDS = 100000 };
#define BASE_NS (1000 * NS_PER_S)
#define FAR_NS (3600 * NS_PER_S)
/* Calendars of machines differ by up to so much from that of etcd. */
#define SKEW_NS (2 * NS_PER_S)

/* ---- its clock ------------------------------------------------------------------------------------------ */

static int64_t op_now(struct rpc *rpc) {
    const struct sim_client *client = sim_client_of(rpc);
    return BASE_NS + client->offset_ns +
           (client->sim->now_ns - BASE_NS) / 1000 * (1000000 + client->rate_ppm) / 1000;
}

static int64_t op_calendar(struct rpc *rpc) {
    const struct sim_client *client = sim_client_of(rpc);
    return sim_calendar(client->sim) + client->offset_ns % (2 * SKEW_NS) - SKEW_NS;
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
    return sim_draw(&sim_client_of(rpc)->seed);
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

/* A thread that is woken runs a little later, now and then much later. */
static void set_wake(struct sim_client *client) {
    struct sim *sim = client->sim;
    int64_t at = world_instant(client, next_instant(client));
    if (client->is_dead || client->is_paused || at == RPC_NEVER) {
        sim_off(sim, &client->wake);
        return;
    }
    at += sim_way_below(client, sim_way_chance(client, 20) ? 30 * NS_PER_MS : NS_PER_MS / 2);
    sim_at(sim, &client->wake, at);
}

static void op_enter(struct rpc *rpc) {
    if (sim_client_of(rpc)->is_inside)
        sim_die("rpc_enter from inside");
    sim_client_of(rpc)->is_inside = true;
}

static void op_leave(struct rpc *rpc) {
    sim_client_of(rpc)->is_inside = false;
    set_wake(sim_client_of(rpc));
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
        sim_client_of(rpc)->n_channels++;
        *ret_channel = &channel->base;
        return 0;
    }
    return lun_err_set(ret_err, LUN_EINVALID, "%s: no member of the simulated cluster has this address",
                       address);
}

static void op_channel_close(struct rpc_channel *base) {
    sim_client_of(base->rpc)->n_channels--;
    free(base->address);
    free(CONTAINER_OF(base, struct sim_channel, base));
}

/* ---- validities and completions ----------------------------------------------------------------------------------- */

static void op_validity_changed(struct rpc_validity *validity, bool is_new) {
    if (is_new)
        list_push_back(&sim_client_of(validity->rpc)->validities, &validity->in_validities);
}

static void op_validity_stopped(struct rpc_validity *validity) {
    list_remove(&validity->in_validities);
}

static void op_deliver(struct rpc *rpc, struct rpc_completion *completion) {
    struct sim_client *client = sim_client_of(rpc);
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

/* Code that frees a dead client polls until nothing is in flight. */
static int op_poll(struct rpc *rpc, int64_t until_ns) {
    struct sim_client *client = sim_client_of(rpc);
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
    .calendar = op_calendar,
    .random = op_random,
    .enter = op_enter,
    .leave = op_leave,
    .channel_open = op_channel_open,
    .channel_close = op_channel_close,
    .call = sim_op_call,
    .cancel = sim_op_cancel,
    .stream_open = sim_op_stream_open,
    .stream_send = sim_op_stream_send,
    .stream_cancel = sim_op_stream_cancel,
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
        sim_call_complete(call);
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
        sim_stream_take(stream);
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
        int64_t from = sim_way_below(client, N);
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
        sim_call_forget(call, sim_way_chance(client, 500));
        sim_call_settle(call, RPC_UNAVAILABLE, "Socket closed",
                        sim->now_ns + sim_way_below(client, NS_PER_MS));
    }
    for (struct list *node = client->streams.next; node != &client->streams; node = node->next) {
        struct sim_stream *stream = stream_at(node);
        if (stream->member == member && !stream->is_cancelled)
            sim_stream_break(stream, RPC_UNAVAILABLE, "Socket closed");
    }
}

/* ---- the end ---------------------------------------------------------------------------------------------- */

void sim_client_kill(struct sim_client *client) {
    client->is_paused = false;
    client->is_dead = true;
    for (struct list *node = client->calls.next; node != &client->calls; node = node->next)
        sim_call_forget(call_at(node), sim_way_chance(client, 500));
    for (struct list *node = client->streams.next; node != &client->streams; node = node->next)
        if (!stream_at(node)->is_cancelled)
            sim_stream_break(stream_at(node), RPC_UNAVAILABLE, "killed");
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
            sim_call_complete(call);
        } else if (!list_is_empty(&client->streams)) {
            sim_stream_close(stream_at(client->streams.next), RPC_CANCELLED, "killed");
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
    client->offset_ns = sim_way_below(client, 1000 * NS_PER_S);
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
