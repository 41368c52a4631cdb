/* spec/unit/sim/far_watch_test.c - watches on members that are far away, in a simulated cluster. */
#include "check.h"
#include "etcd/etcd.h"
#include "etcd/kv.h"
#include "etcd/watch.h"
#include "sim/sim.h"

#define S NS_PER_S

struct seen {
    struct watcher watcher;
    int n_created, n_events, n_ended;
};

static struct sim *sim;
static struct sim_client *client;
static struct rpc *rpc;
static struct etcd *etcd;
static bool is_closed, is_answered;

static struct seen *seen_of(struct watcher *watcher) {
    return CONTAINER_OF(watcher, struct seen, watcher);
}

static void on_created(struct watcher *watcher, int64_t revision) {
    (void)revision;
    seen_of(watcher)->n_created++;
}

static void on_event(struct watcher *watcher, const struct watch_event *event) {
    (void)event;
    seen_of(watcher)->n_events++;
}

static void on_end(struct watcher *watcher, const struct lun_err *err, int64_t compact_rev) {
    (void)err, (void)compact_rev;
    seen_of(watcher)->n_ended++;
}

static void on_closed(void *arg) {
    (void)arg;
    is_closed = true;
}

static void on_put(void *arg, const struct etcd_reply *reply) {
    (void)arg;
    CHECK(!reply->err || reply->err->code == LUN_EUNKNOWN); /* it is too far away to be put for certain */
    is_answered = true;
}

static void let_pass(int64_t ns) {
    for (int64_t end = sim_now(sim) + ns; sim_now(sim) < end;)
        sim_step(sim);
}

static void begin(uint64_t seed, int64_t far_ns) {
    sim = sim_new(seed);
    sim_set_faults(sim, &(struct sim_faults){.far_ns = far_ns});
    client = sim_client_new(sim, "far", 0);
    rpc = sim_client_rpc(client);
    is_closed = false;
    rpc_enter(rpc);
    CHECK(etcd_new(rpc, sim_addresses, SIM_MEMBERS, NULL, &etcd, NULL) == 0);
    rpc_leave(rpc);
}

static void end(void) {
    rpc_enter(rpc);
    etcd_close(etcd, on_closed, NULL);
    rpc_leave(rpc);
    let_pass(60 * S);
    CHECK(is_closed);
    rpc_enter(rpc);
    etcd_free(etcd);
    rpc_leave(rpc);
    rpc_free(rpc);
    sim_free(sim);
}

static void watch_key(struct seen *seen, const char *key) {
    static const struct watch_callbacks callbacks = {on_created, on_event, on_end};
    *seen = (struct seen){.watcher = {.callbacks = &callbacks, .key = lun_bytes_of(key), .is_resumed = true}};
    rpc_enter(rpc);
    CHECK(watch_start(etcd, &seen->watcher) == 0);
    rpc_leave(rpc);
}

static void stop(struct seen *seen) {
    rpc_enter(rpc);
    watch_stop(&seen->watcher);
    rpc_leave(rpc);
}

/* Waits until it is done. */
static void put(const char *key) {
    struct etcd_call_options how = {.deadline_ns = rpc_now(rpc) + 60 * S};
    struct lun_kv_op op = {.kind = LUN_OP_PUT, .key = lun_bytes_of(key), .value = lun_bytes_of("v")};
    rpc_enter(rpc);
    is_answered = false;
    CHECK(etcd_do(etcd, &op, &how, on_put, NULL, NULL) == 0);
    rpc_leave(rpc);
    while (!is_answered)
        sim_step(sim);
}

/* Nothing has been asked before: how far etcd is away has to show by the watch itself. */
static void one_that_only_watches_hears_of_members_far_away(void) {
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct seen seen;
        begin(seed, 3 * S);
        watch_key(&seen, "k");
        let_pass(40 * S);
        CHECK(seen.n_created >= 1);
        put("k");
        let_pass(20 * S);
        CHECK(seen.n_events == 1 && seen.n_ended == 0);
        stop(&seen);
        end();
    }
}

/* Nothing but the watch would tell. */
static void one_that_only_watches_hears_when_its_members_come_to_be_far_away(void) {
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct seen seen;
        begin(seed, 0);
        put("x");
        watch_key(&seen, "k");
        let_pass(10 * S);
        CHECK(seen.n_created == 1);
        sim_set_faults(sim, &(struct sim_faults){.far_ns = 3 * S});
        let_pass(40 * S);
        int n_created = seen.n_created;
        let_pass(60 * S);
        CHECK(seen.n_created == n_created);
        put("k");
        let_pass(60 * S);
        CHECK(seen.n_events == 1 && seen.n_ended == 0);
        stop(&seen);
        end();
    }
}

/* The second is created on the stream of the first, which is not left for it. */
static void a_watch_more_costs_the_first_nothing(void) {
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct seen seen, late;
        begin(seed, 3 * S);
        put("x");
        watch_key(&seen, "k");
        let_pass(4 * S);
        CHECK(seen.n_created == 1);
        watch_key(&late, "l");
        let_pass(4 * S);
        CHECK(late.n_created == 1 && seen.n_created == 1);
        put("k");
        let_pass(10 * S);
        CHECK(seen.n_events == 1 && late.n_events == 0 && seen.n_created == 1);
        stop(&seen);
        stop(&late);
        end();
    }
}

int main(void) {
    RUN(one_that_only_watches_hears_of_members_far_away);
    RUN(one_that_only_watches_hears_when_its_members_come_to_be_far_away);
    RUN(a_watch_more_costs_the_first_nothing);
    return check_end();
}
