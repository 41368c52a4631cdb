/* spec/alike/talk.c - streams: what is sent and what is heard, told. See party.h. */
#include <stdlib.h>
#include <string.h>

#include "party_parts.h"
#include "print.h"

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
        party_die("a stream says too much");
    struct heard *heard = &talk->heard[talk->n_heard];
    heard->watch_id = watch_id;
    size_t n;
    FILE *out = open_memstream(&heard->text, &n);
    if (!out)
        party_die("out of memory");
    if (message)
        print_message(out, message, talk->party->base_rev);
    else
        (void)fprintf(out, "ends: %d %s", result->status, result->message);
    (void)fclose(out);
    talk->n_heard++;
    rpc_deliver(talk->party->rpc, &talk->party->bell);
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
        party_die("out of memory");
    talk->party = party;
    talk->method = method;
    struct rpc_options options = party_options(party);
    rpc_enter(party->rpc);
    int rc = rpc_stream_open(party->channel, method, &options, &callbacks, talk, &talk->stream);
    rpc_leave(party->rpc);
    if (rc)
        party_die("no stream");
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
    if (!party_wait(talk->party, &talk->n_created, n, PARTY_LIMIT_NS))
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
    return party_peek(talk->party, &talk->n_heard);
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
    if (!party_wait(party, &talk->n_heard, talk->n_told + n, PARTY_LIMIT_NS))
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
    if (!party_wait(party, &talk->n_closed, 1, PARTY_LIMIT_NS))
        party_die("a stream does not end");
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
