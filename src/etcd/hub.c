/* etcd/hub.c - the watch stream's life.
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
 *            when there has been no watcher for long
 *
 * A stream is left behind by cancelling it and forgetting it: whatever it still says bears another pointer
 * than the present one. */
#include "etcd/hub.h"

#include <stdlib.h>

#include "etcd/cluster.h"
#include "etcd/errclass.h"

#define IDLE_NS (5 * NS_PER_S)
#define SILENCE_NS (2 * NS_PER_S)
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
static const struct sm_class hub_class = {"watch stream", states, sizeof states / sizeof states[0]};

static bool has_watchers(const struct hub *hub) {
    return !list_is_empty(&hub->wanted) || !list_is_empty(&hub->creating) || !list_is_empty(&hub->created);
}

void hub_rearm(struct hub *hub) {
    int64_t at_ns = RPC_NEVER;
    if (hub->sm.state == BACKOFF) {
        if (has_watchers(hub))
            return;
        sm_move(&hub->sm, CLOSED);
    } else if (hub->sm.state == OPEN) {
        if (hub->should_move)
            at_ns = rpc_now(hub->etcd->rpc);
        else if (!list_is_empty(&hub->creating))
            at_ns = hub->heard_ns + SILENCE_NS;
        else if (!has_watchers(hub))
            at_ns = rpc_now(hub->etcd->rpc) + IDLE_NS;
    }
    rpc_timer_start(&hub->timer, at_ns);
}

/* Leaves the stream, which ends by itself. */
static void leave(struct hub *hub) {
    rpc_stream_cancel(hub->stream);
    hub->stream = NULL;
    hub->should_move = false;
}

/* There is no stream any more: again after a while, if anybody still wants it. */
static void back_off(struct hub *hub) {
    watch_rewind(hub);
    int64_t now_ns = rpc_now(hub->etcd->rpc);
    if (now_ns - hub->opened_ns >= GOOD_NS)
        hub->n_failures = 0;
    int64_t delay = DELAY_FIRST_NS;
    if (hub->n_failures > 0)
        delay = hub->n_failures < 5 ? DELAY_LEAST_NS << (hub->n_failures - 1) : DELAY_MOST_NS;
    hub->n_failures++;
    sm_move(&hub->sm, BACKOFF);
    rpc_timer_start(&hub->timer, now_ns + etcd_jitter(hub->etcd, delay));
    hub_rearm(hub);
}

void hub_break(struct hub *hub) {
    leave(hub);
    back_off(hub);
}

/* ---- what the stream says --------------------------------------------------------------------------- */

static void on_message(void *arg, struct rpc_stream *stream, const ProtobufCMessage *message) {
    struct hub *hub = arg;
    if (stream != hub->stream)
        return;
    hub->heard_ns = rpc_now(hub->etcd->rpc);
    struct lun_err err;
    if (etcd_saw_header(hub->member, ((const Etcdserverpb__WatchResponse *)message)->header, &err)) {
        struct etcd_member *member = hub->member;
        hub_break(hub);
        etcd_member_failed(member, err.text);
        return;
    }
    watch_on_message(hub, message);
    if (stream == hub->stream)
        hub_rearm(hub);
}

static void on_broken(struct hub *hub, const struct rpc_result *result) {
    struct err_class class = err_classify(result->status, result->message, result->is_unsent);
    char why[ETCD_WHY_BYTES];
    err_describe(why, sizeof why, result->status, result->message, result->is_unsent);
    trace_line(hub->etcd->trace, "watch stream: %s %s", etcd_member_address(hub->member), why);
    hub->stream = NULL;
    hub->should_move = false;
    if (class.again == ERR_AGAIN_NEVER || class.is_token_stale) {
        struct lun_err err;
        lun_err_set(&err, class.code, "%s", result->message[0] ? result->message : lun_strerror(class.code));
        err.status = result->status;
        sm_move(&hub->sm, CLOSED);
        rpc_timer_stop(&hub->timer);
        watch_drop_all(hub, &err);
        return;
    }
    back_off(hub);
    if (class.is_member_fault)
        etcd_member_failed(hub->member, why);
}

static void on_stream_close(void *arg, struct rpc_stream *stream, const struct rpc_result *result) {
    struct hub *hub = arg;
    struct etcd *etcd = hub->etcd;
    if (stream == hub->stream)
        on_broken(hub, result);
    etcd_out_end(etcd);
}

/* ---- opening ---------------------------------------------------------------------------------------- */

/* From closed or backoff. LUN_ENOMEM: it stays there. */
static int open_stream(struct hub *hub) {
    static const struct rpc_stream_callbacks callbacks = {on_message, on_stream_close};
    struct etcd *etcd = hub->etcd;
    struct rpc_options options = etcd_options(etcd, RPC_NEVER);
    hub->member = etcd_pick(etcd);
    int rc = rpc_stream_open(hub->member->peer, RPC_WATCH, &options, &callbacks, hub, &hub->stream);
    if (rc)
        return rc;
    etcd_out_begin(etcd);
    hub->opened_ns = hub->heard_ns = rpc_now(etcd->rpc);
    hub->n_asked = hub->n_answered = 0;
    rc = watch_ask_all(hub);
    if (rc) {
        leave(hub);
        watch_rewind(hub);
        return rc;
    }
    sm_move(&hub->sm, OPEN);
    hub_rearm(hub);
    return 0;
}

int hub_wake(struct hub *hub) {
    if (hub->sm.state == CLOSED)
        return open_stream(hub);
    if (hub->sm.state == OPEN && !hub->should_move) {
        int rc = watch_ask_all(hub);
        hub_rearm(hub);
        return rc;
    }
    return 0;
}

/* ---- the timer -------------------------------------------------------------------------------------- */

static void open_again(struct hub *hub) {
    if (!open_stream(hub))
        return;
    sm_move(&hub->sm, BACKOFF);
    rpc_timer_start(&hub->timer, rpc_now(hub->etcd->rpc) + etcd_jitter(hub->etcd, DELAY_MOST_NS));
}

static void move_elsewhere(struct hub *hub) {
    hub->should_move = false;
    if (hub->member->failed_ns == 0) { /* it has answered meanwhile */
        if (watch_ask_all(hub))
            hub_break(hub);
        else
            hub_rearm(hub);
        return;
    }
    leave(hub);
    watch_rewind(hub);
    sm_move(&hub->sm, BACKOFF);
    if (has_watchers(hub))
        open_again(hub);
    else
        hub_rearm(hub);
}

static void on_silence(struct hub *hub) {
    if (hub->etcd->n_members == 1) { /* nowhere else to go */
        hub->heard_ns = rpc_now(hub->etcd->rpc);
        hub_rearm(hub);
        return;
    }
    struct etcd_member *member = hub->member;
    int64_t since_ns = hub->heard_ns;
    hub_break(hub);
    etcd_member_silent(member, since_ns, true);
}

static void on_timer(struct rpc_timer *timer) {
    struct hub *hub = CONTAINER_OF(timer, struct hub, timer);
    if (hub->sm.state == BACKOFF) {
        open_again(hub);
    } else if (hub->should_move) {
        move_elsewhere(hub);
    } else if (!list_is_empty(&hub->creating)) {
        on_silence(hub);
    } else if (!has_watchers(hub)) {
        leave(hub);
        sm_move(&hub->sm, CLOSED);
    }
}

/* ---- members ---------------------------------------------------------------------------------------- */

static bool is_another_trusted(const struct hub *hub) {
    for (size_t i = 0; i < hub->etcd->n_members; i++)
        if (&hub->etcd->members[i] != hub->member && hub->etcd->members[i].failed_ns == 0)
            return true;
    return false;
}

static void consider_moving(struct hub *hub) {
    if (hub->sm.state != OPEN || hub->should_move || hub->member->failed_ns == 0 || !is_another_trusted(hub))
        return;
    hub->should_move = true;
    hub_rearm(hub);
}

void hub_member_failed(struct hub *hub, const struct etcd_member *member) {
    if (member == hub->member)
        consider_moving(hub);
}

void hub_member_answered(struct hub *hub, const struct etcd_member *member) {
    if (member != hub->member)
        consider_moving(hub);
}

/* ---- life ------------------------------------------------------------------------------------------- */

int hub_init(struct hub *hub, struct etcd *etcd) {
    hub->etcd = etcd;
    list_init(&hub->wanted);
    list_init(&hub->creating);
    list_init(&hub->created);
    sm_init(&hub->sm, &hub_class, etcd->trace, CLOSED);
    return rpc_timer_init(etcd->rpc, &hub->timer, on_timer);
}

void hub_close(struct hub *hub) {
    rpc_timer_stop(&hub->timer);
    if (hub->stream)
        leave(hub);
    if (hub->sm.state != CLOSED)
        sm_move(&hub->sm, CLOSED);
    watch_drop_all(hub, NULL);
}

void hub_fini(struct hub *hub) {
    rpc_timer_fini(&hub->timer);
    free(hub->buckets);
}
