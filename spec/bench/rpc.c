/* spec/bench/rpc.c - what the seam costs: the floor's cycle and its 64 locks in flight, by way of rpc.h.
 *
 *     lunarch_rpc HOST:PORT cycle N [PAUSE_MS]    one after the other, with a rest of PAUSE_MS before each:
 *                                                 a caller that comes seldom finds the background poller in the queue
 *     lunarch_rpc HOST:PORT par64 N               N cycles, 64 locks in flight
 *
 * Prints the same JSON as lunarch_floor does. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "rpc/grpc.h"
#include "rpc/rpc.h"

#include "etcd.pb-c.h"

enum { N_LOCKS = 64, WARM_UP = 200, NAME_BYTES = 96 };

static void fail(const char *what) {
    (void)fprintf(stderr, "bench: %s\n", what);
    exit(1);
}

static double now_us(void) {
    return (double)clock_boottime_ns() / 1e3;
}

static double cpu_us(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1e6 +
           (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct lock {
    struct rpc *rpc;
    struct rpc_channel *channel;
    char prefix[NAME_BYTES], end[NAME_BYTES], key[NAME_BYTES + 16];
    int64_t lease;
    struct rpc_completion note;
    bool is_done, is_owner;
    double begin;
    void (*then)(struct lock *lock);
};

static void on_poll(struct rpc_completion *note) {
    struct lock *lock = CONTAINER_OF(note, struct lock, note);
    lock->is_done = true;
    if (lock->then)
        lock->then(lock);
}

static void on_reply(void *arg, const struct rpc_result *result, const ProtobufCMessage *reply) {
    struct lock *lock = arg;
    if (result->status != RPC_OK)
        fail(result->message);
    if (reply->descriptor == &etcdserverpb__txn_response__descriptor) {
        const Etcdserverpb__TxnResponse *txn = (const Etcdserverpb__TxnResponse *)reply;
        const Etcdserverpb__RangeResponse *owner = txn->responses[1]->response_range;
        lock->is_owner =
            txn->succeeded && owner->n_kvs == 1 && owner->kvs[0]->create_revision == txn->header->revision;
    } else if (reply->descriptor == &etcdserverpb__lease_grant_response__descriptor) {
        lock->lease = ((const Etcdserverpb__LeaseGrantResponse *)reply)->id;
    }
    rpc_deliver(lock->rpc, &lock->note);
}

static void ask(struct lock *lock, enum rpc_method method, const ProtobufCMessage *request) {
    struct rpc_options options = {.deadline_ns = clock_boottime_ns() + 5 * NS_PER_S};
    lock->is_done = false;
    rpc_enter(lock->rpc);
    if (rpc_call(lock->channel, method, request, &options, on_reply, lock, NULL))
        fail("a call is refused");
    rpc_leave(lock->rpc);
}

static void wait_for(struct lock *lock) {
    while (!lock->is_done)
        (void)rpc_poll(lock->rpc, RPC_NEVER);
}

static ProtobufCBinaryData text_of(const char *text) {
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

static void lock_name(struct lock *lock, int number) {
    snprintf(lock->prefix, sizeof lock->prefix, "/seam/%d-%d/", (int)getpid(), number);
    snprintf(lock->end, sizeof lock->end, "/seam/%d-%d0", (int)getpid(), number);
    snprintf(lock->key, sizeof lock->key, "%s%llx", lock->prefix, (unsigned long long)lock->lease);
}

static Etcdserverpb__RequestOp op_of_range(Etcdserverpb__RangeRequest *range) {
    Etcdserverpb__RequestOp op = ETCDSERVERPB__REQUEST_OP__INIT;
    op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
    op.request_range = range;
    return op;
}

static void ask_lock(struct lock *lock) {
    Etcdserverpb__Compare is_absent = ETCDSERVERPB__COMPARE__INIT;
    is_absent.target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE;
    is_absent.key = text_of(lock->key);
    is_absent.target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION;
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    put.key = is_absent.key;
    put.lease = lock->lease;
    Etcdserverpb__RangeRequest get = ETCDSERVERPB__RANGE_REQUEST__INIT, owner = get;
    get.key = put.key;
    owner.key = text_of(lock->prefix);
    owner.range_end = text_of(lock->end);
    owner.limit = 1;
    owner.sort_target = ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__CREATE;
    owner.sort_order = ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__ASCEND;
    Etcdserverpb__RequestOp put_op = ETCDSERVERPB__REQUEST_OP__INIT;
    put_op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    put_op.request_put = &put;
    Etcdserverpb__RequestOp get_op = op_of_range(&get), owner_op = op_of_range(&owner);
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    txn.n_compare = 1;
    txn.compare = (Etcdserverpb__Compare *[]){&is_absent};
    txn.n_success = txn.n_failure = 2;
    txn.success = (Etcdserverpb__RequestOp *[]){&put_op, &owner_op};
    txn.failure = (Etcdserverpb__RequestOp *[]){&get_op, &owner_op};
    ask(lock, RPC_TXN, &txn.base);
}

static void ask_unlock(struct lock *lock) {
    Etcdserverpb__DeleteRangeRequest request = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    request.key = text_of(lock->key);
    ask(lock, RPC_DELETE_RANGE, &request.base);
}

static void grant(struct lock *lock) {
    Etcdserverpb__LeaseGrantRequest request = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    request.ttl = 60;
    ask(lock, RPC_LEASE_GRANT, &request.base);
    wait_for(lock);
}

static void report(const char *mode, double *samples, int n, double cpu, double wall) {
    qsort(samples, (size_t)n, sizeof *samples, compare);
    printf(
        "{\"bench\":\"rpc\",\"mode\":\"%s\",\"n\":%d,\"per_s\":%.0f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"cpu_us\":%.1f}\n",
        mode, n, n / wall * 1e6, samples[n / 2], samples[(int)(n * 0.99)], cpu / n);
}

static void run_cycle(struct lock *lock, double *samples, int n, int pause_ms) {
    double cpu = 0, wall = 0;
    for (int i = pause_ms ? -5 : -WARM_UP; i < n; i++) {
        if (i == 0) {
            cpu = cpu_us();
            wall = now_us();
        }
        if (pause_ms)
            usleep((useconds_t)pause_ms * 1000);
        double begin = now_us();
        ask_lock(lock);
        wait_for(lock);
        if (!lock->is_owner)
            fail("somebody else holds the lock");
        ask_unlock(lock);
        wait_for(lock);
        if (i >= 0)
            samples[i] = now_us() - begin;
    }
    report("cycle", samples, n, cpu_us() - cpu, now_us() - wall);
}

static int n_done, n_wanted, n_running;
static double *cycle_samples;

static void on_unlocked(struct lock *lock);

static void on_locked(struct lock *lock) {
    if (!lock->is_owner)
        fail("somebody else holds the lock");
    lock->then = on_unlocked;
    ask_unlock(lock);
}

static void cycle_start(struct lock *lock) {
    lock->begin = now_us();
    lock->then = on_locked;
    ask_lock(lock);
}

static void on_unlocked(struct lock *lock) {
    if (n_done < n_wanted)
        cycle_samples[n_done++] = now_us() - lock->begin;
    if (n_done < n_wanted)
        cycle_start(lock);
    else
        n_running--;
}

static void run_par64(struct lock *lock, double *samples, int n) {
    static struct lock locks[N_LOCKS];
    cycle_samples = samples;
    n_wanted = n;
    n_running = N_LOCKS;
    double cpu = cpu_us(), wall = now_us();
    for (int i = 0; i < N_LOCKS; i++) {
        locks[i] = *lock;
        rpc_completion_init(&locks[i].note, on_poll);
        lock_name(&locks[i], i + 1);
        cycle_start(&locks[i]);
    }
    while (n_running > 0)
        (void)rpc_poll(lock->rpc, RPC_NEVER);
    report("par64", samples, n, cpu_us() - cpu, now_us() - wall);
}

int main(int argc, char **argv) {
    if (argc < 4) {
        (void)fprintf(stderr, "usage: lunarch_rpc HOST:PORT cycle|par64 N [PAUSE_MS]\n");
        return 2;
    }
    int n = atoi(argv[3]);
    double *samples = calloc((size_t)n + 1, sizeof *samples);
    struct lun_err err;
    struct lock lock = {.then = NULL};
    if (!samples || rpc_grpc_new(NULL, &lock.rpc, &err))
        fail("cannot begin");
    rpc_completion_init(&lock.note, on_poll);
    rpc_enter(lock.rpc);
    int rc = rpc_channel_open(lock.rpc, argv[1], &lock.channel, &err);
    rpc_leave(lock.rpc);
    if (rc)
        fail(err.text);
    grant(&lock);
    lock_name(&lock, 0);
    if (strcmp(argv[2], "cycle") == 0)
        run_cycle(&lock, samples, n, argc > 4 ? atoi(argv[4]) : 0);
    else
        run_par64(&lock, samples, n);
    rpc_enter(lock.rpc);
    rpc_channel_close(lock.channel);
    rpc_leave(lock.rpc);
    rpc_free(lock.rpc);
    free(samples);
    return 0;
}
