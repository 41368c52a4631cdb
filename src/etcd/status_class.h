/* etcd/status_class.h - what a failure means: a table from gRPC's status and etcd's words to what we do about it.
 *
 * Pure functions; any thread. */
#ifndef LUN_ETCD_STATUS_CLASS_H
#define LUN_ETCD_STATUS_CLASS_H

#include <stdbool.h>
#include <stddef.h>

#include "rpc/rpc.h"

enum again {
    AGAIN_NEVER,    /* an answer, though not the one hoped for */
    AGAIN_HERE,     /* the same member, after a while */
    AGAIN_ELSEWHERE /* the next member, at once */
};

struct status_class {
    int code; /* LUN_E... when nothing is tried again */
    enum again again;
    bool is_outcome_unknown; /* a write may have been carried out, or may yet be */
    bool is_member_fault;    /* the member is the worse for it: others are preferred until it answers */
    bool is_token_stale;     /* a new token, then again */
};

/* `status`: enum rpc_status; `message`: the server's or the transport's words; `is_unsent`: as in struct
 * rpc_result. */
struct status_class status_classify(int status, const char *message, bool is_unsent);
/* Of the reason of a cancelled watcher: etcd's words, bare or wrapped in "rpc error: code = ... desc = ...",
 * without a status. */
struct status_class status_classify_reason(const char *reason);
/* "refused", "did not answer in time", "etcdserver: no leader", "broke off (Socket closed)". Always
 * terminated. */
void status_describe(char *ret_text, size_t n_bytes, const struct rpc_result *result);

#endif
