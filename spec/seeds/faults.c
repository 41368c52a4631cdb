/* spec/seeds/faults.c - what goes wrong: drawn before the history begins, so that leaving one out moves no other. */
#include <stdio.h>
#include <string.h>

#include "world.h"

/* ---- what comes to an end again ------------------------------------------------------------------------- */

void later(struct world *world, enum cure cure, int index, int64_t in_ns, int64_t for_ns) {
    if (world->n_recoveries < RECOVERIES)
        world->recoveries[world->n_recoveries++] =
            (struct recovery){sim_now(world->sim) + in_ns, for_ns, cure, index};
}

/* Its user is in the middle of something long. */
static void be_busy(struct machine *machine) {
    int64_t until_ns = sim_now(machine->world->sim) + SECONDS(20);
    for (int i = 0; i < STANDS; i++)
        if (machine->stands[i].state == HOLDING && machine->stands[i].until_ns < until_ns)
            machine->stands[i].until_ns = until_ns;
}

static void fall_silent(struct world *world, const struct recovery *recovery) {
    struct machine *machine = &world->machines[recovery->index];
    if (world->phase != FAULTY || !machine->is_up || machine->is_paused)
        return;
    be_busy(machine);
    for (int i = 0; i < SIM_MEMBERS; i++)
        sim_client_hold(machine->client, i, recovery->for_ns);
}

static void cure(struct world *world, const struct recovery *recovery) {
    switch (recovery->cure) {
    case THAW:
        sim_thaw(world->sim, recovery->index);
        break;
    case JOIN:
        sim_join(world->sim, recovery->index);
        break;
    case START:
        sim_start(world->sim, recovery->index);
        break;
    case MAKE_ROOM:
        sim_set_full(world->sim, false);
        break;
    case FALL_SILENT:
        fall_silent(world, recovery);
        break;
    case VOTE:
        sim_elect(world->sim);
        break;
    case RESUME:
        machine_resume(&world->machines[recovery->index]);
        break;
    case AUTH_ON:
    case OLD_PASSWORD:
    case OLD_RIGHTS:
        change_users_back(world, recovery);
        break;
    }
}

static void recover(struct world *world, bool are_all_due) {
    for (size_t i = 0; i < world->n_recoveries;) {
        struct recovery recovery = world->recoveries[i];
        if (!are_all_due && recovery.at_ns > sim_now(world->sim)) {
            i++;
            continue;
        }
        world->recoveries[i] = world->recoveries[--world->n_recoveries];
        cure(world, &recovery);
    }
}

/* ---- what an operator does ------------------------------------------------------------------------------ */

static void replace_etcd(struct world *world, const struct fault *fault) {
    begin_anew(world, fault);
    for (int i = 0; i < SIM_MEMBERS; i++)
        later(world, START, i, fault->for_ns + (int64_t)(fault->which / 8 % (uint64_t)MS(900)) * i, 0);
}

static void operate(struct world *world, const struct fault *fault) {
    struct sim *sim = world->sim;
    if (fault->kind == ANEW) {
        replace_etcd(world, fault);
        return;
    }
    if (fault->kind == COMPACT) {
        sim_compact(sim);
        return;
    }
    if (world->is_patient && world->phase == CALM)
        return;
    size_t n = sim_n_kvs(sim), n_places = 0;
    struct sim_kv kv = {0};
    for (size_t i = 0; i < n; i++)
        n_places += line_of_key(sim_kv_at(sim, i)->key) >= 0;
    if (n_places == 0)
        return;
    size_t left = fault->which % n_places;
    for (size_t i = 0; i < n; i++) {
        kv = *sim_kv_at(sim, i);
        if (line_of_key(kv.key) >= 0 && left-- == 0)
            break;
    }
    if (fault->kind == DELETE)
        sim_delete(sim, kv.key);
    else
        sim_revoke(sim, kv.lease);
}

/* ---- faults --------------------------------------------------------------------------------------------- */

static bool may_hurt(const struct world *world, const struct fault *fault, int member) {
    for (int i = 0; i < SIM_MEMBERS; i++)
        if (i != member && !sim_is_well(world->sim, i) && fault->is_alone)
            return false;
    return sim_is_well(world->sim, member);
}

/* Freezes, cuts off or stops a member, for a while. */
static void put_out(struct world *world, enum fault_kind kind, int member, int64_t for_ns) {
    struct sim *sim = world->sim;
    if (kind == FREEZE)
        sim_freeze(sim, member);
    else if (kind == CUT)
        sim_cut(sim, member);
    else
        sim_stop(sim, member);
    later(world, kind == FREEZE ? THAW : kind == CUT ? JOIN : START, member, for_ns, 0);
}

static void hurt_member(struct world *world, const struct fault *fault) {
    int leader = sim_leader(world->sim);
    int member = fault->member < SIM_MEMBERS ? fault->member : leader >= 0 ? leader : 0;
    if (may_hurt(world, fault, member))
        put_out(world, fault->kind, member, fault->for_ns);
}

/* Everything comes late for a while, and then nothing comes at all: a deadline counted from an answer's arrival
 * outlives the lease. */
static void slow_down(struct world *world, const struct fault *fault) {
    int64_t late = MS(300) + fault->for_ns / 8;
    for (int i = 0; i < SIM_MEMBERS; i++)
        sim_client_lag(world->machines[fault->machine].client, i, late);
    later(world, FALL_SILENT, fault->machine, late, fault->for_ns);
}

static bool is_holding(const struct machine *machine) {
    bool is_any = false;
    for (int i = 0; i < STANDS; i++)
        is_any |= machine->stands[i].state == HOLDING;
    return machine->is_up && !machine->is_paused && is_any;
}

/* The leader is frozen or alone, and the only one that a machine reaches that holds something: until a while after it
 * is back, and then nobody. What such a leader says of a lease is worth nothing, and nobody else says anything. */
static void strand(struct world *world, const struct fault *fault) {
    struct sim *sim = world->sim;
    int leader = sim_leader(sim), i = fault->machine;
    for (int n = 0; n < MACHINES && !is_holding(&world->machines[i]); n++)
        i = (i + 1) % MACHINES;
    struct machine *machine = &world->machines[i];
    if (leader < 0 || !is_holding(machine) || !may_hurt(world, fault, leader))
        return;
    int64_t silent_in_ns = fault->for_ns + (int64_t)(fault->which / 2 % (uint64_t)MS(1500));
    sim_say(sim, "fault: %s reaches nobody but the leader", machine->name);
    be_busy(machine);
    put_out(world, fault->which % 2 ? FREEZE : CUT, leader, fault->for_ns);
    for (int member = 0; member < SIM_MEMBERS; member++)
        if (member != leader)
            sim_client_hold(machine->client, member, silent_in_ns);
    later(world, FALL_SILENT, i, silent_in_ns, SECONDS(9));
}

static void hurt_machine(struct world *world, const struct fault *fault) {
    struct machine *machine = &world->machines[fault->machine];
    int member = fault->member < SIM_MEMBERS ? fault->member : sim_leader(world->sim);
    if (!machine->is_up || member < 0)
        return;
    if (fault->kind == KILL) {
        machine_kill(machine);
    } else if (fault->kind == SLOW) {
        slow_down(world, fault);
    } else if (fault->kind == SILENCE) {
        sim_client_hold(machine->client, member, fault->for_ns);
    } else if (fault->kind == RESET) {
        sim_client_reset(machine->client, member);
    } else if (!machine->is_paused) {
        machine_pause(machine);
        later(world, RESUME, fault->machine, fault->for_ns, 0);
    }
}

/* A follower falls behind, or both do; towards the end of that somebody else is elected, once or twice: perhaps one who
 * is behind. */
static void lag(struct world *world, const struct fault *fault) {
    bool is_twice = fault->which % 2;
    int follower = (int)(fault->which / 2 % SIM_MEMBERS);
    int64_t vote_in_ns = fault->for_ns - (int64_t)(fault->which / 8 % (uint64_t)MS(400));
    sim_stall(world->sim, follower, fault->for_ns);
    later(world, VOTE, 0, vote_in_ns, 0);
    if (!is_twice)
        return;
    sim_stall(world->sim, (follower + 1) % SIM_MEMBERS, fault->for_ns);
    later(world, VOTE, 0, vote_in_ns + MS(200), 0);
}

/* Nothing can be put any more, for a while. */
static void fill(struct world *world, const struct fault *fault) {
    sim_set_full(world->sim, true);
    later(world, MAKE_ROOM, 0, fault->for_ns, 0);
}

static void begin(struct world *world, const struct fault *fault) {
    if (fault->kind >= TOKENS)
        change_users(world, fault);
    else if (fault->kind >= COMPACT)
        operate(world, fault);
    else if (fault->kind == ELECT)
        sim_elect(world->sim);
    else if (fault->kind == STRAND)
        strand(world, fault);
    else if (fault->kind == LAG)
        lag(world, fault);
    else if (fault->kind == FULL)
        fill(world, fault);
    else if (fault->kind <= STOP)
        hurt_member(world, fault);
    else
        hurt_machine(world, fault);
}

static void on_fault_tick(struct sim_event *event) {
    struct world *world = CONTAINER_OF(event, struct world, fault_tick);
    int64_t now = sim_now(world->sim);
    recover(world, false);
    for (size_t i = 0; i < world->n_faults; i++) {
        struct fault *fault = &world->faults[i];
        bool is_operator = fault->kind >= COMPACT && fault->kind < PASSWORD;
        int64_t at = is_operator ? fault->at_ns : fault->at_ns + world->faults_begin_ns;
        if (fault->is_begun || at > now || (!is_operator && world->phase != FAULTY) ||
            world->phase >= SETTLING)
            continue;
        fault->is_begun = true;
        if (may(world, is_operator ? DECIDE_OPERATOR : DECIDE_FAULT, 0, fault->kind, (uint32_t)i))
            begin(world, fault);
    }
    sim_at(world->sim, event, now + MS(20));
}

/* ---- the plan ------------------------------------------------------------------------------------------- */

static int64_t how_long(uint64_t *dice, enum fault_kind kind) {
    switch (kind) {
    case FREEZE:
        return MS(300) + below(dice, SECONDS(chance(dice, 300) ? 16 : 6));
    case CUT:
        return MS(300) + below(dice, SECONDS(8));
    case STOP:
        return MS(100) + below(dice, SECONDS(5));
    case PAUSE:
        return MS(50) + below(dice, SECONDS(chance(dice, 300) ? 14 : 3));
    case LAG:
        return MS(500) + below(dice, SECONDS(4));
    case STRAND:
        return SECONDS(3) + below(dice, SECONDS(4));
    case SLOW:
        return SECONDS(3) + below(dice, SECONDS(12));
    case AUTH_OFF:
    case PASSWORD:
    case RIGHTS:
        return MS(50) + below(dice, SECONDS(chance(dice, 400) ? 24 : 6));
    default:
        return MS(50) + below(dice, SECONDS(4));
    }
}

void add_fault(struct world *world, uint64_t *dice, enum fault_kind kind, int64_t at_ns) {
    if (world->n_faults == FAULTS)
        return;
    struct fault *fault = &world->faults[world->n_faults++];
    *fault = (struct fault){.at_ns = at_ns, .kind = kind};
    fault->for_ns = how_long(dice, kind);
    fault->member = chance(dice, 500) ? SIM_MEMBERS : (int)below(dice, SIM_MEMBERS);
    fault->machine = (int)below(dice, MACHINES);
    fault->which = (uint64_t)below(dice, INT64_MAX);
    fault->is_alone = !chance(dice, 150); /* mostly only one member is unwell at a time */
}

/* Everything at once that makes copies of requests come late and keeps news of deletions away. */
static void plan_storm(struct world *world, uint64_t *dice) {
    struct sim_faults *faults = &world->message_faults;
    faults->late_after_cancel = 900;
    faults->event_dropped = 600;
    for (int i = 0; i < 60; i++)
        add_fault(world, dice, DELETE, sim_now(world->sim) + SECONDS(8) + below(dice, world->faults_end_ns));
    for (int i = 0; i < 30; i++)
        add_fault(world, dice, chance(dice, 300) ? FREEZE : SILENCE, below(dice, world->faults_end_ns));
}

/* What happens to messages while faults are on. */
static void plan_messages(struct world *world, uint64_t *dice) {
    struct sim_faults *faults = &world->message_faults;
    if (chance(dice, 500))
        faults->reply_lost = 1 + (int)below(dice, chance(dice, 300) ? 100 : 25);
    if (chance(dice, 500))
        faults->request_lost = 1 + (int)below(dice, 25);
    if (chance(dice, 600))
        faults->delayed = 1 + (int)below(dice, 60);
    if (chance(dice, 600))
        faults->late_after_cancel = 1 + (int)below(dice, chance(dice, 300) ? 900 : 300);
    if (chance(dice, 300))
        faults->busy = 1 + (int)below(dice, 50);
    if (chance(dice, 300))
        faults->hasty = 1 + (int)below(dice, 1000);
    if (chance(dice, 300))
        faults->event_dropped = 1 + (int)below(dice, chance(dice, 300) ? 700 : 50);
}

static enum fault_kind draw(uint64_t *dice, const int64_t *weights, int64_t total) {
    int64_t at = below(dice, total);
    int kind = 0;
    while (at >= weights[kind])
        at -= weights[kind++];
    return (enum fault_kind)kind;
}

/* Now and then an operator who does little else. */
static void plan_operator(struct world *world, uint64_t *dice) {
    bool is_rude = chance(dice, 400);
    int64_t n = below(dice, !is_rude ? 5 : chance(dice, 300) ? 90 : 30), until = SECONDS(50);
    int compacts = chance(dice, 300) ? 900 : 400, deletes = chance(dice, 300) ? 100 : 650;
    for (int64_t i = 0; i < n; i++) {
        enum fault_kind kind = chance(dice, compacts) ? COMPACT : chance(dice, deletes) ? DELETE : REVOKE;
        add_fault(world, dice, kind, sim_now(world->sim) + below(dice, until));
    }
}

/* Every history has its own mixture, and half of them a theme. */
static void plan_hurts(struct world *world, uint64_t *dice) {
    static const enum fault_kind themes[] = {FREEZE,  FREEZE, FREEZE, CUT,    STOP,   PAUSE,  PAUSE, KILL,
                                             SILENCE, SLOW,   SLOW,   STRAND, STRAND, STRAND, LAG};
    int64_t weights[COMPACT], total = 0;
    for (int i = 0; i < COMPACT; i++)
        weights[i] = chance(dice, 500) ? 1 + below(dice, 4) : 0;
    if (chance(dice, 500))
        weights[themes[below(dice, sizeof themes / sizeof themes[0])]] += 20;
    for (int i = 0; i < COMPACT; i++)
        total += weights[i];
    int64_t rate = 2 + below(dice, 12); /* in ten seconds */
    if (total == 0)
        return;
    for (int64_t at = 0; at < world->faults_end_ns; at += 1 + below(dice, SECONDS(20) / rate))
        add_fault(world, dice, draw(dice, weights, total), at);
}

void plan_faults(struct world *world, uint64_t seed) {
    uint64_t dice = dice_of(seed, 'F');
    world->faults_end_ns = SECONDS(12) + below(&dice, SECONDS(30));
    world->restlessness = chance(&dice, 250) ? 80 : 10;
    world->adoption = chance(&dice, 200) ? 600 : 100;
    plan_messages(world, &dice);
    plan_operator(world, &dice);
    plan_hurts(world, &dice);
    if (chance(&dice, 60))
        plan_storm(world, &dice);
    plan_extras(world, seed);
    world->fault_tick.run = on_fault_tick;
    sim_at(world->sim, &world->fault_tick, sim_now(world->sim));
}

void begin_faults(struct world *world) {
    world->phase = FAULTY;
    world->faults_begin_ns = sim_now(world->sim);
    sim_set_faults(world->sim, &world->message_faults);
}

void end_faults(struct world *world) {
    world->phase = RECOVERING;
    world->calm_again_ns = sim_now(world->sim);
    sim_set_faults(world->sim, &(struct sim_faults){0});
    recover(world, true);
    for (int i = 0; i < MACHINES * SIM_MEMBERS; i++)
        if (world->machines[i / SIM_MEMBERS].is_up)
            sim_client_hold(world->machines[i / SIM_MEMBERS].client, i % SIM_MEMBERS, 0);
    sim_say(world->sim, "fault: no more of them");
}
