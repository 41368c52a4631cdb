/* recipe/renewer.c - see renewer.h.
 *
 * The happy path: the timer is due, a renewal goes out on the stream that is open, the answer comes, a read
 * through the same member confirms it, the timer is set for the next. Possible failure modes are silence (a
 * fresh stream to the next member, the old one stays open: it may answer yet), a broken stream or a failed
 * read (the next member, after a short delay), an answer of a member that lives in the past (likewise), and
 * the end of the lease (confirmed: on_gone). The round goes on until it is confirmed or renewer_stop. */
#include "recipe/renewer.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "etcd/backoff.h"

#define MIN_SILENCE_NS (300 * NS_PER_MS)
#define RETRY_LEAST_NS (50 * NS_PER_MS)
#define RETRY_MOST_NS (400 * NS_PER_MS)
/* How far a leader may be behind its followers in carrying out a grant; one that has renewed the lease has done
 * so. */
#define LEADER_LAG_NS (300 * NS_PER_MS)
/* Nobody else answers: then the same member is taken at its word. */
#define NOBODY_ELSE_NS NS_PER_S

static int64_t silence_ns(const struct renewer *renewer) {
    int64_t sixth = renewer->ttl_ns / 6;
    return sixth > MIN_SILENCE_NS ? sixth : MIN_SILENCE_NS;
}

static void stream_close(struct renewer_stream *stream) {
    confirm_stop(&stream->confirm);
    keepalive_close(stream->keepalive);
    stream->keepalive = NULL;
}

static bool stream_is_idle(const struct renewer_stream *stream) {
    return stream->keepalive && !keepalive_is_waiting(stream->keepalive) && !stream->confirm.is_waiting;
}

static int64_t stream_asked_ns(const struct renewer_stream *stream) {
    return keepalive_is_waiting(stream->keepalive) ? keepalive_sent_ns(stream->keepalive) : stream->sent_ns;
}

static struct renewer_stream *idle_stream(struct renewer *renewer) {
    for (int i = 0; i < RENEWER_MAX_STREAMS; i++)
        if (stream_is_idle(&renewer->streams[i]))
            return &renewer->streams[i];
    return NULL;
}

/* A slot for a new stream: a free one, else that of the stream that has been silent longest. */
static struct renewer_stream *free_slot(struct renewer *renewer) {
    struct renewer_stream *oldest = &renewer->streams[0];
    for (int i = 0; i < RENEWER_MAX_STREAMS; i++) {
        struct renewer_stream *stream = &renewer->streams[i];
        if (!stream->keepalive)
            return stream;
        if (stream_asked_ns(stream) < stream_asked_ns(oldest))
            oldest = stream;
    }
    stream_close(oldest);
    return oldest;
}

/* Another try, soon: something failed without silence. */
static void try_again_soon(struct renewer *renewer) {
    if (!renewer->is_renewing)
        return;
    int64_t delay = backoff_grown(RETRY_LEAST_NS, RETRY_MOST_NS, renewer->n_failures++);
    int64_t at = rpc_now(renewer->rpc) + backoff_early(renewer->rpc, delay, 5);
    if (!rpc_timer_is_running(&renewer->timer) || renewer->timer.node.key > at)
        rpc_timer_start(&renewer->timer, at);
}

static void on_reply(void *arg, struct keepalive *keepalive, const struct keepalive_reply *reply) {
    struct renewer_stream *stream = arg;
    stream->sent_ns = reply->sent_ns;
    stream->ttl_s = reply->ttl_s;
    stream->raft_term = reply->raft_term;
    if (reply->lease == stream->renewer->lease &&
        confirm_start(&stream->confirm, keepalive_member(keepalive), stream->renewer->ttl_ns / 3) == 0)
        return;
    stream_close(stream);
    try_again_soon(stream->renewer);
}

static void on_broken(void *arg, struct keepalive *keepalive, const struct lun_err *err) {
    struct renewer_stream *stream = arg;
    struct renewer *renewer = stream->renewer;
    (void)keepalive, (void)err; /* the member has been marked */
    confirm_stop(&stream->confirm);
    stream->keepalive = NULL;
    try_again_soon(renewer);
}

static const struct keepalive_callbacks keepalive_callbacks = {on_reply, on_broken};

static void send_on_fresh(struct renewer *renewer, struct etcd_member *member);

static void succeed(struct renewer *renewer, struct renewer_stream *stream) {
    for (int i = 0; i < RENEWER_MAX_STREAMS; i++)
        if (&renewer->streams[i] != stream && renewer->streams[i].keepalive)
            stream_close(&renewer->streams[i]);
    etcd_member_answered(keepalive_member(stream->keepalive));
    renewer->is_renewing = false;
    renewer->gone_member = NULL;
    renewer->renewed_term = stream->raft_term;
    rpc_timer_start(&renewer->timer, stream->sent_ns + backoff_early(renewer->rpc, renewer->ttl_ns / 3, 5));
    renewer->callbacks->on_renewed(renewer, stream->sent_ns, stream->ttl_s);
}

/* There was such an answer already, under the same leader. */
static bool is_doubted(const struct renewer *renewer, const struct renewer_stream *stream) {
    return renewer->gone_member && stream->raft_term == renewer->gone_term;
}

/* A leader that has not yet carried out the grant answers 0 too (etcd #13675), and the read through a follower
 * that has confirms it. So a second answer has to come from elsewhere, asked when the same leader has caught up. */
static bool is_gone(const struct renewer *renewer, const struct renewer_stream *stream) {
    if (!is_doubted(renewer, stream) || stream->sent_ns < renewer->ask_elsewhere_ns)
        return false;
    return keepalive_member(stream->keepalive) != renewer->gone_member ||
           etcd_n_members(renewer->etcd) == 1 ||
           stream->sent_ns >= renewer->ask_elsewhere_ns + NOBODY_ELSE_NS;
}

static void doubt(struct renewer *renewer, struct renewer_stream *stream) {
    int64_t now_ns = rpc_now(renewer->rpc);
    if (!is_doubted(renewer, stream)) {
        renewer->gone_member = keepalive_member(stream->keepalive);
        renewer->gone_term = stream->raft_term;
        renewer->ask_elsewhere_ns =
            renewer->renewed_term == stream->raft_term ? now_ns : now_ns + LEADER_LAG_NS;
    }
    renewer->last_member = keepalive_member(stream->keepalive);
    stream_close(stream);
    if (renewer->ask_elsewhere_ns > now_ns)
        rpc_timer_start(&renewer->timer, renewer->ask_elsewhere_ns);
    else
        send_on_fresh(renewer, etcd_after(renewer->etcd, renewer->last_member));
}

static void on_confirmed(struct confirm *confirm, const struct lun_err *err, uint64_t raft_term) {
    struct renewer_stream *stream = CONTAINER_OF(confirm, struct renewer_stream, confirm);
    struct renewer *renewer = stream->renewer;
    if (err || raft_term != stream->raft_term || stream->raft_term < etcd_highest_term(renewer->etcd)) {
        trace_line(etcd_trace(renewer->etcd), "renewer: answer of %s not confirmed (%s)",
                   etcd_member_address(keepalive_member(stream->keepalive)),
                   err ? err->text : "of an earlier raft term");
        stream_close(stream);
        try_again_soon(renewer);
    } else if (stream->ttl_s > 0) {
        succeed(renewer, stream);
    } else if (!is_gone(renewer, stream)) {
        doubt(renewer, stream);
    } else {
        renewer_stop(renewer);
        renewer->callbacks->on_gone(renewer);
    }
}

static void send_on(struct renewer *renewer, struct renewer_stream *stream) {
    renewer->last_member = keepalive_member(stream->keepalive);
    rpc_timer_start(&renewer->timer, rpc_now(renewer->rpc) + silence_ns(renewer));
    if (keepalive_send(stream->keepalive, renewer->lease)) {
        stream_close(stream);
        try_again_soon(renewer);
    }
}

static void send_on_fresh(struct renewer *renewer, struct etcd_member *member) {
    struct renewer_stream *stream = free_slot(renewer);
    stream->sent_ns = rpc_now(renewer->rpc);
    renewer->last_member = member;
    if (keepalive_open(renewer->etcd, member, &keepalive_callbacks, stream, &stream->keepalive)) {
        try_again_soon(renewer);
        return;
    }
    send_on(renewer, stream);
}

static void begin_round(struct renewer *renewer) {
    renewer->is_renewing = true;
    renewer->n_failures = 0;
    struct renewer_stream *stream = idle_stream(renewer);
    if (stream)
        send_on(renewer, stream);
    else
        send_on_fresh(renewer, etcd_pick(renewer->etcd));
}

/* Nobody has answered for a while, or the latest try failed: the next member, those already tried included. */
static void go_on(struct renewer *renewer) {
    bool is_silent = false;
    for (int i = 0; i < RENEWER_MAX_STREAMS; i++) {
        struct renewer_stream *stream = &renewer->streams[i];
        if (stream->keepalive && !stream_is_idle(stream) &&
            keepalive_member(stream->keepalive) == renewer->last_member)
            is_silent = true;
    }
    if (is_silent) {
        char why[64];
        (void)snprintf(why, sizeof why, "silent for %.1f s", (double)silence_ns(renewer) / (double)NS_PER_S);
        etcd_member_failed(renewer->last_member, why);
    }
    send_on_fresh(renewer, etcd_after(renewer->etcd, renewer->last_member));
}

static void on_timer(struct rpc_timer *timer) {
    struct renewer *renewer = CONTAINER_OF(timer, struct renewer, timer);
    if (renewer->is_renewing)
        go_on(renewer);
    else
        begin_round(renewer);
}

int renewer_init(struct renewer *renewer, struct etcd *etcd, const struct renewer_callbacks *callbacks) {
    memset(renewer, 0, sizeof *renewer);
    renewer->etcd = etcd;
    renewer->rpc = etcd_rpc(etcd);
    renewer->callbacks = callbacks;
    for (int i = 0; i < RENEWER_MAX_STREAMS; i++) {
        renewer->streams[i].renewer = renewer;
        confirm_init(&renewer->streams[i].confirm, on_confirmed);
    }
    return rpc_timer_init(renewer->rpc, &renewer->timer, on_timer);
}

void renewer_start(struct renewer *renewer, int64_t lease, int64_t ttl_ns, int64_t at_ns) {
    renewer->lease = lease;
    renewer->ttl_ns = ttl_ns;
    rpc_timer_start(&renewer->timer, at_ns);
}

void renewer_hurry(struct renewer *renewer) {
    if (!renewer->is_renewing && rpc_timer_is_running(&renewer->timer))
        rpc_timer_start(&renewer->timer, rpc_now(renewer->rpc));
}

void renewer_stop(struct renewer *renewer) {
    if (!renewer->rpc)
        return;
    renewer->is_renewing = false;
    renewer->renewed_term = 0;
    renewer->gone_member = NULL;
    rpc_timer_stop(&renewer->timer);
    for (int i = 0; i < RENEWER_MAX_STREAMS; i++)
        if (renewer->streams[i].keepalive)
            stream_close(&renewer->streams[i]);
}

void renewer_fini(struct renewer *renewer) {
    if (!renewer->rpc)
        return;
    renewer_stop(renewer);
    rpc_timer_fini(&renewer->timer);
}
