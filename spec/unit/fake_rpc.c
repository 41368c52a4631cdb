/* spec/unit/fake_rpc.c - see fake_rpc.h. */
#include "fake_rpc.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

enum { FAKE_MAX_ROUNDS = 100000 };

struct fake {
    struct rpc base;
    int64_t now_ns;
    uint64_t seed;
    bool is_inside, are_cancelled_held;
    int n_to_fail;
    size_t n_channels, n_calls_made, n_streams_opened;
    struct list calls, streams, validities, inbox;
    struct rpc_lookup *lookup;
    char looked_up[256];
};

struct fake_sent {
    struct list in_sent;
    ProtobufCMessage *message;
};

static void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)fputs("fake_rpc: ", stdout);
    (void)vprintf(format, args);
    (void)fputs("\n", stdout);
    va_end(args);
    (void)fflush(stdout);
    abort();
}

static void *must(void *memory) {
    if (!memory)
        die("out of memory");
    return memory;
}

static struct fake *fake_of(struct rpc *rpc) {
    return CONTAINER_OF(rpc, struct fake, base);
}

static void check_inside(const struct fake *fake, const char *what) {
    if (!fake->is_inside)
        die("%s called outside", what);
}

static bool should_fail(struct fake *fake) {
    if (fake->n_to_fail == 0)
        return false;
    fake->n_to_fail--;
    return true;
}

static ProtobufCMessage *unpack(const ProtobufCMessageDescriptor *descriptor, struct lun_bytes packed) {
    return must(protobuf_c_message_unpack(descriptor, NULL, packed.len, packed.data));
}

/* Through the wire and back, so that a forgotten oneof case is forgotten here too. */
static ProtobufCMessage *copy_message(const ProtobufCMessage *message,
                                      const ProtobufCMessageDescriptor *descriptor) {
    if (message->descriptor != descriptor)
        die("a %s where a %s belongs", message->descriptor->name, descriptor->name);
    size_t n = protobuf_c_message_get_packed_size(message);
    uint8_t *packed = must(malloc(n + 1));
    protobuf_c_message_pack(message, packed);
    ProtobufCMessage *copy = unpack(descriptor, (struct lun_bytes){packed, n});
    free(packed);
    return copy;
}

static void free_message(ProtobufCMessage *message) {
    if (message)
        protobuf_c_message_free_unpacked(message, NULL);
}

/* ---- the operations -------------------------------------------------------------------------- */

static int64_t op_now(struct rpc *rpc) {
    return fake_of(rpc)->now_ns;
}

static uint64_t op_random(struct rpc *rpc) {
    uint64_t z = fake_of(rpc)->seed += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void op_enter(struct rpc *rpc) {
    if (fake_of(rpc)->is_inside)
        die("rpc_enter from inside");
    fake_of(rpc)->is_inside = true;
}

static void op_leave(struct rpc *rpc) {
    check_inside(fake_of(rpc), "rpc_leave");
    fake_of(rpc)->is_inside = false;
}

static int op_channel_open(struct rpc *rpc, const char *address, struct rpc_channel **ret_channel,
                           struct lun_err *ret_err) {
    struct fake *fake = fake_of(rpc);
    check_inside(fake, "rpc_channel_open");
    if (!strchr(address, ':'))
        return lun_err_set(ret_err, LUN_EINVALID, "%s: no port", address);
    struct rpc_channel *channel = must(malloc(sizeof *channel));
    channel->rpc = rpc;
    channel->address = must(strdup(address));
    fake->n_channels++;
    *ret_channel = channel;
    return 0;
}

static void op_channel_close(struct rpc_channel *channel) {
    struct fake *fake = fake_of(channel->rpc);
    check_inside(fake, "rpc_channel_close");
    fake->n_channels--;
    free(channel->address);
    free(channel);
}

static int op_call(struct rpc_channel *channel, enum rpc_method method, struct lun_bytes request,
                   const struct rpc_options *options, rpc_reply_cb on_reply, void *arg,
                   struct rpc_call **ret_call) {
    struct fake *fake = fake_of(channel->rpc);
    check_inside(fake, "rpc_call");
    if (rpc_method_info(method)->is_stream)
        die("rpc_call of a stream's method");
    if (should_fail(fake))
        return LUN_ENOMEM;
    struct fake_call *call = must(calloc(1, sizeof *call));
    call->base.rpc = channel->rpc;
    call->fake = fake;
    call->method = method;
    (void)snprintf(call->address, sizeof call->address, "%s", channel->address);
    call->request = unpack(rpc_method_info(method)->request, request);
    call->sent_ns = fake->now_ns;
    call->deadline_ns = options->deadline_ns;
    call->has_leader = options->has_leader;
    (void)snprintf(call->token, sizeof call->token, "%s", options->token ? options->token : "");
    call->on_reply = on_reply;
    call->arg = arg;
    list_push_back(&fake->calls, &call->in_calls);
    call->number = ++fake->n_calls_made;
    if (ret_call)
        *ret_call = &call->base;
    return 0;
}

static void op_cancel(struct rpc_call *base) {
    struct fake_call *call = CONTAINER_OF(base, struct fake_call, base);
    check_inside(call->fake, "rpc_cancel");
    call->is_cancelled = true;
}

static int op_stream_open(struct rpc_channel *channel, enum rpc_method method,
                          const struct rpc_options *options, const struct rpc_stream_callbacks *callbacks,
                          void *arg, struct rpc_stream **ret_stream) {
    struct fake *fake = fake_of(channel->rpc);
    check_inside(fake, "rpc_stream_open");
    if (!rpc_method_info(method)->is_stream)
        die("rpc_stream_open of a call's method");
    if (should_fail(fake))
        return LUN_ENOMEM;
    struct fake_stream *stream = must(calloc(1, sizeof *stream));
    stream->base.rpc = channel->rpc;
    stream->fake = fake;
    stream->method = method;
    (void)snprintf(stream->address, sizeof stream->address, "%s", channel->address);
    stream->has_leader = options->has_leader;
    (void)snprintf(stream->token, sizeof stream->token, "%s", options->token ? options->token : "");
    list_init(&stream->sent);
    stream->callbacks = *callbacks;
    stream->arg = arg;
    list_push_back(&fake->streams, &stream->in_streams);
    fake->n_streams_opened++;
    *ret_stream = &stream->base;
    return 0;
}

static int op_stream_send(struct rpc_stream *base, const ProtobufCMessage *message) {
    struct fake_stream *stream = CONTAINER_OF(base, struct fake_stream, base);
    check_inside(stream->fake, "rpc_stream_send");
    if (should_fail(stream->fake))
        return LUN_ENOMEM;
    if (stream->is_cancelled)
        return 0;
    struct fake_sent *sent = must(malloc(sizeof *sent));
    sent->message = copy_message(message, rpc_method_info(stream->method)->request);
    list_push_back(&stream->sent, &sent->in_sent);
    return 0;
}

static void op_stream_cancel(struct rpc_stream *base) {
    struct fake_stream *stream = CONTAINER_OF(base, struct fake_stream, base);
    check_inside(stream->fake, "rpc_stream_cancel");
    stream->is_cancelled = true;
}

static void op_validity_changed(struct rpc_validity *validity, bool is_new) {
    if (is_new)
        list_push_back(&fake_of(validity->rpc)->validities, &validity->in_validities);
}

static void op_validity_stopped(struct rpc_validity *validity) {
    list_remove(&validity->in_validities);
}

static void op_deliver(struct rpc *rpc, struct rpc_completion *note) {
    check_inside(fake_of(rpc), "rpc_deliver");
    if (list_is_empty(&note->in_inbox))
        list_push_back(&fake_of(rpc)->inbox, &note->in_inbox);
}

static void op_withdraw(struct rpc *rpc, struct rpc_completion *note) {
    check_inside(fake_of(rpc), "rpc_withdraw");
    list_remove(&note->in_inbox);
}

static int op_poll(struct rpc *rpc, int64_t until_ns) {
    (void)until_ns;
    struct fake *fake = fake_of(rpc);
    fake_run(fake);
    int n = 0;
    struct list batch, *node;
    list_move(&fake->inbox, &batch);
    while ((node = list_pop_front(&batch))) {
        struct rpc_completion *note = CONTAINER_OF(node, struct rpc_completion, in_inbox);
        note->on_poll(note);
        n++;
    }
    return n;
}

static int op_fd(struct rpc *rpc) {
    (void)rpc;
    return -1;
}

static void op_free(struct rpc *rpc) {
    fake_free(fake_of(rpc));
}

static void op_release_lookup(struct rpc_lookup *lookup) {
    free(lookup);
}

static int op_lookup_start(struct rpc *rpc, const char *name, struct rpc_lookup **ret_lookup) {
    struct fake *fake = fake_of(rpc);
    if (should_fail(fake))
        return LUN_ENOMEM;
    (void)snprintf(fake->looked_up, sizeof fake->looked_up, "%s", name);
    fake->lookup = *ret_lookup = must(calloc(1, sizeof **ret_lookup));
    (*ret_lookup)->release = op_release_lookup;
    return 0;
}

struct rpc_lookup *fake_lookup(struct fake *fake, const char *name) {
    struct rpc_lookup *lookup = fake->lookup;
    if (strcmp(fake->looked_up, name) != 0)
        die("%s was looked up, not %s", fake->looked_up, name);
    fake->lookup = NULL;
    return lookup;
}

static const struct rpc_ops ops = {
    .now = op_now,
    .calendar = op_now,
    .random = op_random,
    .enter = op_enter,
    .leave = op_leave,
    .channel_open = op_channel_open,
    .channel_close = op_channel_close,
    .call = op_call,
    .cancel = op_cancel,
    .lookup_start = op_lookup_start,
    .stream_open = op_stream_open,
    .stream_send = op_stream_send,
    .stream_cancel = op_stream_cancel,
    .validity_changed = op_validity_changed,
    .validity_stopped = op_validity_stopped,
    .deliver = op_deliver,
    .withdraw = op_withdraw,
    .poll = op_poll,
    .fd = op_fd,
    .free = op_free,
};

/* ---- making and ending ----------------------------------------------------------------------- */

struct fake *fake_new(void) {
    struct fake *fake = must(calloc(1, sizeof *fake));
    rpc_init(&fake->base, &ops);
    fake->now_ns = 1000 * NS_PER_S;
    fake->seed = 1;
    list_init(&fake->calls);
    list_init(&fake->streams);
    list_init(&fake->validities);
    list_init(&fake->inbox);
    return fake;
}

void fake_free(struct fake *fake) {
    if (fake->n_channels > 0)
        die("%zu channels left open", fake->n_channels);
    if (!list_is_empty(&fake->calls))
        die("a call to %s was left", CONTAINER_OF(fake->calls.next, struct fake_call, in_calls)->address);
    if (!list_is_empty(&fake->streams))
        die("a stream to %s was left",
            CONTAINER_OF(fake->streams.next, struct fake_stream, in_streams)->address);
    if (fake->base.n_timers > 0)
        die("%zu timers left", fake->base.n_timers);
    if (!list_is_empty(&fake->validities))
        die("a validity was left");
    if (!list_is_empty(&fake->inbox))
        die("a note was left");
    rpc_fini(&fake->base);
    free(fake);
}

struct rpc *fake_rpc(struct fake *fake) {
    return &fake->base;
}

/* ---- calls ----------------------------------------------------------------------------------- */

static struct fake_call *find_call(struct fake *fake, int method, bool is_cancelled) {
    for (struct list *node = fake->calls.next; node != &fake->calls; node = node->next) {
        struct fake_call *call = CONTAINER_OF(node, struct fake_call, in_calls);
        if ((method == FAKE_ANY || (int)call->method == method) && call->is_cancelled == is_cancelled)
            return call;
    }
    return NULL;
}

struct fake_call *fake_call(struct fake *fake, int method) {
    return find_call(fake, method, false);
}

struct fake_call *fake_nth_call(struct fake *fake, int method, size_t i) {
    for (struct list *node = fake->calls.next; node != &fake->calls; node = node->next) {
        struct fake_call *call = CONTAINER_OF(node, struct fake_call, in_calls);
        if ((method == FAKE_ANY || (int)call->method == method) && !call->is_cancelled && i-- == 0)
            return call;
    }
    return NULL;
}

struct fake_call *fake_cancelled_call(struct fake *fake, int method) {
    return find_call(fake, method, true);
}

size_t fake_n_calls(struct fake *fake, int method) {
    size_t n = 0;
    for (struct list *node = fake->calls.next; node != &fake->calls; node = node->next) {
        struct fake_call *call = CONTAINER_OF(node, struct fake_call, in_calls);
        n += (method == FAKE_ANY || (int)call->method == method) && !call->is_cancelled;
    }
    return n;
}

void fake_hold_cancelled(struct fake *fake, bool are_held) {
    fake->are_cancelled_held = are_held;
}

size_t fake_n_calls_made(const struct fake *fake) {
    return fake->n_calls_made;
}

void fake_fail_next(struct fake *fake, int n) {
    fake->n_to_fail = n;
}

static void complete(struct fake_call *call, const struct rpc_result *result, const ProtobufCMessage *reply) {
    struct fake *fake = call->fake;
    list_remove(&call->in_calls);
    ProtobufCMessage *copy = reply ? copy_message(reply, rpc_method_info(call->method)->reply) : NULL;
    rpc_enter(&fake->base);
    call->on_reply(call->arg, result, copy);
    rpc_leave(&fake->base);
    free_message(copy);
    free_message(call->request);
    free(call);
}

void fake_reply(struct fake_call *call, const ProtobufCMessage *reply) {
    complete(call, &(struct rpc_result){.status = RPC_OK, .message = ""}, reply);
}

void fake_fail(struct fake_call *call, int status, const char *message) {
    complete(call, &(struct rpc_result){.status = status, .message = message}, NULL);
}

void fake_refuse(struct fake_call *call) {
    complete(call,
             &(struct rpc_result){.status = RPC_UNAVAILABLE,
                                  .message = "failed to connect: Connection refused",
                                  .is_unsent = true},
             NULL);
}

/* ---- streams --------------------------------------------------------------------------------- */

struct fake_stream *fake_stream(struct fake *fake, int method, size_t i) {
    for (struct list *node = fake->streams.next; node != &fake->streams; node = node->next) {
        struct fake_stream *stream = CONTAINER_OF(node, struct fake_stream, in_streams);
        if ((method == FAKE_ANY || (int)stream->method == method) && !stream->is_cancelled && i-- == 0)
            return stream;
    }
    return NULL;
}

size_t fake_n_streams(struct fake *fake, int method) {
    size_t n = 0;
    while (fake_stream(fake, method, n))
        n++;
    return n;
}

size_t fake_n_streams_opened(const struct fake *fake) {
    return fake->n_streams_opened;
}

const ProtobufCMessage *fake_sent(struct fake_stream *stream) {
    free_message(stream->looked_at);
    stream->looked_at = NULL;
    struct list *node = list_pop_front(&stream->sent);
    if (!node)
        return NULL;
    struct fake_sent *sent = CONTAINER_OF(node, struct fake_sent, in_sent);
    stream->looked_at = sent->message;
    free(sent);
    return stream->looked_at;
}

void fake_say(struct fake_stream *stream, const ProtobufCMessage *message) {
    if (stream->is_cancelled)
        die("fake_say on a cancelled stream");
    struct fake *fake = stream->fake;
    ProtobufCMessage *copy = copy_message(message, rpc_method_info(stream->method)->reply);
    rpc_enter(&fake->base);
    stream->callbacks.on_message(stream->arg, &stream->base, copy);
    rpc_leave(&fake->base);
    free_message(copy);
}

void fake_break(struct fake_stream *stream, int status, const char *message) {
    struct fake *fake = stream->fake;
    list_remove(&stream->in_streams);
    rpc_enter(&fake->base);
    stream->callbacks.on_close(stream->arg, &stream->base,
                               &(struct rpc_result){.status = status, .message = message});
    rpc_leave(&fake->base);
    while (fake_sent(stream))
        ;
    free(stream);
}

/* ---- time ------------------------------------------------------------------------------------ */

int64_t fake_now(const struct fake *fake) {
    return fake->now_ns;
}

size_t fake_n_timers(const struct fake *fake) {
    return fake->base.timers.n;
}

int64_t fake_next_timer(const struct fake *fake) {
    return rpc_timers_next(&fake->base);
}

/* What is started "at once" from within a timer is due a nanosecond later: that is still now. */
static bool run_timers(struct fake *fake) {
    int64_t next_ns = rpc_timers_next(&fake->base);
    if (next_ns > fake->now_ns + NS_PER_MS / 1000)
        return false;
    if (next_ns > fake->now_ns)
        fake->now_ns = next_ns;
    rpc_enter(&fake->base);
    rpc_timers_run(&fake->base, fake->now_ns);
    rpc_leave(&fake->base);
    return true;
}

static bool run_calls(struct fake *fake) {
    struct fake_call *call = fake_cancelled_call(fake, FAKE_ANY);
    if (call && !fake->are_cancelled_held) {
        fake_fail(call, RPC_CANCELLED, "Cancelled");
        return true;
    }
    for (struct list *node = fake->calls.next; node != &fake->calls; node = node->next) {
        call = CONTAINER_OF(node, struct fake_call, in_calls);
        if (call->deadline_ns <= fake->now_ns) {
            fake_fail(call, RPC_DEADLINE_EXCEEDED, "Deadline Exceeded");
            return true;
        }
    }
    return false;
}

static bool run_streams(struct fake *fake) {
    for (struct list *node = fake->streams.next; node != &fake->streams; node = node->next) {
        struct fake_stream *stream = CONTAINER_OF(node, struct fake_stream, in_streams);
        if (stream->is_cancelled) {
            fake_break(stream, RPC_CANCELLED, "Cancelled");
            return true;
        }
    }
    return false;
}

static bool run_fences(struct fake *fake) {
    for (struct list *node = fake->validities.next; node != &fake->validities; node = node->next) {
        struct rpc_validity *validity = CONTAINER_OF(node, struct rpc_validity, in_validities);
        bool is_due;
        (void)rpc_validity_look(validity, &is_due);
        if (!is_due)
            continue;
        rpc_enter(&fake->base);
        validity->on_due(validity, validity->is_told_lost);
        rpc_leave(&fake->base);
        return true;
    }
    return false;
}

void fake_run(struct fake *fake) {
    for (int round = 0; run_fences(fake) || run_timers(fake) || run_calls(fake) || run_streams(fake); round++)
        if (round == FAKE_MAX_ROUNDS)
            die("something is due for ever at %lld", (long long)fake->now_ns);
}

static int64_t earlier(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t next_instant(struct fake *fake) {
    int64_t at = rpc_timers_next(&fake->base);
    for (struct list *node = fake->calls.next; node != &fake->calls; node = node->next)
        at = earlier(at, CONTAINER_OF(node, struct fake_call, in_calls)->deadline_ns);
    for (struct list *node = fake->validities.next; node != &fake->validities; node = node->next) {
        bool is_due; /* it is not: fake_run has been */
        at = earlier(at, rpc_validity_look(CONTAINER_OF(node, struct rpc_validity, in_validities), &is_due));
    }
    return at;
}

void fake_advance(struct fake *fake, int64_t ns) {
    int64_t until = fake->now_ns + ns;
    fake_run(fake);
    for (int64_t at; (at = next_instant(fake)) <= until; fake_run(fake))
        if (at > fake->now_ns)
            fake->now_ns = at;
    if (until > fake->now_ns)
        fake->now_ns = until;
}

void fake_freeze(struct fake *fake, int64_t ns) {
    fake->now_ns += ns;
}

/* ---- notes ----------------------------------------------------------------------------------- */

int fake_poll(struct fake *fake) {
    return op_poll(&fake->base, 0);
}

size_t fake_n_notes(const struct fake *fake) {
    size_t n = 0;
    for (struct list *node = fake->inbox.next; node != &fake->inbox; node = node->next)
        n++;
    return n;
}
