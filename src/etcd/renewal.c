/* etcd/renewal.c - when leases are renewed, at which member, and what an answer means. See renewal.h.
 *
 * The happy path: a lease is due, it and all others whose half time is over go out on the stream that is open, the
 * answers come, one read through the same member confirms them, each is due again a tenth of its TTL later. Possible
 * failure modes are silence (the next member is asked, the old stream stays open: it may answer yet), a broken stream
 * or a failed read (the next member, after a short delay), an answer of a member that lives in the past (likewise),
 * and the end of a lease (confirmed: on_gone). A lease is asked about until that is confirmed, or renewal_stop.
 *
 * Etcd serves a stream's renewals one after another. One lease can hold up the others (it has expired and is not yet
 * revoked) or end their stream (its keys may not be written any more): such a lease is asked apart until it is
 * renewed, and so is one whose age nobody knows. */
#include "etcd/renewal.h"

#include <stdio.h>
#include <string.h>

#include "etcd/backoff.h"
#include "etcd/cluster.h"

#define MIN_SILENCE_NS (300 * NS_PER_MS)
#define RETRY_LEAST_NS (50 * NS_PER_MS)
#define RETRY_MOST_NS (400 * NS_PER_MS)

static int64_t now_of(const struct renewals *renewals) {
    return rpc_now(renewals->etcd->rpc);
}

static int64_t silence_ns(const struct renewal *renewal) {
    int64_t sixth = renewal->ttl_ns / 6;
    return sixth > MIN_SILENCE_NS ? sixth : MIN_SILENCE_NS;
}

static bool is_running(const struct renewal *renewal) {
    return renewal->in_etcd.next && !list_is_empty(&renewal->in_etcd);
}

static struct renewal *renewal_at(const struct renewals *renewals, struct list *node) {
    return node == &renewals->list ? NULL : CONTAINER_OF(node, struct renewal, in_etcd);
}

#define FOR_EACH(renewal, renewals)                                                                          \
    for (struct renewal *renewal = renewal_at(renewals, (renewals)->list.next); renewal;                     \
         renewal = renewal_at(renewals, renewal->in_etcd.next))

#define FOR_EACH_STREAM(stream, renewals)                                                                    \
    for (struct renewal_stream *stream = (renewals)->streams;                                                \
         stream < (renewals)->streams + RENEWAL_STREAMS; stream++)                                           \
        if (stream->keepalive)

/* The timer is due then, if not before. */
static void wake_at(struct renewals *renewals, int64_t at_ns) {
    if (at_ns != RPC_NEVER && (!rpc_timer_is_running(&renewals->timer) || at_ns < renewals->timer.node.key))
        rpc_timer_start(&renewals->timer, at_ns);
}

/* A renewal that is asked for without a token is never confirmed: all wait, and are planned anew when it has come. */
static bool must_wait_for_token(const struct renewals *renewals) {
    return auth_is_to_come(&renewals->etcd->auth);
}

void renewals_plan(struct renewals *renewals) {
    rpc_timer_stop(&renewals->timer);
    bool must_wait = must_wait_for_token(renewals);
    FOR_EACH (renewal, renewals)
        if (!must_wait)
            wake_at(renewals, renewal->ask_at_ns);
    FOR_EACH_STREAM (stream, renewals)
        wake_at(renewals, renewal_stream_confirm_at_ns(stream));
}

/* When to try again what failed without silence. */
static int64_t retry_at(struct renewals *renewals) {
    int64_t delay_ns = backoff_grown(RETRY_LEAST_NS, RETRY_MOST_NS, renewals->n_failures++);
    return now_of(renewals) + backoff_early(renewals->etcd->rpc, delay_ns, 5);
}

static void ask_again(struct renewals *renewals, struct renewal *renewal, int64_t at_ns) {
    if (!renewal->is_renewing || renewal->ask_at_ns <= at_ns)
        return;
    renewal->ask_at_ns = at_ns;
    wake_at(renewals, at_ns);
}

/* ---- streams ---------------------------------------------------------------------------------------- */

/* Etcd does not accept this client any more: what each lease that was to be renewed on the stream hears. */
static void tell_refusal(struct renewal_stream *stream, const struct lun_err *err) {
    const struct auth *auth = &stream->renewals->etcd->auth;
    struct lun_err copy = auth->user ? auth->err : *err;
    if (!auth_is_refused(auth, err))
        return;
    for (size_t i = 0; i < stream->n; i++) { /* what is told may stop any, and so end the stream's use */
        struct renewal *renewal = stream->entries[stream->first + i].renewal;
        if (renewal)
            renewal->callbacks->on_refused(renewal, &copy);
    }
}

void renewals_stream_failed(struct renewal_stream *stream, const struct lun_err *err) {
    struct renewals *renewals = stream->renewals;
    if (err)
        tell_refusal(stream, err);
    struct renewal *refused =
        err && err->code == LUN_EPERMISSION && !err->is_retriable ? renewal_stream_next(stream) : NULL;
    int64_t at_ns = retry_at(renewals);
    for (size_t i = 0; i < stream->n; i++)
        if (stream->entries[stream->first + i].renewal)
            ask_again(renewals, stream->entries[stream->first + i].renewal, at_ns);
    renewal_stream_close(stream);
    if (!refused)
        return;
    refused->is_apart = true;
    refused->ask_at_ns = now_of(renewals) + renewal_interval_ns(refused->ttl_ns);
    wake_at(renewals, refused->ask_at_ns);
    refused->callbacks->on_refused(refused, err);
}

/* Nothing is under way on it, or it answers: then what is sent on it now is answered soon. One that was opened with an older
 * token may be ended at any time. */
static bool is_calm(const struct renewal_stream *stream) {
    bool is_answering =
        stream->is_proven && now_of(stream->renewals) - renewal_stream_oldest_ns(stream) < MIN_SILENCE_NS;
    return (stream->n == 0 || is_answering) && keepalive_has_token_in_force(stream->keepalive);
}

/* To that member, or, with NULL, to any. */
static struct renewal_stream *calm_stream(struct renewals *renewals, const struct etcd_member *member,
                                          bool is_apart) {
    FOR_EACH_STREAM (stream, renewals)
        if (stream->is_apart == is_apart && (!member || keepalive_member(stream->keepalive) == member) &&
            is_calm(stream))
            return stream;
    return NULL;
}

/* A slot for a new stream: a free one, else that of the stream that has been silent longest. */
static struct renewal_stream *free_slot(struct renewals *renewals) {
    struct renewal_stream *oldest = NULL;
    for (int i = 0; i < RENEWAL_STREAMS; i++) {
        struct renewal_stream *stream = &renewals->streams[i];
        if (!stream->keepalive)
            return stream;
        if (!oldest || renewal_stream_oldest_ns(stream) < renewal_stream_oldest_ns(oldest))
            oldest = stream;
    }
    renewal_stream_close(oldest);
    return oldest;
}

/* NULL: no memory. */
static struct renewal_stream *fresh_stream(struct renewals *renewals, struct etcd_member *member,
                                           bool is_apart) {
    struct renewal_stream *stream = free_slot(renewals);
    return renewal_stream_open(stream, member, is_apart) ? NULL : stream;
}

/* ---- asking ----------------------------------------------------------------------------------------- */

/* `stream` NULL: it could not be opened. */
static void ask(struct renewals *renewals, struct renewal *renewal, struct renewal_stream *stream,
                struct etcd_member *member) {
    renewal->is_renewing = true;
    renewal->last_member = member;
    if (stream && renewal_stream_add(stream, renewal) == 0)
        renewal->ask_at_ns = now_of(renewals) + silence_ns(renewal);
    else
        renewal->ask_at_ns = retry_at(renewals);
}

static void send(struct renewal_stream *stream) {
    if (stream && renewal_stream_send(stream))
        renewals_stream_failed(stream, NULL);
}

static bool is_due(const struct renewal *renewal, bool is_renewing, bool is_apart) {
    return renewal->is_renewing == is_renewing && renewal->is_apart == is_apart &&
           renewal->ask_at_ns <= rpc_now(renewal->etcd->rpc);
}

static struct renewal *first_due(const struct renewals *renewals, bool is_renewing, bool is_apart) {
    FOR_EACH (renewal, renewals)
        if (is_due(renewal, is_renewing, is_apart))
            return renewal;
    return NULL;
}

/* It goes with others that are due: so all come to be renewed together. */
static bool is_half_due(const struct renewal *renewal, bool is_apart) {
    int64_t age_ns = rpc_now(renewal->etcd->rpc) - renewal->renewed_ns;
    return !renewal->is_renewing && renewal->is_apart == is_apart &&
           age_ns >= renewal_interval_ns(renewal->ttl_ns) / 2;
}

static void begin_round(struct renewals *renewals, bool is_apart) {
    if (!first_due(renewals, false, is_apart))
        return;
    struct renewal_stream *stream = calm_stream(renewals, NULL, is_apart);
    struct etcd_member *member = stream ? keepalive_member(stream->keepalive) : etcd_pick(renewals->etcd);
    if (!stream)
        stream = fresh_stream(renewals, member, is_apart);
    FOR_EACH (renewal, renewals)
        if (is_due(renewal, false, is_apart) || is_half_due(renewal, is_apart))
            ask(renewals, renewal, stream, member);
    send(stream);
}

/* The lease that a stream, which has answered others, does not answer: it may be what holds up those behind it. */
static void set_apart_what_blocks(struct renewals *renewals, const struct etcd_member *member) {
    FOR_EACH_STREAM (stream, renewals) {
        struct renewal *next = renewal_stream_next(stream);
        bool is_blocking = stream->is_proven && next && stream->n_sent - stream->n_answered > 1;
        if (keepalive_member(stream->keepalive) == member && is_blocking && is_due(next, true, false))
            next->is_apart = true;
    }
}

static void mark_silent(struct renewals *renewals, struct etcd_member *member, int64_t span_ns) {
    char why[64];
    (void)snprintf(why, sizeof why, "silent for %.1f s", (double)span_ns / (double)NS_PER_S);
    etcd_member_failed(member, why);
    set_apart_what_blocks(renewals, member);
}

/* Nobody has answered for a while, or the latest try failed: the next member, those already tried included. */
static void go_on(struct renewals *renewals, bool is_apart) {
    struct renewal *due;
    while ((due = first_due(renewals, true, is_apart))) {
        struct etcd_member *last = due->last_member, *member = etcd_after(renewals->etcd, last);
        if (due->n_out > 0)
            mark_silent(renewals, last, silence_ns(due));
        struct renewal_stream *stream = calm_stream(renewals, member, is_apart);
        if (!stream)
            stream = fresh_stream(renewals, member, is_apart);
        FOR_EACH (renewal, renewals)
            if (renewal->last_member == last && is_due(renewal, true, is_apart))
                ask(renewals, renewal, stream, member);
        send(stream);
    }
}

static void on_timer(struct rpc_timer *timer) {
    struct renewals *renewals = CONTAINER_OF(timer, struct renewals, timer);
    FOR_EACH_STREAM (stream, renewals)
        if (renewal_stream_confirm(stream))
            renewals_stream_failed(stream, NULL);
    auth_prompt(&renewals->etcd->auth);
    for (int is_apart = 0; is_apart < 2 && !must_wait_for_token(renewals); is_apart++) {
        begin_round(renewals, is_apart);
        go_on(renewals, is_apart);
    }
    renewals_plan(renewals);
}

/* ---- answers ---------------------------------------------------------------------------------------- */

void renewals_answered(struct renewal_stream *stream) {
    if (renewal_stream_send(stream) || renewal_stream_confirm(stream))
        renewals_stream_failed(stream, NULL);
    else
        wake_at(stream->renewals, renewal_stream_confirm_at_ns(stream));
}

static void succeed(struct renewals *renewals, struct renewal *renewal, const struct renewal_entry *entry) {
    renewals->n_failures = 0;
    renewal->is_renewing = renewal->is_apart = false;
    renewal->renewed_ns = entry->sent_ns;
    renewal->ask_at_ns =
        entry->sent_ns + backoff_early(renewals->etcd->rpc, renewal_interval_ns(renewal->ttl_ns), 5);
    wake_at(renewals, renewal->ask_at_ns);
    renewal->callbacks->on_renewed(renewal, entry->sent_ns, entry->ttl_s);
}

/* A TTL of 0 alone says little: a leader that has not yet carried out the grant answers so too (etcd #13675), however
 * long ago that was, if it was paused meanwhile. One that is sent after the same member has answered a linearizable read,
 * itself sent when the grant was known, is certain as long as etcd's leader is the same: a leader answers such a read, and
 * a renewal that another member forwards to it, once it has carried out what was committed before. That the read was
 * this leader's is known where the member had shown its term before. An etcd that began anew says it of all leases of the
 * old one: those who follow its identity say so. */
static bool is_gone(const struct renewal *renewal, const struct renewal_entry *entry) {
    const struct confirmation *read = &entry->read_before;
    return entry->sent_ns > etcd_began_ns(renewal->etcd) && read->is_within_term &&
           read->raft_term == entry->raft_term && read->member_id == entry->member_id &&
           read->sent_ns >= renewal->known_ns;
}

/* At once, for the read that has just confirmed the answer makes the next one certain; not where a balancer gives reads to
 * other members than renewals, for there it may never be. */
static void ask_once_more(struct renewals *renewals, struct renewal *renewal,
                          const struct renewal_entry *entry) {
    const struct confirmation *read = &entry->read_before;
    bool is_split = read->raft_term != 0 && read->member_id != entry->member_id;
    renewal->is_renewing = false;
    renewal->ask_at_ns = is_split ? retry_at(renewals) : now_of(renewals);
    wake_at(renewals, renewal->ask_at_ns);
}

static void judge(struct renewals *renewals, const struct renewal_entry *entry) {
    struct renewal *renewal = entry->renewal;
    if (entry->sent_ns < renewal->renewed_ns)
        return; /* a later one has been answered meanwhile */
    if (entry->ttl_s > 0) {
        succeed(renewals, renewal, entry);
    } else if (!is_gone(renewal, entry)) {
        ask_once_more(renewals, renewal, entry);
    } else {
        renewal_stop(renewal);
        renewal->callbacks->on_gone(renewal);
    }
}

static bool is_wanted(const struct renewal_stream *stream) {
    for (size_t i = 0; i < stream->n; i++) {
        const struct renewal *renewal = stream->entries[stream->first + i].renewal;
        if (renewal && renewal->is_renewing)
            return true;
    }
    return false;
}

static bool is_anybody_apart(const struct renewals *renewals) {
    FOR_EACH (renewal, renewals)
        if (renewal->is_apart)
            return true;
    return false;
}

/* One stream that answers is enough. */
static void close_others(struct renewal_stream *stream) {
    struct renewals *renewals = stream->renewals;
    if (stream->is_apart && !is_anybody_apart(renewals))
        stream->is_apart = false;
    FOR_EACH_STREAM (other, renewals)
        if (other != stream && other->is_apart == stream->is_apart && !is_wanted(other))
            renewal_stream_close(other);
}

void renewals_confirmed(struct renewal_stream *stream, const struct lun_err *err, uint64_t raft_term) {
    struct renewals *renewals = stream->renewals;
    struct etcd_member *member = keepalive_member(stream->keepalive);
    bool is_past = raft_term < etcd_highest_term(renewals->etcd), are_all_confirmed = true;
    while (!err && stream->n_confirming > 0) { /* what is told may close the stream */
        struct renewal_entry entry = renewal_stream_take(stream);
        if (is_past || entry.raft_term != raft_term) {
            are_all_confirmed = false;
            if (entry.renewal)
                ask_again(renewals, entry.renewal, now_of(renewals) + RETRY_LEAST_NS);
        } else if (entry.renewal) {
            judge(renewals, &entry);
        }
    }
    if (!stream->keepalive)
        return;
    if (err || !are_all_confirmed) {
        trace_line(renewals->etcd->trace, "renewal: answer of %s not confirmed (%s)",
                   etcd_member_address(member), err ? err->text : "of an earlier raft term");
        if (err)
            tell_refusal(stream, err);
        renewals_stream_failed(stream, NULL);
        return;
    }
    etcd_member_answered(member);
    close_others(stream);
    renewals_answered(stream); /* others may have come meanwhile */
}

/* ---- starting and stopping -------------------------------------------------------------------------- */

int renewals_init(struct renewals *renewals, struct etcd *etcd) {
    renewals->etcd = etcd;
    list_init(&renewals->list);
    for (int i = 0; i < RENEWAL_STREAMS; i++)
        renewal_stream_init(&renewals->streams[i], renewals);
    return rpc_timer_init(etcd->rpc, &renewals->timer, on_timer);
}

void renewals_fini(struct renewals *renewals) {
    rpc_timer_fini(&renewals->timer);
}

void renewal_init(struct renewal *renewal, struct etcd *etcd, const struct renewal_callbacks *callbacks) {
    *renewal = (struct renewal){.etcd = etcd, .callbacks = callbacks};
    list_init(&renewal->in_etcd);
}

static void forget(struct renewal *renewal) {
    struct renewals *renewals = &renewal->etcd->renewals;
    if (renewal->n_out > 0)
        for (int i = 0; i < RENEWAL_STREAMS; i++) /* those that have just broken too */
            renewal_stream_forget(&renewals->streams[i], renewal);
    renewal->is_renewing = false;
}

void renewal_start(struct renewal *renewal, int64_t lease, int64_t ttl_ns, int64_t renewed_ns) {
    struct renewals *renewals = &renewal->etcd->renewals;
    int64_t interval_ns = renewal_interval_ns(ttl_ns);
    forget(renewal);
    if (!is_running(renewal))
        list_push_back(&renewals->list, &renewal->in_etcd);
    renewal->lease = lease;
    renewal->ttl_ns = ttl_ns;
    renewal->renewed_ns = renewed_ns;
    renewal->known_ns = now_of(renewals);
    renewal->is_apart = renewed_ns == 0;
    renewal->ask_at_ns =
        renewed_ns ? renewed_ns + backoff_early(renewals->etcd->rpc, interval_ns, 5) : now_of(renewals);
    wake_at(renewals, renewal->ask_at_ns);
}

void renewal_hurry(struct renewal *renewal) {
    if (renewal->is_renewing || !is_running(renewal))
        return;
    renewal->ask_at_ns = rpc_now(renewal->etcd->rpc);
    wake_at(&renewal->etcd->renewals, renewal->ask_at_ns);
}

void renewal_stop(struct renewal *renewal) {
    if (!renewal->etcd || !is_running(renewal))
        return;
    struct renewals *renewals = &renewal->etcd->renewals;
    forget(renewal);
    list_remove(&renewal->in_etcd);
    if (!list_is_empty(&renewals->list))
        return;
    rpc_timer_stop(&renewals->timer);
    for (int i = 0; i < RENEWAL_STREAMS; i++)
        renewal_stream_close(&renewals->streams[i]);
}
