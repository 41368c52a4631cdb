/* spec/seeds/history.c - see history.h: the phases of a history, one after the other. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

/* ---- running -------------------------------------------------------------------------------------------- */

static bool step(struct world *world) {
    sim_step(world->sim);
    world->history->n_steps++;
    check_step(world);
    return world->history->broken == INVARIANT_NONE;
}

/* False: something broke, or it did not come about in time (or, with `never`, the time has passed). */
static bool run(struct world *world, int64_t for_ns, bool (*is_done)(struct world *world)) {
    int64_t until = sim_now(world->sim) + for_ns;
    while (!is_done(world)) {
        if (sim_now(world->sim) >= until || !step(world))
            return false;
    }
    return true;
}

static bool never(struct world *world) {
    (void)world;
    return false;
}

static bool is_settled(struct world *world) {
    for (size_t i = 0; i < ALL_STANDS; i++)
        if (stand_at(world, i)->state != FREE)
            return false;
    return is_nobody_in_line(world);
}

static bool are_sessions_ended(struct world *world) {
    for (int i = 0; i < MACHINES; i++)
        if (!machine_is_session_ended(&world->machines[i]))
            return false;
    return true;
}

static bool are_clients_closed(struct world *world) {
    for (int i = 0; i < MACHINES; i++)
        if (!machine_is_closed(&world->machines[i]))
            return false;
    return true;
}

static bool are_leases_gone(struct world *world) {
    return sim_n_leases(world->sim) == 0;
}

/* ---- phases --------------------------------------------------------------------------------------------- */

/* Lives on for that long. False: something broke. */
static bool live(struct world *world, unsigned phase, int64_t for_ns) {
    if (may(world, DECIDE_PHASE, 0, phase, 0))
        (void)run(world, for_ns, never);
    return world->history->broken == INVARIANT_NONE;
}

/* Whoever holds leaves; nobody comes; then nobody is in line, and every observer knows it. */
static bool settle(struct world *world) {
    world->phase = SETTLING;
    check_old_sessions(world);
    sim_say(world->sim, "nobody wants anything new");
    for (size_t i = 0; i < world->n_forsaken; i++)
        sim_revoke(world->sim, world->forsaken[i]);
    if (!run(world, SECONDS(90) + 14 * world_far_ns(world), is_settled)) {
        name_unsettled(world);
        return false;
    }
    bool is_observed = false;
    for (int i = 0; i < MACHINES; i++)
        is_observed |= world->machines[i].is_up && world->machines[i].is_door && world->machines[i].observer;
    if (is_observed && live(world, SETTLING, SECONDS(15)))
        for (int i = 0; i < MACHINES; i++)
            if (world->machines[i].is_up && world->machines[i].is_door)
                check_observer(&world->machines[i], SECONDS(14));
    return world->history->broken == INVARIANT_NONE;
}

static void close_all(struct world *world) {
    world->phase = CLOSING;
    for (int i = 0; i < MACHINES; i++)
        if (world->machines[i].is_up)
            machine_close_session(&world->machines[i]);
    if (!run(world, SECONDS(60), are_sessions_ended)) {
        broken(world, INVARIANT_close_ends, "a session", "60 s after it was closed");
        return;
    }
    for (int i = 0; i < MACHINES; i++)
        if (world->machines[i].is_up)
            machine_close(&world->machines[i]);
    if (!run(world, SECONDS(40), are_clients_closed)) {
        broken(world, INVARIANT_close_ends, "a client", "40 s after it was closed");
        return;
    }
    for (int i = 0; i < MACHINES; i++)
        if (world->machines[i].is_up)
            machine_end(&world->machines[i]);
    if (!run(world, SECONDS(20) + 14 * world_far_ns(world), are_leases_gone))
        broken(world, INVARIANT_lease_lapses, "etcd", "long after the last session ended");
}

static void live_through(struct world *world) {
    if (!live(world, CALM, calm_ns(world)))
        return;
    begin_faults(world);
    if (!live(world, FAULTY, world->faults_end_ns))
        return;
    end_faults(world);
    if (live(world, RECOVERING, SECONDS(8)) && settle(world))
        close_all(world);
}

/* ---- from beginning to end ------------------------------------------------------------------------------ */

static void end(struct world *world) {
    for (int i = 0; i < MACHINES; i++) {
        if (world->machines[i].is_up)
            machine_fini(&world->machines[i]);
        sim_off(world->sim, &world->machines[i].think);
    }
    sim_off(world->sim, &world->fault_tick);
    sim_free(world->sim);
    free(world);
}

void history_run(uint64_t seed, const struct history_options *options, struct history *ret) {
    static const struct history_options none;
    *ret = (struct history){0};
    struct world *world = calloc(1, sizeof *world);
    if (!world)
        abort();
    world->history = ret;
    world->options = options ? *options : none;
    world->sim = sim_new(seed);
    if (world->options.on_line)
        sim_trace(world->sim, world->options.on_line, world->options.arg);
    for (int line = 0; line < LINES; line++)
        world->n_slots[line] = 1;
    look_on(world);
    filter_messages(world);
    plan_rest(world, seed);
    plan_faults(world, seed);
    for (int i = 0; i < MACHINES; i++) {
        world->machines[i].dice = dice_of(seed, (uint64_t)i + 1);
        machine_begin(world, i);
    }
    live_through(world);
    ret->ns = sim_now(world->sim) - SECONDS(1000);
    end(world);
}
