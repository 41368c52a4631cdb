/* spec/seeds/door_look.c - looking on through the door: who leads, asked once or followed, and a watch. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

enum deed { OBSERVE = 48, WATCH };

/* ---- who leads ------------------------------------------------------------------------------------------ */

/* Between asking and the answer the named one must have led: places that come later have higher revisions, so it
 * cannot be one that was gone before; and "nobody" was true at some time. */
static void on_leader(struct asked *asked, const struct lun_result *result) {
    struct machine *machine = asked->machine;
    struct world *world = machine->world;
    if (result->err || asked->n_anew != world->n_anew)
        return;
    int line = asked->line;
    bool was_empty = asked->first_rev == 0 || world->n_empty[line] != asked->n_empty;
    if (!result->leader && !was_empty)
        broken(world, INVARIANT_leader_is_true, machine->name, "nobody");
    if (result->leader && result->leader->token < asked->first_rev)
        broken(world, INVARIANT_leader_is_true, machine->name, "one that had gone");
    if (result->leader && world->first_rev[line] && result->leader->token > world->first_rev[line])
        broken(world, INVARIANT_leader_is_true, machine->name, "one that stands behind");
}

void door_ask_leader(struct stand *stand) {
    struct machine *machine = stand->machine;
    struct world *world = machine->world;
    struct lun_ask ask;
    struct lun_err err;
    struct asked *asked =
        stand->kind->ask_owner ? door_ask(machine, NULL, "leader", 2000, on_leader, &ask) : NULL;
    if (!asked)
        return;
    asked->line = stand->line;
    asked->first_rev = world->first_rev[stand->line];
    asked->n_empty = world->n_empty[stand->line];
    (void)door_is_asked(asked, stand->kind->ask_owner(stand, &ask, &asked->op, &err), &err);
}

/* ---- an observer ---------------------------------------------------------------------------------------- */

static void observe_next(struct machine *machine);

static void on_observed(struct asked *asked, const struct lun_result *result) {
    struct machine *machine = asked->machine;
    struct world *world = machine->world;
    if (!machine->observer || machine->is_door_closing)
        return;
    if (!result->err) {
        const struct lun_leader *leader = result->leader;
        world->history->n_observed++;
        bool is_back =
            result->revision < machine->observed_rev || (leader && leader->token < machine->observed_token);
        if (machine->n_observed_anew > 0 && is_back) {
            machine->n_observed_anew--;
            machine->observed_rev = machine->observed_token = 0;
        }
        if (result->revision < machine->observed_rev || (leader && leader->token < machine->observed_token))
            broken(world, INVARIANT_observer_moves_on, machine->name, leader ? "to an earlier leader" : "");
        machine->observed_rev = result->revision;
        machine->is_observer_told = true;
        machine->was_leader_observed = leader != NULL;
        if (leader) {
            machine->observed_token = leader->token;
            machine->observed_mod = leader->revision;
        }
        tell(machine, "observes %s: %lld", lines[machine->observed_line],
             leader ? (long long)leader->token : 0LL);
    }
    observe_next(machine);
}

static void observe_next(struct machine *machine) {
    struct lun_ask ask;
    struct lun_err err;
    int64_t timeout_ms = chance(&machine->dice, 300) ? 50 + below(&machine->dice, 2000) : -1;
    struct asked *asked = door_ask(machine, NULL, "observe", timeout_ms, on_observed, &ask);
    if (asked)
        (void)door_is_asked(asked, lun_observer_next(machine->observer, &ask, &asked->op, &err), &err);
}

static void observe(struct machine *machine) {
    machine->observed_line = (int)below(&machine->dice, LINES);
    if (!machine_may(machine, OBSERVE) ||
        lun_observer_open(machine->door, lines[machine->observed_line], &machine->observer, NULL))
        return;
    tell(machine, "follows %s", lines[machine->observed_line]);
    machine->is_observer_told = false;
    machine->n_observed_anew = 0;
    machine->observed_since_ns = sim_now(machine->world->sim);
    machine->observed_rev = machine->observed_token = machine->observed_mod = 0;
    observe_next(machine);
}

/* Who has led for so long must be known by now. */
void check_observer(struct machine *machine, int64_t within_ns) {
    struct world *world = machine->world;
    int line = machine->observed_line;
    int64_t before = sim_now(world->sim) - within_ns;
    if (!machine->observer || world->first_since_ns[line] > before || machine->observed_since_ns > before)
        return;
    bool is_right =
        machine->is_observer_told && machine->was_leader_observed == (world->first_rev[line] != 0);
    if (is_right && machine->was_leader_observed)
        is_right = machine->observed_token == world->first_rev[line] &&
                   machine->observed_mod == world->first_mod[line];
    if (!is_right)
        broken(world, INVARIANT_observer_is_right, machine->name, lines[line]);
}

/* ---- a watch on what leaders write ---------------------------------------------------------------------- */

static void watch_next(struct machine *machine);

static void end_watch(struct machine *machine) {
    lun_watch_free(machine->watch);
    machine->watch = NULL;
}

static void on_events(struct asked *asked, const struct lun_result *result) {
    struct machine *machine = asked->machine;
    struct world *world = machine->world;
    if (!machine->watch || machine->is_door_closing)
        return;
    if (result->err && result->err->code == LUN_ECOMPACTED) {
        tell(machine, "its watch has been compacted away");
        end_watch(machine);
        return;
    }
    if (machine->is_watch_old) {
        end_watch(machine);
        return;
    }
    for (size_t i = 0; !result->err && i < result->n_events && world->n_puts < PUTS; i++) {
        int64_t value = atoll((const char *)result->events[i].kv.value.data);
        if (machine->n_seen >= world->n_puts || world->puts[machine->n_seen].value != value) {
            broken(world, INVARIANT_watch_is_whole, machine->name, "/data");
            return;
        }
        machine->n_seen++;
    }
    watch_next(machine);
}

static void watch_next(struct machine *machine) {
    struct lun_ask ask;
    struct lun_err err;
    struct asked *asked = door_ask(machine, NULL, "watch", -1, on_events, &ask);
    if (asked && !door_is_asked(asked, lun_watch_next(machine->watch, &ask, &asked->op, &err), &err))
        end_watch(machine);
}

/* From revision 1 on: it has to tell of everything, or that it was compacted away. */
static void watch(struct machine *machine) {
    struct lun_watch_options options = {
        .key = lun_bytes_of("/data"), .range_end = lun_bytes_of("/datb"), .start_rev = 1};
    if (!machine_may(machine, WATCH) || lun_watch_open(machine->door, &options, &machine->watch, NULL))
        return;
    machine->n_seen = 0;
    machine->is_watch_old = false;
    watch_next(machine);
}

/* ---- both ----------------------------------------------------------------------------------------------- */

void door_look(struct machine *machine) {
    enum phase phase = machine->world->phase;
    if (!machine->observer && phase < SETTLING && chance(&machine->dice, 30))
        observe(machine);
    if (!machine->watch && phase < SETTLING && chance(&machine->dice, 20))
        watch(machine);
    if (phase == CALM && machine->observer && !world_far_ns(machine->world))
        check_observer(machine, SECONDS(4));
}

void door_stop_looking(struct machine *machine) {
    lun_observer_free(machine->observer);
    machine->observer = NULL;
    end_watch(machine);
}
