/* etcd/watch_stream.c - the watch stream's life.
 *
 *            first watcher               stream broke
 *   closed ----------------> open ---------------------> backoff
 *     ^ ^                    |  ^                         |  |
 *     | +--- idle for long --+  +---- timer, or move -----+  |
 *     +------------------- no watcher left ------------------+
 *
 * Timer
 *   backoff  when to open again
 *   open     at once when the member failed and another is better;
 *            when a creation has been waiting for long (the member is frozen: nothing else would tell);
 *            when nothing was heard of the member for a while: is it still there? (a watch may be silent for hours)
 *            when there has been no watcher for long
 *
 * A stream is left behind by cancelling it and forgetting it: whatever it still says bears another pointer
 * than the present one. */
#include "etcd/watch_stream.h"

#include <stdlib.h>

#include "etcd/backoff.h"
#include "etcd/cluster.h"
#include "etcd/kv.h"
#include "etcd/malformed.h"
#include "etcd/status_class.h"

#define IDLE_NS (5 * NS_PER_S)
/* A creation is waited for so long, or for LOOK_ANSWERS times what the member's answers take. When all members have been
 * silent for so long, they are far away, or frozen: each is given twice as long, up to LOOK_MOST_NS. */
#define SILENCE_NS (2 * NS_PER_S)
enum { MOST_DOUBLED = 2 };
#define SUSPICION_NS (2 * NS_PER_S)
/* A member of which nothing was heard for LOOK_AFTER_NS, not by renewals either, is asked how it is, and left when it does not
 * say within LOOK_NS, or within LOOK_ANSWERS times what its answers take: waiters move within 2 s. */
#define LOOK_AFTER_NS NS_PER_S
#define LOOK_NS (800 * NS_PER_MS)
#define LOOK_MOST_NS (8 * NS_PER_S)
enum { LOOK_ANSWERS = 4 };
/* A stream that lived this long was a good one: its end is not the next failure in a row. */
#define GOOD_NS NS_PER_S
#define DELAY_FIRST_NS (5 * NS_PER_MS)
#define DELAY_LEAST_NS (50 * NS_PER_MS)
#define DELAY_MOST_NS (500 * NS_PER_MS)

enum state { CLOSED, BACKOFF, OPEN };

static const struct sm_state states[] = {
    [CLOSED] = {"closed", SM_ARC(OPEN)},
    [BACKOFF] = {"backoff", SM_ARC(BACKOFF) | SM_ARC(OPEN) | SM_ARC(CLOSED)},
    [OPEN] = {"open", SM_ARC(BACKOFF) | SM_ARC(CLOSED)},
};
static const struct sm_class watch_stream_class = {
    .name = "watch stream", .states = states, .n_states = sizeof states / sizeof states[0]};

static bool has_watchers(const struct watch_stream *stream) {
    return !list_is_empty(&stream->wanted) || !list_is_empty(&stream->creating) ||
           !list_is_empty(&stream->created);
}

/* `least_ns`, or longer where etcd has shown that it is far away. */
static int64_t patience_ns(const struct watch_stream *stream, int64_t least_ns) {
    int64_t answer_ns = etcd_member_answer_ns(stream->member),
            distance_ns = etcd_member_distance_ns(stream->member);
    int64_t span_ns = LOOK_ANSWERS * (answer_ns > distance_ns ? answer_ns : distance_ns);
    if (span_ns > LOOK_MOST_NS)
        return LOOK_MOST_NS;
    return span_ns > least_ns ? span_ns : least_ns;
}

static int64_t creation_ns(const struct watch_stream *stream) {
    size_t n_doubled = stream->n_silent / stream->etcd->n_used;
    return patience_ns(stream, SILENCE_NS << (n_doubled < MOST_DOUBLED ? n_doubled : MOST_DOUBLED));
}

/* When to ask next how the member is. */
static int64_t look_at_ns(const struct watch_stream *stream) {
    int64_t heard_ns = stream->heard_ns > stream->looked_ns ? stream->heard_ns : stream->looked_ns;
    if (stream->look || stream->etcd->n_used == 1) /* nowhere else to go */
        return RPC_NEVER;
    return (heard_ns > stream->member->heard_ns ? heard_ns : stream->member->heard_ns) + LOOK_AFTER_NS;
}

void watch_stream_rearm(struct watch_stream *stream) {
    int64_t at_ns = RPC_NEVER;
    if (stream->sm.state == BACKOFF) {
        if (has_watchers(stream))
            return;
        sm_move(&stream->sm, CLOSED);
    } else if (stream->sm.state == OPEN) {
        if (stream->should_move)
            at_ns = rpc_now(stream->etcd->rpc);
        else if (!list_is_empty(&stream->creating))
            at_ns = stream->heard_ns + creation_ns(stream);
        else if (!has_watchers(stream))
            at_ns = rpc_now(stream->etcd->rpc) + IDLE_NS;
        else
            at_ns = look_at_ns(stream);
    }
    rpc_timer_start(&stream->timer, at_ns);
}

/* Leaves the stream, which ends by itself. */
static void leave(struct watch_stream *stream) {
    rpc_stream_cancel(stream->rpc_stream);
    stream->rpc_stream = NULL;
    stream->should_move = false;
    if (stream->look)
        etcd_cancel(stream->look);
}

/* There is no stream any more: again after a while, if anybody still wants it. */
static void back_off(struct watch_stream *stream) {
    watch_rewind(stream);
    int64_t now_ns = rpc_now(stream->etcd->rpc);
    if (now_ns - stream->opened_ns >= GOOD_NS)
        stream->n_failures = 0;
    int64_t delay = stream->n_failures == 0
                        ? DELAY_FIRST_NS
                        : backoff_grown(DELAY_LEAST_NS, DELAY_MOST_NS, stream->n_failures - 1);
    stream->n_failures++;
    stream->etcd->tally.n_streams_replaced++;
    sm_move(&stream->sm, BACKOFF);
    rpc_timer_start(&stream->timer, now_ns + backoff_around(stream->etcd->rpc, delay));
    watch_stream_rearm(stream);
}

void watch_stream_break(struct watch_stream *stream) {
    leave(stream);
    back_off(stream);
}

/* ---- is it the same etcd? --------------------------------------------------------------------------- */

/* The read itself has told, to whom it matters. Without it the stream might be silent for ever: again, elsewhere. */
static void on_suspicion(struct confirm *confirm, const struct lun_err *err, uint64_t raft_term) {
    struct watch_stream *stream = CONTAINER_OF(confirm, struct watch_stream, suspicion);
    (void)raft_term;
    if (err && stream->sm.state == OPEN)
        watch_stream_break(stream);
}

/* A member that lags behind bears lower numbers too: a linearizable read through it tells which it is. */
static void suspect(struct watch_stream *stream, const Etcdserverpb__ResponseHeader *header) {
    if (identity_is_suspect(stream->etcd, header) && !stream->suspicion.is_waiting)
        (void)confirm_start(&stream->suspicion, stream->member, SUSPICION_NS);
}

void watch_stream_begin_anew(struct watch_stream *stream) {
    struct lun_err err;
    (void)lun_err_set(
        &err, LUN_ECOMPACTED,
        "etcd began anew (restored, wiped or rebuilt): what was seen is gone; read, and watch again");
    confirm_stop(&stream->suspicion);
    rpc_timer_stop(&stream->timer);
    if (stream->rpc_stream)
        leave(stream);
    if (stream->sm.state != CLOSED)
        sm_move(&stream->sm, CLOSED);
    watch_drop_all(stream, &err);
}

/* ---- what the stream says --------------------------------------------------------------------------- */

static void on_message(void *arg, struct rpc_stream *from, const ProtobufCMessage *message) {
    struct watch_stream *stream = arg;
    if (from != stream->rpc_stream)
        return;
    stream->heard_ns = rpc_now(stream->etcd->rpc);
    stream->n_silent = 0;
    struct lun_err err;
    const Etcdserverpb__ResponseHeader *header = ((const Etcdserverpb__WatchResponse *)message)->header;
    if (etcd_saw_header(stream->member, header, (struct heard){stream->opened_ns, false}, &err) ||
        malformed_watch((const Etcdserverpb__WatchResponse *)message, &err)) {
        struct etcd_member *member = stream->member;
        watch_stream_break(stream);
        etcd_member_failed(member, err.text);
        return;
    }
    suspect(stream, header);
    watch_on_message(stream, message);
    if (from == stream->rpc_stream)
        watch_stream_rearm(stream);
}

static void on_broken(struct watch_stream *stream, const struct rpc_result *result) {
    struct status_class class = status_classify(result->status, result->message, result->is_unsent);
    auth_judge_bare(stream->is_bare, &class);
    char why[ETCD_WHY_BYTES];
    status_describe(why, sizeof why, result);
    trace_line(stream->etcd->trace, "watch stream: %s %s", etcd_member_address(stream->member), why);
    stream->rpc_stream = NULL;
    stream->should_move = false;
    bool has_other_token = class.is_token_stale && auth_has_user(&stream->etcd->auth);
    if (has_other_token)
        auth_refused(&stream->etcd->auth, stream->generation);
    if (!has_other_token && (class.again == AGAIN_NEVER || class.is_token_stale)) {
        struct lun_err err;
        lun_err_set(&err, class.code, "%s", result->message[0] ? result->message : lun_strerror(class.code));
        err.status = result->status;
        auth_explain(&stream->etcd->auth, &err);
        sm_move(&stream->sm, CLOSED);
        rpc_timer_stop(&stream->timer);
        watch_drop_all(stream, &err);
        return;
    }
    back_off(stream);
    if (class.is_member_fault)
        etcd_member_failed(stream->member, why);
}

static void on_stream_close(void *arg, struct rpc_stream *from, const struct rpc_result *result) {
    struct watch_stream *stream = arg;
    struct etcd *etcd = stream->etcd;
    if (from == stream->rpc_stream)
        on_broken(stream, result);
    etcd_out_end(etcd);
}

/* ---- opening ---------------------------------------------------------------------------------------- */

/* From closed or backoff. LUN_ENOMEM: it stays there. */
static int open_stream(struct watch_stream *stream) {
    static const struct rpc_stream_callbacks callbacks = {on_message, on_stream_close};
    struct etcd *etcd = stream->etcd;
    auth_prompt(&etcd->auth);
    stream->generation = etcd->auth.generation;
    stream->is_bare = auth_is_needed(&etcd->auth);
    struct rpc_options options = etcd_options(etcd, RPC_NEVER);
    stream->member = etcd_pick(etcd);
    int rc = rpc_stream_open(stream->member->channel, RPC_WATCH, &options, &callbacks, stream,
                             &stream->rpc_stream);
    if (rc)
        return rc;
    etcd_out_begin(etcd);
    stream->opened_ns = stream->heard_ns = rpc_now(etcd->rpc);
    stream->asked_ns = 0;
    stream->n_asked = stream->n_answered = 0;
    rc = watch_ask_all(stream);
    if (rc) {
        leave(stream);
        watch_rewind(stream);
        return rc;
    }
    sm_move(&stream->sm, OPEN);
    watch_stream_rearm(stream);
    return 0;
}

int watch_stream_wake(struct watch_stream *stream) {
    if (stream->sm.state == CLOSED)
        return open_stream(stream);
    if (stream->sm.state == OPEN && !stream->should_move) {
        int rc = watch_ask_all(stream);
        watch_stream_rearm(stream);
        return rc;
    }
    return 0;
}

/* ---- is the member still there? --------------------------------------------------------------------- */

/* One that does not answer has failed by now: etcd/call.c has said so, and the stream moves. */
static void on_look(void *arg, const struct etcd_reply *reply) {
    struct watch_stream *stream = arg;
    (void)reply;
    stream->look = NULL;
    if (stream->sm.state == OPEN)
        watch_stream_rearm(stream);
}

/* Without memory: again later. */
static void look(struct watch_stream *stream) {
    int64_t now_ns = rpc_now(stream->etcd->rpc), span_ns = patience_ns(stream, LOOK_NS);
    struct etcd_call_options how = {.class = ETCD_LEASE,
                                    .deadline_ns = now_ns + span_ns,
                                    .attempt_ns = span_ns,
                                    .member = stream->member};
    if (now_ns >= look_at_ns(stream)) {
        stream->looked_ns = now_ns;
        (void)etcd_member_status(stream->etcd, &how, on_look, stream, &stream->look);
    }
    watch_stream_rearm(stream);
}

/* ---- the timer -------------------------------------------------------------------------------------- */

static void open_again(struct watch_stream *stream) {
    if (!open_stream(stream))
        return;
    sm_move(&stream->sm, BACKOFF);
    rpc_timer_start(&stream->timer,
                    rpc_now(stream->etcd->rpc) + backoff_around(stream->etcd->rpc, DELAY_MOST_NS));
}

static void move_elsewhere(struct watch_stream *stream) {
    stream->should_move = false;
    if (stream->member->failed_ns == 0) { /* it has answered meanwhile */
        if (watch_ask_all(stream))
            watch_stream_break(stream);
        else
            watch_stream_rearm(stream);
        return;
    }
    leave(stream);
    watch_rewind(stream);
    stream->etcd->tally.n_streams_replaced++;
    sm_move(&stream->sm, BACKOFF);
    if (has_watchers(stream))
        open_again(stream);
    else
        watch_stream_rearm(stream);
}

static void on_silence(struct watch_stream *stream) {
    bool is_early = rpc_now(stream->etcd->rpc) - stream->heard_ns < creation_ns(stream);
    if (is_early) { /* the member has shown meanwhile that its answers take long */
        watch_stream_rearm(stream);
        return;
    }
    if (stream->etcd->n_used == 1) { /* nowhere else to go */
        stream->heard_ns = rpc_now(stream->etcd->rpc);
        watch_stream_rearm(stream);
        return;
    }
    struct etcd_member *member = stream->member;
    int64_t since_ns = stream->heard_ns;
    stream->n_silent++;
    watch_stream_break(stream);
    etcd_member_silent(member, since_ns, true, NULL);
}

static void on_timer(struct rpc_timer *timer) {
    struct watch_stream *stream = CONTAINER_OF(timer, struct watch_stream, timer);
    if (stream->sm.state == BACKOFF) {
        open_again(stream);
    } else if (stream->should_move) {
        move_elsewhere(stream);
    } else if (!list_is_empty(&stream->creating)) {
        on_silence(stream);
    } else if (!has_watchers(stream)) {
        leave(stream);
        sm_move(&stream->sm, CLOSED);
    } else {
        look(stream);
    }
}

/* ---- members ---------------------------------------------------------------------------------------- */

static void consider_moving(struct watch_stream *stream) {
    if (stream->sm.state != OPEN || stream->should_move || stream->member->failed_ns == 0 ||
        !etcd_has_trusted(stream->etcd, stream->member))
        return;
    stream->should_move = true;
    watch_stream_rearm(stream);
}

void watch_stream_member_failed(struct watch_stream *stream, const struct etcd_member *member) {
    if (member == stream->member)
        consider_moving(stream);
}

void watch_stream_member_answered(struct watch_stream *stream, const struct etcd_member *member) {
    if (member != stream->member)
        consider_moving(stream);
}

/* ---- life ------------------------------------------------------------------------------------------- */

int watch_stream_init(struct watch_stream *stream, struct etcd *etcd) {
    stream->etcd = etcd;
    confirm_init(&stream->suspicion, on_suspicion);
    list_init(&stream->wanted);
    list_init(&stream->creating);
    list_init(&stream->created);
    sm_init(&stream->sm, &watch_stream_class, etcd->trace, CLOSED);
    return rpc_timer_init(etcd->rpc, &stream->timer, on_timer);
}

void watch_stream_close(struct watch_stream *stream) {
    confirm_stop(&stream->suspicion);
    rpc_timer_stop(&stream->timer);
    if (stream->rpc_stream)
        leave(stream);
    if (stream->sm.state != CLOSED)
        sm_move(&stream->sm, CLOSED);
    watch_drop_all(stream, NULL);
}

void watch_stream_fini(struct watch_stream *stream) {
    rpc_timer_fini(&stream->timer);
    free(stream->buckets);
}
