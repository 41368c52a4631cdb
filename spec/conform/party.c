/* spec/conform/party.c - see party.h. */
#include "party.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "etcd/request.h"
#include "etcd_server.h"
#include "print.h"
#include "rpc/grpc.h"

#define LIMIT_NS (10 * NS_PER_S)
#define START_LIMIT_NS (30 * NS_PER_S)

static void die(const char *what) {
    (void)fprintf(stderr, "conform: %s\n", what);
    abort();
}

/* ---- waiting -------------------------------------------------------------------------------------------- */

static void on_bell(struct rpc_note *note) {
    (void)note;
}

static int peek(struct party *party, const int *counter) {
    rpc_enter(party->rpc);
    int n = *counter;
    rpc_leave(party->rpc);
    return n;
}

bool party_wait(struct party *party, const int *counter, int n, int64_t limit_ns) {
    if (party->sim) {
        int64_t end = sim_now(party->sim) + limit_ns;
        while (*counter < n && sim_now(party->sim) < end)
            sim_step(party->sim);
        return *counter >= n;
    }
    int64_t end = clock_boottime_ns() + limit_ns;
    while (peek(party, counter) < n && clock_boottime_ns() < end)
        (void)rpc_poll(party->rpc, end);
    return peek(party, counter) >= n;
}

void party_pause(struct party *party, int64_t ns) {
    static const int never = 0;
    (void)party_wait(party, &never, 1, ns);
}

/* ---- calls ---------------------------------------------------------------------------------------------- */

struct asked {
    struct party *party;
    int n_answers, status;
    bool is_silent;
    int64_t revision;
    char text[64], message[128];
};

static void note_answer(struct asked *asked, const ProtobufCMessage *reply) {
    /* Every reply's header is its first field. */
    struct with_header {
        ProtobufCMessage base;
        Etcdserverpb__ResponseHeader *header;
    };
    asked->party->raft_term = ((const struct with_header *)(const void *)reply)->header->raft_term;
    if (reply->descriptor == &etcdserverpb__range_response__descriptor)
        asked->revision = ((const Etcdserverpb__RangeResponse *)reply)->header->revision;
    if (reply->descriptor == &etcdserverpb__delete_range_response__descriptor)
        asked->revision = ((const Etcdserverpb__DeleteRangeResponse *)reply)->header->revision;
    const char *text = NULL;
    if (reply->descriptor == &etcdserverpb__authenticate_response__descriptor)
        text = ((const Etcdserverpb__AuthenticateResponse *)reply)->token;
    if (reply->descriptor == &etcdserverpb__status_response__descriptor)
        text = ((const Etcdserverpb__StatusResponse *)reply)->version;
    if (text)
        (void)snprintf(asked->text, sizeof asked->text, "%s", text);
}

/* The real one's clock goes on while a busy machine keeps us waiting. */
static void forgive_seconds(const ProtobufCMessage *reply) {
    enum { FORGIVEN_S = 30 };
    Etcdserverpb__LeaseTimeToLiveResponse *left = (Etcdserverpb__LeaseTimeToLiveResponse *)(uintptr_t)reply;
    if (reply->descriptor == &etcdserverpb__lease_time_to_live_response__descriptor &&
        left->ttl < left->grantedttl && left->ttl > left->grantedttl - FORGIVEN_S)
        left->ttl = left->grantedttl - 1;
}

static void on_reply(void *arg, const struct rpc_result *result, const ProtobufCMessage *reply) {
    struct asked *asked = arg;
    struct party *party = asked->party;
    asked->status = result->status;
    asked->n_answers++;
    (void)snprintf(asked->message, sizeof asked->message, "%s", result->message);
    if (reply) {
        note_answer(asked, reply);
        forgive_seconds(reply);
    }
    if (!asked->is_silent && result->status) {
        (void)fprintf(party->story, "  %d %s%s\n", result->status, result->message,
                      result->is_unsent ? " (unsent)" : "");
    } else if (!asked->is_silent) {
        (void)fputs("  ", party->story);
        print_message(party->story, reply, party->base_rev);
        (void)fputc('\n', party->story);
    }
    rpc_post(party->rpc, &party->bell);
}

uint64_t party_term(const struct party *party) {
    return party->raft_term;
}

static struct rpc_options options_of(const struct party *party) {
    return (struct rpc_options){
        .deadline_ns = RPC_NEVER, .has_leader = party->has_leader, .token = party->token};
}

static void begin(struct party *party, enum rpc_method method, const ProtobufCMessage *request,
                  struct asked *asked) {
    struct rpc_options options = options_of(party);
    options.deadline_ns = rpc_now(party->rpc) + LIMIT_NS;
    asked->party = party;
    rpc_enter(party->rpc);
    int rc = rpc_call(party->peer, method, request, &options, on_reply, asked, NULL);
    rpc_leave(party->rpc);
    if (rc)
        die("a call cannot be made");
}

static void ask_anyhow(struct party *party, enum rpc_method method, const ProtobufCMessage *request,
                       struct asked *asked) {
    begin(party, method, request, asked);
    if (!party_wait(party, &asked->n_answers, 1, 2 * LIMIT_NS))
        die("a call has no answer");
}

int ask_aside(struct party *party, enum rpc_method method, const ProtobufCMessage *request) {
    struct asked asked = {.is_silent = true};
    ask_anyhow(party, method, request, &asked);
    return asked.status;
}

static void tell_request(struct party *party, enum rpc_method method, const ProtobufCMessage *request) {
    (void)fprintf(party->story, "%s ", strrchr(rpc_method_info(method)->path, '/') + 1);
    print_message(party->story, request, party->base_rev);
    (void)fputc('\n', party->story);
}

void ask_later(struct party *party, enum rpc_method method, const ProtobufCMessage *request) {
    struct asked *asked = calloc(1, sizeof *asked);
    if (!asked || party->n_later == sizeof party->later / sizeof party->later[0])
        die("too much is asked");
    asked->is_silent = true;
    party->later[party->n_later++] = asked;
    tell_request(party, method, request);
    begin(party, method, request, asked);
}

/* etcd 3.4 has no status of its own for what its own deadline ended. */
static int comparable(const struct asked *asked) {
    bool is_deadline = strcmp(asked->message, "context deadline exceeded") == 0;
    return is_deadline && asked->status == RPC_UNKNOWN ? RPC_DEADLINE_EXCEEDED : asked->status;
}

void ask_rest(struct party *party) {
    for (size_t i = 0; i < party->n_later; i++) {
        struct asked *asked = party->later[i];
        if (!party_wait(party, &asked->n_answers, 1, 2 * LIMIT_NS))
            die("a call has no answer");
        (void)fprintf(party->story, "  %d %s\n", comparable(asked), asked->message);
        free(asked);
    }
    party->n_later = 0;
}

int ask(struct party *party, enum rpc_method method, const ProtobufCMessage *request) {
    tell_request(party, method, request);
    struct asked asked = {0};
    ask_anyhow(party, method, request, &asked);
    return asked.status;
}

int ask_op(struct party *party, const struct lun_kv_op *op) {
    union request_op request;
    struct request_shape shape;
    request_of_op(&request, &shape, op);
    return ask(party, shape.method, &request.range.base);
}

int ask_txn(struct party *party, const struct lun_txn *txn) {
    struct request_txn request;
    struct request_shape shape;
    if (request_of_txn(&request, &shape, txn))
        die("a transaction that request.c refuses");
    int status = ask(party, RPC_TXN, &request.message.base);
    request_txn_fini(&request);
    return status;
}

const char *ask_token(struct party *party, const char *name, const char *password) {
    Etcdserverpb__AuthenticateRequest request = ETCDSERVERPB__AUTHENTICATE_REQUEST__INIT;
    request.name = (char *)(uintptr_t)name;
    request.password = (char *)(uintptr_t)password;
    struct asked asked = {0};
    const char *before = party->token;
    party->token = NULL;
    party_say(party, "Authenticate as %s", name);
    ask_anyhow(party, RPC_AUTHENTICATE, &request.base, &asked);
    party->token = before;
    if (asked.status)
        return NULL;
    char *kept = party->tokens[party->n_tokens++ % (sizeof party->tokens / sizeof party->tokens[0])];
    return memcpy(kept, asked.text, sizeof asked.text);
}

/* ---- streams -------------------------------------------------------------------------------------------- */

struct heard {
    int64_t watch_id;
    char *text;
};
enum { HEARD_MAX = 4096 };

struct talk {
    struct party *party;
    enum rpc_method method;
    struct rpc_stream *stream; /* NULL: it has ended */
    bool is_by_event;
    int n_heard, n_told, n_created, n_cancelled, n_closed;
    struct heard heard[HEARD_MAX];
};

static void hear(struct talk *talk, int64_t watch_id, const struct rpc_result *result,
                 const ProtobufCMessage *message) {
    if (talk->n_heard == HEARD_MAX)
        die("a stream says too much");
    struct heard *heard = &talk->heard[talk->n_heard];
    heard->watch_id = watch_id;
    size_t n;
    FILE *out = open_memstream(&heard->text, &n);
    if (!out)
        die("out of memory");
    if (message)
        print_message(out, message, talk->party->base_rev);
    else
        (void)fprintf(out, "ends: %d %s", result->status, result->message);
    (void)fclose(out);
    talk->n_heard++;
    rpc_post(talk->party->rpc, &talk->party->bell);
}

static void hear_watch(struct talk *talk, const Etcdserverpb__WatchResponse *response) {
    talk->n_created += response->created;
    talk->n_cancelled += response->canceled;
    if (!talk->is_by_event || response->n_events == 0)
        hear(talk, response->watch_id, NULL, &response->base);
    for (size_t i = 0; talk->is_by_event && i < response->n_events; i++)
        hear(talk, response->watch_id, NULL, &response->events[i]->base);
}

static void on_message(void *arg, struct rpc_stream *stream, const ProtobufCMessage *message) {
    struct talk *talk = arg;
    (void)stream;
    if (talk->method == RPC_WATCH)
        hear_watch(talk, (const Etcdserverpb__WatchResponse *)message);
    else
        hear(talk, 0, NULL, message);
}

static void on_close(void *arg, struct rpc_stream *stream, const struct rpc_result *result) {
    struct talk *talk = arg;
    (void)stream;
    talk->stream = NULL;
    talk->n_closed++;
    hear(talk, INT64_MAX, result, NULL);
}

struct talk *talk_open(struct party *party, enum rpc_method method) {
    static const struct rpc_stream_callbacks callbacks = {on_message, on_close};
    struct talk *talk = calloc(1, sizeof *talk);
    if (!talk)
        die("out of memory");
    talk->party = party;
    talk->method = method;
    struct rpc_options options = options_of(party);
    rpc_enter(party->rpc);
    int rc = rpc_stream_open(party->peer, method, &options, &callbacks, talk, &talk->stream);
    rpc_leave(party->rpc);
    if (rc)
        die("no stream");
    return talk;
}

struct talk *talk_open_by_event(struct party *party) {
    struct talk *talk = talk_open(party, RPC_WATCH);
    talk->is_by_event = true;
    return talk;
}

void talk_send(struct talk *talk, const ProtobufCMessage *message) {
    struct party *party = talk->party;
    (void)fputs("> ", party->story);
    print_message(party->story, message, party->base_rev);
    (void)fputc('\n', party->story);
    rpc_enter(party->rpc);
    if (talk->stream)
        (void)rpc_stream_send(talk->stream, message);
    rpc_leave(party->rpc);
}

void talk_watch(struct talk *talk, const Etcdserverpb__WatchCreateRequest *request) {
    Etcdserverpb__WatchRequest message = ETCDSERVERPB__WATCH_REQUEST__INIT;
    message.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
    message.create_request = (Etcdserverpb__WatchCreateRequest *)(uintptr_t)request;
    talk_send(talk, &message.base);
}

void talk_await_created(struct talk *talk, int n) {
    if (!party_wait(talk->party, &talk->n_created, n, LIMIT_NS))
        party_say(talk->party, "waited in vain for a watch");
}

void talk_unwatch(struct talk *talk, int64_t id) {
    Etcdserverpb__WatchCancelRequest cancel = ETCDSERVERPB__WATCH_CANCEL_REQUEST__INIT;
    Etcdserverpb__WatchRequest message = ETCDSERVERPB__WATCH_REQUEST__INIT;
    cancel.watch_id = id;
    message.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CANCEL_REQUEST;
    message.cancel_request = &cancel;
    talk_send(talk, &message.base);
}

int talk_n_heard(struct talk *talk) {
    return peek(talk->party, &talk->n_heard);
}

void talk_renew(struct talk *talk, int64_t lease) {
    Etcdserverpb__LeaseKeepAliveRequest request = ETCDSERVERPB__LEASE_KEEP_ALIVE_REQUEST__INIT;
    request.id = lease;
    talk_send(talk, &request.base);
}

/* What several watchers are told has no order among them. */
static void tell_heard(struct talk *talk) {
    struct heard *heard = talk->heard;
    for (int i = talk->n_told + 1; i < talk->n_heard; i++)
        for (int k = i; k > talk->n_told && heard[k - 1].watch_id > heard[k].watch_id; k--) {
            struct heard swap = heard[k];
            heard[k] = heard[k - 1];
            heard[k - 1] = swap;
        }
    for (; talk->n_told < talk->n_heard; talk->n_told++) {
        (void)fprintf(talk->party->story, "< %s\n", heard[talk->n_told].text);
        free(heard[talk->n_told].text);
    }
}

void talk_tell(struct talk *talk, int n) {
    struct party *party = talk->party;
    if (!party_wait(party, &talk->n_heard, talk->n_told + n, LIMIT_NS))
        party_say(party, "waited in vain for %d messages", n);
    rpc_enter(party->rpc);
    tell_heard(talk);
    rpc_leave(party->rpc);
}

void talk_drop(struct talk *talk) {
    struct party *party = talk->party;
    rpc_enter(party->rpc);
    if (talk->stream)
        rpc_stream_cancel(talk->stream);
    rpc_leave(party->rpc);
    if (!party_wait(party, &talk->n_closed, 1, LIMIT_NS))
        die("a stream does not end");
    for (; talk->n_told < talk->n_heard; talk->n_told++)
        free(talk->heard[talk->n_told].text);
    free(talk);
}

void talk_close(struct talk *talk) {
    /* The slow loop comes round every 100 ms. */
    party_pause(talk->party, 150 * NS_PER_MS);
    rpc_enter(talk->party->rpc);
    tell_heard(talk);
    rpc_leave(talk->party->rpc);
    talk_drop(talk);
}

/* ---- stories -------------------------------------------------------------------------------------------- */

void party_say(struct party *party, const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)vfprintf(party->story, format, args);
    va_end(args);
    (void)fputc('\n', party->story);
}

static void drop_tale(struct party *party) {
    if (party->story)
        (void)fclose(party->story);
    free(party->text);
    party->story = NULL;
    party->text = NULL;
}

void party_begin(struct party *party) {
    drop_tale(party);
    party->has_leader = false;
    party->token = party->admin;
    party->story = open_memstream(&party->text, &party->n_text);
    if (!party->story)
        die("out of memory");
    Etcdserverpb__DeleteRangeRequest all = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    uint8_t zero = 0;
    all.key = all.range_end = (ProtobufCBinaryData){1, &zero};
    struct asked asked = {.is_silent = true};
    ask_anyhow(party, RPC_DELETE_RANGE, &all.base, &asked);
    if (asked.status)
        die("the store cannot be emptied");
    party->base_rev = asked.revision;
    party->token = NULL;
}

const char *party_tale(struct party *party) {
    (void)fflush(party->story);
    return party->text;
}

/* ---- opening -------------------------------------------------------------------------------------------- */

static bool open_peer(struct party *party, const char *address) {
    struct lun_err err;
    rpc_enter(party->rpc);
    int rc = rpc_peer_open(party->rpc, address, &party->peer, &err);
    rpc_leave(party->rpc);
    return rc == 0;
}

void party_visit(struct party *party, int member) {
    rpc_enter(party->rpc);
    rpc_peer_close(party->peer);
    rpc_leave(party->rpc);
    party->member = member;
    if (!open_peer(party, sim_addresses[member]))
        die("no peer");
}

/* ---- troubles ------------------------------------------------------------------------------------------- */

void party_become_admin(struct party *party, const char *name, const char *password) {
    party->story = fopen("/dev/null", "w");
    if (!party->story)
        die("no /dev/null");
    static char admin[2][64];
    const char *token = ask_token(party, name, password);
    if (!token)
        die("no token for the administrator");
    party->admin = memcpy(admin[party->sim != NULL], token, sizeof admin[0]);
    (void)fclose(party->story);
    party->story = NULL;
}

void party_fill(struct party *party) {
    enum { TOO_MUCH = 1400 * 1000 };
    char *value = calloc(1, TOO_MUCH);
    if (!value)
        die("out of memory");
    if (party->sim)
        sim_set_full(party->sim, true);
    ask_op(party, &(struct lun_kv_op){.kind = LUN_OP_PUT, .key = B("/big"), .value = {value, TOO_MUCH}});
    free(value);
}

void party_lose_leader(struct party *party) {
    if (party->sim)
        for (int i = 1; i < SIM_MEMBERS; i++)
            sim_stop(party->sim, (party->member + i) % SIM_MEMBERS);
    else
        etcd_server_kill(party->peer_server);
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    request.key = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) "x"};
    request.serializable = 1;
    while (ask_aside(party, RPC_RANGE, &request.base) != RPC_UNAVAILABLE)
        party_pause(party, 20 * NS_PER_MS);
}

void party_open_sim(struct party *party) {
    party_open_sim_of(party, 1);
}

void party_open_sim_of(struct party *party, uint64_t seed) {
    *party = (struct party){.name = "sim"};
    party->sim = sim_new(seed);
    party->client = sim_client_new(party->sim, "conform", 0);
    party->rpc = sim_client_rpc(party->client);
    rpc_note_init(&party->bell, on_bell);
    party->member = sim_leader(party->sim);
    if (!open_peer(party, sim_addresses[party->member]))
        die("no peer");
}

bool party_open_etcd(struct party *party, struct etcd_server *server) {
    struct lun_err err;
    *party = (struct party){.name = "etcd", .server = server};
    rpc_note_init(&party->bell, on_bell);
    if (rpc_grpc_new(&party->rpc, &err) || !open_peer(party, server->address))
        return false;
    Etcdserverpb__StatusRequest request = ETCDSERVERPB__STATUS_REQUEST__INIT;
    Etcdserverpb__RangeRequest read = ETCDSERVERPB__RANGE_REQUEST__INIT;
    read.key = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) "x"};
    for (int64_t end = clock_boottime_ns() + START_LIMIT_NS; clock_boottime_ns() < end;) {
        struct asked asked = {.is_silent = true};
        if (ask_aside(party, RPC_RANGE, &read.base) == RPC_OK) {
            ask_anyhow(party, RPC_MEMBER_STATUS, &request.base, &asked);
            (void)snprintf(party->version, sizeof party->version, "%.15s", asked.text);
            return true;
        }
        party_pause(party, 10 * NS_PER_MS);
    }
    return false;
}

void party_close(struct party *party) {
    drop_tale(party);
    rpc_enter(party->rpc);
    rpc_unpost(party->rpc, &party->bell);
    rpc_peer_close(party->peer);
    rpc_leave(party->rpc);
    if (party->sim)
        sim_free(party->sim);
    else
        rpc_free(party->rpc);
}
