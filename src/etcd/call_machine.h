/* etcd/call_machine.h - what the attempt machine of a call is made of, and the ways in which it ends. For call.c and
 * call_end.c only. */
#ifndef LUN_ETCD_CALL_MACHINE_H
#define LUN_ETCD_CALL_MACHINE_H

#include "base/sm.h"
#include "etcd/call.h"
#include "etcd/cluster.h"

enum state { IDLE, AUTHENTICATING, QUEUEING, VERIFYING, ASKING, WAITING, DONE };

struct etcd_call {
    struct sm sm;
    struct etcd *etcd;
    struct list in_calls;
    struct list in_window;     /* queueing */
    struct auth_waiter waiter; /* authenticating */
    struct rpc_timer timer;
    struct request_meta meta;
    struct etcd_call_options how;
    etcd_reply_cb on_reply;
    void *arg;
    int64_t started_ns;

    struct etcd_member *member; /* of the attempt in flight, or the latest */
    struct rpc_call *attempt;   /* NULL when none is in flight */
    int64_t sent_ns, attempt_until_ns;
    uint32_t tried; /* in this round: bit i for member i */
    unsigned round, n_sent;
    unsigned generation, n_stale; /* of the token the attempt carries; how many were refused */
    bool is_cancelled, has_unanswered;
    const char *why; /* what the latest failure was, for the last error's text */
    char *why_room;  /* ours, if it is there; NULL: nothing has failed yet */

    size_t n_kinds, n_packed;
    uint8_t tail[]; /* the kinds, then the request packed, for every attempt */
};

/* Gives the memory back: of one that was never told, after call_discard. */
void call_free(struct etcd_call *call);
/* Takes it out of every list. */
void call_discard(struct etcd_call *call);
/* The end: calls back and frees. Nothing of the call is to be touched afterwards. */
void call_finish(struct etcd_call *call, struct etcd_reply *reply);
void call_finish_error(struct etcd_call *call, struct lun_err *err);
void call_finish_cancelled(struct etcd_call *call);
void call_finish_memory(struct etcd_call *call);
/* A write that may not be repeated, and whose reply was lost. */
void call_finish_unknown(struct etcd_call *call);
/* The deadline has passed: names what each member did. */
void call_finish_unavailable(struct etcd_call *call);

#endif
