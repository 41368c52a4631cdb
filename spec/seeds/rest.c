/* spec/seeds/rest.c - what waiting costs etcd: in some histories all machines wait in one line, and for a while nothing
 * happens. What is read then does not depend on how many wait. */
#include "world.h"

#define SETTLED_NS SECONDS(2) /* after a change: by then everybody has looked */
#define LOOK_EVERY_NS SECONDS(7)
enum { KEYS_OF_A_LOOK = 3, KEYS_OF_AN_OBSERVER = 1, KEYS_TO_SPARE = 3 };

void plan_rest(struct world *world, uint64_t seed) {
    uint64_t dice = dice_of(seed, 'R');
    world->is_patient = chance(&dice, 20);
}

int64_t calm_ns(const struct world *world) {
    return world->is_patient ? SECONDS(40) : world_far_ns(world) ? SECONDS(30) : SECONDS(8);
}

/* A line has changed. */
void disturb(struct world *world) {
    world->changed_ns = sim_now(world->sim);
    world->at_rest_ns = 0;
}

static uint64_t n_read(const struct machine *machine) {
    return sim_client_load(machine->client, RPC_TXN).n_keys;
}

static int64_t n_places(const struct machine *machine) {
    int64_t n = 0;
    for (int i = 0; i < STANDS; i++)
        n += machine->stands[i].state != FREE;
    return n;
}

void check_rest(struct world *world) {
    int64_t now = sim_now(world->sim);
    if (!world->is_patient || world->phase != CALM || now - world->changed_ns < SETTLED_NS)
        return;
    bool is_first = world->at_rest_ns == 0;
    if (is_first)
        world->at_rest_ns = now;
    int64_t n_looks = 1 + (now - world->at_rest_ns) / LOOK_EVERY_NS;
    for (int i = 0; i < MACHINES; i++) {
        struct machine *machine = &world->machines[i];
        if (!machine->is_up)
            continue;
        if (is_first)
            machine->n_read = n_read(machine);
        int64_t most = (n_places(machine) * KEYS_OF_A_LOOK + KEYS_OF_AN_OBSERVER) * n_looks + KEYS_TO_SPARE;
        if ((int64_t)(n_read(machine) - machine->n_read) > most)
            broken(world, INVARIANT_waiting_is_cheap, machine->name,
                   "reads more than its own and its predecessor's key");
    }
}
