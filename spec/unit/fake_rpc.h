/* spec/unit/fake_rpc.h - the seam of rpc.h, played by the test: virtual time, calls and streams that lie
 * still until the test answers.
 *
 * Nothing happens by itself: time stands still, replies come when the test gives them. What an implementation
 * must do of itself (timers, the deadlines of calls, the end of what was cancelled, validities) happens in
 * fake_run and fake_advance. Requests and replies pass through pack and unpack, as on the wire.
 *
 * Everything below is called outside (the test's main thread, not between rpc_enter and rpc_leave) unless it
 * says otherwise. */
#ifndef LUN_SPEC_FAKE_RPC_H
#define LUN_SPEC_FAKE_RPC_H

#include "rpc/rpc.h"

struct fake;

/* Time begins at 1000 s. */
struct fake *fake_new(void);
/* Aborts, naming it, when a channel, call, stream, timer, validity or note was left behind. */
void fake_free(struct fake *fake);
struct rpc *fake_rpc(struct fake *fake);

/* ---- time ------------------------------------------------------------------------------------ */

int64_t fake_now(const struct fake *fake);
/* Does what is due now, until nothing is. */
void fake_run(struct fake *fake);
/* Lets time pass, stopping at each instant at which something is due. */
void fake_advance(struct fake *fake, int64_t ns);
/* Only sets the clock forward, as if nobody had run (SIGSTOP). */
void fake_freeze(struct fake *fake, int64_t ns);
/* Number of timers running, and the instant of the earliest. */
size_t fake_n_timers(const struct fake *fake);
int64_t fake_next_timer(const struct fake *fake);

/* ---- calls ----------------------------------------------------------------------------------- */

struct fake_call {
    struct rpc_call base;
    struct list in_calls;
    struct fake *fake;
    size_t number; /* of the calls ever made */
    enum rpc_method method;
    char address[64]; /* of the member asked */
    ProtobufCMessage *request;
    int64_t sent_ns, deadline_ns;
    bool has_leader;
    char token[128]; /* "" when none */
    bool is_cancelled;
    rpc_reply_cb on_reply;
    void *arg;
};

enum { FAKE_ANY = -1 }; /* for a method: whichever */

/* The oldest call in flight of that method; NULL. Cancelled ones come only from fake_cancelled_call. */
struct fake_call *fake_call(struct fake *fake, int method);
/* The `i`th of them, oldest first; NULL. */
struct fake_call *fake_nth_call(struct fake *fake, int method, size_t i);
size_t fake_n_calls(struct fake *fake, int method);
/* A cancelled one that has not been told so yet (fake_run tells it): to answer it late. */
struct fake_call *fake_cancelled_call(struct fake *fake, int method);
/* Cancelled calls are not told so any more, until they may again: they are on their way back. */
void fake_hold_cancelled(struct fake *fake, bool are_held);
/* Calls ever made. */
size_t fake_n_calls_made(const struct fake *fake);

/* Answer; the callback runs within, and the call is gone. Nothing else is run: see fake_run. */
void fake_reply(struct fake_call *call, const ProtobufCMessage *reply);
void fake_fail(struct fake_call *call, int status, const char *message);
/* It could not connect: unavailable, and certainly not sent. */
void fake_refuse(struct fake_call *call);

/* The next `n` of rpc_call, rpc_stream_open and rpc_stream_send fail with LUN_ENOMEM. */
void fake_fail_next(struct fake *fake, int n);

/* ---- lookups --------------------------------------------------------------------------------- */

/* The latest one of DNS, which must be of that name; NULL: none since the last time. To be filled in, is_done last. */
struct rpc_lookup *fake_lookup(struct fake *fake, const char *name);

/* ---- streams --------------------------------------------------------------------------------- */

struct fake_stream {
    struct rpc_stream base;
    struct list in_streams;
    struct fake *fake;
    enum rpc_method method;
    char address[64];
    bool has_leader;
    char token[128];
    bool is_cancelled;
    struct list sent; /* messages not looked at yet */
    ProtobufCMessage *looked_at;
    struct rpc_stream_callbacks callbacks;
    void *arg;
};

/* The `i`th open stream of that method, oldest first; NULL. Cancelled ones are left out. */
struct fake_stream *fake_stream(struct fake *fake, int method, size_t i);
size_t fake_n_streams(struct fake *fake, int method);
size_t fake_n_streams_opened(const struct fake *fake);
/* The oldest message sent and not looked at yet; NULL. Valid until the next call of this on the same stream.
 */
const ProtobufCMessage *fake_sent(struct fake_stream *stream);
/* The server says something. */
void fake_say(struct fake_stream *stream, const ProtobufCMessage *message);
/* The server, or the network, ends it; it is gone. */
void fake_break(struct fake_stream *stream, int status, const char *message);

/* ---- validities and notes ------------------------------------------------------------------------ */

/* Runs validities that are due, then the notes posted, outside, as rpc_poll does; returns how many notes. */
int fake_poll(struct fake *fake);
size_t fake_n_notes(const struct fake *fake);

#endif
