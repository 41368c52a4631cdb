/* spec/seeds/door_stand.c - in line through the door: mutexes, elections, terms. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

enum deed { LOCK = 32, CAMPAIGN, CANCEL, WRITE, PROCLAIM, ASK_LEADER, DROP };

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
    lun_mutex_free(stand->mutex);
    lun_election_free(stand->election);
    lun_term_free(stand->term);
    stand->mutex = NULL;
    stand->election = NULL;
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
    int rc = stand->mutex ? lun_mutex_await_loss(stand->mutex, &ask, &asked->op, &err)
                          : lun_term_await_loss(stand->term, &ask, &asked->op, &err);
    (void)door_is_asked(asked, rc, &err);
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
    struct lun_bytes bytes = stand->mutex ? lun_mutex_key(stand->mutex) : lun_term_key(stand->term);
    (void)snprintf(key, sizeof key, "%.*s", (int)bytes.len, (const char *)bytes.data);
    stand_holds(stand, key, result->token);
    await_loss(stand);
}

static void lock(struct stand *stand, int64_t timeout_ms) {
    struct machine *machine = stand->machine;
    bool is_trying = chance(&machine->dice, 300);
    struct lun_ask ask;
    struct lun_err err;
    if (!machine_may(machine, LOCK) ||
        (!stand->mutex && lun_mutex_new(machine->open, lines[stand->line], false, &stand->mutex, NULL)))
        return;
    struct asked *asked = door_ask(machine, stand, is_trying ? "try_lock" : "lock", timeout_ms, on_won, &ask);
    if (!asked)
        return;
    tell(machine, "%s %s", asked->what, lines[stand->line]);
    int rc = is_trying ? lun_mutex_try_lock(stand->mutex, &ask, &asked->op, &err)
                       : lun_mutex_lock(stand->mutex, &ask, &asked->op, &err);
    if (!door_is_asked(asked, rc, &err))
        return;
    asked->is_taken_late = true;
    stand->waiting = asked;
    stand->state = ENTERING;
}

static void campaign(struct stand *stand, int64_t timeout_ms) {
    struct machine *machine = stand->machine;
    struct lun_ask ask;
    struct lun_err err;
    if (!machine_may(machine, CAMPAIGN) ||
        (!stand->election && lun_election_new(machine->open, lines[stand->line], &stand->election, NULL)))
        return;
    struct asked *asked = door_ask(machine, stand, "campaign", timeout_ms, on_won, &ask);
    if (!asked)
        return;
    tell(machine, "campaigns for %s", lines[stand->line]);
    int rc = lun_election_campaign(stand->election, lun_bytes_of(machine->name), &ask, &asked->op, &err);
    if (!door_is_asked(asked, rc, &err))
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
    bool is_mutex = chance(&machine->dice, 500);
    int line = draw_line(machine);
    if (!stand->mutex && !stand->election)
        stand->line = line;
    if (stand->mutex || (!stand->election && is_mutex))
        lock(stand, timeout_ms);
    else
        campaign(stand, timeout_ms);
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
        if (stand->mutex && chance(&machine->dice, 500)) {
            detach(stand);
            become_free(stand);
            lun_mutex_release(stand->mutex);
        } else {
            door_drop_stand(stand);
        }
        return;
    }
    struct asked *asked =
        door_ask(machine, stand, stand->mutex ? "unlock" : "resign", door_timeout(machine), on_left, &ask);
    if (!asked)
        return;
    tell(machine, "%s %s", stand->mutex ? "unlocks" : "resigns", stand->key);
    stand->state = LEAVING;
    int rc = stand->mutex ? lun_mutex_unlock(stand->mutex, &ask, &asked->op, &err)
                          : lun_term_resign(stand->term, &ask, &asked->op, &err);
    if (door_is_asked(asked, rc, &err))
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
