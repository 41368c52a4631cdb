/* spec/alike/ask.c - calls: what is asked and what comes, told. See party.h. */
#include <stdlib.h>
#include <string.h>

#include "etcd/request.h"
#include "party_parts.h"
#include "print.h"

struct asked {
    struct party *party;
    int n_answers, status;
    bool is_silent;
    char message[128];
};

static void note_answer(struct asked *asked, const ProtobufCMessage *reply) {
    /* Every reply's header is its first field. */
    struct with_header {
        ProtobufCMessage base;
        Etcdserverpb__ResponseHeader *header;
    };
    const Etcdserverpb__ResponseHeader *header = ((const struct with_header *)(const void *)reply)->header;
    asked->party->last_rev = header->revision;
    asked->party->last_term = header->raft_term;
    const char *text = NULL;
    if (reply->descriptor == &etcdserverpb__authenticate_response__descriptor)
        text = ((const Etcdserverpb__AuthenticateResponse *)reply)->token;
    if (reply->descriptor == &etcdserverpb__status_response__descriptor)
        text = ((const Etcdserverpb__StatusResponse *)reply)->version;
    if (text)
        (void)snprintf(asked->party->last_text, sizeof asked->party->last_text, "%s", text);
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
    rpc_deliver(party->rpc, &party->bell);
}

static void begin(struct party *party, enum rpc_method method, const ProtobufCMessage *request,
                  struct asked *asked) {
    struct rpc_options options = party_options(party);
    options.deadline_ns = rpc_now(party->rpc) + PARTY_LIMIT_NS;
    asked->party = party;
    rpc_enter(party->rpc);
    int rc = rpc_call(party->channel, method, request, &options, on_reply, asked, NULL);
    rpc_leave(party->rpc);
    if (rc)
        party_die("a call cannot be made");
}

static void ask_anyhow(struct party *party, enum rpc_method method, const ProtobufCMessage *request,
                       struct asked *asked) {
    begin(party, method, request, asked);
    if (!party_wait(party, &asked->n_answers, 1, 2 * PARTY_LIMIT_NS))
        party_die("a call has no answer");
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
        party_die("too much is asked");
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
        if (!party_wait(party, &asked->n_answers, 1, 2 * PARTY_LIMIT_NS))
            party_die("a call has no answer");
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
    struct request_meta shape;
    request_of_op(&request, &shape, op);
    return ask(party, shape.method, &request.range.base);
}

int ask_txn(struct party *party, const struct lun_txn *txn) {
    struct request_txn request;
    struct request_meta shape;
    if (request_of_txn(&request, &shape, txn))
        party_die("a transaction that request.c refuses");
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
    return memcpy(kept, party->last_text, sizeof party->last_text);
}
