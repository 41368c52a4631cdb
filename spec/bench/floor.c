/* spec/bench/floor.c - the physical floor: the same requests by gRPC's C core and protobuf-c alone, driven by
 * the calling thread.
 *
 *     lunarch_floor ENDPOINT  cycle N            lock transaction and delete, one after the other
 *     lunarch_floor ENDPOINT  handoff N SETTLE   delete to the waiter's event, and to its confirming read,
 *                                                SETTLE ms after it queued
 *     lunarch_floor ENDPOINT  par64 N            N cycles, 64 locks in flight
 *     lunarch_floor ENDPOINT  first N            start of a process to its first lock
 *     lunarch_floor ENDPOINT  idle               memory with one session
 *
 * One line of JSON per run: times in microseconds, CPU of this process per operation. Nothing here is robust:
 * whatever fails ends it. ENDPOINT: host:port, or https://host:port with files named by LUNARCH_CACERT, LUNARCH_CERT
 * and LUNARCH_KEY. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "etcd.pb-c.h"
#include "floor/locks.h"
#include "floor/wire.h"
#include "shared/figures.h"

/* ---- cycle ------------------------------------------------------------------------------------------ */

static void run_cycle(int n) {
    struct session session;
    session_open(&session);
    struct lock_key lock;
    lock_name(&lock, "floor", 0, session.lease);
    double *samples = new_samples(n), cpu = 0;
    for (int i = -WARM_UP; i < n; i++) {
        if (i == 0)
            cpu = cpu_us();
        double begin = now_us();
        lock_take(&lock);
        lock_release(&lock);
        if (i >= 0)
            samples[i] = now_us() - begin;
    }
    cpu = cpu_us() - cpu;
    printf("{\"bench\":\"floor\",\"mode\":\"cycle\",\"n\":%d", n);
    print_quantiles("", samples, n);
    printf(",\"cpu_us\":%.1f}\n", cpu / n);
    session_close(&session);
}

/* ---- handoff ---------------------------------------------------------------------------------------- */

static bool is_created, is_deleted;
static int64_t watch_id;

static void on_watch(void *message) {
    Etcdserverpb__WatchResponse *watch = message;
    if (watch->created) {
        is_created = true;
        watch_id = watch->watch_id;
    }
    for (size_t i = 0; i < watch->n_events; i++)
        is_deleted |= watch->events[i]->type == ETCDSERVERPB__EVENT__EVENT_TYPE__DELETE;
}

static void watch_for_delete(struct stream *stream, const char *key, int64_t from_revision) {
    Etcdserverpb__WatchCreateRequest create = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    create.key = text_of(key);
    create.start_revision = from_revision;
    create.n_filters = 1;
    create.filters = (Etcdserverpb__WatchCreateRequest__FilterType[]){
        ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NOPUT};
    Etcdserverpb__WatchRequest request = ETCDSERVERPB__WATCH_REQUEST__INIT;
    request.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
    request.create_request = &create;
    is_created = is_deleted = false;
    stream_send(stream, &request.base);
    wire_drive_until(&is_created);
}

static void unwatch(struct stream *stream) {
    Etcdserverpb__WatchCancelRequest cancel = ETCDSERVERPB__WATCH_CANCEL_REQUEST__INIT;
    cancel.watch_id = watch_id;
    Etcdserverpb__WatchRequest request = ETCDSERVERPB__WATCH_REQUEST__INIT;
    request.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CANCEL_REQUEST;
    request.cancel_request = &cancel;
    stream_send(stream, &request.base);
}

/* The confirming read: nobody in the line is older than we are. */
static void confirm(struct lock_key *lock, int64_t revision) {
    struct unary unary = {.then = NULL};
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    request.key = text_of(lock->prefix);
    request.range_end = text_of(lock->end);
    request.max_create_revision = revision - 1;
    request.limit = 1;
    unary_ask(&unary, RANGE, &request.base, &etcdserverpb__range_response__descriptor);
    Etcdserverpb__RangeResponse *reply = unary_wait(&unary);
    if (reply->n_kvs != 0)
        fail("the predecessor is still there");
    reply_free(reply);
}

static void run_handoff(int n, int settle_ms) {
    struct session sessions[2];
    struct lock_key locks[2];
    for (int i = 0; i < 2; i++) {
        session_open(&sessions[i]);
        lock_name(&locks[i], "floor", 0, sessions[i].lease);
    }
    struct stream watch;
    stream_open(&watch, WATCH, &etcdserverpb__watch_response__descriptor, on_watch);
    double *events = new_samples(n), *reads = new_samples(n);
    lock_take(&locks[0]);
    for (int i = -5, holder = 0; i < n; i++, holder = !holder) {
        struct unary unary = {.then = NULL};
        lock_ask(&locks[!holder], &unary);
        (void)unary_wait(&unary);
        bool is_owner;
        int64_t revision = lock_answer(&unary, &is_owner);
        if (is_owner)
            fail("the waiter owns the lock");
        watch_for_delete(&watch, locks[holder].key, revision + 1);
        wire_drive_for_ms(settle_ms);
        double begin = now_us();
        unlock_ask(&locks[holder], &unary);
        wire_drive_until(&is_deleted);
        double told = now_us();
        confirm(&locks[!holder], revision);
        if (i >= 0) {
            events[i] = told - begin;
            reads[i] = now_us() - begin;
        }
        reply_free(unary_wait(&unary));
        unwatch(&watch);
    }
    printf("{\"bench\":\"floor\",\"mode\":\"handoff\",\"n\":%d,\"settle_ms\":%d", n, settle_ms);
    print_quantiles("event_", events, n);
    print_quantiles("", reads, n);
    printf("}\n");
    stream_close(&watch);
    for (int i = 0; i < 2; i++)
        session_close(&sessions[i]);
}

/* ---- par64 ------------------------------------------------------------------------------------------ */

struct runner {
    struct unary unary; /* first */
    struct lock_key lock;
    double begin;
};

static int n_done, n_wanted, n_running;
static double *cycle_samples;

static void on_unlocked(struct unary *unary);

static void on_locked(struct unary *unary) {
    struct runner *runner = (struct runner *)unary;
    bool is_owner;
    (void)lock_answer(unary, &is_owner);
    if (!is_owner)
        fail("somebody else holds the lock");
    unary->then = on_unlocked;
    unlock_ask(&runner->lock, unary);
}

static void runner_start(struct runner *runner) {
    runner->begin = now_us();
    runner->unary.then = on_locked;
    lock_ask(&runner->lock, &runner->unary);
}

static void on_unlocked(struct unary *unary) {
    struct runner *runner = (struct runner *)unary;
    reply_free(unary->reply);
    if (n_done < n_wanted)
        cycle_samples[n_done++] = now_us() - runner->begin;
    if (n_done < n_wanted)
        runner_start(runner);
    else
        n_running--;
}

static void run_par64(int n) {
    static struct runner runners[N_LOCKS];
    struct session session;
    session_open(&session);
    cycle_samples = new_samples(n);
    n_wanted = n;
    n_running = N_LOCKS;
    double begin = now_us(), cpu = cpu_us();
    for (int i = 0; i < N_LOCKS; i++) {
        lock_name(&runners[i].lock, "floor", i, session.lease);
        runner_start(&runners[i]);
    }
    while (n_running > 0)
        wire_turn(gpr_inf_future(GPR_CLOCK_MONOTONIC));
    double wall = now_us() - begin;
    cpu = cpu_us() - cpu;
    printf("{\"bench\":\"floor\",\"mode\":\"par64\",\"n\":%d,\"per_s\":%.0f", n, n / wall * 1e6);
    print_quantiles("", cycle_samples, n);
    printf(",\"cpu_us\":%.1f}\n", cpu / n);
    session_close(&session);
}

/* ---- first, idle ------------------------------------------------------------------------------------ */

/* A process that takes one lock and says so. */
static void run_one_lock(void) {
    struct lock_key lock;
    lock_name(&lock, "floor", 0, session_grant());
    lock_take(&lock);
    (void)!write(STDOUT_FILENO, "L", 1);
    lock_release(&lock);
}

static void run_idle(void) {
    struct session session;
    session_open(&session);
    wire_drive_for_ms(1000);
    printf("{\"bench\":\"floor\",\"mode\":\"idle\",\"rss_kb\":%ld,\"anon_kb\":%ld,\"threads\":%ld}\n",
           status_kb(getpid(), "VmRSS"), status_kb(getpid(), "RssAnon"), status_kb(getpid(), "Threads"));
    session_close(&session);
}

/* ------------------------------------------------------------------------------------------------ */

int main(int argc, char **argv) {
    if (argc < 3) {
        (void)fprintf(stderr,
                      "usage: lunarch_floor ENDPOINT cycle|par64|first N, handoff N SETTLE_MS, idle\n");
        return 2;
    }
    const char *endpoint = argv[1], *mode = argv[2];
    int n = argc > 3 ? atoi(argv[3]) : 0;
    n = n > 0 ? n : 1000;
    if (strcmp(mode, "first") == 0) {
        run_first("floor", endpoint, n);
        return 0;
    }
    wire_connect(endpoint);
    if (strcmp(mode, "cycle") == 0)
        run_cycle(n);
    else if (strcmp(mode, "handoff") == 0)
        run_handoff(n, argc > 4 ? atoi(argv[4]) : 5);
    else if (strcmp(mode, "par64") == 0)
        run_par64(n);
    else if (strcmp(mode, "idle") == 0)
        run_idle();
    else if (strcmp(mode, "one") == 0)
        run_one_lock();
    else
        fail("no such mode");
    wire_disconnect();
    return 0;
}
