/* etcd/renewal_stream.c - the renewals under way on one stream, in the order in which they were sent. See renewals.h.
 *
 * A stream that has not answered yet gets a few renewals only: a member that is silent, and thaws, has not a thousand
 * to work through, and an etcd that is away costs next to nothing to try. */
#include <stdlib.h>
#include <string.h>

#include "etcd/cluster.h"

/* What a read may take at the least, where leases of long and short TTLs are confirmed together. */
#define READ_LEAST_NS (3 * NS_PER_S)
enum { FIRST_ROOM = 4 };

static struct renewal_entry *entry_at(const struct renewal_stream *stream, size_t i) {
    return &stream->entries[stream->first + i];
}

static void forget_entry(struct renewal_entry *entry) {
    if (entry->renewal)
        entry->renewal->n_out--;
    entry->renewal = NULL;
}

static void on_reply(void *arg, struct keepalive *keepalive, const struct keepalive_reply *reply) {
    struct renewal_stream *stream = arg;
    (void)keepalive;
    struct renewal_entry *entry = entry_at(stream, stream->n_answered);
    entry->sent_ns = reply->sent_ns;
    entry->ttl_s = reply->ttl_s;
    entry->raft_term = reply->raft_term;
    entry->member_id = reply->member_id;
    if (stream->n_answered == stream->n_confirming)
        stream->answered_ns = rpc_now(stream->renewals->etcd->rpc);
    stream->n_answered++;
    stream->is_proven = true;
    renewals_answered(stream);
}

static void on_broken(void *arg, struct keepalive *keepalive, const struct lun_err *err) {
    struct renewal_stream *stream = arg;
    (void)keepalive;
    stream->keepalive = NULL; /* the member has been marked */
    renewals_stream_failed(stream, err);
}

static void on_confirmed(struct confirm *confirm, const struct lun_err *err, uint64_t raft_term) {
    renewals_confirmed(CONTAINER_OF(confirm, struct renewal_stream, confirm), err, raft_term);
}

void renewal_stream_init(struct renewal_stream *stream, struct renewals *renewals) {
    stream->renewals = renewals;
    confirm_init(&stream->confirm, on_confirmed);
}

int renewal_stream_open(struct renewal_stream *stream, struct etcd_member *member, bool is_apart) {
    static const struct keepalive_callbacks callbacks = {on_reply, on_broken};
    stream->is_proven = false;
    stream->is_apart = is_apart;
    stream->opened_ns = rpc_now(member->etcd->rpc);
    return keepalive_open(member->etcd, member, &callbacks, stream, &stream->keepalive);
}

void renewal_stream_close(struct renewal_stream *stream) {
    confirm_stop(&stream->confirm);
    keepalive_close(stream->keepalive);
    stream->keepalive = NULL;
    for (size_t i = 0; i < stream->n; i++)
        forget_entry(entry_at(stream, i));
    free(stream->entries);
    stream->entries = NULL;
    stream->n_room = stream->first = 0;
    stream->n_confirming = stream->n_answered = stream->n_sent = stream->n = 0;
}

static int make_room(struct renewal_stream *stream) {
    if (stream->first + stream->n < stream->n_room)
        return 0;
    if (stream->first > stream->n) { /* more than half of it is free, at the front */
        memmove(stream->entries, entry_at(stream, 0), stream->n * sizeof *stream->entries);
        stream->first = 0;
        return 0;
    }
    size_t n_room = stream->n_room ? stream->n_room * 2 : FIRST_ROOM;
    struct renewal_entry *entries = realloc(stream->entries, n_room * sizeof *entries);
    if (!entries)
        return LUN_ENOMEM;
    stream->entries = entries;
    stream->n_room = n_room;
    return 0;
}

int renewal_stream_add(struct renewal_stream *stream, struct renewal *renewal) {
    if (make_room(stream))
        return LUN_ENOMEM;
    *entry_at(stream, stream->n) = (struct renewal_entry){.renewal = renewal, .lease = renewal->lease};
    stream->n++;
    renewal->n_out++;
    return 0;
}

int renewal_stream_send(struct renewal_stream *stream) {
    while (stream->n_sent < stream->n && (stream->is_proven || stream->n_sent < RENEWAL_PROBES)) {
        struct renewal_entry *entry = entry_at(stream, stream->n_sent);
        entry->sent_ns = rpc_now(stream->renewals->etcd->rpc);
        entry->read_before = keepalive_member(stream->keepalive)->confirm.latest;
        int rc = keepalive_send(stream->keepalive, entry->lease);
        if (rc)
            return rc;
        stream->n_sent++;
    }
    return 0;
}

/* How long the read may take: the lease with the shortest TTL has to have time for another try. */
static int64_t read_span_ns(const struct renewal_stream *stream) {
    int64_t shortest = INT64_MAX, longest = 0;
    for (size_t i = 0; i < stream->n_answered; i++) {
        const struct renewal *renewal = entry_at(stream, i)->renewal;
        if (renewal && renewal->ttl_ns < shortest)
            shortest = renewal->ttl_ns;
        if (renewal && renewal->ttl_ns > longest)
            longest = renewal->ttl_ns;
    }
    if (longest == 0)
        return READ_LEAST_NS;
    int64_t least = longest / 3 < READ_LEAST_NS ? longest / 3 : READ_LEAST_NS;
    return shortest / 3 > least ? shortest / 3 : least;
}

int64_t renewal_stream_confirm_at_ns(const struct renewal_stream *stream) {
    if (!stream->keepalive || stream->n_answered == 0 || stream->confirm.is_waiting)
        return RPC_NEVER;
    return stream->n_answered == stream->n ? stream->answered_ns : stream->answered_ns + RENEWAL_GATHER_NS;
}

int renewal_stream_confirm(struct renewal_stream *stream) {
    if (renewal_stream_confirm_at_ns(stream) > rpc_now(stream->renewals->etcd->rpc))
        return 0;
    stream->n_confirming = stream->n_answered;
    return confirm_start(&stream->confirm, keepalive_member(stream->keepalive), read_span_ns(stream));
}

struct renewal *renewal_stream_next(const struct renewal_stream *stream) {
    return stream->n_answered < stream->n_sent ? entry_at(stream, stream->n_answered)->renewal : NULL;
}

void renewal_stream_forget(struct renewal_stream *stream, const struct renewal *renewal) {
    for (size_t i = 0; i < stream->n; i++)
        if (entry_at(stream, i)->renewal == renewal)
            forget_entry(entry_at(stream, i));
}

struct renewal_entry renewal_stream_take(struct renewal_stream *stream) {
    struct renewal_entry entry = *entry_at(stream, 0);
    forget_entry(entry_at(stream, 0));
    stream->first++;
    stream->n_confirming -= stream->n_confirming > 0;
    stream->n_answered -= stream->n_answered > 0;
    stream->n_sent -= stream->n_sent > 0;
    if (--stream->n == 0)
        stream->first = 0;
    return entry;
}

int64_t renewal_stream_oldest_ns(const struct renewal_stream *stream) {
    if (stream->n == 0)
        return RPC_NEVER;
    return stream->n_sent > 0 ? entry_at(stream, 0)->sent_ns : stream->opened_ns;
}

bool renewals_use(const struct renewals *renewals, const struct etcd_member *member) {
    for (int i = 0; i < RENEWAL_STREAMS; i++)
        if (renewals->streams[i].keepalive && keepalive_member(renewals->streams[i].keepalive) == member)
            return true;
    return false;
}
