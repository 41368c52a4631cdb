/* spec/seeds/machine.c - machines: started, thinking, paused, killed; of both kinds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

int64_t machine_now(const struct machine *machine) {
    return rpc_now(machine->rpc);
}

int64_t machine_lease(const struct machine *machine) {
    if (machine->life == NONE || machine->life == OPENING)
        return 0;
    return machine->is_door ? machine->open->core.lease : machine->session.lease;
}

int64_t machine_valid_until(const struct machine *machine) {
    if (machine->life == NONE)
        return 0;
    if (!machine->is_door)
        return session_valid_until_ns((struct session *)(uintptr_t)&machine->session);
    return machine->open ? session_valid_until_ns(&machine->open->core) : 0;
}

void forsake(struct machine *machine) {
    struct world *world = machine->world;
    int64_t lease = machine_lease(machine);
    if (!lease || (!machine->is_adopted && !machine->is_lease_taken))
        return;
    if (world->phase == SETTLING && machine->is_refused)
        sim_revoke(world->sim, lease); /* the operator has done its round */
    else if (world->n_forsaken < FORSAKEN)
        world->forsaken[world->n_forsaken++] = lease;
}

bool machine_has_grace(struct machine *machine) {
    return chance(&machine->dice, 600);
}

int64_t machine_adopts(struct machine *machine) {
    struct machine *other = &machine->world->machines[below(&machine->dice, MACHINES)];
    machine->is_adopted = machine->is_lease_taken = false;
    bool is_closing = other->is_door && other->is_door_closing; /* it has been forsaken, if it ever is */
    if (!chance(&machine->dice, machine->world->adoption) || other == machine || !other->is_up ||
        other->life != OPEN || is_closing)
        return 0;
    machine->is_adopted = other->is_lease_taken = true;
    return machine_lease(other);
}

void on_session_lost(struct machine *machine, enum lun_reason reason, int64_t lease) {
    struct world *world = machine->world;
    bool is_old = machine_is_of_old_etcd(machine);
    bool is_calm_again = world->phase >= RECOVERING && machine->opened_ns > world->calm_again_ns + SECONDS(5);
    machine->life = OVER;
    machine->is_refused = reason == LUN_LOST_PERMISSION || reason == LUN_LOST_UNAUTHENTICATED;
    check_refusal(machine, reason);
    if (reason == LUN_LOST_REVOKED && !is_old && sim_never_lost_lease(world->sim, lease))
        broken(world, INVARIANT_revoked_is_true, machine->name, "TTL 0");
    if (reason == LUN_LOST_REPLACED && world->n_anew == 0 && !sim_client_is_misled(machine->client))
        broken(world, INVARIANT_replaced_is_true, machine->name, "replaced");
    bool is_calm = (world->phase == CALM && machine_reaches(machine)) || is_calm_again;
    if (is_calm && reason != LUN_LOST_REVOKED && !machine->is_adopted && !machine->is_lease_taken)
        broken(world, INVARIANT_session_survives, machine->name, lun_reason_name(reason));
}

bool machine_rests(const struct machine *machine) {
    return machine->world->is_patient && machine->world->phase == CALM;
}

void stand_holds(struct stand *stand, const char *key, int64_t token) {
    struct machine *machine = stand->machine;
    (void)snprintf(stand->key, sizeof stand->key, "%s", key);
    stand->token = token;
    stand->state = HOLDING;
    stand->is_told = false;
    stand->robbed_ns = 0;
    stand->held_since_ns = sim_now(machine->world->sim);
    int64_t longest = chance(&machine->dice, 500) ? MS(60) : SECONDS(4);
    if (chance(&machine->dice, 80))
        longest = SECONDS(20); /* longer than any lease */
    stand->until_ns =
        stand->held_since_ns + (machine_rests(machine) ? SECONDS(60) : below(&machine->dice, longest));
    tell(machine, "holds %s, token %lld", stand->key, (long long)token);
    check_win(stand);
}

/* ---- running -------------------------------------------------------------------------------------------- */

void machine_start(struct machine *machine) {
    struct sim *sim = machine->world->sim;
    (void)snprintf(machine->name, sizeof machine->name, "M%d.%d", machine->index, ++machine->n_lives);
    /* The promise allows rates 10 % apart; the last half per cent is left to the ticks. */
    machine->client = sim_client_new(sim, machine->name, below(&machine->dice, 190001) - 95000);
    machine->rpc = sim_client_rpc(machine->client);
    machine->life = NONE;
    machine->is_paused = false;
    machine->ran_since_ns = machine_now(machine);
    machine->is_door = chance(&machine->dice, 450) && !machine->world->is_patient;
    tell(machine, "starts, %s", machine->is_door ? "behind the door" : "bare");
    if (machine->is_door)
        door_start(machine);
    else
        bare_start(machine);
    machine->is_up = true;
}

/* Nothing of it may be left. */
static void check_leftovers(struct machine *machine) {
    const char *left = sim_client_leftovers(machine->client);
    if (left)
        broken(machine->world, INVARIANT_nothing_is_left, machine->name, left);
    machine->is_up = false;
    machine->life = NONE;
    machine->start_at_ns = sim_now(machine->world->sim) + below(&machine->dice, SECONDS(3));
}

void machine_kill(struct machine *machine) {
    struct world *world = machine->world;
    sim_say(world->sim, "fault: %s killed", machine->name);
    world->history->n_kills++;
    machine_fini(machine);
}

void machine_fini(struct machine *machine) {
    machine->start_at_ns = INT64_MAX; /* not while this one is being ended */
    forsake(machine);
    sim_client_kill(machine->client);
    machine->is_paused = false;
    if (machine->is_door)
        door_kill(machine);
    else
        bare_kill(machine);
    check_leftovers(machine);
}

void machine_end(struct machine *machine) {
    machine->start_at_ns = INT64_MAX;
    if (machine->is_door)
        door_end(machine);
    else
        bare_end(machine);
    check_leftovers(machine);
}

void machine_pause(struct machine *machine) {
    machine->is_paused = true;
    sim_client_pause(machine->client);
}

void machine_resume(struct machine *machine) {
    if (!machine->is_up || !machine->is_paused)
        return;
    machine->is_paused = false;
    machine->ran_since_ns = machine_now(machine);
    sim_client_resume(machine->client);
}

void machine_close_session(struct machine *machine) {
    if (machine->is_door)
        door_close_session(machine);
    else
        bare_close_session(machine, !machine->is_adopted);
}

void machine_close(struct machine *machine) {
    if (machine->is_door)
        door_close(machine);
    else
        bare_close(machine);
}

bool machine_is_session_ended(const struct machine *machine) {
    return !machine->is_up || machine->life == NONE || (machine->is_door && machine->is_door_closing);
}

bool machine_is_closed(const struct machine *machine) {
    return !machine->is_up || machine->is_closed;
}

static void on_think(struct sim_event *event) {
    struct machine *machine = CONTAINER_OF(event, struct machine, think);
    struct world *world = machine->world;
    struct sim *sim = world->sim;
    if (!machine->is_up && world->phase < SETTLING && sim_now(sim) >= machine->start_at_ns)
        machine_start(machine);
    if (machine->is_up && !machine->is_paused) {
        if (machine->is_door)
            door_live(machine);
        else
            bare_live(machine);
    }
    int64_t in_ns = MS(10) + below(&machine->dice, MS(chance(&machine->dice, 300) ? 60 : 500));
    if (chance(&machine->dice, 150))
        in_ns = below(&machine->dice, MS(5)); /* at once: what it has just begun is under way yet */
    sim_at(sim, event, sim_now(sim) + in_ns);
}

void machine_begin(struct world *world, int index) {
    struct machine *machine = &world->machines[index];
    machine->world = world;
    machine->index = index;
    machine->think.run = on_think;
    for (int i = 0; i < STANDS; i++)
        machine->stands[i].machine = machine;
    for (int i = 0; i < ASKED; i++)
        machine->asked[i].machine = machine;
    machine->start_at_ns = may(world, DECIDE_MACHINE, (unsigned)index, 0, 0) ? 0 : INT64_MAX;
    sim_at(world->sim, &machine->think, sim_now(world->sim) + below(&machine->dice, MS(300)));
}
