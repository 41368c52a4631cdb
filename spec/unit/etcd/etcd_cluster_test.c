/* spec/unit/etcd/etcd_cluster_test.c - the etcd floor against three real members, of which some are killed or
 * frozen. */
#include <time.h>

#include "base/clock.h"
#include "etcd/confirm.h"
#include "etcd/keepalive.h"
#include "etcd/kv.h"
#include "etcd/watch.h"
#include "rpc/grpc.h"

#include "check.h"
#include "etcd_server.h"

/* No wait of a test is longer. */
#define LIMIT_NS (120 * NS_PER_S)
enum { N = 3 };

static struct etcd_server servers[N];
static struct rpc *rpc;
static struct etcd *etcd;

/* ---- three members ---------------------------------------------------------------------------------- */

static void spawn(int i) {
    char name[8], client[64], peer[64], cluster[256] = "";
    for (int j = 0; j < N; j++)
        (void)snprintf(cluster + strlen(cluster), sizeof cluster - strlen(cluster),
                       "%sm%d=http://127.0.0.1:%d", j ? "," : "", j, servers[j].peer_port);
    (void)snprintf(name, sizeof name, "m%c", '0' + i);
    (void)snprintf(client, sizeof client, "http://127.0.0.1:%d", servers[i].port);
    (void)snprintf(peer, sizeof peer, "http://127.0.0.1:%d", servers[i].peer_port);
    const char *program = etcd_program();
    pid_t parent = getpid();
    servers[i].pid = fork();
    if (servers[i].pid != 0)
        return;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    int null = open("/dev/null", O_RDWR);
    (void)dup2(null, 1);
    (void)dup2(null, 2);
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)execl(program, "etcd", "--name", name, "--data-dir", servers[i].dir, "--listen-client-urls", client,
                "--advertise-client-urls", client, "--listen-peer-urls", peer,
                "--initial-advertise-peer-urls", peer, "--initial-cluster", cluster, "--logger", "zap",
                "--log-level", "error", (char *)NULL);
    _exit(127);
}

static bool start_servers(void) {
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    for (int i = 0; i < N; i++) {
        servers[i] = (struct etcd_server){.port = free_port(), .peer_port = free_port()};
        (void)snprintf(servers[i].address, sizeof servers[i].address, "127.0.0.1:%d", servers[i].port);
        (void)snprintf(servers[i].dir, sizeof servers[i].dir, "%s/lunarch-unit-XXXXXX", base);
        if (!mkdtemp(servers[i].dir))
            return false;
    }
    for (int i = 0; i < N; i++)
        spawn(i);
    return true;
}

static void freeze(int i) {
    (void)kill(servers[i].pid, SIGSTOP);
    (void)waitpid(servers[i].pid, NULL, WUNTRACED);
}

static void thaw(int i) {
    (void)kill(servers[i].pid, SIGCONT);
}

static int index_of(const struct etcd_member *member) {
    for (int i = 0; i < N; i++)
        if (strcmp(servers[i].address, etcd_member_address(member)) == 0)
            return i;
    return -1;
}

/* ---- waiting, asking -------------------------------------------------------------------------------- */

static struct rpc_completion wake;
static int n_closed;

static void on_wake(struct rpc_completion *note) {
    (void)note;
}

static bool wait_for(const int *counter, int n) {
    int64_t end = clock_boottime_ns() + LIMIT_NS;
    for (;;) {
        rpc_enter(rpc);
        bool is_there = *counter >= n;
        rpc_leave(rpc);
        if (is_there || clock_boottime_ns() >= end)
            return is_there;
        (void)rpc_poll(rpc, end);
    }
}

static struct {
    int n, code, from;
    bool has_unanswered;
    uint64_t member_id, leader_id, term;
    int64_t took_ns;
    char text[LUN_ERR_TEXT_BYTES];
} got;

static void on_reply(void *arg, const struct etcd_reply *reply) {
    (void)arg;
    got.n++;
    got.code = reply->err ? reply->err->code : 0;
    got.has_unanswered = reply->has_unanswered;
    got.from = reply->member ? index_of(reply->member) : -1;
    got.member_id = reply->member_id;
    got.leader_id = reply->leader_id;
    got.term = reply->raft_term;
    (void)snprintf(got.text, sizeof got.text, "%s", reply->err ? reply->err->text : "");
    rpc_deliver(rpc, &wake);
}

static int put(int64_t within_ns, const char *key) {
    struct lun_kv_op op = {.kind = LUN_OP_PUT, .key = lun_bytes_of(key), .value = lun_bytes_of("v")};
    int64_t start_ns = clock_boottime_ns();
    struct etcd_call_options how = {.deadline_ns = start_ns + within_ns, .is_idempotent = true};
    got.n = 0;
    rpc_enter(rpc);
    int rc = etcd_do(etcd, &op, &how, on_reply, NULL, NULL);
    rpc_leave(rpc);
    CHECK(rc == 0 && wait_for(&got.n, 1));
    got.took_ns = clock_boottime_ns() - start_ns;
    if (got.code)
        printf("# %s\n", got.text);
    return got.code;
}

/* Which server leads; -1 unknown. */
static int leader(void) {
    uint64_t leader_id = 0;
    for (int i = 0; i < N; i++) {
        struct etcd_call_options how = {.deadline_ns = clock_boottime_ns() + 5 * NS_PER_S,
                                        .member = etcd_member_at(etcd, (size_t)i)};
        got.n = 0;
        rpc_enter(rpc);
        int rc = etcd_member_status(etcd, &how, on_reply, NULL, NULL);
        rpc_leave(rpc);
        CHECK(rc == 0 && wait_for(&got.n, 1));
        if (leader_id == 0)
            leader_id = got.leader_id;
        if (got.code == 0 && got.member_id == leader_id)
            return i;
        if (i == N - 1 && leader_id != 0)
            i = -1; /* now that the leader's id is known */
    }
    return -1;
}

static int current(void) {
    rpc_enter(rpc);
    int i = index_of(etcd_pick(etcd));
    rpc_leave(rpc);
    return i;
}

static void on_closed(void *arg) {
    (void)arg;
    n_closed++;
    rpc_deliver(rpc, &wake);
}

static void open_cluster(void) {
    const char *endpoints[N];
    struct lun_err err;
    for (int i = 0; i < N; i++)
        endpoints[i] = servers[i].address;
    rpc_enter(rpc);
    if (etcd_new(rpc, endpoints, N, NULL, &etcd, &err))
        abort();
    rpc_leave(rpc);
    CHECK(put(60 * NS_PER_S, "/warm") == 0);
}

static void close_cluster(void) {
    n_closed = 0;
    rpc_enter(rpc);
    etcd_close(etcd, on_closed, NULL);
    rpc_leave(rpc);
    CHECK(wait_for(&n_closed, 1));
    rpc_enter(rpc);
    etcd_free(etcd);
    rpc_leave(rpc);
}

/* Asks until the choice falls on a follower. */
static int on_a_follower(void) {
    int leads = leader();
    while (current() == leads) {
        rpc_enter(rpc);
        etcd_member_failed(etcd_pick(etcd), "passed over by the test");
        rpc_leave(rpc);
    }
    CHECK(put(60 * NS_PER_S, "/follower") == 0);
    CHECK(got.from != leads);
    return got.from;
}

/* ---- tests ------------------------------------------------------------------------------------------ */

static void a_killed_member_is_passed_over(void) {
    open_cluster();
    int i = on_a_follower();
    etcd_server_kill(&servers[i]);
    CHECK(put(60 * NS_PER_S, "/k") == 0);
    CHECK(got.from != i);
    spawn(i);
    close_cluster();
}

static void a_frozen_follower_costs_one_attempt_and_is_left(void) {
    open_cluster();
    int i = on_a_follower();
    freeze(i);
    CHECK(put(60 * NS_PER_S, "/k") == 0);
    CHECK(got.from != i && got.has_unanswered);
    CHECK(got.took_ns > 1500 * NS_PER_MS);
    for (int n = 0; n < 20; n++) {
        CHECK(put(60 * NS_PER_S, "/k") == 0);
        CHECK(got.from != i && !got.has_unanswered); /* not asked again */
    }
    thaw(i);
    close_cluster();
}

static void a_frozen_leader_costs_its_election(void) {
    open_cluster();
    int i = leader();
    freeze(i);
    CHECK(put(60 * NS_PER_S, "/k") == 0);
    printf("# from the leader's freeze to the first answer: %.1f s\n", (double)got.took_ns / 1e9);
    CHECK(got.from != i);
    thaw(i);
    close_cluster();
}

static struct { int n_created, n_events; } seen;

static void on_created(struct watcher *watcher, int64_t revision) {
    (void)watcher;
    (void)revision;
    seen.n_created++;
    rpc_deliver(rpc, &wake);
}

static void on_event(struct watcher *watcher, const struct watch_event *event) {
    (void)watcher;
    (void)event;
    seen.n_events++;
    rpc_deliver(rpc, &wake);
}

static void on_end(struct watcher *watcher, const struct lun_err *err, int64_t compact_rev) {
    (void)watcher;
    (void)compact_rev;
    check_fail(__FILE__, __LINE__, err->text);
}

static void a_watch_leaves_a_frozen_member_when_a_call_has_found_it_out(void) {
    static const struct watch_callbacks callbacks = {on_created, on_event, on_end};
    open_cluster();
    int i = on_a_follower();
    struct watcher watcher = {.callbacks = &callbacks, .key = lun_bytes_of("/w"), .is_resumed = true};
    seen.n_created = seen.n_events = 0;
    rpc_enter(rpc);
    CHECK(watch_start(etcd, &watcher) == 0);
    rpc_leave(rpc);
    CHECK(wait_for(&seen.n_created, 1));
    freeze(i);
    CHECK(put(60 * NS_PER_S, "/w") == 0);
    CHECK(wait_for(&seen.n_created, 2));
    CHECK(wait_for(&seen.n_events, 1));
    CHECK(put(60 * NS_PER_S, "/w") == 0);
    CHECK(wait_for(&seen.n_events, 2));
    rpc_enter(rpc);
    watch_stop(&watcher);
    rpc_leave(rpc);
    CHECK(seen.n_events == 2);
    thaw(i); /* it may still hold a copy of a write */
    close_cluster();
}

static struct {
    int n, code;
    uint64_t term;
} confirmed;

static void on_confirmed(struct confirm *confirm, const struct lun_err *err, uint64_t raft_term) {
    (void)confirm;
    confirmed.n++;
    confirmed.code = err ? err->code : 0;
    confirmed.term = raft_term;
    rpc_deliver(rpc, &wake);
}

/* The member that slept through an election answers what it knows from before; the read shows, or fails. */
static void a_thawed_leader_does_not_confirm_its_old_term(void) {
    open_cluster();
    int i = leader();
    uint64_t old_term = etcd_highest_term(etcd);
    freeze(i);
    CHECK(put(60 * NS_PER_S, "/k") == 0);
    CHECK(got.term > old_term);
    thaw(i);
    struct confirm confirm;
    confirm_init(&confirm, on_confirmed);
    confirmed.n = 0;
    rpc_enter(rpc);
    CHECK(confirm_start(&confirm, etcd_member_at(etcd, (size_t)i), 3 * NS_PER_S) == 0);
    rpc_leave(rpc);
    CHECK(wait_for(&confirmed.n, 1));
    CHECK(confirmed.code != 0 || confirmed.term > old_term);
    close_cluster();
}

/* Two of three gone: nobody can answer, and the error names what each did. */
static void without_a_majority_nothing_is_answered(void) {
    open_cluster();
    int leads = leader();
    freeze(leads);
    etcd_server_kill(&servers[(leads + 1) % N]);
    got.n = 0;
    struct lun_kv_op op = {.kind = LUN_OP_PUT, .key = lun_bytes_of("/k")};
    struct etcd_call_options how = {.deadline_ns = clock_boottime_ns() + 4 * NS_PER_S, .is_idempotent = true};
    rpc_enter(rpc);
    CHECK(etcd_do(etcd, &op, &how, on_reply, NULL, NULL) == 0);
    rpc_leave(rpc);
    CHECK(wait_for(&got.n, 1));
    printf("# %s\n", got.text);
    CHECK(got.code == LUN_EUNAVAILABLE);
    for (int i = 0; i < N; i++)
        CHECK(strstr(got.text, servers[i].address) != NULL);
    thaw(leads);
    spawn((leads + 1) % N);
    CHECK(put(60 * NS_PER_S, "/k") == 0);
    close_cluster();
}

int main(void) {
    if (!etcd_program())
        return check_skip("no etcd on the PATH, nor in $ETCD");
    struct lun_err err;
    if (!start_servers() || rpc_grpc_new(NULL, &rpc, &err))
        check_give_up(__FILE__, __LINE__, "three etcds could not be started");
    rpc_completion_init(&wake, on_wake);
    RUN(a_killed_member_is_passed_over);
    RUN(a_frozen_follower_costs_one_attempt_and_is_left);
    RUN(a_frozen_leader_costs_its_election);
    RUN(a_watch_leaves_a_frozen_member_when_a_call_has_found_it_out);
    RUN(a_thawed_leader_does_not_confirm_its_old_term);
    RUN(without_a_majority_nothing_is_answered);
    rpc_free(rpc);
    for (int i = 0; i < N; i++)
        etcd_server_stop(&servers[i]);
    return check_end();
}
