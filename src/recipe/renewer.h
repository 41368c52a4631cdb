/* recipe/renewer.h - renews a lease, through one member after another, and believes only what is confirmed.
 *
 * A renewal is sent every third of the TTL, jittered. Each further sixth of silence (at least 300 ms) opens a
 * fresh stream to the next member; several may be open. An answer counts once a linearizable read through the
 * same member, sent after it, shows the same raft term, and no higher one is known: a member that was frozen
 * answers renewals of leases that are long gone. */
#ifndef LUN_RECIPE_RENEWER_H
#define LUN_RECIPE_RENEWER_H

#include "etcd/confirm.h"
#include "etcd/keepalive.h"

struct renewer;

struct renewer_callbacks {
    /* A renewal sent at `sent_ns` is confirmed. */
    void (*on_renewed)(struct renewer *renewer, int64_t sent_ns, int64_t ttl_s);
    /* It is confirmed that etcd knows no such lease. */
    void (*on_gone)(struct renewer *renewer);
};

enum { RENEWER_MAX_STREAMS = 8 };

struct renewer_stream {
    struct renewer *renewer;
    struct keepalive *keepalive; /* NULL: not in use */
    struct confirm confirm;
    int64_t sent_ns; /* of the answer being confirmed */
    int64_t ttl_s;
    uint64_t raft_term;
};

struct renewer {
    struct etcd *etcd;
    struct rpc *rpc;
    const struct renewer_callbacks *callbacks;
    int64_t lease;
    int64_t ttl_ns;
    struct rpc_timer timer;
    struct etcd_member *last_member; /* the latest one tried */
    uint64_t renewed_term;           /* raft's, of the latest renewal: 0: none */
    bool is_renewing;                /* a round is on: asked, not yet confirmed */
    struct etcd_member *gone_member; /* a confirmed answer of this one said that there is no such lease... */
    uint64_t gone_term;              /* ...under this leader... */
    int64_t ask_elsewhere_ns;        /* ...and from then on others are asked whether that is so */
    unsigned n_failures;             /* in this round, without silence: delays grow with it */
    struct renewer_stream streams[RENEWER_MAX_STREAMS];
};

/* 0 or LUN_ENOMEM. Nothing is sent before renewer_start. */
int renewer_init(struct renewer *renewer, struct etcd *etcd, const struct renewer_callbacks *callbacks);
/* Begins: the next renewal at `at_ns` (rpc_now: at once). */
void renewer_start(struct renewer *renewer, int64_t lease, int64_t ttl_ns, int64_t at_ns);
/* Renews now, if no round is on. */
void renewer_hurry(struct renewer *renewer);
/* No callback any more; streams are closed. May be started again. Harmless when all zero or stopped. */
void renewer_stop(struct renewer *renewer);
void renewer_fini(struct renewer *renewer);

#endif
