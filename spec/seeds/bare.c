/* spec/seeds/bare.c - a machine that uses sessions and places directly, as the door does. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recipe/guard.h"
#include "world.h"

enum deed { ENTER, WRITE, OPEN_SESSION, END_SESSION };

/* ---- standing in line ----------------------------------------------------------------------------------- */

static void let_go(struct stand *stand) {
    struct place *place = stand->place;
    stand->place = NULL;
    stand->state = FREE;
    stand->robbed_ns = 0;
    place_give_up(place);
}

static const char *text_of(struct lun_bytes bytes, char *text) {
    (void)snprintf(text, KEY_BYTES, "%.*s", (int)bytes.len, (const char *)bytes.data);
    return text;
}

static void on_entered(struct place *place, const struct lun_err *err) {
    struct stand *stand = place_owner(place);
    struct machine *machine = stand->machine;
    char key[KEY_BYTES];
    if (!err) {
        stand_holds(stand, text_of(place_key(place), key), place_create_rev(place));
        return;
    }
    tell(machine, "does not get %s: %s", stand->key, lun_strerror_name(err->code));
    /* What a frozen member carries out after another has answered is found, and deleted. */
    bool has_written = stand->written_ns && stand->written_ns < sim_client_served_ns(machine->client);
    if (err->code == LUN_ELOCKED && has_written)
        broken(machine->world, INVARIANT_try_writes_nothing, machine->name, stand->key);
    let_go(stand);
}

static void on_stop(struct place *place, enum lun_reason reason, bool is_lost) {
    struct stand *stand = place_owner(place);
    struct machine *machine = stand->machine;
    stand->is_told = true;
    tell(machine, "%s %s: %s", is_lost ? "has lost" : "has to stop", stand->key, lun_reason_name(reason));
    machine->world->history->n_lost += is_lost;
    if (is_lost || chance(&machine->dice, 300))
        let_go(stand);
}

static void on_left(struct place *place, const struct lun_err *err) {
    struct stand *stand = place_owner(place);
    tell(stand->machine, "left %s%s%s", stand->key, err ? ": " : "", err ? lun_strerror_name(err->code) : "");
    let_go(stand);
}

static void enter(struct stand *stand) {
    static const struct place_callbacks callbacks = {on_entered, on_stop, on_left};
    struct machine *machine = stand->machine;
    bool is_resting = machine_rests(machine);
    stand->line = is_resting ? 0 : draw_line(machine);
    stand->is_trying =
        chance(&machine->dice, 250) && !is_resting && is_exclusive(machine->world, stand->line);
    stand->written_ns = 0;
    int64_t patience = chance(&machine->dice, 400) ? SECONDS(3) : SECONDS(120);
    if (chance(&machine->dice, 100))
        patience = MS(5);
    if (is_resting)
        patience = SECONDS(120);
    stand->until_ns = sim_now(machine->world->sim) +
                      (patience == SECONDS(120) ? patience : below(&machine->dice, patience));
    struct line_rule rule = {LINE_EXCLUSIVE, machine->world->n_slots[stand->line]};
    if (!machine_may(machine, ENTER) ||
        place_enter(&machine->session, lun_bytes_of(lines[stand->line]), lun_bytes_of(machine->name),
                    stand->is_trying ? PLACE_TRY : PLACE_WAIT, rule, &callbacks, stand, &stand->place, NULL))
        return;
    (void)text_of(place_key(stand->place), stand->key);
    stand->token = 0;
    stand->robbed_ns = 0;
    stand->state = ENTERING;
    tell(machine, "%s %s", stand->is_trying ? "tries" : "enters", stand->key);
}

static void on_written(void *arg, const struct etcd_reply *reply) {
    (void)arg, (void)reply;
}

static void write_guarded(struct stand *stand) {
    struct machine *machine = stand->machine;
    char key[16], value[24];
    (void)snprintf(key, sizeof key, "/data%s/x", lines[stand->line]);
    (void)snprintf(value, sizeof value, "%lld", (long long)stand->token);
    struct lun_kv_op put = {.kind = LUN_OP_PUT, .key = lun_bytes_of(key), .value = lun_bytes_of(value)};
    struct lun_txn txn = {.success = &put, .n_success = 1};
    struct guard guard;
    if (!machine_may(machine, WRITE) || guard_init(&guard, &txn, lun_bytes_of(stand->key),
                                                   strlen(lines[stand->line]) + 1, stand->token, NULL))
        return;
    struct etcd_call_options how = {.deadline_ns = machine_now(machine) + SECONDS(3), .is_idempotent = true};
    (void)etcd_txn(machine->etcd, &guard.txn, &how, on_written, NULL, NULL);
    guard_fini(&guard);
}

static void hold(struct stand *stand, bool is_due) {
    struct machine *machine = stand->machine;
    if (chance(&machine->dice, 400) && !machine_rests(machine) && is_exclusive(machine->world, stand->line))
        write_guarded(stand);
    if (!is_due)
        return;
    if (chance(&machine->dice, 200)) {
        tell(machine, "lets go of %s", stand->key);
        let_go(stand);
    } else {
        tell(machine, "leaves %s", stand->key);
        stand->state = LEAVING;
        place_leave(stand->place);
    }
}

void bare_live_stand(struct stand *stand) {
    struct machine *machine = stand->machine;
    bool is_due = sim_now(machine->world->sim) >= stand->until_ns;
    switch (stand->state) {
    case FREE:
        if (machine->world->phase < SETTLING && machine->life == OPEN && chance(&machine->dice, 500))
            enter(stand);
        break;
    case ENTERING:
        if (is_due) {
            tell(machine, "gives up waiting with %s", stand->key);
            let_go(stand);
        }
        break;
    case HOLDING:
        hold(stand, is_due);
        break;
    case LEAVING:
        if (chance(&machine->dice, 50))
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
    tell(machine, "session %s %s", lun_session_state_name(session_state(session)),
         lun_reason_name(session->reason));
    if (session_state(session) == LUN_SESSION_LOST && machine->life == OPEN)
        on_session_lost(machine, session->reason, session->lease);
}

static void on_ended(struct session *session) {
    machine_of(session)->life = NONE;
}

static void open_session(struct machine *machine) {
    static const struct session_callbacks callbacks = {on_opened, on_state, on_ended, NULL};
    struct session_options options = {.ttl_s = machine_ttl_s(machine),
                                      .grace_ns = machine_has_grace(machine) ? -1 : 0,
                                      .lease = machine_adopts(machine),
                                      .index = &machine->places};
    memset(&machine->session, 0, sizeof machine->session);
    if (!machine_may(machine, OPEN_SESSION) ||
        session_start(&machine->session, machine->etcd, &options, &callbacks, NULL))
        return;
    machine->life = OPENING;
    machine->opened_ns = sim_now(machine->world->sim);
    tell(machine, "opens a session, lease %llx", (unsigned long long)machine->session.lease);
}

/* Once a session is closed nobody keeps its debts for long: what arrives later stands there as long as whoever
 * shares the lease renews it. The operator tidies up. */
void bare_close_session(struct machine *machine, bool is_revoked) {
    if (machine->life != OPENING && machine->life != OPEN && machine->life != OVER)
        return;
    if (machine->world->phase != CALM)
        forsake(machine);
    tell(machine, "closes its session, %s", is_revoked ? "revoking" : "leaving");
    machine->life = ENDING;
    rpc_enter(machine->rpc);
    session_close(&machine->session, is_revoked);
    rpc_leave(machine->rpc);
}

static void orphan(struct machine *machine) {
    tell(machine, "orphans its lease");
    forsake(machine);
    machine->life = ENDING;
    rpc_enter(machine->rpc);
    session_orphan(&machine->session);
    rpc_leave(machine->rpc);
}

static void live_session(struct machine *machine) {
    enum phase phase = machine->world->phase;
    if (machine->life == NONE && phase < SETTLING) {
        rpc_enter(machine->rpc);
        open_session(machine);
        rpc_leave(machine->rpc);
    } else if (machine->life == OVER) {
        bare_close_session(machine, !machine->is_adopted || chance(&machine->dice, 500));
    } else if (machine->life == OPEN && phase < SETTLING &&
               chance(&machine->dice, machine->world->restlessness) && !machine_rests(machine)) {
        bool is_orphaned = chance(&machine->dice, 150), is_revoked = chance(&machine->dice, 700);
        if (!machine_may(machine, END_SESSION))
            return;
        if (is_orphaned)
            orphan(machine);
        else
            bare_close_session(machine, is_revoked);
    }
}

/* ---- the machine ---------------------------------------------------------------------------------------- */

static void on_trace(void *arg, const char *line) {
    struct machine *machine = arg;
    sim_say(machine->world->sim, "%s: %s", machine->name, line);
}

void bare_start(struct machine *machine) {
    static const char *const addresses[SIM_MEMBERS] = {"a:1", "b:1", "c:1"};
    machine->trace = (struct trace){on_trace, machine};
    machine->is_closed = false;
    place_index_init(&machine->places);
    rpc_enter(machine->rpc);
    if (etcd_new(machine->rpc, addresses, SIM_MEMBERS,
                 machine->world->options.on_line ? &machine->trace : NULL, &machine->etcd, NULL))
        abort();
    const char *user = machine_user(machine);
    if (user && etcd_set_user(machine->etcd, user, USER_PASSWORD))
        abort();
    rpc_leave(machine->rpc);
}

void bare_live(struct machine *machine) {
    rpc_enter(machine->rpc);
    for (int i = 0; i < STANDS; i++)
        bare_live_stand(&machine->stands[i]);
    rpc_leave(machine->rpc);
    live_session(machine);
}

static void on_closed(void *arg) {
    ((struct machine *)arg)->is_closed = true;
}

void bare_close(struct machine *machine) {
    rpc_enter(machine->rpc);
    etcd_close(machine->etcd, on_closed, machine);
    rpc_leave(machine->rpc);
}

void bare_end(struct machine *machine) {
    rpc_enter(machine->rpc);
    etcd_free(machine->etcd);
    rpc_leave(machine->rpc);
    place_index_fini(&machine->places);
}

void bare_kill(struct machine *machine) {
    rpc_enter(machine->rpc);
    for (int i = 0; i < STANDS; i++)
        if (machine->stands[i].state != FREE)
            let_go(&machine->stands[i]);
    if (machine->life != NONE)
        session_kill(&machine->session);
    if (!machine->is_closed)
        etcd_close(machine->etcd, on_closed, machine);
    rpc_leave(machine->rpc);
    sim_client_drain(machine->client);
    if (machine->life != NONE || !machine->is_closed) {
        broken(machine->world, INVARIANT_close_ends, machine->name, "killed");
        abort(); /* its memory cannot be given back */
    }
    bare_end(machine);
}
