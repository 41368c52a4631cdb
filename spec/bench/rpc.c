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
#include <unistd.h>

#include "base/clock.h"
#include "rpc/grpc.h"
#include "rpc/rpc.h"

#include "shared/figures.h"
#include "shared/lock.h"

struct lock {
    struct rpc *rpc;
    struct rpc_channel *channel;
    struct lock_key key;
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
        lock->is_owner = lock_is_won((const Etcdserverpb__TxnResponse *)reply);
    } else if (reply->descriptor == &etcdserverpb__lease_grant_response__descriptor) {
        lock->key.lease = ((const Etcdserverpb__LeaseGrantResponse *)reply)->id;
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

static void send_txn(void *lock, const Etcdserverpb__TxnRequest *request) {
    ask(lock, RPC_TXN, &request->base);
}

static void ask_lock(struct lock *lock) {
    lock_request(&lock->key, send_txn, lock);
}

static void ask_unlock(struct lock *lock) {
    Etcdserverpb__DeleteRangeRequest request = unlock_request(&lock->key);
    ask(lock, RPC_DELETE_RANGE, &request.base);
}

static void grant(struct lock *lock) {
    Etcdserverpb__LeaseGrantRequest request = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    request.ttl = 60;
    ask(lock, RPC_LEASE_GRANT, &request.base);
    wait_for(lock);
}

static void report(const char *mode, double *samples, int n, double cpu, double wall) {
    printf("{\"bench\":\"rpc\",\"mode\":\"%s\",\"n\":%d,\"per_s\":%.0f", mode, n, n / wall * 1e6);
    print_quantiles("", samples, n);
    printf(",\"cpu_us\":%.1f}\n", cpu / n);
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
        lock_name(&locks[i].key, "seam", i + 1, lock->key.lease);
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
    double *samples = new_samples(n);
    struct lun_err err;
    struct lock lock = {.then = NULL};
    if (rpc_grpc_new(NULL, &lock.rpc, &err))
        fail("cannot begin");
    rpc_completion_init(&lock.note, on_poll);
    rpc_enter(lock.rpc);
    int rc = rpc_channel_open(lock.rpc, argv[1], &lock.channel, &err);
    rpc_leave(lock.rpc);
    if (rc)
        fail(err.text);
    grant(&lock);
    lock_name(&lock.key, "seam", 0, lock.key.lease);
    if (strcmp(argv[2], "cycle") == 0)
        run_cycle(&lock, samples, n, argc > 4 ? atoi(argv[4]) : 0);
    else
        run_par64(&lock, samples, n);
    rpc_enter(lock.rpc);
    rpc_channel_close(lock.channel);
    rpc_leave(lock.rpc);
    rpc_free(lock.rpc);
    return 0;
}
