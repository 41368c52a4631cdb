/* spec/unit/rpc/rpc_validity_test.c - validities over gRPC's environment, without a server: when they are told, and what a reading says. */
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rpc_world.h"

static struct rpc *rpc;

struct guard {
    struct rpc_validity validity;
    struct rpc_completion note;
    int n_stop, n_lost;
    int64_t stop_ns, lost_ns;
    bool is_freeing;
};
static void guard_on_poll(struct rpc_completion *note) {
    (void)note;
}
static int n_freed; /* counted inside */
static void guard_on_due(struct rpc_validity *validity, bool is_lost) {
    struct guard *guard = CONTAINER_OF(validity, struct guard, validity);
    *(is_lost ? &guard->lost_ns : &guard->stop_ns) = rpc_now(validity->rpc);
    ++*(is_lost ? &guard->n_lost : &guard->n_stop);
    rpc_deliver(validity->rpc, &guard->note);
    if (is_lost && guard->is_freeing) {
        struct rpc *of = validity->rpc;
        rpc_withdraw(of, &guard->note);
        rpc_validity_stop(validity);
        memset(guard, 0xee, sizeof *guard);
        free(guard);
        n_freed++;
    }
}
/* Inside. Milliseconds from now. */
static void guard_start(struct rpc *of, struct guard *guard, int valid_ms, int grace_ms) {
    *guard = (struct guard){.n_stop = 0};
    rpc_completion_init(&guard->note, guard_on_poll);
    rpc_validity_start(of, &guard->validity, rpc_now(of) + valid_ms * NS_PER_MS, grace_ms * NS_PER_MS,
                       guard_on_due);
}
static void guard_stop(struct guard *guard) {
    struct rpc *of = guard->validity.rpc;
    rpc_enter(of);
    rpc_validity_stop(&guard->validity);
    rpc_validity_stop(&guard->validity);
    rpc_withdraw(of, &guard->note);
    rpc_leave(of);
}

static void a_fence_tells_to_stop_then_that_it_is_lost(void) {
    struct guard guard;
    rpc_enter(rpc);
    guard_start(rpc, &guard, 2000, 1900);
    CHECK(guard.n_stop == 0);
    rpc_leave(rpc);
    int64_t until = rpc_validity_read(&guard.validity);
    CHECK(until > clock_boottime_ns());
    CHECK(poll_until(rpc, &guard.n_stop, 1) && peek(rpc, &guard.n_lost) == 0);
    CHECK(rpc_validity_read(&guard.validity) == until);
    CHECK(guard.stop_ns >= until - 1900 * NS_PER_MS && guard.stop_ns < until);
    CHECK(poll_until(rpc, &guard.n_lost, 1) && peek(rpc, &guard.n_stop) == 1);
    CHECK(rpc_validity_read(&guard.validity) == 0);
    CHECK(guard.lost_ns >= until);
    CHECK(guard.validity.late_ns >= 0);
    (void)rpc_poll(rpc, clock_boottime_ns() + 30 * NS_PER_MS);
    CHECK(peek(rpc, &guard.n_stop) == 1 && peek(rpc, &guard.n_lost) == 1);
    guard_stop(&guard);
}

static void a_fence_is_told_of_though_nobody_polls(void) {
    struct guard guard;
    rpc_enter(rpc);
    guard_start(rpc, &guard, 2000, 1900);
    rpc_leave(rpc);
    CHECK(nap_until(rpc, &guard.n_lost, 1) && peek(rpc, &guard.n_stop) == 1); /* by the background poller */
    CHECK(is_readable(rpc_fd(rpc)));
    guard_stop(&guard);
    (void)rpc_poll(rpc, 0);
    CHECK(!is_readable(rpc_fd(rpc)));
}

static void a_raise_takes_the_notice_back(void) {
    struct guard guard;
    rpc_enter(rpc);
    guard_start(rpc, &guard, 4000, 20);
    rpc_leave(rpc);
    for (int i = 0; i < 10; i++) {
        nap_ms(20);
        rpc_enter(rpc);
        CHECK(rpc_validity_raise(&guard.validity, rpc_now(rpc) + 4000 * NS_PER_MS));
        CHECK(rpc_validity_raise(&guard.validity, rpc_now(rpc) + 10 * NS_PER_MS)); /* never lower */
        rpc_leave(rpc);
    }
    CHECK(peek(rpc, &guard.n_stop) == 0 &&
          rpc_validity_read(&guard.validity) > clock_boottime_ns() + 50 * NS_PER_MS);
    /* Linked while we are inside, and raised before anybody is told. */
    rpc_enter(rpc);
    rpc_validity_stop(&guard.validity);
    guard_start(rpc, &guard, 2000, 1990);
    nap_ms(15);
    CHECK(rpc_validity_raise(&guard.validity, rpc_now(rpc) + 4000 * NS_PER_MS));
    rpc_leave(rpc);
    (void)rpc_poll(rpc, clock_boottime_ns() + 30 * NS_PER_MS);
    CHECK(peek(rpc, &guard.n_stop) == 0);
    CHECK(poll_until(rpc, &guard.n_stop, 1)); /* for the new instant */
    CHECK(poll_until(rpc, &guard.n_lost, 1));
    guard_stop(&guard);
}

static void a_stop_is_told_again_after_a_raise(void) {
    struct guard guard;
    rpc_enter(rpc);
    guard_start(rpc, &guard, 3000, 2900);
    rpc_leave(rpc);
    CHECK(poll_until(rpc, &guard.n_stop, 1));
    rpc_enter(rpc);
    CHECK(rpc_validity_raise(&guard.validity, rpc_now(rpc) + 3100 * NS_PER_MS));
    rpc_leave(rpc);
    CHECK(poll_until(rpc, &guard.n_stop, 2));
    CHECK(guard.stop_ns < rpc_validity_read(&guard.validity)); /* not only when it was lost */
    CHECK(poll_until(rpc, &guard.n_lost, 1) && peek(rpc, &guard.n_stop) == 2);
    guard_stop(&guard);
}

static void lost_is_final(void) {
    struct guard guard;
    rpc_enter(rpc);
    guard_start(rpc, &guard, 5, 1);
    nap_ms(10);
    CHECK(!rpc_validity_raise(&guard.validity, rpc_now(rpc) + NS_PER_S));
    CHECK(rpc_validity_read(&guard.validity) == 0);
    CHECK(!rpc_validity_raise(&guard.validity, rpc_now(rpc) + NS_PER_S));
    CHECK(guard.n_lost == 0);
    rpc_leave(rpc);
    CHECK(poll_until(rpc, &guard.n_lost, 1) && peek(rpc, &guard.n_stop) == 0);
    guard_stop(&guard);
}

static void a_dropped_fence_is_lost_at_once(void) {
    struct guard guard;
    rpc_enter(rpc);
    guard_start(rpc, &guard, 60000, 1000);
    rpc_validity_drop(&guard.validity);
    rpc_validity_drop(&guard.validity);
    CHECK(rpc_validity_read(&guard.validity) == 0 && guard.n_lost == 0);
    rpc_leave(rpc);
    CHECK(poll_until(rpc, &guard.n_lost, 1));
    CHECK(guard.n_stop == 0 && guard.n_lost == 1 && guard.validity.late_ns == 0);
    guard_stop(&guard);
    rpc_enter(rpc);
    guard_start(rpc, &guard, 60000, 1000);
    rpc_validity_drop(&guard.validity);
    rpc_leave(rpc);
    CHECK(nap_until(rpc, &guard.n_lost, 1)); /* by the background poller */
    guard_stop(&guard);
    (void)rpc_poll(rpc, 0);
}

static void a_stopped_fence_keeps_quiet(void) {
    struct guard a, b;
    rpc_enter(rpc);
    guard_start(rpc, &a, 30, 10);
    guard_start(rpc, &b, 30, 10);
    rpc_validity_stop(&a.validity);
    rpc_validity_drop(&b.validity);
    rpc_validity_stop(&b.validity); /* due and not yet told */
    rpc_leave(rpc);
    (void)rpc_poll(rpc, clock_boottime_ns() + 60 * NS_PER_MS);
    CHECK(a.n_stop + a.n_lost + b.n_stop + b.n_lost == 0);
    CHECK(rpc_validity_read(&a.validity) == 0); /* still a reading of the clock */
    struct rpc_validity never = {.rpc = NULL};
    rpc_validity_stop(&never);
}

static void on_due_may_free_the_fence(void) {
    rpc_enter(rpc);
    for (int i = 0; i < 20; i++) {
        struct guard *guard = malloc(sizeof *guard);
        guard_start(rpc, guard, 10 + i, 5);
        guard->is_freeing = true;
    }
    rpc_leave(rpc);
    CHECK(nap_until(rpc, &n_freed, 20));
    while (rpc_poll(rpc, 0) > 0) {
    }
    CHECK(!is_readable(rpc_fd(rpc)));
}

/* Other threads read all the time, while nothing of ours runs: we hold the core lock. */
struct reader {
    pthread_t thread;
    struct rpc_validity *validity;
    int64_t until;
    int n_wrong, n_valid;
};
static void *read_always(void *arg) {
    struct reader *reader = arg;
    for (int64_t now = 0; now < reader->until + 20 * NS_PER_MS;) {
        now = clock_boottime_ns();
        bool is_valid = rpc_validity_read(reader->validity) != 0;
        reader->n_valid += is_valid;
        reader->n_wrong += is_valid && now >= reader->until;
    }
    return NULL;
}
static void a_reading_never_says_valid_after_the_instant(void) {
    struct guard guard;
    rpc_enter(rpc);
    guard_start(rpc, &guard, 2000, 10);
    int64_t until = rpc_validity_read(&guard.validity);
    struct reader readers[3];
    for (int i = 0; i < 3; i++) {
        readers[i] = (struct reader){.validity = &guard.validity, .until = until};
        pthread_create(&readers[i].thread, NULL, read_always, &readers[i]);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(readers[i].thread, NULL);
        CHECK(readers[i].n_wrong == 0);
        CHECK(readers[i].n_valid > 0);
    }
    CHECK(guard.n_lost == 0); /* nobody could tell us */
    rpc_leave(rpc);
    CHECK(poll_until(rpc, &guard.n_lost, 1));
    guard_stop(&guard);
}

/* A process stopped over the instant: the first thing it reads on waking is "lost", and the validity says how
 * late it came. */
static bool was_frozen_in_time(int64_t *stopped_ns) {
    rpc_enter(rpc);
    struct guard guard;
    guard_start(rpc, &guard, 50, 10);
    int64_t until = rpc_validity_read(&guard.validity);
    rpc_leave(rpc);
    pid_t self = getpid(), pid = fork(); /* a child that uses nothing of ours */
    if (pid == 0) {
        kill(self, SIGSTOP);
        *stopped_ns = clock_boottime_ns();
        nap_ms(1000);
        kill(self, SIGCONT);
        _exit(0);
    }
    for (int64_t now = 0; now < until + 200 * NS_PER_MS;) {
        now = clock_boottime_ns();
        CHECK(rpc_validity_read(&guard.validity) == 0 || now < until);
    }
    waitpid(pid, NULL, 0);
    CHECK(poll_until(rpc, &guard.n_lost, 1));
    bool is_in_time = *stopped_ns < until;
    CHECK(!is_in_time || guard.validity.late_ns > 100 * NS_PER_MS);
    guard_stop(&guard);
    return is_in_time;
}

/* On a busy machine the child may come too late. */
static void a_process_that_was_frozen_knows_it(void) {
    int64_t *stopped_ns =
        mmap(NULL, sizeof *stopped_ns, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(stopped_ns != MAP_FAILED);
    int n_tries = 1;
    while (!was_frozen_in_time(stopped_ns) && n_tries < 50)
        n_tries++;
    CHECK(n_tries < 50);
    (void)munmap(stopped_ns, sizeof *stopped_ns);
}

static void fences_of_two_environments_share_a_thread(void) {
    int before = n_threads();
    struct rpc *other = world_new();
    CHECK(n_threads() == before + 1); /* its background poller */
    struct guard a, b;
    rpc_enter(rpc);
    guard_start(rpc, &a, 30, 10);
    rpc_leave(rpc);
    rpc_enter(other);
    guard_start(other, &b, 20, 10);
    rpc_leave(other);
    CHECK(poll_until(other, &b.n_lost, 1) && poll_until(rpc, &a.n_lost, 1));
    guard_stop(&a);
    guard_stop(&b);
    rpc_free(other);
    CHECK(has_threads(before));
}

int main(void) {
    rpc = world_new();
    RUN(a_fence_tells_to_stop_then_that_it_is_lost);
    RUN(a_fence_is_told_of_though_nobody_polls);
    RUN(a_raise_takes_the_notice_back);
    RUN(a_stop_is_told_again_after_a_raise);
    RUN(lost_is_final);
    RUN(a_dropped_fence_is_lost_at_once);
    RUN(a_stopped_fence_keeps_quiet);
    RUN(on_due_may_free_the_fence);
    RUN(a_reading_never_says_valid_after_the_instant);
    RUN(a_process_that_was_frozen_knows_it);
    RUN(fences_of_two_environments_share_a_thread);
    rpc_free(rpc);
    return check_end();
}
