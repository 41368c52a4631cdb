/* etcd/confirm.c - proves with one linearizable read that a member was not left behind by its cluster. See confirm.h.
 *
 * The read counts the keys equal to a single zero byte (the first of all keys; with a prefix the first below that): the
 * smallest question there is, answered without touching a value, and of a key that is not used. Being linearizable it makes
 * the member ask etcd's leader for the commit index, which is what a member that slept through an election cannot fake.
 *
 * Etcd's users may not read that key, as a rule. A member refuses it only after it has asked the leader (seen with 3.4, 3.5
 * and 3.6: without a quorum the refusal does not come), but the refusal bears no term. So a Status follows, through the same
 * member: terms only rise, so the term it shows was not exceeded when the read was made, and not undercut since the
 * renewal.
 *
 * A read whose token has ended is made again with a new one, once: signed tokens end with every change of users or roles. The
 * wait for a token has a limit of its own, as long as a read's: what waited for one has lost no time by which the member
 * could be judged. */
#include "etcd/confirm.h"

#include "etcd/cluster.h"
#include "etcd/reply.h"
#include "etcd/status_class.h"

static void on_read(void *arg, const struct rpc_result *result, const ProtobufCMessage *message);
static void on_token(struct auth_waiter *waiter, const struct lun_err *err);
static void on_no_token(struct rpc_timer *timer);

int etcd_confirm_init(struct etcd_member *member) {
    list_init(&member->confirm.served);
    list_init(&member->confirm.queued);
    list_init(&member->confirm.waiter.in_auth);
    member->confirm.waiter.on_token = on_token;
    return rpc_timer_init(member->etcd->rpc, &member->confirm.timer, on_no_token);
}

void etcd_confirm_fini(struct etcd_member *member) {
    rpc_timer_fini(&member->confirm.timer);
}

void etcd_confirm_cancel(struct etcd_member *member) {
    if (member->confirm.read)
        rpc_cancel(member->confirm.read);
}

static int send_status(struct etcd_member *member, struct rpc_options *options) {
    Etcdserverpb__StatusRequest request = ETCDSERVERPB__STATUS_REQUEST__INIT;
    options->has_leader = false;
    return rpc_call(member->channel, RPC_MEMBER_STATUS, &request.base, options, on_read, member,
                    &member->confirm.read);
}

static int send_read(struct etcd_member *member, const struct rpc_options *options) {
    struct etcd *etcd = member->etcd;
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    struct lun_bytes first = namespace_first(&etcd->namespace);
    request.key = (ProtobufCBinaryData){first.len, (uint8_t *)first.data};
    request.count_only = true;
    member->confirm.sent_ns = member->confirm.asked_ns;
    member->confirm.sent_term = member->raft_term;
    member->confirm.sent_id = member->member_id;
    return rpc_call(member->channel, RPC_RANGE, &request.base, options, on_read, member,
                    &member->confirm.read);
}

/* The read, or what follows it. */
static int send(struct etcd_member *member) {
    struct etcd *etcd = member->etcd;
    member->confirm.asked_ns = rpc_now(etcd->rpc);
    struct rpc_options options = etcd_options(etcd, member->confirm.asked_ns + member->confirm.attempt_ns);
    member->confirm.generation = etcd->auth.generation;
    return member->confirm.was_denied ? send_status(member, &options) : send_read(member, &options);
}

/* Waits for a token first where none is there. */
static int send_or_wait(struct etcd_member *member) {
    struct auth *auth = &member->etcd->auth;
    if (!auth_is_needed(auth))
        return send(member);
    auth_wait(auth, &member->confirm.waiter);
    rpc_timer_start(&member->confirm.timer, rpc_now(member->etcd->rpc) + member->confirm.attempt_ns);
    return 0;
}

/* With the first read of a batch. */
static int begin(struct etcd_member *member, int64_t attempt_ns) {
    member->confirm.attempt_ns = attempt_ns;
    member->confirm.is_again = member->confirm.was_denied = false;
    int rc = send_or_wait(member);
    if (rc)
        return rc;
    member->confirm.is_under_way = true;
    etcd_out_begin(member->etcd);
    return 0;
}

/* Those in `batch` may stop, free or restart each other meanwhile. */
static void tell(struct list *batch, const struct lun_err *err, uint64_t raft_term) {
    struct list *node;
    while ((node = list_pop_front(batch))) {
        struct confirm *confirm = CONTAINER_OF(node, struct confirm, in_member);
        confirm->is_waiting = false;
        confirm->on_done(confirm, err, raft_term);
    }
}

/* What the read says: 0, or an error with its text. */
static int judge(struct etcd_member *member, const struct rpc_result *result, const ProtobufCMessage *message,
                 uint64_t *ret_raft_term, struct lun_err *ret_err) {
    if (result->status == RPC_OK) {
        const Etcdserverpb__ResponseHeader *header =
            reply_header(member->confirm.was_denied ? RPC_MEMBER_STATUS : RPC_RANGE, message);
        int rc = etcd_saw_header(
            member, header, (struct heard){member->confirm.sent_ns, !member->confirm.was_denied}, ret_err);
        if (rc) {
            etcd_member_failed(member, ret_err->text);
            return rc;
        }
        member->confirm.latest = (struct confirmation){
            .raft_term = header->raft_term,
            .member_id = header->member_id,
            .sent_ns = member->confirm.sent_ns,
            .is_within_term = member->confirm.sent_term == header->raft_term &&
                              member->confirm.sent_id == header->member_id,
        };
        *ret_raft_term = header->raft_term;
        return 0;
    }
    struct status_class class = status_classify(result->status, result->message, result->is_unsent);
    char why[ETCD_WHY_BYTES];
    status_describe(why, sizeof why, result);
    lun_err_set(ret_err, result->status == RPC_CANCELLED ? LUN_ECANCELLED : class.code, "%s", why);
    ret_err->status = result->status;
    ret_err->is_retriable = class.again != AGAIN_NEVER;
    auth_explain(&member->etcd->auth, ret_err);
    if (class.is_token_stale)
        auth_refused(&member->etcd->auth, member->confirm.generation);
    if (result->status == RPC_DEADLINE_EXCEEDED)
        etcd_member_silent(member, member->confirm.asked_ns, false, result->guess);
    else if (class.is_member_fault && result->status != RPC_CANCELLED)
        etcd_member_failed(member, why);
    return ret_err->code;
}

/* The read is over (`err` NULL: it has shown `raft_term`); the next one begins. */
static void finish(struct etcd_member *member, const struct lun_err *err, uint64_t raft_term) {
    struct etcd *etcd = member->etcd;
    struct lun_err memory_err;
    struct list batch, dropped;
    (*(err ? &etcd->tally.n_unconfirmed : &etcd->tally.n_confirmed))++;
    member->confirm.is_under_way = false;
    list_move(&member->confirm.served, &batch);
    list_init(&dropped);
    int queued_rc = 0;
    if (!list_is_empty(&member->confirm.queued)) {
        queued_rc = etcd->is_closing ? LUN_ECLOSED : begin(member, member->confirm.queued_attempt_ns);
        list_move(&member->confirm.queued, queued_rc ? &dropped : &member->confirm.served);
    }
    tell(&batch, err, raft_term);
    lun_err_set(&memory_err, queued_rc, "%s", lun_strerror(queued_rc));
    tell(&dropped, &memory_err, 0);
    etcd_out_end(etcd);
}

static void give_up(struct etcd_member *member, int rc, const char *why) {
    struct lun_err err;
    lun_err_set(&err, rc, "%s", why);
    finish(member, &err, 0);
}

static void on_token(struct auth_waiter *waiter, const struct lun_err *err) {
    struct etcd_member *member = CONTAINER_OF(waiter, struct etcd_member, confirm.waiter);
    rpc_timer_stop(&member->confirm.timer);
    int rc = member->etcd->is_closing ? LUN_ECLOSED : err ? err->code : send(member);
    if (rc)
        give_up(member, rc, err ? err->text : lun_strerror(rc));
}

static void on_no_token(struct rpc_timer *timer) {
    struct etcd_member *member = CONTAINER_OF(timer, struct etcd_member, confirm.timer);
    list_remove(&member->confirm.waiter.in_auth);
    give_up(member, LUN_EUNAVAILABLE, "no token came in time");
}

static void go_on(struct etcd_member *member) {
    int rc = send_or_wait(member);
    if (rc)
        give_up(member, rc, lun_strerror(rc));
}

static bool is_followed_by_status(struct etcd_member *member, const struct rpc_result *result) {
    if (result->status != RPC_PERMISSION_DENIED || member->confirm.was_denied || member->etcd->is_closing)
        return false;
    member->confirm.was_denied = true;
    go_on(member);
    return true;
}

/* Whether it is made again with a new token. */
static bool is_made_again(struct etcd_member *member, const struct rpc_result *result) {
    struct auth *auth = &member->etcd->auth;
    if (!auth_has_user(auth) || member->confirm.is_again || member->etcd->is_closing ||
        !status_classify(result->status, result->message, result->is_unsent).is_token_stale)
        return false;
    member->confirm.is_again = true;
    auth_refused(auth, member->confirm.generation);
    go_on(member);
    return true;
}

static void on_read(void *arg, const struct rpc_result *result, const ProtobufCMessage *message) {
    struct etcd_member *member = arg;
    struct lun_err err;
    uint64_t raft_term = 0;
    member->confirm.read = NULL;
    if (is_followed_by_status(member, result) || is_made_again(member, result))
        return;
    int rc = judge(member, result, message, &raft_term, &err);
    finish(member, rc ? &err : NULL, raft_term);
}

int confirm_start(struct confirm *confirm, struct etcd_member *member, int64_t attempt_ns) {
    if (member->etcd->is_closing)
        return LUN_ECLOSED;
    if (member->confirm.is_under_way) {
        if (list_is_empty(&member->confirm.queued) || attempt_ns > member->confirm.queued_attempt_ns)
            member->confirm.queued_attempt_ns = attempt_ns;
        list_push_back(&member->confirm.queued, &confirm->in_member);
    } else {
        int rc = begin(member, attempt_ns);
        if (rc)
            return rc;
        list_push_back(&member->confirm.served, &confirm->in_member);
    }
    confirm->is_waiting = true;
    return 0;
}

void confirm_stop(struct confirm *confirm) {
    if (!confirm->is_waiting)
        return;
    confirm->is_waiting = false;
    list_remove(&confirm->in_member);
}
