/* etcd/status_class.c - the table that says what a gRPC status and etcd's words mean: try again, elsewhere, or never.
 * See status_class.h. */
#include "etcd/status_class.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "rpc/rpc.h"

enum { ANY_STATUS = -1 };

/* The first row that fits decides. Matching is by substring, for etcd's texts come bare and wrapped, and grow
 * with its versions. */
struct row {
    int status;
    const char *words; /* NULL: any */
    struct status_class class;
};

#define ANSWER(code)                                                                                         \
    { code, AGAIN_NEVER, false, false, false }
#define NEW_TOKEN                                                                                            \
    { LUN_EUNAUTHENTICATED, AGAIN_HERE, false, false, true }
/* Certainly not carried out. */
#define NOT_DONE_HERE                                                                                        \
    { LUN_EUNAVAILABLE, AGAIN_HERE, false, false, false }
#define NOT_DONE_FAULT                                                                                       \
    { LUN_EUNAVAILABLE, AGAIN_ELSEWHERE, false, true, false }
/* Nobody knows. */
#define LOST_NO_FAULT                                                                                        \
    { LUN_EUNAVAILABLE, AGAIN_ELSEWHERE, true, false, false }
#define LOST_FAULT                                                                                           \
    { LUN_EUNAVAILABLE, AGAIN_ELSEWHERE, true, true, false }

static const struct row rows[] = {
    /* Where the words alone decide: these may come in a watcher's reason, without a status. */
    {ANY_STATUS, "invalid auth token", NEW_TOKEN},
    {ANY_STATUS, "user name is empty", NEW_TOKEN},
    {ANY_STATUS, "revision of auth store is old", NEW_TOKEN},
    {ANY_STATUS, "authentication failed", ANSWER(LUN_EUNAUTHENTICATED)},
    {ANY_STATUS, "permission denied", ANSWER(LUN_EPERMISSION)},
    {ANY_STATUS, "has been compacted", ANSWER(LUN_ECOMPACTED)},
    {ANY_STATUS, "database space exceeded", ANSWER(LUN_ENOSPACE)},
    {ANY_STATUS, "too many requests", NOT_DONE_HERE}, /* refused before it was proposed */
    {ANY_STATUS, "proposal dropped", NOT_DONE_HERE},
    {ANY_STATUS, "not supported for learner", NOT_DONE_FAULT},
    {ANY_STATUS, "not a primary lessor", NOT_DONE_FAULT},
    {ANY_STATUS, "etcdserver: not leader", NOT_DONE_FAULT},
    {ANY_STATUS, "etcdserver: no leader", NOT_DONE_FAULT}, /* refused by hasleader, or a stream ended by it */
    {ANY_STATUS, "etcdserver: leader changed", LOST_NO_FAULT}, /* every member says so at such a time */
    {ANY_STATUS, "etcdserver: server stopped", LOST_FAULT},
    {ANY_STATUS, "etcdserver: request timed out", LOST_FAULT},
    {ANY_STATUS, "etcdserver: unhealthy cluster", LOST_FAULT},

    {RPC_RESOURCE_EXHAUSTED,
     "larger than max",
     {LUN_EINVALID, AGAIN_NEVER, true, false, false}}, /* the reply, perhaps */
    {RPC_RESOURCE_EXHAUSTED, NULL, NOT_DONE_HERE},
    {RPC_INVALID_ARGUMENT, NULL, ANSWER(LUN_EINVALID)},
    {RPC_NOT_FOUND, NULL, ANSWER(LUN_EINVALID)},
    {RPC_ALREADY_EXISTS, NULL, ANSWER(LUN_EINVALID)},
    {RPC_FAILED_PRECONDITION, NULL, ANSWER(LUN_EINVALID)},
    {RPC_OUT_OF_RANGE, NULL, ANSWER(LUN_EINVALID)},
    {RPC_PERMISSION_DENIED, NULL, ANSWER(LUN_EPERMISSION)},
    {RPC_UNAUTHENTICATED, NULL, ANSWER(LUN_EUNAUTHENTICATED)},
    {RPC_UNIMPLEMENTED, NULL, NOT_DONE_FAULT}, /* not an etcd, or a very old one */
    {ANY_STATUS, NULL, LOST_FAULT},
};

static bool has_words(const char *text, const char *words) {
    return strstr(text, words) != NULL;
}

struct status_class status_classify(int status, const char *message, bool is_unsent) {
    if (is_unsent)
        return (struct status_class)NOT_DONE_FAULT;
    const struct row *row = rows;
    while ((row->status != ANY_STATUS && row->status != status) ||
           (row->words && !has_words(message, row->words)))
        row++;
    return row->class;
}

struct status_class status_classify_reason(const char *reason) {
    if (reason[0] == '\0')
        return (struct status_class)LOST_FAULT;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].status == ANY_STATUS && rows[i].words && has_words(reason, rows[i].words))
            return rows[i].class;
    return (struct status_class)ANSWER(LUN_EINVALID);
}

/* Why a call never left, in gRPC's words and in ours. */
static const char *why_unsent(const char *message) {
    static const struct {
        const char *words, *text;
    } reasons[] = {
        {"refused", "refused"},
        {"No such file", "does not exist: no etcd has made this socket"},
        {"Permission denied", "cannot be used: permission denied"},
        {"DNS resolution failed", "cannot be found: its name does not resolve"},
        {"HTTP/2", "does not speak HTTP/2: is it an etcd?"},
        {"http1", "does not speak HTTP/2: is it an etcd?"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (has_words(message, reasons[i].words))
            return reasons[i].text;
    return "could not be reached";
}

void status_describe(char *ret_text, size_t n_bytes, const struct rpc_result *result) {
    const char *message = result->message;
    if (result->status == RPC_OK)
        (void)snprintf(ret_text, n_bytes, "ended the stream");
    else if (result->guess)
        (void)snprintf(ret_text, n_bytes, "%s", result->guess);
    else if (result->status == RPC_DEADLINE_EXCEEDED)
        (void)snprintf(ret_text, n_bytes, "did not answer in time");
    else if (result->is_unsent)
        (void)snprintf(ret_text, n_bytes, "%s", why_unsent(message));
    else if (result->status == RPC_UNIMPLEMENTED)
        (void)snprintf(ret_text, n_bytes, "is not an etcd server");
    else if (has_words(message, "etcdserver:"))
        (void)snprintf(ret_text, n_bytes, "%s", message);
    else if (message[0] != '\0')
        (void)snprintf(ret_text, n_bytes, "broke off (%s)", message);
    else
        (void)snprintf(ret_text, n_bytes, "broke off (status %d)", result->status);
}
