/* etcd/call.c - the attempt machine: one request, one attempt at a time, until somebody has answered.
 *
 *             +------------- next member --------------+
 *             v                                        |
 *   idle -> verifying -> asking -----------------------+--> done
 *             |            ^  \-- all were asked --> waiting
 *             +------------+---------------------------/ timer
 *
 * Suspended in
 *   verifying  a Status is in flight to a member that has not yet shown whose it is:
 *              a write must not reach another cluster
 *   asking     the request is in flight
 *   waiting    the timer runs: the delay between rounds, the deadline, or now when it
 *              was cancelled
 *
 * The happy path is idle, asking, done. A round asks each member once, those that failed lately last. An
 * attempt that gets no answer is ended by its own deadline, which also takes the request back. What may have
 * reached a server is repeated only if the caller said so. Cancelling cancels the attempt, whose answer, if
 * it was faster, still counts. */
#include "etcd/call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sm.h"
#include "etcd/cluster.h"
#include "etcd/reply.h"
#include "etcd/status_class.h"

#define DELAY_LEAST_NS (50 * NS_PER_MS)
#define DELAY_MOST_NS (500 * NS_PER_MS)
/* A member that was silent lately, while others are left to ask. */
#define PROBE_NS (500 * NS_PER_MS)
#define ATTEMPT_LEAST_NS (50 * NS_PER_MS)
/* A write that cannot be repeated: longer than etcd itself waits (7 s), for giving up helps nobody. */
#define ONLY_ATTEMPT_NS (10 * NS_PER_S)
enum { ATTEMPT_MOST_TIMES = 4 };
/* Deadlines are kept by another clock than ours, which may be a little ahead. */
#define SLACK_NS NS_PER_MS

enum state { IDLE, VERIFYING, ASKING, WAITING, DONE };

static const struct sm_state states[] = {
    [IDLE] = {"idle", SM_ARC(VERIFYING) | SM_ARC(ASKING) | SM_ARC(WAITING)},
    [VERIFYING] = {"verifying", SM_ARC(VERIFYING) | SM_ARC(ASKING) | SM_ARC(WAITING) | SM_ARC(DONE)},
    [ASKING] = {"asking", SM_ARC(VERIFYING) | SM_ARC(ASKING) | SM_ARC(WAITING) | SM_ARC(DONE)},
    [WAITING] = {"waiting", SM_ARC(VERIFYING) | SM_ARC(ASKING) | SM_ARC(WAITING) | SM_ARC(DONE)},
    [DONE] = {"done", 0},
};
static const struct sm_class call_class = {"call", states, sizeof states / sizeof states[0]};

struct etcd_call {
    struct sm sm;
    struct etcd *etcd;
    struct list in_calls;
    struct rpc_timer timer;
    struct request_meta shape;
    struct etcd_call_options how;
    etcd_reply_cb on_reply;
    void *arg;
    int64_t started_ns;

    struct etcd_member *member; /* of the attempt in flight, or the latest */
    struct rpc_call *attempt;   /* NULL when none is in flight */
    int64_t sent_ns, attempt_until_ns;
    uint32_t tried; /* in this round: bit i for member i */
    unsigned round;
    bool is_cancelled, has_unanswered;
    char why[ETCD_WHY_BYTES]; /* what the latest failure was, for the last error's text */

    size_t n_kinds, n_packed;
    uint8_t tail[]; /* the kinds, then the request packed, for every attempt */
};

static bool may_repeat(const struct etcd_call *call) {
    return call->how.is_idempotent || !call->shape.is_write;
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* ---- the end ---------------------------------------------------------------------------------------- */

static void discard(struct etcd_call *call) {
    list_remove(&call->in_calls);
    rpc_timer_fini(&call->timer);
    etcd_out_end(call->etcd);
}

static void finish(struct etcd_call *call, struct etcd_reply *reply) {
    sm_move(&call->sm, DONE);
    discard(call);
    reply->has_unanswered = call->has_unanswered;
    call->on_reply(call->arg, reply);
    free(call);
}

static void finish_error(struct etcd_call *call, struct lun_err *err) {
    err->is_outcome_unknown = call->shape.is_write && call->has_unanswered;
    finish(call, &(struct etcd_reply){.err = err});
}

static void finish_cancelled(struct etcd_call *call) {
    struct lun_err err;
    lun_err_set(&err, LUN_ECANCELLED, "cancelled");
    finish_error(call, &err);
}

static void finish_memory(struct etcd_call *call) {
    struct lun_err err;
    lun_err_set(&err, LUN_ENOMEM, "out of memory");
    finish_error(call, &err);
}

static void finish_unknown(struct etcd_call *call) {
    struct lun_err err;
    lun_err_set(&err, LUN_EUNKNOWN,
                "the reply was lost (%s %s): the write may or may not have been carried out",
                etcd_member_address(call->member), call->why);
    finish_error(call, &err);
}

static void describe_failures(const struct etcd_call *call, char *text, size_t n_bytes) {
    text[0] = '\0';
    if (!call->how.member)
        etcd_describe_failures(call->etcd, text, n_bytes);
    if (text[0] == '\0')
        (void)snprintf(text, n_bytes, "%s %s", etcd_member_address(call->member), call->why);
}

static void finish_unavailable(struct etcd_call *call) {
    struct lun_err err;
    if (!call->member) {
        lun_err_set(&err, LUN_EUNAVAILABLE, "no time was left to ask etcd");
    } else {
        char failures[256], span[32];
        describe_failures(call, failures, sizeof failures);
        (void)etcd_span_text(span, sizeof span, call->how.deadline_ns - call->started_ns);
        lun_err_set(&err, LUN_EUNAVAILABLE, "no etcd member answered within %s (%s)", span, failures);
    }
    err.is_retriable = true;
    finish_error(call, &err);
}

static bool is_past_deadline(const struct etcd_call *call) {
    return call->how.deadline_ns != RPC_NEVER && rpc_now(call->etcd->rpc) >= call->how.deadline_ns - SLACK_NS;
}

/* ---- asking ----------------------------------------------------------------------------------------- */

static void on_attempt(void *arg, const struct rpc_result *result, const ProtobufCMessage *message);

/* How many, this one included, can still be asked in this round. */
static int64_t n_left(const struct etcd_call *call) {
    return call->how.member ? 1 : (int64_t)call->etcd->n_members - __builtin_popcount(call->tried) + 1;
}

static int64_t attempt_until(const struct etcd_call *call, int64_t now_ns, bool can_repeat) {
    int64_t span = call->how.attempt_ns;
    if (span == 0) {
        unsigned times = call->round < ATTEMPT_MOST_TIMES ? call->round + 1 : ATTEMPT_MOST_TIMES;
        span = can_repeat ? ETCD_ATTEMPT_NS * (int64_t)times : ONLY_ATTEMPT_NS;
    }
    int64_t left_ns = call->how.deadline_ns - now_ns;
    if (can_repeat && n_left(call) > 1) {
        int64_t share = left_ns / n_left(call);
        span = least(span, share > ATTEMPT_LEAST_NS ? share : ATTEMPT_LEAST_NS);
        if (call->member->is_silent)
            span = least(span, PROBE_NS);
    }
    return now_ns + least(span, left_ns);
}

static int send(struct etcd_call *call, enum state state, enum rpc_method method, struct lun_bytes request) {
    call->sent_ns = rpc_now(call->etcd->rpc);
    call->attempt_until_ns = attempt_until(call, call->sent_ns, state == VERIFYING || may_repeat(call));
    struct rpc_options options = etcd_options(call->etcd, call->attempt_until_ns);
    options.has_leader = state == ASKING && !call->shape.needs_no_leader;
    sm_move(&call->sm, (int)state);
    return rpc_call_packed(call->member->channel, method, request, &options, on_attempt, call,
                           &call->attempt);
}

static int send_status(struct etcd_call *call) {
    return send(call, VERIFYING, RPC_MEMBER_STATUS, (struct lun_bytes){"", 0}); /* a message without fields */
}

static int send_request(struct etcd_call *call) {
    struct lun_bytes request = {call->tail + call->n_kinds, call->n_packed};
    return send(call, ASKING, call->shape.method, request);
}

static bool must_verify(const struct etcd_call *call) {
    return call->etcd->cluster_id != 0 && !call->member->is_verified &&
           call->shape.method != RPC_MEMBER_STATUS;
}

/* The next member of the round; false when there is none left. */
static bool choose(struct etcd_call *call) {
    struct etcd_member *member;
    if (call->how.member)
        member = call->tried == 0 ? call->how.member : NULL;
    else
        member = call->tried == 0 ? etcd_pick(call->etcd) : etcd_next(call->etcd, call->tried);
    if (!member)
        return false;
    call->member = member;
    call->tried |= UINT32_C(1) << etcd_member_index(member);
    return true;
}

static void wait(struct etcd_call *call) {
    struct rpc *rpc = call->etcd->rpc;
    int64_t delay = call->round < 4 ? DELAY_LEAST_NS << call->round : DELAY_MOST_NS;
    delay = etcd_jitter(call->etcd, delay);
    delay = least(delay < DELAY_LEAST_NS ? DELAY_LEAST_NS : delay, DELAY_MOST_NS);
    call->round++;
    call->tried = 0;
    sm_move(&call->sm, WAITING);
    rpc_timer_start(&call->timer, least(rpc_now(rpc) + delay, call->how.deadline_ns));
}

static void ask_next(struct etcd_call *call) {
    if (is_past_deadline(call))
        finish_unavailable(call);
    else if (!choose(call))
        wait(call);
    else if (must_verify(call) ? send_status(call) : send_request(call))
        finish_memory(call);
}

static void on_timer(struct rpc_timer *timer) {
    struct etcd_call *call = CONTAINER_OF(timer, struct etcd_call, timer);
    if (call->is_cancelled)
        finish_cancelled(call);
    else
        ask_next(call);
}

/* ---- answers ---------------------------------------------------------------------------------------- */

/* The attempt failed in a way that others, or the same one later, may make good. `class` and call->why say
 * how. */
static void go_on(struct etcd_call *call, const struct status_class *class) {
    bool may_be_done = class->is_outcome_unknown && call->sm.state == ASKING;
    call->has_unanswered = call->has_unanswered || may_be_done;
    if (call->is_cancelled)
        finish_cancelled(call);
    else if (may_be_done && !may_repeat(call))
        finish_unknown(call);
    else if (is_past_deadline(call))
        finish_unavailable(call);
    else if (class->again == AGAIN_HERE)
        wait(call);
    else
        ask_next(call);
}

/* The member said something that cannot be used. */
static void on_bad_reply(struct etcd_call *call, const struct lun_err *err, bool may_be_done) {
    (void)snprintf(call->why, sizeof call->why, "%.*s", (int)sizeof call->why - 1, err->text);
    etcd_member_failed(call->member, call->why);
    go_on(call, &(struct status_class){
                    .code = LUN_EUNAVAILABLE, .again = AGAIN_ELSEWHERE, .is_outcome_unknown = may_be_done});
}

static void on_silence(struct etcd_call *call, bool is_unsent) {
    int64_t now_ns = rpc_now(call->etcd->rpc);
    char span[32];
    (void)snprintf(call->why, sizeof call->why, "silent for %s",
                   etcd_span_text(span, sizeof span, now_ns - call->sent_ns));
    etcd_member_silent(call->member, call->sent_ns, call->attempt_until_ns < call->how.deadline_ns);
    go_on(call, &(struct status_class){
                    .code = LUN_EUNAVAILABLE, .again = AGAIN_ELSEWHERE, .is_outcome_unknown = !is_unsent});
}

static void on_verified(struct etcd_call *call) {
    if (call->is_cancelled)
        finish_cancelled(call);
    else if (is_past_deadline(call))
        finish_unavailable(call);
    else if (send_request(call))
        finish_memory(call);
}

static void on_status(struct etcd_call *call, const struct rpc_result *result) {
    if (call->is_cancelled && result->status == RPC_CANCELLED) {
        go_on(call, &(struct status_class){.is_outcome_unknown = !result->is_unsent});
        return;
    }
    if (result->status == RPC_DEADLINE_EXCEEDED) {
        on_silence(call, result->is_unsent);
        return;
    }
    struct status_class class = status_classify(result->status, result->message, result->is_unsent);
    if (class.again == AGAIN_NEVER || class.is_token_stale) {
        etcd_member_answered(call->member);
        if (call->sm.state == VERIFYING) { /* it may not tell us: then the request itself will show */
            on_verified(call);
            return;
        }
        struct lun_err err;
        lun_err_set(&err, class.code, "%s", result->message[0] ? result->message : lun_strerror(class.code));
        err.status = result->status;
        call->has_unanswered = call->has_unanswered || class.is_outcome_unknown;
        finish_error(call, &err);
        return;
    }
    status_describe(call->why, sizeof call->why, result->status, result->message, result->is_unsent);
    if (class.is_member_fault)
        etcd_member_failed(call->member, call->why);
    go_on(call, &class);
}

static void on_answer(struct etcd_call *call, const ProtobufCMessage *message) {
    struct lun_err err;
    struct reply_room room;
    struct etcd_reply reply;
    int rc = reply_read(&room, &call->shape, call->tail, message, &reply, &err);
    if (rc == LUN_ENOMEM) {
        call->has_unanswered = true;
        finish_memory(call);
    } else if (rc) {
        on_bad_reply(call, &err, true);
    } else {
        reply.member = call->member;
        reply.sent_ns = call->sent_ns;
        finish(call, &reply);
    }
    reply_room_fini(&room);
}

static void on_attempt(void *arg, const struct rpc_result *result, const ProtobufCMessage *message) {
    struct etcd_call *call = arg;
    call->attempt = NULL;
    if (result->status != RPC_OK) {
        on_status(call, result);
        return;
    }
    bool is_verifying = call->sm.state == VERIFYING;
    const Etcdserverpb__ResponseHeader *header =
        reply_header(is_verifying ? RPC_MEMBER_STATUS : call->shape.method, message);
    struct lun_err err;
    if (etcd_saw_header(call->member, header, &err))
        on_bad_reply(call, &err, header == NULL);
    else if (is_verifying)
        on_verified(call);
    else
        on_answer(call, message);
}

/* ---- starting and cancelling ------------------------------------------------------------------------ */

static struct etcd_call *call_new(struct etcd *etcd, const struct request_meta *shape, const uint8_t *kinds,
                                  const ProtobufCMessage *request) {
    size_t n_kinds = kinds ? shape->n_success + shape->n_failure : 0;
    size_t n_packed = protobuf_c_message_get_packed_size(request);
    struct etcd_call *call = malloc(sizeof *call + n_kinds + n_packed);
    if (!call)
        return NULL;
    *call = (struct etcd_call){.etcd = etcd, .shape = *shape, .n_kinds = n_kinds, .n_packed = n_packed};
    if (rpc_timer_init(etcd->rpc, &call->timer, on_timer)) {
        free(call);
        return NULL;
    }
    if (n_kinds > 0)
        memcpy(call->tail, kinds, n_kinds);
    (void)protobuf_c_message_pack(request, call->tail + n_kinds);
    sm_init(&call->sm, &call_class, etcd->trace, IDLE);
    return call;
}

static int first_attempt(struct etcd_call *call) {
    if (is_past_deadline(call)) {
        sm_move(&call->sm, WAITING);
        rpc_timer_start(&call->timer, call->how.deadline_ns);
        return 0;
    }
    (void)choose(call);
    return must_verify(call) ? send_status(call) : send_request(call);
}

int call_start(struct etcd *etcd, const struct request_meta *shape, const uint8_t *kinds,
               const ProtobufCMessage *request, const struct etcd_call_options *how, etcd_reply_cb on_reply,
               void *arg, struct etcd_call **ret_call) {
    if (etcd->is_closing)
        return LUN_ECLOSED;
    struct etcd_call *call = call_new(etcd, shape, kinds, request);
    if (!call)
        return LUN_ENOMEM;
    call->how = *how;
    call->on_reply = on_reply;
    call->arg = arg;
    call->started_ns = rpc_now(etcd->rpc);
    list_push_back(&etcd->calls, &call->in_calls);
    etcd_out_begin(etcd);
    int rc = first_attempt(call);
    if (rc) {
        discard(call);
        free(call);
        return rc;
    }
    if (ret_call)
        *ret_call = call;
    return 0;
}

void etcd_cancel(struct etcd_call *call) {
    if (call->is_cancelled)
        return;
    call->is_cancelled = true;
    if (call->attempt)
        rpc_cancel(call->attempt);
    else
        rpc_timer_start(&call->timer, rpc_now(call->etcd->rpc));
}

void etcd_calls_cancel(struct etcd *etcd) {
    for (struct list *node = etcd->calls.next; node != &etcd->calls; node = node->next)
        etcd_cancel(CONTAINER_OF(node, struct etcd_call, in_calls));
}
