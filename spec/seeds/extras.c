/* spec/seeds/extras.c - what a history has besides its own mixture of faults: each in one history of twenty, and in all of
 * prove --with NAME. Drawn by dice of its own, so that the rest of a history stays as it is.
 *
 *   anew     etcd begins anew, once or twice
 *   headers  headers of another cluster, member or term, or with a revision to come
 *   numbers  numbers that no etcd can mean
 *   far      answers take 0.3 to 3 s from the beginning until the faults end; most sessions have a TTL that allows it
 *
 * and only by --with, for mutants that ordinary histories seldom catch:
 *   crowd    all stand in one line, and end their sessions often
 *   users    every machine is one of etcd's users; tokens end, passwords change, rights are withdrawn (users.c)
 *   slots    two or three hold a line together: of the bare machines, for no primitive of lunarch.h does so yet
 *   guests   most sessions adopt another's lease; an operator deletes keys, machines pause */
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

static bool is_wanted(enum extra extra) {
    return wanted & 1U << extra;
}

static bool has(uint64_t *dice, enum extra extra) {
    return chance(dice, 50) || is_wanted(extra);
}

/* ---- members that are far away --------------------------------------------------------------------------- */

/* A TTL of so many round trips must do: 15 s where one takes 1.2 s. And of so many more for each time that tokens ended
 * meanwhile: a refusal, a new token, and what was under way from its beginning. */
enum { ROUND_TRIPS_OF_A_TTL = 12, ROUND_TRIPS_OF_A_TOKEN = 6 };

int64_t machine_ttl_s(struct machine *machine) {
    int64_t far_ns = world_far_ns(machine->world);
    int64_t needed_s = (ROUND_TRIPS_OF_A_TTL * far_ns + NS_PER_S - 1) / NS_PER_S;
    int64_t ttl_s = 2 + below(&machine->dice, 9);
    machine->ttl_s = far_ns && chance(&machine->dice, 700) ? ttl_s + needed_s : ttl_s;
    return machine->ttl_s;
}

static int64_t n_tokens_ended_since(const struct world *world, int64_t since_ns) {
    int64_t n = 0;
    for (unsigned i = 0; i < TOKEN_ENDS; i++)
        n += i < world->n_token_ends && world->tokens_ended_ns[i] >= since_ns;
    return n;
}

bool machine_reaches(const struct machine *machine) {
    const struct world *world = machine->world;
    int64_t ttl_ns = machine->ttl_s * NS_PER_S;
    int64_t n_ends = n_tokens_ended_since(world, sim_now(world->sim) - ttl_ns);
    return ttl_ns >= (ROUND_TRIPS_OF_A_TTL + ROUND_TRIPS_OF_A_TOKEN * n_ends) * world_far_ns(world);
}

/* ---- rare by themselves ------------------------------------------------------------------------------------ */

static void plan_guests(struct world *world, uint64_t *dice) {
    world->adoption = 900;
    for (int i = 0; i < 40; i++)
        add_fault(world, dice, DELETE, sim_now(world->sim) + SECONDS(4) + below(dice, world->faults_end_ns));
    for (int i = 0; i < 40; i++)
        add_fault(world, dice, PAUSE, below(dice, world->faults_end_ns));
}

int draw_line(struct machine *machine) {
    int line = (int)below(&machine->dice, LINES);
    return machine->world->is_crowd ? 0 : line;
}

void plan_extras(struct world *world, uint64_t seed) {
    uint64_t dice = dice_of(seed, 'A');
    if (has(&dice, EXTRA_far) && !world->is_patient)
        world->message_faults.far_ns = MS(300) + below(&dice, MS(2700));
    sim_set_faults(world->sim, &(struct sim_faults){.far_ns = world->message_faults.far_ns});
    int64_t n_anew = has(&dice, EXTRA_anew) ? 1 + below(&dice, 2) : 0;
    for (int64_t i = 0; i < n_anew; i++)
        add_fault(world, &dice, ANEW,
                  sim_now(world->sim) + calm_ns(world) + below(&dice, world->faults_end_ns));
    if (has(&dice, EXTRA_headers))
        world->message_faults.false_header = 1 + (int)below(&dice, 30);
    if (has(&dice, EXTRA_numbers))
        world->message_faults.false_number = 1 + (int)below(&dice, 30);
    if (is_wanted(EXTRA_crowd)) {
        world->is_crowd = true;
        world->restlessness = 100;
    }
    if (is_wanted(EXTRA_slots))
        world->n_slots[LINES - 1] = 2 + (unsigned)below(&dice, 2);
    if (is_wanted(EXTRA_guests))
        plan_guests(world, &dice);
    if (is_wanted(EXTRA_users))
        plan_users(world, &dice);
}
