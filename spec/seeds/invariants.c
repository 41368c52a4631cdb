/* spec/seeds/invariants.c - what must hold: seen from above, where everything is known. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

const char *const lines[LINES] = {"/a", "/b"};

#define LUN_X(name, text) #name,
static const char *const names[] = {"none", INVARIANTS(LUN_X)};
#undef LUN_X
#define LUN_X(name, text) text,
static const char *const texts[] = {"", INVARIANTS(LUN_X)};
#undef LUN_X

const char *invariant_name(enum invariant invariant) {
    return names[invariant];
}

const char *invariant_text(enum invariant invariant) {
    return texts[invariant];
}

void broken(struct world *world, enum invariant invariant, const char *who, const char *what) {
    if (world->history->broken)
        return;
    world->history->broken = invariant;
    (void)snprintf(world->history->text, sizeof world->history->text, "%s: %s", who, what);
    sim_say(world->sim, "BROKEN %s (%s): %s: %s", names[invariant], texts[invariant], who, what);
    sim_trace(world->sim, NULL, NULL); /* what follows is only the tidying up */
}

void tell(struct machine *machine, const char *format, ...) {
    struct world *world = machine->world;
    char line[200];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    uint64_t hash = world->history->digest ^ (uint64_t)sim_now(world->sim) ^ (uint64_t)machine->index;
    for (const char *c = line; *c; c++)
        hash = (hash ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
    world->history->digest = hash;
    sim_say(world->sim, "%s: %s", machine->name, line);
}

/* ---- finding one's way ---------------------------------------------------------------------------------- */

struct stand *stand_at(struct world *world, size_t i) {
    return &world->machines[i / STANDS].stands[i % STANDS];
}

int line_of_key(const char *key) {
    for (int line = 0; line < LINES; line++)
        if (strncmp(key, lines[line], strlen(lines[line])) == 0 && key[strlen(lines[line])] == '/')
            return line;
    return -1;
}

static const struct sim_kv *first_of(struct world *world, int line) {
    char prefix[8];
    (void)snprintf(prefix, sizeof prefix, "%s/", lines[line]);
    return sim_first(world->sim, prefix);
}

static unsigned n_before(struct world *world, int line, int64_t create_rev) {
    unsigned n = 0;
    for (size_t i = 0; i < sim_n_kvs(world->sim); i++) {
        const struct sim_kv *kv = sim_kv_at(world->sim, i);
        n += line_of_key(kv->key) == line && kv->create_rev < create_rev;
    }
    return n;
}

const struct sim_kv *find_key(struct world *world, const char *key, int64_t create_rev) {
    for (size_t i = 0; i < sim_n_kvs(world->sim); i++) {
        const struct sim_kv *kv = sim_kv_at(world->sim, i);
        if (kv->create_rev == create_rev && strcmp(kv->key, key) == 0)
            return kv;
    }
    return NULL;
}

static const struct grave *find_grave(const struct world *world, const char *key, int64_t create_rev) {
    for (size_t i = 0; i < GRAVES; i++)
        if (world->graves[i].create_rev == create_rev && strcmp(world->graves[i].key, key) == 0)
            return &world->graves[i];
    return NULL;
}

bool is_nobody_in_line(const struct world *world) {
    for (size_t i = 0; i < sim_n_kvs(world->sim); i++)
        if (line_of_key(sim_kv_at(world->sim, i)->key) >= 0)
            return false;
    return true;
}

/* ---- who believes what ---------------------------------------------------------------------------------- */

bool believes(const struct stand *stand) {
    return stand->state == HOLDING && machine_valid_until(stand->machine) != 0;
}

static void check_owners(struct world *world) {
    const struct stand *owner[LINES] = {NULL};
    unsigned n_owners[LINES] = {0};
    for (size_t i = 0; i < ALL_STANDS; i++) {
        struct stand *stand = stand_at(world, i);
        if (stand->state != HOLDING || stand->robbed_ns || !believes(stand))
            continue;
        if (++n_owners[stand->line] > world->n_slots[stand->line])
            broken(world, INVARIANT_one_owner, owner[stand->line]->machine->name, stand->machine->name);
        owner[stand->line] = stand;
    }
}

static void check_told(struct world *world) {
    int64_t now = sim_now(world->sim);
    if (world->phase != CALM || world_far_ns(world))
        return;
    for (size_t i = 0; i < ALL_STANDS; i++) {
        struct stand *stand = stand_at(world, i);
        /* A user behind the door polls when it likes. */
        int64_t within = stand->machine->is_door ? SECONDS(3) : SECONDS(1);
        if (stand->robbed_ns && !stand->is_told && now - stand->robbed_ns > within &&
            now - stand->held_since_ns > within && believes(stand))
            broken(world, INVARIANT_loss_is_told, stand->machine->name, stand->key);
    }
}

void check_step(struct world *world) {
    check_owners(world);
    check_told(world);
    check_rest(world);
}

/* ---- what happens in the store -------------------------------------------------------------------------- */

void note_first(struct world *world) {
    for (int line = 0; line < LINES; line++) {
        const struct sim_kv *first = first_of(world, line);
        int64_t rev = first ? first->create_rev : 0, mod = first ? first->mod_rev : 0;
        if (rev == world->first_rev[line] && mod == world->first_mod[line])
            continue;
        world->n_empty[line] += rev == 0;
        world->first_rev[line] = rev;
        world->first_mod[line] = mod;
        world->first_since_ns[line] = sim_now(world->sim);
    }
}

void bury(struct world *world, const struct sim_kv *kv, enum sim_cause cause) {
    struct grave *grave = &world->graves[world->n_graves++ % GRAVES];
    (void)snprintf(grave->key, sizeof grave->key, "%s", kv->key);
    grave->create_rev = kv->create_rev;
    grave->cause = cause;
    grave->at_ns = sim_now(world->sim);
}

static void on_delete(void *arg, const struct sim_kv *kv, enum sim_cause cause) {
    struct world *world = arg;
    bury(world, kv, cause);
    disturb(world);
    for (size_t i = 0; i < ALL_STANDS; i++) {
        struct stand *stand = stand_at(world, i);
        if (stand->is_trying && cause != SIM_BY_REQUEST && strcmp(stand->key, kv->key) == 0)
            stand->written_ns = 0; /* it had won, and that was taken away: the next answer is another's */
        if (stand->state != HOLDING || stand->token != kv->create_rev || strcmp(stand->key, kv->key) != 0 ||
            stand->robbed_ns)
            continue;
        if (cause == SIM_BY_EXPIRY && believes(stand))
            broken(world, INVARIANT_belief_ends_early, stand->machine->name, kv->key);
        else if (cause == SIM_BY_REQUEST && believes(stand))
            broken(world, INVARIANT_held_key_is_safe, stand->machine->name, kv->key);
        else
            stand->robbed_ns = sim_now(world->sim);
    }
}

/* Of one that won in the etcd before this one, and that cannot know: the snapshot has whom it came after. */
static bool is_of_old_etcd(struct world *world, int64_t token) {
    for (size_t i = 0; i < ALL_STANDS; i++) {
        const struct stand *stand = stand_at(world, i);
        if (stand->state != FREE && stand->token == token && machine_is_of_old_etcd(stand->machine))
            return true;
    }
    return false;
}

static void on_data(struct world *world, const char *key, const char *value) {
    int line = line_of_key(key + strlen("/data"));
    const struct sim_kv *first = line >= 0 ? first_of(world, line) : NULL;
    bool is_ordered = atoll(value) > world->restored_rev; /* else it stands where the snapshot has it */
    bool is_firsts = first && (!is_ordered || first->create_rev == atoll(value));
    if (!is_firsts && !is_of_old_etcd(world, atoll(value)))
        broken(world, INVARIANT_guarded_write, key, value);
    if (world->n_puts < PUTS)
        world->puts[world->n_puts++] =
            (struct put){sim_now(world->sim), atoll(value), sim_revision(world->sim) + 1};
    world->history->n_writes++;
}

/* A value "proclaimed TOKEN N" may only overwrite that very place. */
static void on_proclaimed(struct world *world, const char *key, const char *value) {
    if (!find_key(world, key, atoll(value + strlen("proclaimed "))))
        broken(world, INVARIANT_proclaim_is_fenced, key, value);
    world->history->n_proclaims++;
}

static void on_put(void *arg, const char *key, const char *value) {
    struct world *world = arg;
    if (strncmp(key, "/data", 5) == 0) {
        on_data(world, key, value);
        return;
    }
    disturb(world);
    if (strncmp(value, "proclaimed ", 11) == 0)
        on_proclaimed(world, key, value);
    for (size_t i = 0; i < ALL_STANDS; i++) {
        struct stand *stand = stand_at(world, i);
        if (stand->state == ENTERING && stand->is_trying && strcmp(stand->key, key) == 0)
            stand->written_ns = sim_now(world->sim);
    }
}

static void on_changed(void *arg) {
    note_first(arg);
    forget_old_leases(arg);
}

void look_on(struct world *world) {
    struct sim_watcher watcher = {on_delete, on_put, on_changed, world};
    sim_look_on(world->sim, &watcher);
}

/* ---- wins ----------------------------------------------------------------------------------------------- */

/* Its key is gone. It may have gone after etcd had answered that it was there, but not before. */
static void check_gone(struct stand *stand) {
    struct machine *machine = stand->machine;
    struct world *world = machine->world;
    const struct grave *grave = find_grave(world, stand->key, stand->token);
    int64_t now = sim_now(world->sim);
    bool is_ours = !grave || grave->cause == SIM_BY_EXPIRY || grave->cause == SIM_BY_REQUEST;
    bool was_gone = grave && !machine->is_door && grave->at_ns < sim_client_served_ns(machine->client);
    bool is_calm = world->phase == CALM && !world_far_ns(world);
    bool is_long_ago = grave && is_calm && now - grave->at_ns > SECONDS(3);
    if (is_ours || was_gone || is_long_ago)
        broken(world, INVARIANT_win_is_alive, machine->name, stand->key);
    stand->robbed_ns = now;
}

void check_win(struct stand *stand) {
    struct machine *machine = stand->machine;
    struct world *world = machine->world;
    world->history->n_wins++;
    if (machine_valid_until(machine) == 0)
        broken(world, INVARIANT_win_is_valid, machine->name, stand->key);
    if (machine_is_of_old_etcd(machine)) {
        stand->robbed_ns = sim_now(world->sim);
        return;
    }
    if (!find_key(world, stand->key, stand->token)) {
        check_gone(stand);
        return;
    }
    if (n_before(world, stand->line, stand->token) >= world->n_slots[stand->line])
        broken(world, INVARIANT_win_is_first, machine->name, first_of(world, stand->line)->key);
    if (stand->token <= world->last_token[stand->line] && is_exclusive(world, stand->line))
        broken(world, INVARIANT_tokens_rise, machine->name, stand->key);
    world->last_token[stand->line] = stand->token;
}

/* ---- what is left when it should have settled ----------------------------------------------------------- */

void name_unsettled(struct world *world) {
    for (size_t i = 0; i < sim_n_kvs(world->sim); i++) {
        const struct sim_kv *kv = sim_kv_at(world->sim, i);
        sim_say(world->sim, "etcd: there is %s/%lld of %s, lease %llx", kv->key, (long long)kv->create_rev,
                kv->value, (unsigned long long)kv->lease);
    }
    for (size_t i = 0; i < ALL_STANDS; i++)
        if (stand_at(world, i)->state != FREE)
            broken(world, INVARIANT_waiter_is_served, stand_at(world, i)->machine->name,
                   stand_at(world, i)->key);
    for (size_t i = 0; i < sim_n_kvs(world->sim); i++)
        if (line_of_key(sim_kv_at(world->sim, i)->key) >= 0)
            broken(world, INVARIANT_queue_is_empty, sim_kv_at(world->sim, i)->value,
                   sim_kv_at(world->sim, i)->key);
}
