/* etcd/call_end.c - the ways in which a call ends, each with its words for the caller. See call_machine.h. */
#include "etcd/call_machine.h"

#include <stdio.h>
#include <stdlib.h>

enum { MOST_PACKED_BYTES = 400 }; /* of most requests: entering a line, looking, leaving */

void call_free(struct etcd_call *call) {
    free(call->why_room);
    pool_free(&call->etcd->call_pool, call);
}

void etcd_calls_init(struct etcd *etcd) {
    list_init(&etcd->calls);
    pool_init(&etcd->call_pool, sizeof(struct etcd_call) + MOST_PACKED_BYTES);
}

void call_discard(struct etcd_call *call) {
    list_remove(&call->in_calls);
    list_remove(&call->in_window);
    list_remove(&call->waiter.in_auth);
    rpc_timer_fini(&call->timer);
    etcd_out_end(call->etcd);
}

void call_finish(struct etcd_call *call, struct etcd_reply *reply) {
    sm_move(&call->sm, DONE);
    call_discard(call);
    reply->has_unanswered = call->has_unanswered;
    call->on_reply(call->arg, reply);
    call_free(call);
}

void call_finish_error(struct etcd_call *call, struct lun_err *err) {
    err->is_outcome_unknown = call->meta.is_write && call->has_unanswered;
    call_finish(call, &(struct etcd_reply){.err = err});
}

void call_finish_cancelled(struct etcd_call *call) {
    struct lun_err err;
    lun_err_set(&err, LUN_ECANCELLED, "cancelled");
    call_finish_error(call, &err);
}

void call_finish_memory(struct etcd_call *call) {
    struct lun_err err;
    lun_err_set(&err, LUN_ENOMEM, "out of memory");
    call_finish_error(call, &err);
}

void call_finish_unknown(struct etcd_call *call) {
    struct lun_err err;
    lun_err_set(&err, LUN_EUNKNOWN,
                "the reply was lost (%s %s): the write may or may not have been carried out",
                etcd_member_address(call->member), call->why);
    call_finish_error(call, &err);
}

static void describe_failures(const struct etcd_call *call, char *text, size_t n_bytes) {
    text[0] = '\0';
    if (!call->how.member)
        etcd_describe_failures(call->etcd, text, n_bytes);
    if (text[0] == '\0')
        (void)snprintf(text, n_bytes, "%s %s", etcd_member_address(call->member), call->why);
}

void call_finish_unavailable(struct etcd_call *call) {
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
    call_finish_error(call, &err);
}
