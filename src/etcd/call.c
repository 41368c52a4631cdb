/* etcd/call.c - the attempt machine: one request, one attempt at a time, until a member has answered.
 *
 *             +------------- next member --------------+
 *             v                                        |
 *   idle -> verifying -> asking -----------------------+--> done
 *     |       ^  |         ^  \-- all were asked --> waiting
 *     |       |  +---------+---------------------------/ timer
 *     +-> queueing --------+
 *     +-> authenticating --+
 *
 * Suspended in
 *   authenticating  the user's token is asked for, once for all calls (auth.h)
 *   queueing   nothing is in flight: the member is asked as much at a time as it may be (window.h)
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

#include "etcd/backoff.h"
#include "etcd/call_machine.h"
#include "etcd/cluster.h"
#include "etcd/reply.h"
#include "etcd/status_class.h"

#define DELAY_LEAST_NS (50 * NS_PER_MS)
/* For few calls; for each one more that is out a little longer, so that etcd, once it is there again, is found soon, and a
 * thousand calls that wait for it do not keep a processor busy. */
#define DELAY_MOST_NS (120 * NS_PER_MS)
#define DELAY_EACH_NS NS_PER_MS
#define DELAY_CROWD_NS (500 * NS_PER_MS)
/* A member that was silent lately, while others are left to ask. */
#define PROBE_NS (500 * NS_PER_MS)
#define ATTEMPT_LEAST_NS (50 * NS_PER_MS)
/* A write that cannot be repeated: longer than etcd itself waits (7 s), for giving up helps nobody. */
#define ONLY_ATTEMPT_NS (10 * NS_PER_S)
enum { ATTEMPT_MOST_TIMES = 4 };
/* A server that answers slowly is waited for so many times as long as it took lately, and asked again as much
 * later: what is given up and asked again is work that it does twice. */
enum { ATTEMPT_ANSWERS = 4 };
#define ATTEMPT_SLOW_NS (8 * NS_PER_S)
#define DELAY_SLOW_NS (2 * NS_PER_S)
/* A member of another cluster is asked for itself alone, as often as it takes. */
#define DELAY_STRANGER_NS (2 * NS_PER_S)
/* Deadlines are kept by another clock than ours, which may be a little ahead. */
#define SLACK_NS NS_PER_MS

#define TO_MEMBER (SM_ARC(AUTHENTICATING) | SM_ARC(QUEUEING) | SM_ARC(VERIFYING) | SM_ARC(ASKING))
static const struct sm_state states[] = {
    [IDLE] = {"idle", TO_MEMBER | SM_ARC(WAITING)},
    [AUTHENTICATING] = {"authenticating", TO_MEMBER | SM_ARC(WAITING) | SM_ARC(DONE)},
    [QUEUEING] = {"queueing", TO_MEMBER | SM_ARC(WAITING) | SM_ARC(DONE)},
    [VERIFYING] = {"verifying", TO_MEMBER | SM_ARC(WAITING) | SM_ARC(DONE)},
    [ASKING] = {"asking", TO_MEMBER | SM_ARC(WAITING) | SM_ARC(DONE)},
    [WAITING] = {"waiting", TO_MEMBER | SM_ARC(WAITING) | SM_ARC(DONE)},
    [DONE] = {"done", 0},
};
static const struct sm_class call_class = {
    .name = "call", .states = states, .n_states = sizeof states / sizeof states[0]};

static bool may_repeat(const struct etcd_call *call) {
    return call->how.is_idempotent || !call->meta.is_write;
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* Which of its member's windows it is counted in; NULL: none. */
static struct window *window_of(const struct etcd_call *call) {
    switch (call->how.class) {
    case ETCD_LOOK:
        return &call->member->windows[WINDOW_LOOK];
    case ETCD_LEASE:
        return NULL;
    default:
        return &call->member->windows[call->meta.is_scan && !call->meta.is_write ? WINDOW_SCAN : WINDOW_USER];
    }
}

static int64_t answer_ns(const struct etcd_call *call) {
    const struct window *window = window_of(call);
    return window ? window->answer_ns : 0;
}

/* What an answer takes, as measured; where nothing was, the way there and back. */
static int64_t usual_ns(const struct etcd_call *call) {
    int64_t measured_ns = answer_ns(call);
    return measured_ns > 0 ? measured_ns : etcd_member_distance_ns(call->member);
}

static const char mend_space[] = " (compact and defragment etcd's database, then: etcdctl alarm disarm)";

/* Where the text of a failure is written. Most calls never fail: it is theirs from their first failure on, or without
 * memory one that all share. */
static char *room_for_why(struct etcd_call *call) {
    if (!call->why_room)
        call->why_room = malloc(ETCD_WHY_BYTES);
    char *room = call->why_room ? call->why_room : call->etcd->spare_why;
    call->why = room;
    return room;
}

static bool is_past_deadline(const struct etcd_call *call) {
    return call->how.deadline_ns != RPC_NEVER && rpc_now(call->etcd->rpc) >= call->how.deadline_ns - SLACK_NS;
}

/* ---- asking ----------------------------------------------------------------------------------------- */

static void on_attempt(void *arg, const struct rpc_result *result, const ProtobufCMessage *message);

/* How many, this one included, can still be asked in this round. */
static int64_t n_left(const struct etcd_call *call) {
    return call->how.member ? 1 : (int64_t)call->etcd->n_used - __builtin_popcount(call->tried) + 1;
}

static int64_t attempt_until(const struct etcd_call *call, int64_t now_ns, bool can_repeat) {
    int64_t span = call->how.attempt_ns;
    if (span == 0) {
        unsigned times = call->round < ATTEMPT_MOST_TIMES ? call->round + 1 : ATTEMPT_MOST_TIMES;
        span = can_repeat ? ETCD_ATTEMPT_NS * (int64_t)times : ONLY_ATTEMPT_NS;
        int64_t slow_ns = least(ATTEMPT_ANSWERS * usual_ns(call), ATTEMPT_SLOW_NS);
        span = span > slow_ns ? span : slow_ns;
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

/* Soon: calls that wait for room at a member look for it again. */
static void look_for_room(struct etcd *etcd) {
    rpc_timer_start(&etcd->room_timer, rpc_now(etcd->rpc));
}

static void attempt_ended(struct etcd_call *call, enum window_end how) {
    struct window *window = window_of(call);
    if (!window)
        return;
    window_ended(window, call->sent_ns, rpc_now(call->etcd->rpc), how);
    if (!list_is_empty(&window->waiting))
        look_for_room(call->etcd);
}

static int send(struct etcd_call *call, enum state state, enum rpc_method method, struct lun_bytes request) {
    call->sent_ns = rpc_now(call->etcd->rpc);
    if (window_of(call))
        window_began(window_of(call), call->sent_ns);
    call->attempt_until_ns = attempt_until(call, call->sent_ns, state == VERIFYING || may_repeat(call));
    struct rpc_options options = etcd_options(call->etcd, call->attempt_until_ns);
    options.has_leader = state == ASKING && !call->meta.needs_no_leader;
    if (call->meta.is_tokenless)
        options.token = NULL;
    call->generation = call->etcd->auth.generation;
    sm_move(&call->sm, (int)state);
    int rc =
        rpc_call_packed(call->member->channel, method, request, &options, on_attempt, call, &call->attempt);
    if (rc)
        attempt_ended(call, WINDOW_FAILED);
    return rc;
}

static int send_status(struct etcd_call *call) {
    return send(call, VERIFYING, RPC_MEMBER_STATUS, (struct lun_bytes){"", 0}); /* a message without fields */
}

static int send_request(struct etcd_call *call) {
    struct lun_bytes request = {call->tail + call->n_kinds, call->n_packed};
    call->etcd->tally.n_retries += call->n_sent++ > 0;
    return send(call, ASKING, call->meta.method, request);
}

static bool must_verify(const struct etcd_call *call) {
    return call->etcd->identity.cluster_id != 0 && !call->member->is_verified &&
           call->meta.method != RPC_MEMBER_STATUS;
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
    int64_t most = least(DELAY_MOST_NS + DELAY_EACH_NS * (int64_t)call->etcd->n_out, DELAY_CROWD_NS);
    int64_t delay = backoff_around(rpc, backoff_grown(DELAY_LEAST_NS, most, call->round));
    delay = least(delay < DELAY_LEAST_NS ? DELAY_LEAST_NS : delay, most);
    int64_t slow_ns = least(answer_ns(call), DELAY_SLOW_NS);
    delay = delay > slow_ns ? delay : slow_ns;
    if (call->member && call->member == call->etcd->identity.stranger)
        delay = DELAY_STRANGER_NS;
    call->round++;
    call->tried = 0;
    sm_move(&call->sm, WAITING);
    rpc_timer_start(&call->timer, least(rpc_now(rpc) + delay, call->how.deadline_ns));
}

static int begin_attempt(struct etcd_call *call) {
    return must_verify(call) ? send_status(call) : send_request(call);
}

/* Asks the member chosen, or waits for a token first, or for room there. */
static int begin_or_queue(struct etcd_call *call) {
    if (!call->meta.is_tokenless && auth_is_needed(&call->etcd->auth)) {
        sm_move(&call->sm, AUTHENTICATING);
        rpc_timer_start(&call->timer, call->how.deadline_ns);
        auth_wait(&call->etcd->auth, &call->waiter);
        return 0;
    }
    struct window *window = window_of(call);
    if (!window || (list_is_empty(&window->waiting) && window_has_room(window, rpc_now(call->etcd->rpc))))
        return begin_attempt(call);
    call->why = "has not answered earlier requests";
    list_push_back(&window->waiting, &call->in_window);
    sm_move(&call->sm, QUEUEING);
    rpc_timer_start(&call->timer, call->how.deadline_ns);
    look_for_room(call->etcd);
    return 0;
}

static void ask_next(struct etcd_call *call) {
    struct lun_err err;
    if (!call->how.member && identity_check(call->etcd, &err)) {
        discovery_prompt(&call->etcd->discovery); /* it may name members of one cluster by now */
        call_finish_error(call, &err);
    } else if (is_past_deadline(call))
        call_finish_unavailable(call);
    else if (!choose(call))
        wait(call);
    else if (begin_or_queue(call))
        call_finish_memory(call);
}

/* ---- waiting for room at a member ------------------------------------------------------------------- */

void etcd_calls_member_failed(struct etcd_member *member) {
    for (int i = 0; i < WINDOW_N_KINDS; i++)
        if (!list_is_empty(&member->windows[i].waiting))
            look_for_room(member->etcd);
}

static void leave_queue(struct etcd_call *call) {
    list_remove(&call->in_window);
    rpc_timer_stop(&call->timer);
}

static void admit(struct etcd_member *member, struct window *window) {
    while (!list_is_empty(&window->waiting) && window_has_room(window, rpc_now(member->etcd->rpc))) {
        struct etcd_call *call = CONTAINER_OF(window->waiting.next, struct etcd_call, in_window);
        leave_queue(call);
        if (call->is_cancelled)
            call_finish_cancelled(call);
        else if (begin_attempt(call))
            call_finish_memory(call);
    }
}

/* Where the member has failed: the calls that wait for it choose again. */
static void choose_again(struct etcd_member *member, struct window *window) {
    struct list batch, *node;
    if (member->failed_ns == 0)
        return;
    list_move(&window->waiting, &batch);
    while ((node = list_pop_front(&batch))) {
        struct etcd_call *call = CONTAINER_OF(node, struct etcd_call, in_window);
        leave_queue(call);
        call->tried &= ~(UINT32_C(1) << etcd_member_index(member));
        if (call->is_cancelled)
            call_finish_cancelled(call);
        else
            ask_next(call);
    }
}

static void for_each_window(struct etcd *etcd, void (*visit)(struct etcd_member *, struct window *)) {
    for (size_t i = 0; i < etcd->n_slots; i++)
        for (int kind = 0; kind < WINDOW_N_KINDS; kind++)
            visit(&etcd->members[i], &etcd->members[i].windows[kind]);
}

/* What a callback, or a choice made again, has queued meanwhile is seen too: hence a round of its own. */
static void plan_next_look(struct etcd_member *member, struct window *window) {
    struct rpc_timer *timer = &member->etcd->room_timer;
    if (list_is_empty(&window->waiting))
        return;
    int64_t now_ns = rpc_now(member->etcd->rpc);
    int64_t at_ns = window_has_room(window, now_ns) ? now_ns : window_room_at_ns(window);
    if (!rpc_timer_is_running(timer) || at_ns < timer->node.key)
        rpc_timer_start(timer, at_ns);
}

void etcd_calls_on_room_timer(struct rpc_timer *timer) {
    struct etcd *etcd = CONTAINER_OF(timer, struct etcd, room_timer);
    for_each_window(etcd, choose_again);
    for_each_window(etcd, admit);
    rpc_timer_stop(timer);
    for_each_window(etcd, plan_next_look);
}

static void on_token(struct auth_waiter *waiter, const struct lun_err *err) {
    struct etcd_call *call = CONTAINER_OF(waiter, struct etcd_call, waiter);
    struct lun_err copy;
    rpc_timer_stop(&call->timer);
    if (call->is_cancelled) {
        call_finish_cancelled(call);
    } else if (err) {
        copy = *err;
        call_finish_error(call, &copy);
    } else if (begin_or_queue(call)) {
        call_finish_memory(call);
    }
}

static void on_timer(struct rpc_timer *timer) {
    struct etcd_call *call = CONTAINER_OF(timer, struct etcd_call, timer);
    list_remove(&call->waiter.in_auth);
    if (call->is_cancelled)
        call_finish_cancelled(call);
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
        call_finish_cancelled(call);
    else if (may_be_done && !may_repeat(call))
        call_finish_unknown(call);
    else if (is_past_deadline(call))
        call_finish_unavailable(call);
    else if (class->again == AGAIN_HERE)
        wait(call);
    else
        ask_next(call);
}

/* The member said something that cannot be used. */
static void on_bad_reply(struct etcd_call *call, const struct lun_err *err, bool may_be_done) {
    (void)snprintf(room_for_why(call), ETCD_WHY_BYTES, "%.*s", ETCD_WHY_BYTES - 1, err->text);
    etcd_member_failed(call->member, call->why);
    go_on(call, &(struct status_class){
                    .code = LUN_EUNAVAILABLE, .again = AGAIN_ELSEWHERE, .is_outcome_unknown = may_be_done});
}

static void on_silence(struct etcd_call *call, const struct rpc_result *result) {
    int64_t now_ns = rpc_now(call->etcd->rpc);
    char span[32];
    (void)snprintf(room_for_why(call), ETCD_WHY_BYTES, "silent for %s",
                   etcd_span_text(span, sizeof span, now_ns - call->sent_ns));
    etcd_member_silent(call->member, call->sent_ns, call->attempt_until_ns < call->how.deadline_ns,
                       result->guess);
    go_on(call, &(struct status_class){.code = LUN_EUNAVAILABLE,
                                       .again = AGAIN_ELSEWHERE,
                                       .is_outcome_unknown = !result->is_unsent});
}

static void on_verified(struct etcd_call *call) {
    if (call->is_cancelled)
        call_finish_cancelled(call);
    else if (is_past_deadline(call))
        call_finish_unavailable(call);
    else if (send_request(call))
        call_finish_memory(call);
}

/* A new token, and the same member again; a second refusal waits first. */
static void on_stale_token(struct etcd_call *call, const struct status_class *class) {
    auth_refused(&call->etcd->auth, call->generation);
    if (call->is_cancelled || is_past_deadline(call) || ++call->n_stale > 1)
        go_on(call, class);
    else if (begin_or_queue(call))
        call_finish_memory(call);
}

static void on_status(struct etcd_call *call, const struct rpc_result *result) {
    if (call->is_cancelled && result->status == RPC_CANCELLED) {
        go_on(call, &(struct status_class){.is_outcome_unknown = !result->is_unsent});
        return;
    }
    if (result->status == RPC_DEADLINE_EXCEEDED) {
        if (!result->is_unsent)
            auth_silent(&call->etcd->auth, call->generation);
        on_silence(call, result);
        return;
    }
    struct status_class class = status_classify(result->status, result->message, result->is_unsent);
    if (class.is_token_stale && auth_has_user(&call->etcd->auth) && !call->meta.is_tokenless) {
        etcd_member_answered(call->member);
        status_describe(room_for_why(call), ETCD_WHY_BYTES, result);
        on_stale_token(call, &class);
        return;
    }
    if (class.again == AGAIN_NEVER || class.is_token_stale) {
        etcd_member_answered(call->member);
        if (call->sm.state == VERIFYING) { /* it may not tell us: then the request itself will show */
            on_verified(call);
            return;
        }
        struct lun_err err;
        lun_err_set(&err, class.code, "%s%s", result->message[0] ? result->message : lun_strerror(class.code),
                    class.code == LUN_ENOSPACE ? mend_space : "");
        err.status = result->status;
        auth_explain(&call->etcd->auth, &err);
        call->has_unanswered = call->has_unanswered || class.is_outcome_unknown;
        call_finish_error(call, &err);
        return;
    }
    status_describe(room_for_why(call), ETCD_WHY_BYTES, result);
    if (class.is_member_fault)
        etcd_member_failed(call->member, call->why);
    go_on(call, &class);
}

static void on_answer(struct etcd_call *call, const ProtobufCMessage *message) {
    struct lun_err err;
    struct reply_room room;
    struct etcd_reply reply;
    int rc = reply_read(&room, &call->etcd->namespace, &call->meta, call->tail, message, &reply, &err);
    if (rc == LUN_ENOMEM) {
        call->has_unanswered = true;
        call_finish_memory(call);
    } else if (rc) {
        on_bad_reply(call, &err, true);
    } else {
        reply.member = call->member;
        reply.sent_ns = call->sent_ns;
        call_finish(call, &reply);
    }
    reply_room_fini(&room);
}

static enum window_end end_of(const struct rpc_result *result) {
    if (result->status == RPC_OK)
        return WINDOW_ANSWERED;
    if (result->is_unsent)
        return WINDOW_UNSENT;
    bool is_given_up = result->status == RPC_DEADLINE_EXCEEDED || result->status == RPC_CANCELLED;
    return is_given_up ? WINDOW_GIVEN_UP : WINDOW_FAILED;
}

/* Whether its answer reflects all that was committed before it was sent. */
static bool is_present(const struct etcd_call *call) {
    switch (call->sm.state == VERIFYING ? RPC_MEMBER_STATUS : call->meta.method) {
    case RPC_RANGE:
    case RPC_PUT:
    case RPC_DELETE_RANGE:
    case RPC_TXN:
    case RPC_LEASE_GRANT:
    case RPC_LEASE_REVOKE:
        return !call->meta.is_serializable;
    default:
        return false;
    }
}

static void on_attempt(void *arg, const struct rpc_result *result, const ProtobufCMessage *message) {
    struct etcd_call *call = arg;
    call->attempt = NULL;
    attempt_ended(call, end_of(result));
    if (result->status != RPC_OK) {
        on_status(call, result);
        return;
    }
    auth_answered(&call->etcd->auth);
    bool is_verifying = call->sm.state == VERIFYING;
    if (is_verifying || call->meta.method == RPC_MEMBER_STATUS)
        call->member->distance_ns = rpc_now(call->etcd->rpc) - call->sent_ns;
    const Etcdserverpb__ResponseHeader *header =
        reply_header(is_verifying ? RPC_MEMBER_STATUS : call->meta.method, message);
    struct lun_err err;
    if (etcd_saw_header(call->member, header, (struct heard){call->sent_ns, is_present(call)}, &err))
        on_bad_reply(call, &err,
                     true); /* also of another cluster: it may be the header alone that is false */
    else if (is_verifying)
        on_verified(call);
    else
        on_answer(call, message);
}

/* ---- starting and cancelling ------------------------------------------------------------------------ */

/* `request` has been moved below the prefix. */
static struct etcd_call *call_new(struct etcd *etcd, const struct request_meta *meta, const uint8_t *kinds,
                                  const ProtobufCMessage *request) {
    size_t n_kinds = kinds ? meta->n_success + meta->n_failure : 0;
    size_t n_packed = protobuf_c_message_get_packed_size(request);
    struct etcd_call *call = pool_alloc(&etcd->call_pool, sizeof *call + n_kinds + n_packed);
    if (!call)
        return NULL;
    *call =
        (struct etcd_call){.etcd = etcd, .why = "", .meta = *meta, .n_kinds = n_kinds, .n_packed = n_packed};
    if (rpc_timer_init(etcd->rpc, &call->timer, on_timer)) {
        call_free(call);
        return NULL;
    }
    if (n_kinds > 0)
        memcpy(call->tail, kinds, n_kinds);
    (void)protobuf_c_message_pack(request, call->tail + n_kinds);
    sm_init(&call->sm, &call_class, etcd->trace, IDLE);
    return call;
}

static int first_attempt(struct etcd_call *call) {
    bool is_hopeless = !call->how.member && identity_check(call->etcd, NULL);
    if (is_hopeless || is_past_deadline(call)) { /* the callback comes later all the same */
        sm_move(&call->sm, WAITING);
        rpc_timer_start(&call->timer, rpc_now(call->etcd->rpc));
        return 0;
    }
    (void)choose(call);
    return begin_or_queue(call);
}

int call_start(struct etcd *etcd, const struct request_meta *meta, const uint8_t *kinds,
               ProtobufCMessage *request, const struct etcd_call_options *how, etcd_reply_cb on_reply,
               void *arg, struct etcd_call **ret_call) {
    void *keys;
    if (etcd->is_closing)
        return LUN_ECLOSED;
    int rc = namespace_enter(&etcd->namespace, meta->method, request, &keys);
    if (rc)
        return rc;
    struct etcd_call *call = call_new(etcd, meta, kinds, request);
    free(keys);
    if (!call)
        return LUN_ENOMEM;
    call->how = *how;
    call->on_reply = on_reply;
    call->arg = arg;
    call->started_ns = rpc_now(etcd->rpc);
    list_init(&call->in_window);
    list_init(&call->waiter.in_auth);
    call->waiter.on_token = on_token;
    list_push_back(&etcd->calls, &call->in_calls);
    etcd_out_begin(etcd);
    rc = first_attempt(call);
    if (rc) {
        call_discard(call);
        call_free(call);
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

bool etcd_calls_use(const struct etcd *etcd, const struct etcd_member *member) {
    for (struct list *node = etcd->calls.next; node != &etcd->calls; node = node->next) {
        const struct etcd_call *call = CONTAINER_OF(node, struct etcd_call, in_calls);
        if (call->how.member == member || call->member == member)
            return true;
    }
    return false;
}
