/* client.h - behind lunarch.h: what the parts of liblunarch share. Everything here is called inside (rpc.h) unless
 * said otherwise. */
#ifndef LUN_CLIENT_H
#define LUN_CLIENT_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "base/trace.h"
#include "client/ask.h"
#include "etcd/kv.h"
#include "lunarch.h"
#include "recipe/place.h"
#include "recipe/session.h"
#include "rpc/rpc.h"

/* ---- client ----------------------------------------------------------------------------------------- */

enum { CLIENT_MAX_TRACE_LINES = 1000 }; /* waiting for a poll; what comes on top is counted and dropped */

struct lun_client {
    struct rpc *rpc;
    struct etcd *etcd;
    unsigned fork_depth;   /* of the process that opened it */
    struct bytes identity; /* what a lock's value says of us */
    struct place_index places;
    struct list ops;       /* asked and not yet answered */
    struct list sessions;  /* struct lun_session: not ended */
    struct list observers; /* struct lun_observer: open */
    struct list watches;   /* struct lun_watch: open */
    struct list close_ops; /* by in_object */
    int64_t close_until_ns;
    bool is_closing;                /* nothing new is taken */
    bool is_cut_off;                /* nothing is waited for */
    bool is_etcd_closed;            /* nothing is in flight */
    bool is_polled, is_to_be_freed; /* a poll is under way on `poller`; it was freed in a callback of that */
    pthread_t poller;
    int n_called; /* callbacks run by the poll under way; the polling thread's own */
    struct rpc_timer close_timer;
    struct trace trace, warnings;
    struct rpc_completion trace_note;
    struct list trace_lines;
    int n_trace_lines, n_trace_dropped;
    void (*on_trace)(void *arg, const char *line);
    void (*on_warning)(void *arg, const char *sentence);
    void *trace_arg;
    struct list in_abandoned;
};

/* What lun_client_open does once gRPC stands: a client on any implementation of the seam. On success the client
 * owns `rpc` and ends it by rpc_free; on failure it is still the caller's. LUN_EINVALID, LUN_ENOMEM. Outside. */
int client_open_on(struct rpc *rpc, const struct lun_config *config, struct lun_client **ret_client,
                   struct lun_err *ret_err);

/* Outside: closes it in the background, sessions for at most `timeout_ms`; no callback comes any more. */
void client_dismiss(struct lun_client *client, int64_t timeout_ms);
/* Outside: nothing of it is in flight any more; lun_client_free then waits for nothing. */
bool client_is_over(struct lun_client *client);

/* Outside: 0 and inside, or LUN_ECLOSED and still outside: closed, or in a forked child. */
int client_enter(struct lun_client *client, struct lun_err *ret_err);
/* The same for what answers closed clients too: only a forked child is turned away. */
int client_enter_closed(struct lun_client *client);
/* Not that of a parent process. Inside and outside. */
bool client_is_ours(const struct lun_client *client);
void client_leave(struct lun_client *client);
/* Something has ended: goes on with closing. */
void client_on_ended(struct lun_client *client);
/* The instant at which `timeout_ms` from now has passed; RPC_NEVER for none, and for what is as good as none. */
int64_t client_deadline_ns(const struct lun_client *client, int64_t timeout_ms);

/* ---- session ---------------------------------------------------------------------------------------- */

struct lun_session {
    struct session core;
    struct lun_client *client;
    struct list in_client;
    atomic_uint
        n_refs; /* the user, each mutex, election, term, op that needs it, and the machine until it has
                        ended */
    bool is_ended;
    bool is_wanted; /* the user has not freed it */
    struct lun_op *open_op;
    struct list close_ops;
    struct list state_ops;
    struct list ensure_ops; /* ensure.c */
};

/* Inside and outside, on any thread. */
void session_ref(struct lun_session *session);
void session_unref(struct lun_session *session);
/* Ends it without waiting for anything. */
void session_cut_off(struct lun_session *session);

/* A renewal was confirmed: those who wait for it. */
void ensure_on_renewed(struct lun_session *session);

/* Asks for the first place of the line `name`: completes with `leader`, or without one. `what` for errors: "owner",
 * "leader". Outside. */
int leader_ask(struct lun_client *client, const char *what, const char *name, const struct lun_ask *ask,
               struct lun_op **ret_op, struct lun_err *ret_err);

void observer_cut_off(struct lun_observer *observer);
struct lun_observer *observer_of_client(struct list *in_client);
void watch_cut_off(struct lun_watch *watch);
struct lun_watch *watch_of_client(struct list *in_client);

#endif
