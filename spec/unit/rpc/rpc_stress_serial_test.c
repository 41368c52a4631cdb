/* spec/unit/rpc/rpc_stress_serial_test.c - the one seat, handed over without end: many threads, calls in flight,
 * and no reply lost. */
#include <dirent.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <unistd.h>

#include "etcd_server.h"
#include "rpc_world.h"

enum { N_THREADS = 4, N_CALLS = 5000, HANG_S = 90 };

static struct etcd_server server;
static struct rpc *rpc;
static struct rpc_channel *channel;

static void on_hang(int number) {
    (void)number;
    static const char text[] = "not ok: it hangs\n";
    (void)!write(1, text, sizeof text - 1);
    kill(server.pid, SIGKILL);
    abort();
}

/* A thread that calls and waits for its own replies, by a semaphore that on_reply posts. */
struct caller {
    pthread_t thread;
    sem_t replied;
    struct rpc_completion note;
    int n_calls, n_ok, number;
    bool is_noting; /* posts a note for whoever polls as well */
};

static void on_note(struct rpc_completion *note) {
    (void)note;
}
static void on_reply(void *arg, const struct rpc_result *result, const ProtobufCMessage *reply) {
    struct caller *caller = arg;
    caller->n_ok += result->status == RPC_OK && reply;
    if (caller->is_noting)
        rpc_deliver(rpc, &caller->note);
    sem_post(&caller->replied);
}
static void call_range(struct caller *caller) {
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    request.key = text_of("/stress");
    request.serializable = 1;
    struct rpc_options options = {.deadline_ns = clock_boottime_ns() + LIMIT_NS};
    rpc_enter(rpc);
    CHECK(rpc_call(channel, RPC_RANGE, &request.base, &options, on_reply, caller, NULL) == 0);
    rpc_leave(rpc);
}
static void *caller_main(void *arg) {
    struct caller *caller = arg;
    for (int i = 0; i < caller->n_calls; i++) {
        call_range(caller);
        while (sem_wait(&caller->replied))
            ;
        if (i % 500 == caller->number * 100)
            nap_ms(2); /* the background poller gets the queue back now and then */
    }
    return NULL;
}

static struct caller callers[N_THREADS];
static int n_running;

static void *caller_main_counted(void *arg) {
    void *result = caller_main(arg);
    __atomic_sub_fetch(&n_running, 1, __ATOMIC_RELEASE);
    return result;
}
static void callers_start(int n_calls, bool is_noting) {
    n_running = N_THREADS;
    for (int i = 0; i < N_THREADS; i++) {
        callers[i] = (struct caller){.n_calls = n_calls, .number = i, .is_noting = is_noting};
        rpc_completion_init(&callers[i].note, on_note);
        sem_init(&callers[i].replied, 0, 0);
        pthread_create(&callers[i].thread, NULL, caller_main_counted, &callers[i]);
    }
}
static bool callers_run(void) {
    return __atomic_load_n(&n_running, __ATOMIC_ACQUIRE) > 0;
}
static void callers_join(void) {
    for (int i = 0; i < N_THREADS; i++) {
        pthread_join(callers[i].thread, NULL);
        CHECK(callers[i].n_ok == callers[i].n_calls);
        rpc_enter(rpc);
        rpc_withdraw(rpc, &callers[i].note);
        rpc_leave(rpc);
        sem_destroy(&callers[i].replied);
    }
}

static void four_threads_call_while_nobody_polls(void) {
    callers_start(N_CALLS, false);
    callers_join();
}

static void four_threads_call_while_one_polls(void) {
    callers_start(N_CALLS, true);
    while (callers_run())
        (void)rpc_poll(rpc, clock_boottime_ns() + 20 * NS_PER_MS);
    callers_join();
}

/* Polls of all lengths, and pauses around the background poller's own, so that every order of giving and taking occurs. */
static void the_seat_changes_hands_all_the_time(void) {
    unsigned state = 1;
    callers_start(N_CALLS, true);
    while (callers_run()) {
        state = state * 1664525 + 1013904223;
        (void)rpc_poll(rpc, clock_boottime_ns() + (state >> 8) % 3000 * 1000);
        if ((state >> 4) % 4 == 0)
            usleep((state >> 10) % 2500);
    }
    callers_join();
}

/* One thread at a time polls, though not always the same. */
static pthread_mutex_t poll_turn = PTHREAD_MUTEX_INITIALIZER;
static void *poll_main(void *arg) {
    (void)arg;
    while (callers_run()) {
        pthread_mutex_lock(&poll_turn);
        (void)rpc_poll(rpc, clock_boottime_ns() + NS_PER_MS / 2);
        pthread_mutex_unlock(&poll_turn);
    }
    return NULL;
}
static void pollers_take_turns(void) {
    pthread_t pollers[2];
    callers_start(N_CALLS / 2, true);
    for (int i = 0; i < 2; i++)
        pthread_create(&pollers[i], NULL, poll_main, NULL);
    for (int i = 0; i < 2; i++)
        pthread_join(pollers[i], NULL);
    callers_join();
}

/* The plain way: the thread that calls is the one that polls; nothing but its own thread moves anything. */
static void one_thread_calls_and_polls(void) {
    for (int i = 0; i < N_CALLS; i++) {
        struct answer answer;
        range(channel, "/stress", 5000, &answer);
        if (answer.status != RPC_OK)
            CHECK(answer.status == RPC_OK);
    }
}

/* Timers, cancels and validities in between. */
struct cancelled {
    struct answer answer;
    struct rpc_timer timer;
};
static void cancel_on_due(struct rpc_timer *timer) {
    struct cancelled *cancelled = CONTAINER_OF(timer, struct cancelled, timer);
    if (cancelled->answer.n_replies == 0)
        rpc_cancel(cancelled->answer.call);
}
static void calls_are_cancelled_by_timers(void) {
    enum { N = 300 };
    static struct cancelled cancelled[N];
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    request.key = text_of("/stress");
    for (int i = 0; i < N; i++) {
        rpc_enter(rpc);
        CHECK(rpc_timer_init(rpc, &cancelled[i].timer, cancel_on_due) == 0);
        rpc_leave(rpc);
        CHECK(ask(channel, RPC_RANGE, &request.base, 0, &cancelled[i].answer) == 0);
        rpc_enter(rpc);
        rpc_timer_start(&cancelled[i].timer, rpc_now(rpc) + i % 20 * 50000);
        rpc_leave(rpc);
        if (i % 10 == 0)
            (void)rpc_poll(rpc, clock_boottime_ns() + NS_PER_MS);
    }
    for (int i = 0; i < N; i++) {
        CHECK(poll_until(rpc, &cancelled[i].answer.n_polled, 1));
        CHECK(cancelled[i].answer.n_replies == 1);
        CHECK(cancelled[i].answer.status == RPC_OK || cancelled[i].answer.status == RPC_CANCELLED);
        rpc_enter(rpc);
        rpc_timer_fini(&cancelled[i].timer);
        rpc_leave(rpc);
    }
}

/* The sanitizer's own thread is there before. */
static int n_threads_before;

static void fifty_environments_with_calls_leave_no_thread(void) {
    for (int i = 0; i < 50; i++) {
        struct rpc *one = world_new();
        struct rpc_channel *to = world_channel(one, server.address);
        struct answer answer;
        put(to, "/stress", "value", 5000, &answer);
        CHECK(answer.status == RPC_OK);
        world_close_channel(one, to);
        rpc_free(one);
    }
}

static void no_thread_is_left(void) {
    CHECK(has_threads(n_threads_before));
}

/* The channels are closed and gRPC is down, not only going down: a child may start anew. */
static void a_child_forked_after_the_last_close_can_call(void) {
    for (int i = 0; i < 10; i++) {
        struct answer answer;
        struct rpc *one = world_new();
        struct rpc_channel *to = world_channel(one, server.address);
        put(to, "/stress", "parent", 5000, &answer);
        world_close_channel(one, to);
        rpc_free(one);
        pid_t pid = fork();
        if (pid == 0) {
            alarm(120);
            one = world_new();
            to = world_channel(one, server.address);
            put(to, "/stress", "child", 60000, &answer);
            world_close_channel(one, to);
            rpc_free(one);
            _exit(answer.status == RPC_OK ? 0 : 1);
        }
        int status = -1;
        waitpid(pid, &status, 0);
        REQUIRE(status == 0);
    }
}

int main(void) {
    if (!etcd_program())
        return check_skip("no etcd on the PATH, nor in $ETCD");
    if (!etcd_server_start(&server))
        check_give_up(__FILE__, __LINE__, "etcd does not start");
    signal(SIGALRM, on_hang);
    alarm(HANG_S);
    rpc_free(world_new());
    nap_ms(50);
    n_threads_before = n_threads();
    rpc = world_new();
    channel = world_channel(rpc, server.address);
    if (!wait_until_serving(channel)) {
        etcd_server_stop(&server);
        check_give_up(__FILE__, __LINE__, "etcd does not answer");
    }
    RUN(four_threads_call_while_nobody_polls);
    RUN(four_threads_call_while_one_polls);
    RUN(the_seat_changes_hands_all_the_time);
    RUN(pollers_take_turns);
    RUN(one_thread_calls_and_polls);
    RUN(calls_are_cancelled_by_timers);
    RUN(fifty_environments_with_calls_leave_no_thread);
    world_close_channel(rpc, channel);
    rpc_free(rpc);
    RUN(no_thread_is_left);
    RUN(a_child_forked_after_the_last_close_can_call);
    etcd_server_stop(&server);
    return check_end();
}
