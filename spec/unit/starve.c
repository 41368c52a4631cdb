/* spec/unit/starve.c - see starve.h. One thread. */
#include "starve.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "rpc/rpc.h"

/* The linker makes these names: __real_x is x itself, and whoever calls x calls __wrap_x. */
void *__real_malloc(size_t n_bytes);
void *__real_calloc(size_t n, size_t n_bytes);
void *__real_realloc(void *memory, size_t n_bytes);
void __real_free(void *memory);
int __real_rpc_channel_open(struct rpc *rpc, const char *address, struct rpc_channel **ret_channel,
                            struct lun_err *ret_err);
int __real_rpc_call(struct rpc_channel *channel, enum rpc_method method, const ProtobufCMessage *request,
                    const struct rpc_options *options, rpc_reply_cb on_reply, void *arg,
                    struct rpc_call **ret_call);
int __real_rpc_call_packed(struct rpc_channel *channel, enum rpc_method method, struct lun_bytes request,
                           const struct rpc_options *options, rpc_reply_cb on_reply, void *arg,
                           struct rpc_call **ret_call);
int __real_rpc_stream_open(struct rpc_channel *channel, enum rpc_method method,
                           const struct rpc_options *options, const struct rpc_stream_callbacks *callbacks,
                           void *arg, struct rpc_stream **ret_stream);
int __real_rpc_stream_send(struct rpc_stream *stream, const ProtobufCMessage *message);
ProtobufCMessage *__real_protobuf_c_message_unpack(const ProtobufCMessageDescriptor *descriptor,
                                                   ProtobufCAllocator *allocator, size_t n,
                                                   const uint8_t *packed);
void __real_protobuf_c_message_free_unpacked(ProtobufCMessage *message, ProtobufCAllocator *allocator);

void *__wrap_malloc(size_t n_bytes);
void *__wrap_calloc(size_t n, size_t n_bytes);
void *__wrap_realloc(void *memory, size_t n_bytes);
void __wrap_free(void *memory);
char *__wrap_strdup(const char *string);
int __wrap_vasprintf(char **ret, const char *format, va_list args);
int __wrap_rpc_channel_open(struct rpc *rpc, const char *address, struct rpc_channel **ret_channel,
                            struct lun_err *ret_err);
int __wrap_rpc_call(struct rpc_channel *channel, enum rpc_method method, const ProtobufCMessage *request,
                    const struct rpc_options *options, rpc_reply_cb on_reply, void *arg,
                    struct rpc_call **ret_call);
int __wrap_rpc_call_packed(struct rpc_channel *channel, enum rpc_method method, struct lun_bytes request,
                           const struct rpc_options *options, rpc_reply_cb on_reply, void *arg,
                           struct rpc_call **ret_call);
int __wrap_rpc_stream_open(struct rpc_channel *channel, enum rpc_method method,
                           const struct rpc_options *options, const struct rpc_stream_callbacks *callbacks,
                           void *arg, struct rpc_stream **ret_stream);
int __wrap_rpc_stream_send(struct rpc_stream *stream, const ProtobufCMessage *message);
ProtobufCMessage *__wrap_protobuf_c_message_unpack(const ProtobufCMessageDescriptor *descriptor,
                                                   ProtobufCAllocator *allocator, size_t n,
                                                   const uint8_t *packed);
void __wrap_protobuf_c_message_free_unpacked(ProtobufCMessage *message, ProtobufCAllocator *allocator);

static bool is_starving, is_paused_now;
static size_t n_refused_so_far;
static size_t n_asked, refuse_from, refuse_to;
static unsigned refused_per_mille;
static uint64_t chance;
static long n_live;

void starve_begin(size_t n_before, size_t n_refused) {
    is_starving = true;
    n_refused_so_far = 0;
    n_asked = 0;
    refuse_from = n_before;
    refuse_to = n_refused == STARVE_FAMINE ? SIZE_MAX : n_before + n_refused;
    refused_per_mille = 1000;
}

void starve_begin_at_random(size_t n_before, unsigned per_mille, uint64_t seed) {
    starve_begin(n_before, STARVE_FAMINE);
    refused_per_mille = per_mille;
    chance = seed;
}

static bool is_drawn(void) {
    uint64_t z = chance += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    return refused_per_mille >= 1000 || (z ^ (z >> 27)) % 1000 < refused_per_mille;
}

void starve_end_famine(void) {
    if (starve_has_refused() && refuse_to > n_asked)
        refuse_to = n_asked;
}

void starve_end(void) {
    is_starving = false;
}

void starve_pause(bool is_paused) {
    is_paused_now = is_paused;
}

size_t starve_n_refused(void) {
    return n_refused_so_far;
}

bool starve_has_refused(void) {
    return n_refused_so_far > 0;
}

size_t starve_n_asked(void) {
    return n_asked;
}

long starve_n_live(void) {
    return n_live;
}

bool starve_refuses(void) {
    if (!is_starving || is_paused_now)
        return false;
    size_t i = n_asked++;
    bool is_refused = i >= refuse_from && i < refuse_to && is_drawn();
    n_refused_so_far += is_refused;
    return is_refused;
}

/* ---- the C library ---------------------------------------------------------------------------------- */

static void *counted(void *memory) {
    n_live += memory != NULL;
    return memory;
}

void *__wrap_malloc(size_t n_bytes) {
    return starve_refuses() ? NULL : counted(__real_malloc(n_bytes));
}

void *__wrap_calloc(size_t n, size_t n_bytes) {
    return starve_refuses() ? NULL : counted(__real_calloc(n, n_bytes));
}

void *__wrap_realloc(void *memory, size_t n_bytes) {
    if (starve_refuses())
        return NULL;
    void *moved = __real_realloc(memory, n_bytes);
    return memory ? moved : counted(moved);
}

void *starve_shrink(void *memory, size_t n_bytes) {
    return __real_realloc(memory, n_bytes);
}

void __wrap_free(void *memory) {
    n_live -= memory != NULL;
    __real_free(memory);
}

char *__wrap_strdup(const char *string) {
    size_t n = strlen(string) + 1;
    char *copy = __wrap_malloc(n);
    return copy ? memcpy(copy, string, n) : NULL;
}

int __wrap_vasprintf(char **ret, const char *format, va_list args) {
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, again);
    va_end(again);
    char *text = __wrap_malloc((size_t)n + 1);
    if (!text)
        return -1;
    *ret = text;
    return vsnprintf(text, (size_t)n + 1, format, args);
}

/* ---- protobuf-c ------------------------------------------------------------------------------------- */

static void *allocate(void *data, size_t n_bytes) {
    (void)data;
    return __wrap_malloc(n_bytes);
}

static void release(void *data, void *memory) {
    (void)data;
    __wrap_free(memory);
}

static ProtobufCAllocator ours = {allocate, release, NULL};

ProtobufCMessage *__wrap_protobuf_c_message_unpack(const ProtobufCMessageDescriptor *descriptor,
                                                   ProtobufCAllocator *allocator, size_t n,
                                                   const uint8_t *packed) {
    return __real_protobuf_c_message_unpack(descriptor, allocator ? allocator : &ours, n, packed);
}

void __wrap_protobuf_c_message_free_unpacked(ProtobufCMessage *message, ProtobufCAllocator *allocator) {
    __real_protobuf_c_message_free_unpacked(message, allocator ? allocator : &ours);
}

/* ---- the seam --------------------------------------------------------------------------------------- */

int __wrap_rpc_channel_open(struct rpc *rpc, const char *address, struct rpc_channel **ret_channel,
                            struct lun_err *ret_err) {
    if (starve_refuses())
        return lun_err_set(ret_err, LUN_ENOMEM, "out of memory");
    return __real_rpc_channel_open(rpc, address, ret_channel, ret_err);
}

int __wrap_rpc_call(struct rpc_channel *channel, enum rpc_method method, const ProtobufCMessage *request,
                    const struct rpc_options *options, rpc_reply_cb on_reply, void *arg,
                    struct rpc_call **ret_call) {
    if (starve_refuses())
        return LUN_ENOMEM;
    return __real_rpc_call(channel, method, request, options, on_reply, arg, ret_call);
}

int __wrap_rpc_call_packed(struct rpc_channel *channel, enum rpc_method method, struct lun_bytes request,
                           const struct rpc_options *options, rpc_reply_cb on_reply, void *arg,
                           struct rpc_call **ret_call) {
    if (starve_refuses())
        return LUN_ENOMEM;
    return __real_rpc_call_packed(channel, method, request, options, on_reply, arg, ret_call);
}

int __wrap_rpc_stream_open(struct rpc_channel *channel, enum rpc_method method,
                           const struct rpc_options *options, const struct rpc_stream_callbacks *callbacks,
                           void *arg, struct rpc_stream **ret_stream) {
    if (starve_refuses())
        return LUN_ENOMEM;
    return __real_rpc_stream_open(channel, method, options, callbacks, arg, ret_stream);
}

int __wrap_rpc_stream_send(struct rpc_stream *stream, const ProtobufCMessage *message) {
    if (starve_refuses())
        return LUN_ENOMEM;
    return __real_rpc_stream_send(stream, message);
}
