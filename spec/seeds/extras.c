/* spec/seeds/extras.c - what a history has besides its own mixture of faults: each in one history of twenty, and in all of
 * prove --with NAME. Drawn by dice of its own, so that the rest of a history stays as it is.
 *
 *   anew     etcd begins anew, once or twice
 *   headers  headers of another cluster, member or term
 *   numbers  numbers that no etcd can mean */
#include <string.h>

#include "world.h"

#define LUN_X(name) #name,
static const char *const names[] = {HISTORY_EXTRAS(LUN_X)};
#undef LUN_X

static unsigned wanted;

bool history_with(const char *list) {
    wanted = 0;
    while (*list) {
        size_t len = strcspn(list, ","), i = 0;
        while (i < N_EXTRAS && (strlen(names[i]) != len || strncmp(names[i], list, len) != 0))
            i++;
        if (i == N_EXTRAS)
            return false;
        wanted |= 1U << i;
        list += len + (list[len] == ',');
    }
    return true;
}

static bool has(uint64_t *dice, enum extra extra) {
    return chance(dice, 50) || wanted & 1U << extra;
}

void plan_extras(struct world *world, uint64_t seed) {
    uint64_t dice = dice_of(seed, 'A');
    int64_t calm_again_ns = sim_now(world->sim) + calm_ns(world);
    int64_t n_anew = has(&dice, EXTRA_anew) ? 1 + below(&dice, 2) : 0;
    for (int64_t i = 0; i < n_anew; i++)
        add_fault(world, &dice, ANEW, calm_again_ns + below(&dice, world->faults_end_ns));
    if (has(&dice, EXTRA_headers))
        world->message_faults.false_header = 1 + (int)below(&dice, 30);
    if (has(&dice, EXTRA_numbers))
        world->message_faults.false_number = 1 + (int)below(&dice, 30);
}
