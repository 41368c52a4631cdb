/* sim/cluster.c - members: who leads, who applies what, which leases expire.
 *
 * What is committed is one state, shared. A member differs by how much of it it has applied, by the term it
 * knows, and by whether it runs and is reached. A leader that was frozen or alone while another was elected
 * believes in itself until it hears of it: `is_stale_leader`. */
#include <stdlib.h>

#include "sim/world.h"

/* The leader too may carry out later than its followers: by so much, while it runs. */
#define LEADER_LAG_MOST_NS NS_PER_S
/* A new leader knows what was committed before it once its own first entry is. */
#define FIRST_ENTRY_MOST_NS (200 * NS_PER_MS)

bool sim_can_run(const struct sim_member *member) {
    return !member->is_frozen && !member->is_down;
}

static bool is_reached(const struct sim_member *member) {
    return sim_can_run(member) && !member->is_cut;
}

static int n_reached(const struct sim *sim) {
    int n = 0;
    for (int i = 0; i < SIM_MEMBERS; i++)
        n += is_reached(&sim->members[i]);
    return n;
}

static bool is_led(const struct sim *sim) {
    return sim->leader >= 0 && is_reached(&sim->members[sim->leader]) && n_reached(sim) * 2 > SIM_MEMBERS;
}

bool sim_knows_committed(const struct sim *sim) {
    return sim->now_ns >= sim->first_entry_ns;
}

/* What comes back from the leader tells the member the leader's term. */
bool sim_can_commit(const struct sim *sim, const struct sim_member *member) {
    return is_led(sim) && sim_knows_committed(sim) && is_reached(member) && !member->is_stale_leader &&
           member->term == sim->term;
}

int sim_leader(const struct sim *sim) {
    return sim->leader;
}

bool sim_is_well(const struct sim *sim, int member) {
    return is_reached(&sim->members[member]);
}

bool sim_knows_lease(const struct sim_member *member, const struct sim_lease *lease) {
    return lease->granted_at <= member->applied && (!lease->gone_at || lease->gone_at > member->applied);
}

/* ---- applying ------------------------------------------------------------------------------------------- */

static void apply_soon(struct sim_member *member) {
    struct sim *sim = member->sim;
    bool is_leader = member->index == sim->leader;
    int64_t lag = sim_delay(sim) / 2;
    if (is_leader && sim_chance(sim, sim->faults.hasty))
        lag += sim_below(sim, LEADER_LAG_MOST_NS);
    int64_t at_ns = sim->now_ns + lag;
    if (!member->apply.node.index)
        sim_at(sim, &member->apply, at_ns > member->stalled_until_ns ? at_ns : member->stalled_until_ns);
}

/* A leader goes on with what was committed when it is cut off; nothing more is, as long as nobody else leads. */
static bool knows_commits(const struct sim_member *member) {
    bool is_leader = member->index == member->sim->leader && !member->is_stale_leader;
    return is_leader ? sim_can_run(member) : is_reached(member) && !member->is_stale_leader;
}

static void on_apply(struct sim_event *event) {
    struct sim_member *member = CONTAINER_OF(event, struct sim_member, apply);
    struct sim *sim = member->sim;
    sim_turn(sim, sim->first_seed + (uint64_t)member->index, (uint64_t)sim->now_ns);
    if (!knows_commits(member))
        return;
    member->applied = sim->n_entries;
    sim_tell_watches(member, false);
    sim_serve_waiting(member);
}

void sim_committed(struct sim *sim) {
    for (int i = 0; i < SIM_MEMBERS; i++)
        apply_soon(&sim->members[i]);
    if (sim->watcher.on_commit)
        sim->watcher.on_commit(sim->watcher.arg);
}

static void on_slow_loop(struct sim_event *event) {
    struct sim_member *member = CONTAINER_OF(event, struct sim_member, slow_loop);
    struct sim *sim = member->sim;
    sim_turn(sim, sim->first_seed + (uint64_t)member->index, (uint64_t)sim->now_ns);
    if (sim_can_run(member))
        sim_tell_watches(member, true);
    sim_at(sim, event, sim->now_ns + 100 * NS_PER_MS);
}

/* ---- leading -------------------------------------------------------------------------------------------- */

static void follow(struct sim_member *member) {
    struct sim *sim = member->sim;
    bool was_stale = member->is_stale_leader;
    member->term = sim->term;
    member->is_stale_leader = false;
    member->has_leader = true;
    apply_soon(member);
    if (was_stale)
        sim_say(sim, "etcd: %s hears of term %llu", sim_addresses[member->index],
                (unsigned long long)sim->term);
    sim_serve_parked(member);
    sim_serve_waiting(member);
}

static void on_learn(struct sim_event *event) {
    struct sim_member *member = CONTAINER_OF(event, struct sim_member, learn);
    if (is_reached(member) && is_led(member->sim))
        follow(member);
}

/* Hears of what it missed: mostly at once, now and then not before a while. */
static void learn_soon(struct sim_member *member) {
    struct sim *sim = member->sim;
    int64_t within = sim_chance(sim, 300) ? 2 * NS_PER_S : 300 * NS_PER_MS;
    sim_at(sim, &member->learn, sim->now_ns + sim_below(sim, within));
}

/* It has the whole log, though it may not have carried out all of it yet. */
static bool has_log(const struct sim_member *member) {
    return member->has_leader && member->term == member->sim->term && !member->learn.node.index;
}

/* Nobody votes for one whose log is behind. */
static int choose(struct sim *sim) {
    size_t newest = 0;
    for (int i = 0; i < SIM_MEMBERS; i++)
        if (is_reached(&sim->members[i]) && sim->members[i].applied > newest)
            newest = sim->members[i].applied;
    int chosen = (int)sim_below(sim, SIM_MEMBERS);
    while (!is_reached(&sim->members[chosen]) ||
           (sim->members[chosen].applied < newest && !has_log(&sim->members[chosen])))
        chosen = (chosen + 1) % SIM_MEMBERS;
    return chosen;
}

static void elect(struct sim *sim) {
    int chosen = choose(sim);
    int before = sim->leader;
    sim->term++;
    sim->leader = chosen;
    sim->elected_ns = sim->now_ns;
    sim->first_entry_ns = sim->now_ns + sim_below(sim, FIRST_ENTRY_MOST_NS);
    sim_say(sim, "etcd: %s leads, term %llu", sim_addresses[chosen], (unsigned long long)sim->term);
    if (before >= 0 && before != chosen && !sim->members[before].is_down)
        sim->members[before].is_stale_leader = !is_reached(&sim->members[before]);
    sim_off(sim, &sim->members[chosen].apply); /* a leader lags less than a follower may */
    sim->members[chosen].stalled_until_ns = 0;
    for (int i = 0; i < SIM_MEMBERS; i++)
        if (is_reached(&sim->members[i]))
            follow(&sim->members[i]);
    for (size_t i = 0; i < sim->n_leases; i++) {
        sim->leases[i].expires_ns = sim->now_ns + sim->leases[i].ttl_s * NS_PER_S + SIM_ELECTION_NS;
        sim->leases[i].is_expiring = false;
    }
    sim->leaderless_since_ns = 0;
}

static void lose_leader(struct sim_member *member) {
    struct sim *sim = member->sim;
    if (member->has_leader) {
        member->has_leader = false;
        member->no_leader_since_ns = sim->now_ns;
    }
    if (sim->now_ns - member->no_leader_since_ns > 3 * NS_PER_S)
        sim_end_streams(member, true, "etcdserver: no leader");
}

static void on_tick(struct sim_event *event) {
    struct sim *sim = CONTAINER_OF(event, struct sim, tick);
    if (is_led(sim)) {
        sim->leaderless_since_ns = 0;
    } else if (!sim->leaderless_since_ns) {
        sim->leaderless_since_ns = sim->now_ns;
        sim->election_after_ns = SIM_ELECTION_NS + sim_below(sim, SIM_ELECTION_NS);
    } else if (sim->now_ns - sim->leaderless_since_ns > sim->election_after_ns &&
               n_reached(sim) * 2 > SIM_MEMBERS) {
        elect(sim);
    }
    bool is_leaderless = sim->leaderless_since_ns && sim->now_ns - sim->leaderless_since_ns > SIM_ELECTION_NS;
    for (int i = 0; i < SIM_MEMBERS; i++) {
        struct sim_member *member = &sim->members[i];
        if (!sim_can_run(member))
            continue;
        bool believes = member->is_stale_leader || (member->is_cut && i == sim->leader);
        if (believes && member->is_cut && sim_chance(sim, 80))
            member->is_stale_leader = believes = false; /* it misses its quorum, and steps down */
        if (!believes && (is_leaderless || member->is_cut))
            lose_leader(member);
        else if (!member->has_leader && is_led(sim) && !member->learn.node.index)
            learn_soon(member);
    }
    sim_at(sim, event, sim->now_ns + 100 * NS_PER_MS);
}

/* ---- leases --------------------------------------------------------------------------------------------- */

static void on_expiry(struct sim_event *event) {
    struct sim *sim = CONTAINER_OF(event, struct sim, expiry);
    if (is_led(sim))
        for (size_t i = 0; i < sim->n_leases; i++)
            if (!sim->leases[i].gone_at && sim->leases[i].expires_ns <= sim->now_ns)
                sim_end_lease(sim, &sim->leases[i], SIM_BY_EXPIRY);
    sim_at(sim, event, sim->now_ns + 500 * NS_PER_MS);
}

bool sim_never_lost_lease(const struct sim *sim, int64_t id) {
    for (size_t i = 0; i < sim->n_leases; i++)
        if (sim->leases[i].id == id)
            return sim->leases[i].gone_at == 0;
    return false;
}

/* ---- faults --------------------------------------------------------------------------------------------- */

void sim_elect(struct sim *sim) {
    if (is_led(sim))
        elect(sim);
}

void sim_freeze(struct sim *sim, int i) {
    if (!sim->members[i].is_down)
        sim->members[i].is_frozen = true;
    sim_say(sim, "fault: %s frozen%s", sim_addresses[i], i == sim->leader ? " (the leader)" : "");
}

void sim_thaw(struct sim *sim, int i) {
    struct sim_member *member = &sim->members[i];
    if (!member->is_frozen)
        return;
    member->is_frozen = false;
    sim_say(sim, "fault: %s thawed%s", sim_addresses[i],
            member->is_stale_leader ? ", and believes it leads" : "");
    if (member->term < sim->term)
        learn_soon(member);
    else
        apply_soon(member);
    sim_serve_streams(member);
    sim_serve_parked(member);
}

void sim_stall(struct sim *sim, int i, int64_t for_ns) {
    struct sim_member *member = &sim->members[i];
    if (i == sim->leader)
        return;
    member->stalled_until_ns = sim->now_ns + for_ns;
    sim_off(sim, &member->apply);
    apply_soon(member);
    sim_say(sim, "fault: %s carries out nothing for a while", sim_addresses[i]);
}

void sim_cut(struct sim *sim, int i) {
    sim->members[i].is_cut = true;
    sim_say(sim, "fault: %s alone%s", sim_addresses[i], i == sim->leader ? " (the leader)" : "");
}

void sim_join(struct sim *sim, int i) {
    struct sim_member *member = &sim->members[i];
    if (!member->is_cut)
        return;
    member->is_cut = false;
    sim_say(sim, "fault: %s back among its peers", sim_addresses[i]);
    learn_soon(member);
}

void sim_stop(struct sim *sim, int i) {
    struct sim_member *member = &sim->members[i];
    if (member->is_down)
        return;
    member->is_down = true;
    member->is_frozen = member->is_stale_leader = false;
    sim_forget_tokens(sim, i);
    sim_say(sim, "fault: %s stopped%s", sim_addresses[i], i == sim->leader ? " (the leader)" : "");
    sim_end_streams(member, false, "Socket closed");
    sim_serve_parked(member);
    sim_serve_waiting(member);
}

void sim_start(struct sim *sim, int i) {
    struct sim_member *member = &sim->members[i];
    if (!member->is_down)
        return;
    member->is_down = false;
    member->has_leader = false;
    member->no_leader_since_ns = sim->now_ns;
    sim_say(sim, "fault: %s started", sim_addresses[i]);
    learn_soon(member);
}

/* ---- beginning and end ---------------------------------------------------------------------------------- */

void sim_cluster_init(struct sim *sim) {
    sim->leader = (int)sim_below(sim, SIM_MEMBERS);
    sim->term = 2;
    for (int i = 0; i < SIM_MEMBERS; i++) {
        struct sim_member *member = &sim->members[i];
        member->sim = sim;
        member->index = i;
        member->term = sim->term;
        member->has_leader = true;
        member->apply.run = on_apply;
        member->learn.run = on_learn;
        member->slow_loop.run = on_slow_loop;
        list_init(&member->parked);
        list_init(&member->waiting);
        list_init(&member->streams);
        sim_at(sim, &member->slow_loop, sim->now_ns + sim_below(sim, 100 * NS_PER_MS));
    }
    sim->tick.run = on_tick;
    sim->expiry.run = on_expiry;
    sim_at(sim, &sim->tick, sim->now_ns + 100 * NS_PER_MS);
    sim_at(sim, &sim->expiry, sim->now_ns + sim_below(sim, 500 * NS_PER_MS));
}

void sim_cluster_fini(struct sim *sim) {
    for (int i = 0; i < SIM_MEMBERS; i++) {
        struct sim_member *member = &sim->members[i];
        struct list *node;
        while ((node = list_pop_front(&member->parked)))
            sim_request_free(CONTAINER_OF(node, struct sim_request, in_member));
        while ((node = list_pop_front(&member->waiting)))
            sim_request_free(CONTAINER_OF(node, struct sim_request, in_member));
        while (!list_is_empty(&member->streams))
            sim_server_free(CONTAINER_OF(member->streams.next, struct sim_server_stream, in_streams));
    }
}
