/* etcd/keepalive.c - one stream of renewals to one member: sends them, and matches the answers. See keepalive.h. */
#include "etcd/keepalive.h"

#include <stdlib.h>

#include "etcd/cluster.h"
#include "etcd/malformed.h"
#include "etcd/status_class.h"

/* A renewal that is outstanding. */
struct asked {
    int64_t lease, sent_ns;
};

struct keepalive {
    struct etcd *etcd;
    struct etcd_member *member;
    struct rpc_stream *stream;
    struct keepalive_callbacks callbacks;
    void *arg;
    unsigned generation; /* of the token that the stream was opened with */
    bool is_bare;        /* opened while there was no token */
    struct asked *asked; /* a ring; those outstanding begin at `first` */
    size_t n_room, first, n_asked;
    int64_t latest_ns; /* when the latest was sent */
    bool is_closed;    /* by its owner: nothing is told any more */
    bool is_refused;   /* what the member said cannot be used: `err` says why */
    struct lun_err err;
};

/* The stream is ended; on_stream_close tells the owner. */
static void refuse(struct keepalive *keepalive) {
    keepalive->is_refused = true;
    keepalive->n_asked = 0;
    etcd_member_failed(keepalive->member, keepalive->err.text);
    rpc_stream_cancel(keepalive->stream);
}

static void on_message(void *arg, struct rpc_stream *stream, const ProtobufCMessage *message) {
    (void)stream;
    struct keepalive *keepalive = arg;
    const Etcdserverpb__LeaseKeepAliveResponse *answer =
        (const Etcdserverpb__LeaseKeepAliveResponse *)message;
    if (keepalive->is_closed || keepalive->is_refused)
        return;
    if (etcd_saw_header(keepalive->member, answer->header,
                        (struct heard){keepalive_sent_ns(keepalive), false}, &keepalive->err)) {
        refuse(keepalive);
        return;
    }
    const struct asked asked =
        keepalive->n_asked > 0 ? keepalive->asked[keepalive->first] : (struct asked){0, 0};
    if (keepalive->n_asked == 0 || answer->id != asked.lease)
        return;
    if (malformed_ttl(answer->ttl, 0, &keepalive->err)) {
        refuse(keepalive);
        return;
    }
    keepalive->first = (keepalive->first + 1) % keepalive->n_room;
    keepalive->n_asked--;
    struct keepalive_reply reply = {.lease = answer->id,
                                    .ttl_s = answer->ttl,
                                    .raft_term = answer->header->raft_term,
                                    .member_id = answer->header->member_id,
                                    .sent_ns = asked.sent_ns};
    keepalive->callbacks.on_reply(keepalive->arg, keepalive, &reply);
}

static void describe_end(struct keepalive *keepalive, const struct rpc_result *result) {
    struct status_class class = status_classify(result->status, result->message, result->is_unsent);
    auth_judge_bare(keepalive->is_bare, &class);
    char why[ETCD_WHY_BYTES];
    status_describe(why, sizeof why, result);
    lun_err_set(&keepalive->err, class.code, "%s %s", etcd_member_address(keepalive->member), why);
    keepalive->err.status = result->status;
    keepalive->err.is_retriable = class.again != AGAIN_NEVER || class.is_token_stale;
    auth_explain(&keepalive->etcd->auth, &keepalive->err);
    if (class.is_token_stale)
        auth_refused(&keepalive->etcd->auth, keepalive->generation);
    if (class.is_member_fault)
        etcd_member_failed(keepalive->member, why);
}

static void on_stream_close(void *arg, struct rpc_stream *stream, const struct rpc_result *result) {
    (void)stream;
    struct keepalive *keepalive = arg;
    struct etcd *etcd = keepalive->etcd;
    keepalive->stream = NULL;
    keepalive->n_asked = 0;
    if (!keepalive->is_closed) {
        etcd->tally.n_streams_replaced++;
        if (!keepalive->is_refused)
            describe_end(keepalive, result);
        else
            lun_err_wrap(&keepalive->err, "%s", etcd_member_address(keepalive->member));
        keepalive->callbacks.on_broken(keepalive->arg, keepalive, &keepalive->err);
    }
    free(keepalive->asked);
    free(keepalive);
    etcd_out_end(etcd);
}

int keepalive_open(struct etcd *etcd, struct etcd_member *member, const struct keepalive_callbacks *callbacks,
                   void *arg, struct keepalive **ret_keepalive) {
    static const struct rpc_stream_callbacks stream_callbacks = {on_message, on_stream_close};
    if (etcd->is_closing)
        return LUN_ECLOSED;
    struct keepalive *keepalive = calloc(1, sizeof *keepalive);
    if (!keepalive)
        return LUN_ENOMEM;
    keepalive->etcd = etcd;
    keepalive->member = member;
    keepalive->callbacks = *callbacks;
    keepalive->arg = arg;
    auth_prompt(
        &etcd->auth); /* old servers renew without a token too; where one is needed, the next stream has it */
    keepalive->generation = etcd->auth.generation;
    keepalive->is_bare = auth_is_needed(&etcd->auth);
    struct rpc_options options = etcd_options(etcd, RPC_NEVER);
    int rc = rpc_stream_open(member->channel, RPC_LEASE_KEEP_ALIVE, &options, &stream_callbacks, keepalive,
                             &keepalive->stream);
    if (rc) {
        free(keepalive);
        return rc;
    }
    etcd_out_begin(etcd);
    *ret_keepalive = keepalive;
    return 0;
}

/* Room for one more. The ring is laid out anew, from its beginning. */
static int make_room(struct keepalive *keepalive) {
    if (keepalive->n_asked < keepalive->n_room)
        return 0;
    size_t n_room = keepalive->n_room ? keepalive->n_room * 2 : 4;
    struct asked *asked = malloc(n_room * sizeof *asked);
    if (!asked)
        return LUN_ENOMEM;
    for (size_t i = 0; i < keepalive->n_asked; i++)
        asked[i] = keepalive->asked[(keepalive->first + i) % keepalive->n_room];
    free(keepalive->asked);
    keepalive->asked = asked;
    keepalive->n_room = n_room;
    keepalive->first = 0;
    return 0;
}

int keepalive_send(struct keepalive *keepalive, int64_t lease) {
    Etcdserverpb__LeaseKeepAliveRequest request = ETCDSERVERPB__LEASE_KEEP_ALIVE_REQUEST__INIT;
    request.id = lease;
    int64_t now_ns = rpc_now(keepalive->etcd->rpc);
    int rc = make_room(keepalive);
    if (!rc)
        rc = rpc_stream_send(keepalive->stream, &request.base);
    if (rc)
        return rc;
    keepalive->asked[(keepalive->first + keepalive->n_asked) % keepalive->n_room] =
        (struct asked){lease, now_ns};
    keepalive->n_asked++;
    keepalive->latest_ns = now_ns;
    return 0;
}

bool keepalive_is_waiting(const struct keepalive *keepalive) {
    return keepalive->n_asked > 0;
}

int64_t keepalive_sent_ns(const struct keepalive *keepalive) {
    return keepalive->n_asked > 0 ? keepalive->asked[keepalive->first].sent_ns : keepalive->latest_ns;
}

bool keepalive_has_token_in_force(const struct keepalive *keepalive) {
    return keepalive->generation == keepalive->etcd->auth.generation;
}

struct etcd_member *keepalive_member(const struct keepalive *keepalive) {
    return keepalive->member;
}

void keepalive_close(struct keepalive *keepalive) {
    if (!keepalive || keepalive->is_closed || !keepalive->stream)
        return;
    keepalive->is_closed = true;
    keepalive->etcd->tally.n_streams_replaced += keepalive->n_asked > 0; /* given up for its silence */
    rpc_stream_cancel(keepalive->stream);
}
