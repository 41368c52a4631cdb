/* etcd/renewals.h - all leases that a client keeps alive, and the streams on which they are renewed. For the files of
 * this folder only; renewal.h is what others see.
 *
 * renewal.c decides what is asked where and when, and what an answer means; renewal_stream.c keeps what is under way
 * on one stream. */
#ifndef LUN_ETCD_RENEWALS_H
#define LUN_ETCD_RENEWALS_H

#include "base/list.h"
#include "etcd/confirm.h"
#include "etcd/keepalive.h"
#include "etcd/renewal.h"

enum {
    RENEWAL_STREAMS = 8, /* that may be open at the same time, silent ones included */
    RENEWAL_PROBES = 16  /* what is sent on a stream before its first answer; the rest follows */
};
/* An answer waits so long for those behind it, that one read may serve all. */
#define RENEWAL_GATHER_NS (20 * NS_PER_MS)

struct renewals;

/* A renewal on a stream; once answered, what the answer said. */
struct renewal_entry {
    struct renewal *renewal; /* NULL: stopped, or started anew, meanwhile */
    int64_t lease;
    int64_t sent_ns, ttl_s;
    uint64_t raft_term, member_id;
    struct confirmation read_before; /* the member's latest when this was sent */
};

struct renewal_stream {
    struct renewals *renewals;
    struct keepalive *keepalive; /* NULL: not in use */
    struct confirm confirm;      /* of the first n_confirming */
    /* A queue: those being confirmed, then those answered since, then those sent, then those to be sent. */
    struct renewal_entry *entries;
    size_t n_room, first, n_confirming, n_answered, n_sent, n;
    int64_t answered_ns; /* when the oldest answer that is not being confirmed came */
    int64_t opened_ns;
    bool is_proven; /* it has answered */
    bool is_apart;
};

struct renewals {
    struct etcd *etcd;
    struct list list; /* struct renewal */
    struct rpc_timer timer;
    unsigned n_failures; /* without silence, since the latest success: delays grow with it */
    struct renewal_stream streams[RENEWAL_STREAMS];
};

/* 0 or LUN_ENOMEM. */
int renewals_init(struct renewals *renewals, struct etcd *etcd);
void renewals_fini(struct renewals *renewals);
/* Sets the timer anew: a token has come, or was refused. */
void renewals_plan(struct renewals *renewals);

/* Whether a stream goes to that member. */
bool renewals_use(const struct renewals *renewals, const struct etcd_member *member);

/* ---- renewal_stream.c */

void renewal_stream_init(struct renewal_stream *stream, struct renewals *renewals);
/* In a slot not in use. 0 or LUN_ENOMEM. */
int renewal_stream_open(struct renewal_stream *stream, struct etcd_member *member, bool is_apart);
/* Its entries are forgotten: who asked asks again. Harmless when not in use. */
void renewal_stream_close(struct renewal_stream *stream);
/* Queues a renewal: renewal_stream_send follows. 0 or LUN_ENOMEM. */
int renewal_stream_add(struct renewal_stream *stream, struct renewal *renewal);
/* Sends what may be sent. 0 or LUN_ENOMEM. */
int renewal_stream_send(struct renewal_stream *stream);
/* Starts a read for the answers that came, if it is time. 0 or LUN_ENOMEM. */
int renewal_stream_confirm(struct renewal_stream *stream);
/* When that is, if no answer comes before; RPC_NEVER: there is nothing to confirm, or it is under way. */
int64_t renewal_stream_confirm_at_ns(const struct renewal_stream *stream);
/* The one that is to be answered next; NULL: none, or stopped. */
struct renewal *renewal_stream_next(const struct renewal_stream *stream);
void renewal_stream_forget(struct renewal_stream *stream, const struct renewal *renewal);
/* Takes the first out. */
struct renewal_entry renewal_stream_take(struct renewal_stream *stream);
/* When the oldest that is under way was sent; RPC_NEVER: none. */
int64_t renewal_stream_oldest_ns(const struct renewal_stream *stream);

/* ---- renewal.c: what a stream tells */

/* The read is back: `err` NULL: the member lives in that raft term. */
void renewals_confirmed(struct renewal_stream *stream, const struct lun_err *err, uint64_t raft_term);
/* The stream cannot be used any more. `err` NULL: for want of memory, or because it lives in the past. */
void renewals_stream_failed(struct renewal_stream *stream, const struct lun_err *err);
/* An answer has come: a read may be due, now or soon. */
void renewals_answered(struct renewal_stream *stream);

#endif
