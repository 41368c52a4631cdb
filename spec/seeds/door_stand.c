/* spec/seeds/door_stand.c - in line through the door, for whatever kind of thing (door_kinds.c); and what
 * leaders do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

enum deed { CANCEL = 34, WRITE, PROCLAIM, ASK_LEADER, DROP };

/* ---- letting go ----------------------------------------------------------------------------------------- */

/* Whatever is out for it is answered to nobody. */
static void detach(struct stand *stand) {
    struct machine *machine = stand->machine;
    for (int i = 0; i < ASKED; i++)
        if (machine->asked[i].stand == stand)
            machine->asked[i].stand = NULL;
    stand->waiting = NULL;
}

static void become_free(struct stand *stand) {
    stand->state = FREE;
    stand->robbed_ns = 0;
    stand->waiting = NULL;
}

/* In the order in which a careless user would. */
void door_drop_stand(struct stand *stand) {
    detach(stand);
    become_free(stand);
    if (stand->object)
        stand->kind->free(stand->object);
    lun_term_free(stand->term);
    stand->kind = NULL;
    stand->object = NULL;
    stand->term = NULL;
}

/* ---- losing --------------------------------------------------------------------------------------------- */

static void on_loss(struct asked *asked, const struct lun_result *result) {
    struct stand *stand = asked->stand;
    struct machine *machine = asked->machine;
    if (!stand || stand->state != HOLDING)
        return;
    if (result->err) {
        /* The call may be cancelled or the client closed; the place is still ours. */
        stand->is_told = true;
        return;
    }
    tell(machine, "is told to stop %s: %s", stand->key, lun_reason_name(result->reason));
    stand->is_told = true;
    machine->world->history->n_lost++;
    stand->until_ns = sim_now(machine->world->sim);
}

static void await_loss(struct stand *stand) {
    struct lun_ask ask;
    struct lun_err err;
    struct asked *asked = door_ask(stand->machine, stand, "await the loss", -1, on_loss, &ask);
    if (!asked)
        return;
    (void)door_is_asked(asked, stand->kind->await_loss(stand, &ask, &asked->op, &err), &err);
}

/* ---- getting in ----------------------------------------------------------------------------------------- */

static void on_won(struct asked *asked, const struct lun_result *result) {
    struct stand *stand = asked->stand;
    char key[KEY_BYTES];
    if (!stand) { /* let go of meanwhile, and answered all the same: then it is ours to free */
        if (!result->err && result->term)
            lun_term_free(result->term);
        return;
    }
    if (result->err) {
        become_free(stand);
        return;
    }
    stand->waiting = NULL;
    stand->term = result->term;
    struct lun_bytes bytes = stand->kind->key(stand);
    (void)snprintf(key, sizeof key, "%.*s", (int)bytes.len, (const char *)bytes.data);
    stand_holds(stand, key, result->token);
    await_loss(stand);
}

static void ask_in(struct stand *stand, int64_t timeout_ms) {
    struct machine *machine = stand->machine;
    const struct kind *kind = stand->kind;
    bool is_trying = kind->try_to_enter && chance(&machine->dice, 300);
    struct lun_ask ask;
    struct lun_err err;
    if (!machine_may(machine, kind->deed) || (!stand->object && kind->make(stand)))
        return;
    const char *what = is_trying ? kind->try_to_enter : kind->enter;
    struct asked *asked = door_ask(machine, stand, what, timeout_ms, on_won, &ask);
    if (!asked)
        return;
    tell(machine, "%s %s", kind->enters ? kind->enters : what, lines[stand->line]);
    if (!door_is_asked(asked, kind->ask_in(stand, is_trying, &ask, &asked->op, &err), &err))
        return;
    asked->is_taken_late = true;
    stand->waiting = asked;
    stand->state = ENTERING;
}

static void enter(struct stand *stand) {
    struct machine *machine = stand->machine;
    int64_t timeout_ms = door_timeout(machine);
    if (chance(&machine->dice, 400))
        door_drop_stand(stand);
    int64_t which = below(&machine->dice, 1000);
    int line = draw_line(machine);
    if (!stand->object) {
        stand->line = line;
        stand->kind = draw_kind(machine->world->n_slots[line], which);
    }
    if (stand->kind)
        ask_in(stand, timeout_ms);
    /* Without a timeout it may wait for ever. */
    int64_t patience = timeout_ms < 0 ? SECONDS(60) : SECONDS(1000);
    stand->until_ns = sim_now(machine->world->sim) + patience;
}

static void cancel(struct stand *stand) {
    struct asked *asked = stand->waiting;
    struct machine *machine = stand->machine;
    if (!asked || !asked->op || !machine_may(machine, CANCEL))
        return;
    tell(machine, "cancels: %s", asked->what);
    asked->due_ns = machine_now(machine);
    lun_op_cancel(asked->op);
}

/* ---- holding -------------------------------------------------------------------------------------------- */

/* Nothing stands in the way of a leader in calm times, unless an operator took its place. */
static void on_written(struct asked *asked, const struct lun_result *result) {
    struct stand *stand = asked->stand;
    struct machine *machine = asked->machine;
    struct world *world = machine->world;
    if (!result->err || !stand || stand->state != HOLDING || stand->token != asked->first_rev)
        return;
    world->history->n_refused++;
    bool is_refused = result->err->code == LUN_ENOTLEADER || result->err->code == LUN_ELOST;
    if (is_refused && world->phase == CALM && !stand->robbed_ns && believes(stand) && !stand->is_told)
        broken(world, INVARIANT_leader_is_obeyed, machine->name, result->err->text);
}

static void write_guarded(struct stand *stand) {
    struct machine *machine = stand->machine;
    char key[16], value[24];
    struct lun_ask ask;
    struct lun_err err;
    (void)snprintf(key, sizeof key, "/data%s/x", lines[stand->line]);
    (void)snprintf(value, sizeof value, "%lld", (long long)stand->token);
    struct lun_kv_op put = {.kind = LUN_OP_PUT, .key = lun_bytes_of(key), .value = lun_bytes_of(value)};
    struct lun_txn txn = {.success = &put, .n_success = 1};
    if (!machine_may(machine, WRITE))
        return;
    struct asked *asked = door_ask(machine, stand, "term:put", 3000, on_written, &ask);
    if (!asked)
        return;
    asked->first_rev = stand->token;
    (void)door_is_asked(asked, lun_term_txn(stand->term, &txn, &ask, &asked->op, &err), &err);
}

static void proclaim(struct stand *stand) {
    struct machine *machine = stand->machine;
    char value[48];
    struct lun_ask ask;
    struct lun_err err;
    int64_t timeout_ms = door_timeout(machine);
    (void)snprintf(value, sizeof value, "proclaimed %lld %u", (long long)stand->token, ++stand->n_proclaims);
    if (!machine_may(machine, PROCLAIM))
        return;
    struct asked *asked = door_ask(machine, stand, "proclaim", timeout_ms, on_written, &ask);
    if (!asked)
        return;
    asked->first_rev = stand->token;
    tell(machine, "proclaims \"%s\" within %lld ms", value, (long long)timeout_ms);
    (void)door_is_asked(asked, lun_term_proclaim(stand->term, lun_bytes_of(value), &ask, &asked->op, &err),
                        &err);
}

/* ---- leaving -------------------------------------------------------------------------------------------- */

static void on_left(struct asked *asked, const struct lun_result *result) {
    struct stand *stand = asked->stand;
    (void)result;
    if (!stand)
        return;
    lun_term_free(stand->term);
    stand->term = NULL;
    become_free(stand);
}

static void leave(struct stand *stand) {
    struct machine *machine = stand->machine;
    struct lun_ask ask;
    struct lun_err err;
    if (chance(&machine->dice, 250)) {
        tell(machine, "drops %s", stand->key);
        if (stand->kind->release && chance(&machine->dice, 500)) {
            detach(stand);
            become_free(stand);
            stand->kind->release(stand);
        } else {
            door_drop_stand(stand);
        }
        return;
    }
    struct asked *asked = door_ask(machine, stand, stand->kind->leave, door_timeout(machine), on_left, &ask);
    if (!asked)
        return;
    tell(machine, "%s %s", stand->kind->leaves, stand->key);
    stand->state = LEAVING;
    if (door_is_asked(asked, stand->kind->ask_out(stand, &ask, &asked->op, &err), &err))
        stand->waiting = asked;
    else
        door_drop_stand(stand);
}

/* ---- from time to time ---------------------------------------------------------------------------------- */

static void hold(struct stand *stand, bool is_due) {
    struct machine *machine = stand->machine;
    if (stand->term && chance(&machine->dice, 400))
        write_guarded(stand);
    if (stand->term && chance(&machine->dice, 200))
        proclaim(stand);
    if (chance(&machine->dice, 100) && machine_may(machine, ASK_LEADER))
        door_ask_leader(stand);
    if (is_due)
        leave(stand);
}

void door_live_stand(struct stand *stand) {
    struct machine *machine = stand->machine;
    bool is_due = sim_now(machine->world->sim) >= stand->until_ns;
    switch (stand->state) {
    case FREE:
        if (machine->world->phase < SETTLING && machine->life == OPEN && chance(&machine->dice, 500))
            enter(stand);
        break;
    case ENTERING:
        if (is_due || chance(&machine->dice, 60))
            cancel(stand);
        else if (chance(&machine->dice, 20) && machine_may(machine, DROP))
            door_drop_stand(stand);
        break;
    case HOLDING:
        hold(stand, is_due);
        break;
    case LEAVING:
        if (chance(&machine->dice, 50))
            cancel(stand);
        break;
    }
}
