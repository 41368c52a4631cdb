/* spec/prove/history.c - see history.h.
 *
 * Phases: calm (intentions and the operator, no fault), faults, recovery (intentions, no faults), settling
 * (nobody wants anything new), closing. */
#include "history.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recipe/guard.h"
#include "recipe/place.h"
#include "recipe/session.h"
#include "sim/sim.h"

enum { MACHINES = 4, STANDS = 3, LINES = 2, GRAVES = 256, RECOVERIES = 64, KEY_BYTES = 96 };

#define MS(n) ((n)*NS_PER_MS)
#define SECONDS(n) ((n)*NS_PER_S)

static const char *const lines[LINES] = {"/a", "/b"};

enum phase { CALM, FAULTY, RECOVERING, SETTLING, CLOSING };
enum stand_state { FREE, ENTERING, HOLDING, LEAVING };
enum life { NONE, OPENING, OPEN, OVER, ENDING };

struct machine;
struct stand {
    struct machine *machine;
    struct place *place;
    enum stand_state state;
    int line;
    char key[KEY_BYTES];
    int64_t token, until_ns, held_since_ns;
    int64_t robbed_ns; /* somebody else took its key away, then; 0: nobody */
};

struct machine {
    struct world *world;
    char name[16];
    int n_lives;
    struct sim_client *client;
    struct rpc *rpc;
    struct trace trace;
    struct etcd *etcd;
    struct crowd crowd;
    struct session session;
    enum life life;
    bool is_up, is_closed, is_paused, is_adopted, is_lease_taken;
    int64_t start_at_ns, calm_since_ns;
    struct stand stands[STANDS];
    struct sim_event think;
};

struct grave {
    char key[KEY_BYTES];
    int64_t create_rev, at_ns;
    enum sim_cause cause;
};

enum cure { THAW, JOIN, START, RESUME, FALL_SILENT };
struct recovery {
    int64_t at_ns;
    enum cure cure;
    int index;
};

struct world {
    struct sim *sim;
    struct history *history;
    enum phase phase;
    struct machine machines[MACHINES];
    int64_t last_token[LINES];
    struct grave graves[GRAVES];
    size_t n_graves;
    struct recovery recoveries[RECOVERIES];
    size_t n_recoveries;
    struct sim_event fault_tick;
    int weights[10];
    int fault_rate;
    bool is_operator_rude;
    int64_t forsaken[64]; /* leases that others share, of machines that left places behind: the operator's */
    size_t n_forsaken;
};

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

/* ---- saying so ------------------------------------------------------------------------------------------ */

static void broken(struct world *world, enum invariant invariant, const char *who, const char *what) {
    if (world->history->broken)
        return;
    world->history->broken = invariant;
    (void)snprintf(world->history->text, sizeof world->history->text, "%s: %s", who, what);
    sim_say(world->sim, "BROKEN %s: %s: %s", names[invariant], who, what);
}

static void digest(struct world *world, const char *line) {
    uint64_t hash = world->history->digest ^ (uint64_t)sim_now(world->sim);
    for (; *line; line++)
        hash = (hash ^ (uint8_t)*line) * UINT64_C(0x100000001b3);
    world->history->digest = hash;
}

static void tell(struct stand *stand, const char *what) {
    struct world *world = stand->machine->world;
    char line[160];
    (void)snprintf(line, sizeof line, "%s: %s %s %s/%lld", stand->machine->name, what, lines[stand->line],
                   stand->key, (long long)stand->token);
    digest(world, line);
    sim_say(world->sim, "%s", line);
}

/* ---- what is believed ----------------------------------------------------------------------------------- */

static bool believes(struct stand *stand) {
    return stand->state == HOLDING && session_valid_until_ns(&stand->machine->session) != 0;
}

static struct stand *stand_at(struct world *world, size_t i) {
    return &world->machines[i / STANDS].stands[i % STANDS];
}
enum { ALL_STANDS = MACHINES * STANDS };

static void check_owners(struct world *world) {
    const struct stand *owner[LINES] = {NULL};
    for (size_t i = 0; i < ALL_STANDS; i++) {
        struct stand *stand = stand_at(world, i);
        if (stand->robbed_ns || !believes(stand))
            continue;
        if (owner[stand->line])
            broken(world, INVARIANT_one_owner, owner[stand->line]->machine->name, stand->machine->name);
        owner[stand->line] = stand;
    }
}

static void check_told(struct world *world) {
    int64_t now = sim_now(world->sim);
    for (size_t i = 0; i < ALL_STANDS; i++) {
        struct stand *stand = stand_at(world, i);
        if (world->phase == CALM && stand->robbed_ns && now - stand->robbed_ns > SECONDS(1) &&
            now - stand->held_since_ns > SECONDS(1) && believes(stand))
            broken(world, INVARIANT_loss_is_told, stand->machine->name, stand->key);
    }
}

static void on_delete(void *arg, const struct sim_kv *kv, enum sim_cause cause) {
    struct world *world = arg;
    struct grave *grave = &world->graves[world->n_graves++ % GRAVES];
    (void)snprintf(grave->key, sizeof grave->key, "%s", kv->key);
    grave->create_rev = kv->create_rev;
    grave->cause = cause;
    grave->at_ns = sim_now(world->sim);
    for (size_t i = 0; i < ALL_STANDS; i++) {
        struct stand *stand = stand_at(world, i);
        if (stand->state != HOLDING || stand->token != kv->create_rev || strcmp(stand->key, kv->key) != 0)
            continue;
        if (cause == SIM_BY_EXPIRY && believes(stand))
            broken(world, INVARIANT_belief_ends_early, stand->machine->name, kv->key);
        else if (cause == SIM_BY_REQUEST && believes(stand))
            broken(world, INVARIANT_held_key_is_safe, stand->machine->name, kv->key);
        else
            stand->robbed_ns = sim_now(world->sim);
    }
}

static void on_put(void *arg, const char *key, const char *value) {
    struct world *world = arg;
    if (strncmp(key, "/data", 5) != 0)
        return;
    char prefix[8];
    (void)snprintf(prefix, sizeof prefix, "%s/", key + 5);
    const struct sim_kv *first = sim_first(world->sim, prefix);
    if (!first || first->create_rev != atoll(value))
        broken(world, INVARIANT_guarded_write, key, value);
    world->history->n_writes++;
}

static const struct sim_kv *find(struct world *world, const char *key, int64_t create_rev) {
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

static void check_win(struct stand *stand) {
    struct world *world = stand->machine->world;
    char prefix[8];
    (void)snprintf(prefix, sizeof prefix, "%s/", lines[stand->line]);
    world->history->n_wins++;
    if (!find(world, stand->key, stand->token)) {
        const struct grave *grave = find_grave(world, stand->key, stand->token);
        int64_t ago = grave ? sim_now(world->sim) - grave->at_ns : 0;
        if (!grave || grave->cause == SIM_BY_EXPIRY || grave->cause == SIM_BY_REQUEST ||
            (world->phase == CALM && ago > MS(500)))
            broken(world, INVARIANT_win_is_alive, stand->machine->name, stand->key);
        stand->robbed_ns = sim_now(world->sim);
        return;
    }
    const struct sim_kv *first = sim_first(world->sim, prefix);
    if (first->create_rev != stand->token)
        broken(world, INVARIANT_win_is_first, stand->machine->name, first->key);
    if (stand->token <= world->last_token[stand->line])
        broken(world, INVARIANT_tokens_rise, stand->machine->name, stand->key);
    world->last_token[stand->line] = stand->token;
}

/* ---- standing in line ----------------------------------------------------------------------------------- */

static void let_go(struct stand *stand) {
    struct place *place = stand->place;
    stand->place = NULL;
    stand->state = FREE;
    stand->robbed_ns = 0;
    place_give_up(place);
}

static void on_entered(struct place *place, const struct lun_err *err) {
    struct stand *stand = place_owner(place);
    struct world *world = stand->machine->world;
    if (err) {
        tell(stand, lun_strerror_name(err->code));
        let_go(stand);
        return;
    }
    struct lun_bytes key = place_key(place);
    (void)snprintf(stand->key, sizeof stand->key, "%.*s", (int)key.len, (const char *)key.data);
    stand->token = place_create_rev(place);
    stand->state = HOLDING;
    stand->held_since_ns = sim_now(world->sim);
    int64_t longest = sim_chance(world->sim, 500) ? MS(60) : SECONDS(4);
    stand->until_ns = sim_now(world->sim) + sim_below(world->sim, longest);
    tell(stand, "holds");
    check_win(stand);
}

static void on_stop(struct place *place, enum lun_reason reason, bool is_lost) {
    struct stand *stand = place_owner(place);
    tell(stand, is_lost ? lun_reason_name(reason) : "stop");
    if (is_lost)
        stand->machine->world->history->n_lost++;
    if (is_lost || sim_chance(stand->machine->world->sim, 300))
        let_go(stand);
}

static void on_left(struct place *place, const struct lun_err *err) {
    struct stand *stand = place_owner(place);
    tell(stand, err ? lun_strerror_name(err->code) : "left");
    let_go(stand);
}

static void enter(struct stand *stand) {
    static const struct place_callbacks callbacks = {on_entered, on_stop, on_left};
    struct machine *machine = stand->machine;
    struct sim *sim = machine->world->sim;
    stand->line = (int)sim_below(sim, LINES);
    enum place_mode mode = sim_chance(sim, 750) ? PLACE_WAIT : PLACE_TRY;
    if (place_enter(&machine->session, lun_bytes_of(lines[stand->line]), lun_bytes_of(machine->name), mode,
                    &callbacks, stand, &stand->place, NULL))
        return;
    struct lun_bytes key = place_key(stand->place);
    (void)snprintf(stand->key, sizeof stand->key, "%.*s", (int)key.len, (const char *)key.data);
    stand->token = 0;
    stand->robbed_ns = 0;
    stand->state = ENTERING;
    stand->until_ns = sim_now(sim) + (sim_chance(sim, 400) ? sim_below(sim, SECONDS(3)) : SECONDS(120));
    tell(stand, mode == PLACE_WAIT ? "enters" : "tries");
}

static void on_written(void *arg, const struct etcd_reply *reply) {
    (void)arg, (void)reply;
}

static void write_guarded(struct stand *stand) {
    struct machine *machine = stand->machine;
    char key[16], value[24];
    (void)snprintf(key, sizeof key, "/data%s", lines[stand->line]);
    (void)snprintf(value, sizeof value, "%lld", (long long)stand->token);
    struct lun_kv_op put = {.kind = LUN_OP_PUT, .key = lun_bytes_of(key), .value = lun_bytes_of(value)};
    struct lun_txn txn = {.success = &put, .n_success = 1};
    struct guard guard;
    if (guard_init(&guard, &txn, lun_bytes_of(stand->key), strlen(lines[stand->line]) + 1, stand->token,
                   NULL))
        return;
    struct etcd_how how = {.deadline_ns = rpc_now(machine->rpc) + SECONDS(3), .is_idempotent = true};
    (void)etcd_txn(machine->etcd, &guard.txn, &how, on_written, NULL, NULL);
    guard_fini(&guard);
}

static void live(struct stand *stand) {
    struct world *world = stand->machine->world;
    struct sim *sim = world->sim;
    bool is_due = sim_now(sim) >= stand->until_ns;
    bool is_wanted = world->phase < SETTLING;
    switch (stand->state) {
    case FREE:
        if (is_wanted && stand->machine->life == OPEN && sim_chance(sim, 500))
            enter(stand);
        break;
    case ENTERING:
        if (is_due) {
            tell(stand, "gives up waiting");
            let_go(stand);
        }
        break;
    case HOLDING:
        if (sim_chance(sim, 400))
            write_guarded(stand);
        if (!is_due)
            break;
        if (sim_chance(sim, 200)) {
            tell(stand, "lets go");
            let_go(stand);
        } else {
            tell(stand, "leaves");
            stand->state = LEAVING;
            place_leave(stand->place);
        }
        break;
    case LEAVING:
        if (sim_chance(sim, 50))
            let_go(stand);
        break;
    }
}

/* ---- sessions ------------------------------------------------------------------------------------------- */

static struct machine *machine_of(struct session *session) {
    return CONTAINER_OF(session, struct machine, session);
}

static void on_opened(struct session *session, const struct lun_err *err) {
    struct machine *machine = machine_of(session);
    if (machine->life == OPENING)
        machine->life = err ? ENDING : OPEN;
}

static void on_state(struct session *session) {
    struct machine *machine = machine_of(session);
    struct world *world = machine->world;
    char line[96];
    (void)snprintf(line, sizeof line, "%s: session %s %s", machine->name,
                   lun_session_state_name(session_state(session)), lun_reason_name(session->reason));
    digest(world, line);
    sim_say(world->sim, "%s", line);
    if (session_state(session) != LUN_SESSION_LOST || machine->life != OPEN)
        return;
    machine->life = OVER;
    if (session->reason == LUN_LOST_REVOKED && sim_has_lease(world->sim, session->lease))
        broken(world, INVARIANT_revoked_is_true, machine->name, "TTL 0");
    if (world->phase == CALM && session->reason != LUN_LOST_REVOKED && !machine->is_adopted &&
        !machine->is_lease_taken)
        broken(world, INVARIANT_session_survives, machine->name, lun_reason_name(session->reason));
}

static void on_ended(struct session *session) {
    machine_of(session)->life = NONE;
}

static void open_session(struct machine *machine) {
    static const struct session_callbacks callbacks = {on_opened, on_state, on_ended};
    struct world *world = machine->world;
    struct sim *sim = world->sim;
    struct session_options options = {
        .ttl_s = 2 + sim_below(sim, 9), .grace_ns = -1, .crowd = &machine->crowd};
    struct machine *other = &world->machines[sim_below(sim, MACHINES)];
    machine->is_adopted = false;
    machine->is_lease_taken = false;
    if (other != machine && other->life == OPEN && sim_chance(sim, 100)) {
        options.lease = other->session.lease;
        machine->is_adopted = other->is_lease_taken = true;
    }
    memset(&machine->session, 0, sizeof machine->session);
    if (session_start(&machine->session, machine->etcd, &options, &callbacks, NULL))
        return;
    machine->life = OPENING;
    sim_say(sim, "%s: opens %llx", machine->name, (unsigned long long)machine->session.lease);
}

/* Whoever shares its lease keeps alive what it leaves behind: somebody has to tidy up in the end. */
static void forsake(struct machine *machine) {
    struct world *world = machine->world;
    if ((machine->is_adopted || machine->is_lease_taken) && world->n_forsaken < 64)
        world->forsaken[world->n_forsaken++] = machine->session.lease;
}

static void close_session(struct machine *machine, bool is_revoked) {
    sim_say(machine->world->sim, "%s: closes, %s", machine->name, is_revoked ? "revoking" : "leaving");
    machine->life = ENDING;
    /* Once the session is closed nobody keeps its debts: a late copy of an entering transaction stands there as
     * long as whoever shares the lease renews it; so does everything when the revocation is not answered within a
     * TTL. A known limit; the operator tidies up. */
    if (machine->world->phase != CALM)
        forsake(machine);
    session_close(&machine->session, is_revoked);
}

static void live_session(struct machine *machine) {
    struct sim *sim = machine->world->sim;
    enum phase phase = machine->world->phase;
    if (machine->life == NONE && phase < SETTLING) {
        open_session(machine);
    } else if (machine->life == OVER) {
        close_session(machine, !machine->is_adopted || sim_chance(sim, 500));
    } else if (machine->life == OPEN && phase < SETTLING && sim_chance(sim, 10)) {
        if (sim_chance(sim, 150)) {
            sim_say(sim, "%s: orphans", machine->name);
            machine->life = ENDING;
            forsake(machine);
            session_orphan(&machine->session);
        } else {
            close_session(machine, sim_chance(sim, 700));
        }
    }
}

/* ---- machines ------------------------------------------------------------------------------------------- */

static void on_trace(void *arg, const char *line) {
    struct machine *machine = arg;
    sim_say(machine->world->sim, "%s: %s", machine->name, line);
}

static void start(struct machine *machine) {
    struct world *world = machine->world;
    struct sim *sim = world->sim;
    static const char *const addresses[SIM_MEMBERS] = {"a:1", "b:1", "c:1"};
    (void)snprintf(machine->name, sizeof machine->name, "M%d.%d", (int)(machine - world->machines),
                   ++machine->n_lives);
    /* The promise allows rates 10 % apart; the last half per cent is left to the ticks. */
    machine->client = sim_client_new(sim, machine->name, sim_below(sim, 190001) - 95000);
    machine->rpc = sim_client_rpc(machine->client);
    machine->trace = (struct trace){on_trace, machine};
    machine->life = NONE;
    machine->is_paused = false;
    machine->is_closed = false;
    crowd_init(&machine->crowd);
    rpc_enter(machine->rpc);
    if (etcd_new(machine->rpc, addresses, SIM_MEMBERS,
                 world->sim && machine->trace.arg ? &machine->trace : NULL, &machine->etcd, NULL))
        abort();
    rpc_leave(machine->rpc);
    machine->is_up = true;
}

static void on_closed(void *arg) {
    ((struct machine *)arg)->is_closed = true;
}

static void check_leftovers(struct machine *machine) {
    rpc_enter(machine->rpc);
    etcd_free(machine->etcd);
    rpc_leave(machine->rpc);
    const char *left = sim_client_leftovers(machine->client);
    if (left)
        broken(machine->world, INVARIANT_nothing_is_left, machine->name, left);
    crowd_fini(&machine->crowd);
    machine->is_up = false;
}

static void kill_machine(struct machine *machine) {
    struct world *world = machine->world;
    sim_say(world->sim, "fault: %s killed", machine->name);
    world->history->n_kills++;
    sim_client_kill(machine->client);
    rpc_enter(machine->rpc);
    for (int i = 0; i < STANDS; i++)
        if (machine->stands[i].state != FREE)
            let_go(&machine->stands[i]);
    if (machine->life != NONE)
        forsake(machine);
    if (machine->life != NONE)
        session_kill(&machine->session);
    if (!machine->is_closed)
        etcd_close(machine->etcd, on_closed, machine);
    rpc_leave(machine->rpc);
    sim_client_drain(machine->client);
    if (machine->life != NONE || !machine->is_closed) {
        broken(world, INVARIANT_close_ends, machine->name, "killed");
        abort(); /* its memory cannot be given back */
    }
    check_leftovers(machine);
    machine->start_at_ns = sim_now(world->sim) + sim_below(world->sim, SECONDS(3));
}

static void on_think(struct sim_event *event) {
    struct machine *machine = CONTAINER_OF(event, struct machine, think);
    struct world *world = machine->world;
    struct sim *sim = world->sim;
    if (!machine->is_up && world->phase < SETTLING && sim_now(sim) >= machine->start_at_ns)
        start(machine);
    if (machine->is_up && !machine->is_paused) {
        rpc_enter(machine->rpc);
        for (int i = 0; i < STANDS; i++)
            live(&machine->stands[i]);
        live_session(machine);
        rpc_leave(machine->rpc);
    }
    sim_at(sim, event, sim_now(sim) + MS(10) + sim_below(sim, MS(sim_chance(sim, 300) ? 60 : 500)));
}

/* ---- faults --------------------------------------------------------------------------------------------- */

static void later(struct world *world, enum cure cure, int index, int64_t in_ns) {
    if (world->n_recoveries < RECOVERIES)
        world->recoveries[world->n_recoveries++] =
            (struct recovery){sim_now(world->sim) + in_ns, cure, index};
}

/* Everything comes late for a while, and then nothing comes at all: a deadline counted from an answer's arrival
 * outlives the lease. */
static void slow_down(struct world *world, int victim) {
    struct machine *machine = &world->machines[victim];
    int64_t late = MS(300) + sim_below(world->sim, SECONDS(1));
    for (int i = 0; i < SIM_MEMBERS; i++)
        sim_client_lag(machine->client, i, late);
    later(world, FALL_SILENT, victim, late);
}

static void fall_silent(struct world *world, int victim) {
    struct machine *machine = &world->machines[victim];
    if (world->phase != FAULTY || !machine->is_up || machine->is_paused)
        return;
    for (int i = 0; i < SIM_MEMBERS; i++)
        sim_client_hold(machine->client, i, SECONDS(3) + sim_below(world->sim, SECONDS(12)));
}

static void cure(struct world *world, const struct recovery *recovery) {
    struct machine *machine = &world->machines[recovery->index];
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
    case FALL_SILENT:
        fall_silent(world, recovery->index);
        break;
    case RESUME:
        if (machine->is_up && machine->is_paused) {
            machine->is_paused = false;
            sim_client_resume(machine->client);
        }
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

static int any_member(struct world *world) {
    int leader = sim_leader(world->sim);
    return sim_chance(world->sim, 500) && leader >= 0 ? leader : (int)sim_below(world->sim, SIM_MEMBERS);
}

/* Mostly only one member is unwell at a time. */
static bool may_hurt(struct world *world, int member) {
    for (int i = 0; i < SIM_MEMBERS; i++)
        if (i != member && !sim_is_well(world->sim, i))
            return sim_chance(world->sim, 150);
    return sim_is_well(world->sim, member);
}

static void operate(struct world *world) {
    struct sim *sim = world->sim;
    int64_t choice = sim_below(sim, 10);
    if (choice < 4) {
        sim_compact(sim);
    } else if (sim_n_kvs(sim) > 0) {
        struct sim_kv kv = *sim_kv_at(sim, (size_t)sim_below(sim, (int64_t)sim_n_kvs(sim)));
        if (strncmp(kv.key, "/data", 5) == 0)
            return;
        if (choice < 8)
            sim_delete(sim, kv.key);
        else if (kv.lease)
            sim_revoke(sim, kv.lease);
    }
}

static void hurt(struct world *world) {
    struct sim *sim = world->sim;
    int total = 0, kind = 0;
    for (int i = 0; i < 8; i++)
        total += world->weights[i];
    if (total == 0)
        return;
    int64_t at = sim_below(sim, total);
    while (at >= world->weights[kind])
        at -= world->weights[kind++];
    int member = any_member(world);
    int victim = (int)sim_below(sim, MACHINES);
    struct machine *machine = &world->machines[victim];
    switch (kind) {
    case 0:
        if (!may_hurt(world, member))
            break;
        sim_freeze(sim, member);
        later(world, THAW, member, MS(300) + sim_below(sim, SECONDS(sim_chance(sim, 300) ? 16 : 6)));
        break;
    case 1:
        if (!may_hurt(world, member))
            break;
        sim_cut(sim, member);
        later(world, JOIN, member, MS(300) + sim_below(sim, SECONDS(8)));
        break;
    case 2:
        if (!may_hurt(world, member))
            break;
        sim_stop(sim, member);
        later(world, START, member, MS(100) + sim_below(sim, SECONDS(5)));
        break;
    case 3:
        if (!machine->is_up || machine->is_paused)
            break;
        machine->is_paused = true;
        sim_client_pause(machine->client);
        later(world, RESUME, victim, MS(50) + sim_below(sim, SECONDS(sim_chance(sim, 300) ? 14 : 3)));
        break;
    case 4:
        if (machine->is_up)
            kill_machine(machine);
        break;
    case 5:
        if (machine->is_up && sim_chance(sim, 400))
            slow_down(world, victim);
        else if (machine->is_up)
            sim_client_hold(machine->client, member, MS(50) + sim_below(sim, SECONDS(4)));
        break;
    case 6:
        if (machine->is_up)
            sim_client_reset(machine->client, member);
        break;
    default:
        operate(world);
        break;
    }
}

static void on_fault_tick(struct sim_event *event) {
    struct world *world = CONTAINER_OF(event, struct world, fault_tick);
    recover(world, false);
    if (world->phase == FAULTY && sim_chance(world->sim, world->fault_rate))
        hurt(world);
    if (world->phase < SETTLING && sim_chance(world->sim, world->is_operator_rude ? 40 : 5))
        operate(world);
    sim_at(world->sim, event, sim_now(world->sim) + MS(100));
}

/* ---- phases --------------------------------------------------------------------------------------------- */

static bool step(struct world *world) {
    sim_step(world->sim);
    world->history->n_steps++;
    check_owners(world);
    check_told(world);
    return world->history->broken == INVARIANT_NONE;
}

static bool is_nobody_in_line(const struct world *world) {
    for (size_t i = 0; i < sim_n_kvs(world->sim); i++)
        if (strncmp(sim_kv_at(world->sim, i)->key, "/data", 5) != 0)
            return false;
    return true;
}

static bool are_all_free(struct world *world) {
    for (size_t i = 0; i < ALL_STANDS; i++)
        if (stand_at(world, i)->state != FREE)
            return false;
    return true;
}

static bool never(struct world *world) {
    (void)world;
    return false;
}

static bool is_settled(struct world *world) {
    return are_all_free(world) && is_nobody_in_line(world);
}

static bool are_sessions_ended(struct world *world) {
    for (int i = 0; i < MACHINES; i++)
        if (world->machines[i].is_up && world->machines[i].life != NONE)
            return false;
    return true;
}

static bool are_clients_closed(struct world *world) {
    for (int i = 0; i < MACHINES; i++)
        if (world->machines[i].is_up && !world->machines[i].is_closed)
            return false;
    return true;
}

static bool are_leases_gone(struct world *world) {
    return sim_n_leases(world->sim) == 0;
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

static void begin_faults(struct world *world) {
    struct sim *sim = world->sim;
    world->phase = FAULTY;
    for (int i = 0; i < 8; i++)
        world->weights[i] = sim_chance(sim, 550) ? 1 + (int)sim_below(sim, 4) : 0;
    world->fault_rate = 20 + (int)sim_below(sim, 120);
    struct sim_faults faults = {0};
    if (sim_chance(sim, 500))
        faults.reply_lost = 1 + (int)sim_below(sim, sim_chance(sim, 300) ? 100 : 25);
    if (sim_chance(sim, 500))
        faults.request_lost = 1 + (int)sim_below(sim, 25);
    if (sim_chance(sim, 600))
        faults.delayed = 1 + (int)sim_below(sim, 60);
    if (sim_chance(sim, 600))
        faults.late_after_cancel = 1 + (int)sim_below(sim, 300);
    if (sim_chance(sim, 300))
        faults.event_dropped = 1 + (int)sim_below(sim, 50);
    sim_set_faults(sim, &faults);
}

static void end_faults(struct world *world) {
    world->phase = RECOVERING;
    sim_set_faults(world->sim, &(struct sim_faults){0});
    recover(world, true);
    for (int i = 0; i < MACHINES * SIM_MEMBERS; i++)
        if (world->machines[i / SIM_MEMBERS].is_up)
            sim_client_hold(world->machines[i / SIM_MEMBERS].client, i % SIM_MEMBERS, 0);
    sim_say(world->sim, "fault: no more of them");
}

static void name_unsettled(struct world *world) {
    for (size_t i = 0; i < sim_n_kvs(world->sim); i++) {
        const struct sim_kv *kv = sim_kv_at(world->sim, i);
        sim_say(world->sim, "in the store: %s/%lld of %s, lease %llx", kv->key, (long long)kv->create_rev,
                kv->value, (unsigned long long)kv->lease);
    }
    for (size_t i = 0; i < ALL_STANDS; i++)
        if (stand_at(world, i)->state != FREE)
            broken(world, INVARIANT_waiter_is_served, stand_at(world, i)->machine->name,
                   stand_at(world, i)->key);
    for (size_t i = 0; i < sim_n_kvs(world->sim); i++)
        if (strncmp(sim_kv_at(world->sim, i)->key, "/data", 5) != 0)
            broken(world, INVARIANT_queue_is_empty, sim_kv_at(world->sim, i)->value,
                   sim_kv_at(world->sim, i)->key);
}

static void close_all(struct world *world) {
    world->phase = CLOSING;
    for (int i = 0; i < MACHINES; i++) {
        struct machine *machine = &world->machines[i];
        if (!machine->is_up)
            continue;
        rpc_enter(machine->rpc);
        if (machine->life == OPEN || machine->life == OVER || machine->life == OPENING)
            close_session(machine, !machine->is_adopted);
        rpc_leave(machine->rpc);
    }
    if (!run(world, SECONDS(40), are_sessions_ended)) {
        broken(world, INVARIANT_close_ends, "a session", "40 s after it was closed");
        return;
    }
    for (int i = 0; i < MACHINES; i++) {
        struct machine *machine = &world->machines[i];
        if (!machine->is_up)
            continue;
        rpc_enter(machine->rpc);
        etcd_close(machine->etcd, on_closed, machine);
        rpc_leave(machine->rpc);
    }
    if (!run(world, SECONDS(40), are_clients_closed)) {
        broken(world, INVARIANT_close_ends, "a client", "40 s after it was closed");
        return;
    }
    for (int i = 0; i < MACHINES; i++)
        if (world->machines[i].is_up)
            check_leftovers(&world->machines[i]);
    if (!run(world, SECONDS(20), are_leases_gone))
        broken(world, INVARIANT_lease_lapses, "etcd", "20 s after the last session ended");
}

static void live_through(struct world *world) {
    (void)run(world, SECONDS(8), never);
    if (world->history->broken)
        return;
    begin_faults(world);
    (void)run(world, SECONDS(12) + sim_below(world->sim, SECONDS(30)), never);
    if (world->history->broken)
        return;
    end_faults(world);
    (void)run(world, SECONDS(8), never);
    if (world->history->broken)
        return;
    world->phase = SETTLING;
    sim_say(world->sim, "nobody wants anything new");
    for (size_t i = 0; i < world->n_forsaken; i++)
        sim_revoke(world->sim, world->forsaken[i]);
    if (!run(world, SECONDS(60), is_settled)) {
        name_unsettled(world);
        return;
    }
    close_all(world);
}

static void print_line(void *arg, int64_t now_ns, const char *line) {
    (void)arg;
    (void)printf("%9.3f %s\n", (double)(now_ns - SECONDS(1000)) / 1e9, line);
}

void history_run(uint64_t seed, bool is_traced, struct history *ret) {
    *ret = (struct history){0};
    struct world *world = calloc(1, sizeof *world);
    if (!world)
        abort();
    world->history = ret;
    world->sim = sim_new(seed);
    if (is_traced)
        sim_trace(world->sim, print_line, NULL);
    struct sim_watcher watcher = {on_delete, on_put, world};
    sim_look_on(world->sim, &watcher);
    world->is_operator_rude = sim_chance(world->sim, 300);
    for (int i = 0; i < MACHINES; i++) {
        struct machine *machine = &world->machines[i];
        machine->world = world;
        machine->think.run = on_think;
        for (int k = 0; k < STANDS; k++)
            machine->stands[k].machine = machine;
        start(machine);
        sim_at(world->sim, &machine->think, sim_now(world->sim) + sim_below(world->sim, MS(300)));
    }
    world->fault_tick.run = on_fault_tick;
    sim_at(world->sim, &world->fault_tick, sim_now(world->sim));
    live_through(world);
    ret->ns = sim_now(world->sim) - SECONDS(1000);
    for (int i = 0; i < MACHINES; i++)
        if (world->machines[i].is_up)
            kill_machine(&world->machines[i]);
    for (int i = 0; i < MACHINES; i++)
        sim_off(world->sim, &world->machines[i].think);
    sim_off(world->sim, &world->fault_tick);
    sim_free(world->sim);
    free(world);
}
