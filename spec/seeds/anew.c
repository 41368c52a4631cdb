/* spec/seeds/anew.c - etcd begins anew: what was known of the old one counts no more, and its sessions have to end. */
#include <stdio.h>
#include <string.h>

#include "etcd/cluster.h"
#include "world.h"

/* Until a session of the old etcd has ended: the longest TTL, and until the new one leads and is heard of. */
#define ENDED_WITHIN_NS SECONDS(20)

static void forget_machine(struct machine *machine) {
    machine->n_observed_anew++;
    machine->is_watch_old = true;
    for (int i = 0; i < STANDS; i++) {
        machine->stands[i].written_ns = 0;
        if (machine->stands[i].state == HOLDING && !machine->stands[i].robbed_ns)
            machine->stands[i].robbed_ns = sim_now(machine->world->sim);
    }
}

static const struct etcd *etcd_of(const struct machine *machine) {
    return machine->is_door ? machine->door->etcd : machine->etcd;
}

/* One that has heard of nothing that the snapshot does not have cannot know, and need not. */
static void note_old_lease(struct machine *machine) {
    if (!machine->is_up || !sim_has_lease(machine->world->sim, machine_lease(machine)))
        return;
    const struct etcd *etcd = etcd_of(machine);
    const struct mark *mark = &etcd->identity.revision;
    machine->old_rev = (int64_t)(mark->n_heard > 1 ? mark->value : mark->before);
    machine->old_lease = machine_lease(machine);
    machine->old_began_ns = etcd_began_ns(etcd);
}

/* The new etcd has come as far as one had heard of the old: it cannot know any more. What it left in the snapshot is
 * the operator's. */
void forget_old_leases(struct world *world) {
    for (int i = 0; i < MACHINES; i++) {
        struct machine *machine = &world->machines[i];
        if (machine->old_rev > sim_revision(world->sim) || !machine->old_lease)
            continue;
        if (machine->is_up && etcd_began_ns(etcd_of(machine)) != machine->old_began_ns)
            continue; /* it knows */
        if (machine->is_up && machine_lease(machine) == machine->old_lease && world->n_forsaken < FORSAKEN)
            world->forsaken[world->n_forsaken++] = machine->old_lease;
        machine->old_lease = 0;
    }
}

void begin_anew(struct world *world, const struct fault *fault) {
    struct sim *sim = world->sim;
    int64_t revision = sim_revision(sim);
    bool is_restored = fault->which % 2;
    struct sim_beginning beginning = {
        .cluster_id = fault->which / 2 % 2 ? 1000 + fault->which % 1000 : 0,
        .revision = is_restored ? revision - (int64_t)(fault->which / 4 % (uint64_t)(revision / 2 + 1)) : 0};
    for (size_t i = 0; i < sim_n_kvs(sim); i++)
        bury(world, sim_kv_at(sim, i), SIM_BY_OPERATOR);
    for (int i = 0; i < MACHINES; i++)
        note_old_lease(&world->machines[i]);
    sim_begin_anew(sim, &beginning);
    forget_old_leases(world);
    world->n_anew++;
    world->anew_ns = sim_now(sim);
    world->restored_rev = is_restored ? sim_revision(sim) : 0;
    while (world->n_puts > 0 && world->puts[world->n_puts - 1].rev > world->restored_rev)
        world->n_puts--;
    for (int line = 0; line < LINES; line++) {
        world->n_empty[line]++;
        world->last_token[line] = 0;
    }
    note_first(world);
    for (int i = 0; i < MACHINES; i++)
        if (world->machines[i].is_up)
            forget_machine(&world->machines[i]);
}

bool machine_is_of_old_etcd(const struct machine *machine) {
    return machine->life != NONE && machine->opened_ns <= machine->world->anew_ns;
}

void check_old_sessions(struct world *world) {
    for (int i = 0; i < MACHINES; i++) {
        struct machine *machine = &world->machines[i];
        bool is_valid = machine->is_up && machine->life == OPEN && machine_valid_until(machine) != 0;
        /* A grant that the old etcd never carried out may be the new one's; and a lease that it adopts may be in the
         * snapshot. */
        bool is_old = machine_is_of_old_etcd(machine) && machine_lease(machine) == machine->old_lease &&
                      !machine->is_adopted;
        if (is_valid && is_old && sim_now(world->sim) - world->anew_ns > ENDED_WITHIN_NS)
            broken(world, INVARIANT_old_sessions_end, machine->name, "it is valid");
    }
}
