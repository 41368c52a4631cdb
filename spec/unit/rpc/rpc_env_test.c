/* spec/unit/rpc/rpc_env_test.c - the environment over gRPC without a server: timers, notes, descriptor, signals,
 * threads. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rpc_world.h"

static struct rpc *rpc;

/* ---- timers ----------------------------------------------------------------------------------------- */

struct alarm {
    struct rpc_timer timer;
    struct rpc_completion note;
    int number, n_due;
    int64_t due_ns;
    struct alarm *stops, *restarts;
};

static char order[32];

static void alarm_on_poll(struct rpc_completion *note) {
    (void)note;
}
static void alarm_on_due(struct rpc_timer *timer) {
    struct alarm *self = CONTAINER_OF(timer, struct alarm, timer);
    self->n_due++;
    self->due_ns = rpc_now(rpc);
    size_t len = strlen(order);
    if (len + 1 < sizeof order)
        order[len] = (char)('0' + self->number);
    if (self->stops)
        rpc_timer_stop(&self->stops->timer);
    if (self->restarts)
        rpc_timer_start(&self->restarts->timer, 0);
    rpc_deliver(rpc, &self->note);
}
static void alarms_init(struct alarm *alarms, int n) {
    memset(order, 0, sizeof order);
    for (int i = 0; i < n; i++) {
        alarms[i] = (struct alarm){.number = i};
        rpc_completion_init(&alarms[i].note, alarm_on_poll);
        CHECK(rpc_timer_init(rpc, &alarms[i].timer, alarm_on_due) == 0);
    }
}
static void alarms_fini(struct alarm *alarms, int n) {
    rpc_enter(rpc);
    for (int i = 0; i < n; i++) {
        rpc_timer_fini(&alarms[i].timer);
        rpc_timer_fini(&alarms[i].timer);
        rpc_withdraw(rpc, &alarms[i].note);
    }
    rpc_leave(rpc);
}

static void timers_come_due_in_order(void) {
    struct alarm alarms[4];
    rpc_enter(rpc);
    alarms_init(alarms, 4);
    int64_t now = rpc_now(rpc);
    rpc_timer_start(&alarms[0].timer, now + 30 * NS_PER_MS);
    rpc_timer_start(&alarms[1].timer, now + 10 * NS_PER_MS);
    rpc_timer_start(&alarms[2].timer, now + 20 * NS_PER_MS);
    rpc_timer_start(&alarms[3].timer, 0); /* long past: at once, though not now */
    CHECK(alarms[3].n_due == 0 && rpc_timer_is_running(&alarms[3].timer));
    rpc_leave(rpc);
    CHECK(poll_until(rpc, &alarms[0].n_due, 1));
    CHECK_TEXT(order, "3120");
    for (int i = 0; i < 3; i++)
        CHECK(alarms[i].due_ns >= alarms[i].timer.node.key);
    CHECK(!rpc_timer_is_running(&alarms[0].timer));
    alarms_fini(alarms, 4);
}

static void timers_come_due_though_nobody_polls(void) {
    struct alarm alarms[1];
    rpc_enter(rpc);
    alarms_init(alarms, 1);
    rpc_leave(rpc);
    nap_ms(20); /* the background poller sits in the queue with a later instant in mind */
    rpc_enter(rpc);
    rpc_timer_start(&alarms[0].timer, rpc_now(rpc) + 5 * NS_PER_MS);
    rpc_leave(rpc);
    CHECK(nap_until(rpc, &alarms[0].n_due, 1));
    CHECK(is_readable(rpc_fd(rpc)));
    CHECK(rpc_poll(rpc, 0) == 1 && !is_readable(rpc_fd(rpc)));
    alarms_fini(alarms, 1);
}

static void a_stopped_or_moved_timer_keeps_quiet(void) {
    struct alarm alarms[3];
    rpc_enter(rpc);
    alarms_init(alarms, 3);
    int64_t now = rpc_now(rpc);
    rpc_timer_start(&alarms[0].timer, now + 10 * NS_PER_MS);
    rpc_timer_start(&alarms[1].timer, now + 10 * NS_PER_MS);
    rpc_timer_start(&alarms[1].timer, now + 60 * NS_PER_MS);
    rpc_timer_start(&alarms[2].timer, now + 10 * NS_PER_MS);
    rpc_timer_start(&alarms[2].timer, RPC_NEVER);
    rpc_timer_stop(&alarms[0].timer);
    rpc_timer_stop(&alarms[0].timer);
    CHECK(!rpc_timer_is_running(&alarms[0].timer) && !rpc_timer_is_running(&alarms[2].timer));
    rpc_leave(rpc);
    CHECK(poll_until(rpc, &alarms[1].n_due, 1));
    CHECK(alarms[0].n_due == 0 && alarms[2].n_due == 0 && alarms[1].due_ns >= now + 60 * NS_PER_MS);
    alarms_fini(alarms, 3);
}

static void a_timer_may_stop_and_restart_others_while_it_runs(void) {
    struct alarm alarms[3];
    rpc_enter(rpc);
    alarms_init(alarms, 3);
    int64_t now = rpc_now(rpc);
    for (int i = 0; i < 3; i++)
        rpc_timer_start(&alarms[i].timer, now - 10 + i);
    alarms[0].stops = &alarms[1];
    alarms[2].restarts = &alarms[2];
    rpc_timers_run(rpc, now); /* one round, by hand */
    CHECK_TEXT(order, "02");
    CHECK(rpc_timer_is_running(&alarms[2].timer)); /* for the next round */
    CHECK(rpc_timers_next(rpc) <= now + 1);
    alarms[2].restarts = NULL;
    rpc_leave(rpc);
    CHECK(poll_until(rpc, &alarms[2].n_due, 2));
    CHECK(alarms[1].n_due == 0);
    alarms_fini(alarms, 3);
    struct rpc_timer never = {.rpc = NULL};
    rpc_timer_fini(&never);
}

/* ---- notes and the descriptor ----------------------------------------------------------------------- */

struct memo {
    struct rpc_completion note;
    int n_polled;
    pthread_t polled_by;
    struct memo *posts;
};
static void memo_on_poll(struct rpc_completion *note) {
    struct memo *memo = CONTAINER_OF(note, struct memo, note);
    memo->n_polled++;
    memo->polled_by = pthread_self();
    if (memo->posts) { /* outside: may enter */
        rpc_enter(rpc);
        rpc_deliver(rpc, &memo->posts->note);
        rpc_leave(rpc);
    }
}
static void memo_init(struct memo *memo) {
    *memo = (struct memo){.posts = NULL};
    rpc_completion_init(&memo->note, memo_on_poll);
}

static void notes_are_run_once_by_the_thread_that_polls(void) {
    struct memo a, b;
    memo_init(&a);
    memo_init(&b);
    CHECK(rpc_poll(rpc, 0) == 0 && !is_readable(rpc_fd(rpc)));
    rpc_enter(rpc);
    rpc_deliver(rpc, &a.note);
    rpc_deliver(rpc, &b.note);
    rpc_deliver(rpc, &a.note);
    rpc_leave(rpc);
    CHECK(is_readable(rpc_fd(rpc)) && a.n_polled == 0);
    CHECK(rpc_poll(rpc, 0) == 2);
    CHECK(a.n_polled == 1 && b.n_polled == 1 && pthread_equal(a.polled_by, pthread_self()));
    CHECK(!is_readable(rpc_fd(rpc)) && rpc_poll(rpc, 0) == 0);
}

static void a_note_taken_back_is_not_run(void) {
    struct memo memo;
    memo_init(&memo);
    rpc_enter(rpc);
    rpc_withdraw(rpc, &memo.note);
    rpc_deliver(rpc, &memo.note);
    rpc_leave(rpc);
    rpc_enter(rpc);
    rpc_withdraw(rpc, &memo.note);
    rpc_leave(rpc);
    CHECK(!is_readable(rpc_fd(rpc)));
    CHECK(rpc_poll(rpc, 0) == 0 && memo.n_polled == 0);
}

static void a_note_posted_by_a_note_waits_for_the_next_poll(void) {
    struct memo a, b;
    memo_init(&a);
    memo_init(&b);
    a.posts = &b;
    b.posts = &b; /* for ever */
    rpc_enter(rpc);
    rpc_deliver(rpc, &a.note);
    rpc_leave(rpc);
    CHECK(rpc_poll(rpc, RPC_NEVER) == 1 && b.n_polled == 0 && is_readable(rpc_fd(rpc)));
    CHECK(rpc_poll(rpc, RPC_NEVER) == 1 && b.n_polled == 1);
    b.posts = NULL;
    CHECK(rpc_poll(rpc, RPC_NEVER) == 1 && b.n_polled == 2 && rpc_poll(rpc, 0) == 0);
}

static void poll_ends_when_its_time_has_passed(void) {
    static const int ms[] = {0, 1, 5, 50};
    for (size_t i = 0; i < sizeof ms / sizeof ms[0]; i++) {
        int64_t until = clock_boottime_ns() + ms[i] * NS_PER_MS;
        CHECK(rpc_poll(rpc, until) == 0);
        CHECK(clock_boottime_ns() >= until);
    }
}

static void *post_later(void *arg) {
    nap_ms(50);
    rpc_enter(rpc);
    rpc_deliver(rpc, &((struct memo *)arg)->note);
    rpc_leave(rpc);
    return NULL;
}
static void *post_soon(void *arg) {
    nap_ms(3); /* while the poller still drives the queue itself */
    rpc_enter(rpc);
    rpc_deliver(rpc, &((struct memo *)arg)->note);
    rpc_leave(rpc);
    return NULL;
}
static void a_note_of_another_thread_wakes_the_poller(void) {
    void *(*const posters[])(void *) = {post_soon, post_later};
    for (int i = 0; i < 2; i++) {
        struct memo memo;
        memo_init(&memo);
        pthread_t thread;
        pthread_create(&thread, NULL, posters[i], &memo);
        CHECK(rpc_poll(rpc, clock_boottime_ns() + LIMIT_NS) == 1);
        pthread_join(thread, NULL);
    }
}

/* ---- signals ---------------------------------------------------------------------------------------- */

static volatile sig_atomic_t n_signals;
static _Atomic bool poll_was_interrupted;
static pthread_t signalled;
static void on_signal(int number) {
    (void)number;
    n_signals++;
    signalled = pthread_self();
}
static void *send_signal(void *arg) {
    do { /* again, where it came before the poll began */
        nap_ms(*(int *)arg);
        kill(getpid(), SIGUSR1); /* to the process: nobody but the poller may take it */
    } while (!poll_was_interrupted);
    return NULL;
}
static void a_signal_interrupts_poll(void) {
    sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_signal, .sa_flags = SA_RESTART}, NULL);
    static int after_ms[] = {2, 60};
    for (int i = 0; i < 2; i++) {
        n_signals = 0;
        poll_was_interrupted = false;
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        pthread_t thread;
        pthread_sigmask(SIG_BLOCK, &set, NULL); /* in the sender */
        pthread_create(&thread, NULL, send_signal, &after_ms[i]);
        pthread_sigmask(SIG_UNBLOCK, &set, NULL);
        CHECK(rpc_poll(rpc, clock_boottime_ns() + LIMIT_NS) == LUN_EINTR);
        poll_was_interrupted = true;
        CHECK(n_signals >= 1 && pthread_equal(signalled, pthread_self()));
        pthread_join(thread, NULL);
    }
}

static void the_signal_mask_is_given_back(void) {
    sigset_t before, inside, after;
    sigemptyset(&before);
    sigaddset(&before, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &before, NULL);
    rpc_enter(rpc);
    pthread_sigmask(SIG_BLOCK, NULL, &inside);
    rpc_leave(rpc);
    (void)rpc_poll(rpc, clock_boottime_ns() + 15 * NS_PER_MS);
    pthread_sigmask(SIG_BLOCK, NULL, &after);
    CHECK(sigismember(&inside, SIGTERM) && sigismember(&inside, SIGINT) && !sigismember(&inside, SIGSEGV));
    CHECK(sigismember(&after, SIGUSR2) && !sigismember(&after, SIGTERM));
    pthread_sigmask(SIG_UNBLOCK, &before, NULL);
}

/* Every thread of ours and of gRPC's: only the main one may be chosen by the kernel. */
static void no_other_thread_takes_signals(void) {
    DIR *dir = opendir("/proc/self/task");
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (entry->d_name[0] == '.' || atoi(entry->d_name) == getpid())
            continue;
        char path[64], line[128];
        snprintf(path, sizeof path, "/proc/self/task/%.20s/status", entry->d_name);
        FILE *file = fopen(path, "r");
        while (file && fgets(line, sizeof line, file))
            if (strncmp(line, "SigBlk:", 7) == 0)
                CHECK(strtoull(line + 7, NULL, 16) & (1ull << (SIGTERM - 1)));
        if (file)
            fclose(file);
    }
    if (dir)
        closedir(dir);
}

/* ---- beginning and end ------------------------------------------------------------------------------ */

static void a_forked_child_is_refused(void) {
    pid_t pid = fork();
    if (pid == 0) {
        struct rpc *mine = NULL;
        struct lun_err err = {0};
        int rc = rpc_grpc_new(NULL, &mine, &err);
        rpc_free(rpc); /* does nothing, and returns */
        _exit(rc == LUN_EINVALID && !mine && strstr(err.text, "fork") ? 0 : 1);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    CHECK(status == 0);
}

static void random_numbers_differ(void) {
    rpc_enter(rpc);
    uint64_t a = rpc_random(rpc), b = rpc_random(rpc);
    rpc_leave(rpc);
    CHECK(a != b);
}

static int n_fds(void) {
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        n++;
    if (dir)
        closedir(dir);
    return n;
}

/* First of all: before and after it, this is a process of one thread. */
static void fifty_environments_leave_nothing_behind(void) {
    rpc_free(world_new());
    int threads = n_threads(), fds = n_fds();
    for (int i = 0; i < 50; i++) {
        struct rpc *one = world_new(), *two = i % 5 == 0 ? world_new() : NULL;
        struct memo memo;
        memo_init(&memo);
        rpc_enter(one);
        rpc_deliver(one, &memo.note);
        rpc_leave(one);
        CHECK(rpc_poll(one, RPC_NEVER) == 1);
        if (i % 2)
            (void)rpc_poll(one, clock_boottime_ns() + NS_PER_MS);
        rpc_free(one);
        rpc_free(two);
    }
    CHECK(has_threads(threads) && n_fds() == fds);
    pid_t pid = fork(); /* nothing runs now: a child may begin anew */
    if (pid == 0) {
        rpc_free(world_new());
        _exit(0);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    CHECK(status == 0);
}

int main(void) {
    RUN(fifty_environments_leave_nothing_behind);
    rpc = world_new();
    RUN(timers_come_due_in_order);
    RUN(timers_come_due_though_nobody_polls);
    RUN(a_stopped_or_moved_timer_keeps_quiet);
    RUN(a_timer_may_stop_and_restart_others_while_it_runs);
    RUN(notes_are_run_once_by_the_thread_that_polls);
    RUN(a_note_taken_back_is_not_run);
    RUN(a_note_posted_by_a_note_waits_for_the_next_poll);
    RUN(poll_ends_when_its_time_has_passed);
    RUN(a_note_of_another_thread_wakes_the_poller);
    RUN(a_signal_interrupts_poll);
    RUN(the_signal_mask_is_given_back);
    RUN(no_other_thread_takes_signals);
    RUN(random_numbers_differ);
    RUN(a_forked_child_is_refused);
    rpc_free(rpc);
    return check_end();
}
