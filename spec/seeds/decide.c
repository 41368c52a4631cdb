/* spec/seeds/decide.c - chance, and what is decided: each decision has an id, and can be left out by it. */
#include <stdlib.h>

#include "world.h"

static uint64_t next(uint64_t *dice) {
    uint64_t z = *dice += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* Everybody has dice of their own: nobody's luck moves because another one throws more, or less. */
uint64_t dice_of(uint64_t seed, uint64_t whose) {
    uint64_t dice = seed * UINT64_C(0x2545f4914f6cdd1d) ^ whose * UINT64_C(0xd6e8feb86659fd93);
    return next(&dice);
}

int64_t below(uint64_t *dice, int64_t n) {
    return (int64_t)(next(dice) % (uint64_t)n);
}

bool chance(uint64_t *dice, int per_mille) {
    return below(dice, 1000) < per_mille;
}

/* ---- decisions ------------------------------------------------------------------------------------------ */

uint64_t decision_class(uint64_t id) {
    return id >> 32;
}

static int compare(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

bool may(struct world *world, enum decision decision, unsigned whose, unsigned kind, uint32_t number) {
    uint64_t id = (uint64_t)decision << 48 | (uint64_t)whose << 40 | (uint64_t)kind << 32 | number;
    const struct decisions *omitted = world->options.omitted;
    if (omitted && bsearch(&id, omitted->ids, omitted->n, sizeof id, compare))
        return false;
    struct decisions *taken = world->options.taken;
    if (taken && taken->n < DECISIONS_MAX)
        taken->ids[taken->n++] = id;
    return true;
}

bool machine_may(struct machine *machine, unsigned kind) {
    return may(machine->world, DECIDE_DEED, (unsigned)machine->index, kind, machine->n_deeds++);
}

static bool may_hit(void *arg, enum sim_fault fault, const char *client, unsigned number) {
    unsigned hash = 0;
    for (; *client; client++)
        hash = hash * 31 + (unsigned char)*client;
    return may(arg, DECIDE_MESSAGE, hash & 0xff, (unsigned)fault, number);
}

void filter_messages(struct world *world) {
    struct sim_fault_filter filter = {may_hit, world};
    sim_filter_faults(world->sim, &filter);
}
