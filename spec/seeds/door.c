/* spec/seeds/door.c - a machine that goes through lunarch.h: its client, its session, and the calls it has out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

enum deed { OPEN_SESSION = 16, END_SESSION, CLOSE_CLIENT, FREE_CLIENT };

/* How long its user may take to poll, and its thread to run. */
#define SLACK_NS SECONDS(2)

/* ---- asking --------------------------------------------------------------------------------------------- */

static void hand_over(struct asked *asked, const struct lun_result *result) {
    if (result->err && asked->what)
        tell(asked->machine, "%s: %s", asked->what, lun_strerror_name(result->err->code));
    asked->on_answer(asked, result);
}

static void on_done(void *arg, const struct lun_result *result) {
    struct asked *asked = arg;
    struct machine *machine = asked->machine;
    if (!asked->is_out)
        broken(machine->world, INVARIANT_answer_comes, machine->name, "answered once more");
    asked->is_out = false;
    struct lun_op *op = asked->op;
    asked->op = NULL;
    if (asked->is_taken_late && chance(&machine->dice, 300)) {
        lun_op_keep(op);
        asked->kept = op;
        asked->take_at_ns =
            machine_now(machine) + below(&machine->dice, chance(&machine->dice, 500) ? MS(100) : SECONDS(6));
        return;
    }
    hand_over(asked, result);
}

/* What its user had not come to yet. Now and then he wants it no longer: then it is given back. */
static void take_kept(struct machine *machine) {
    static const struct lun_err unwanted = {.code = LUN_ECANCELLED};
    for (int i = 0; i < ASKED; i++) {
        struct asked *asked = &machine->asked[i];
        struct lun_op *op = asked->kept;
        if (!op || machine_now(machine) < asked->take_at_ns)
            continue;
        asked->kept = NULL;
        if (chance(&machine->dice, 100)) {
            lun_op_free(op);
            hand_over(asked, &(struct lun_result){.err = &unwanted});
        } else {
            hand_over(asked, lun_op_result(op));
            lun_op_take(op);
        }
    }
}

struct asked *door_ask(struct machine *machine, struct stand *stand, const char *what, int64_t timeout_ms,
                       void (*on_answer)(struct asked *, const struct lun_result *),
                       struct lun_ask *ret_ask) {
    struct asked *asked = machine->asked;
    while (asked < machine->asked + ASKED && (asked->is_out || asked->kept))
        asked++;
    if (asked == machine->asked + ASKED)
        return NULL;
    *asked = (struct asked){.machine = machine, .stand = stand, .what = what, .is_out = true};
    asked->n_anew = machine->world->n_anew;
    asked->on_answer = on_answer;
    asked->due_ns = timeout_ms < 0 ? RPC_NEVER : machine_now(machine) + MS(timeout_ms);
    *ret_ask = (struct lun_ask){timeout_ms, on_done, asked};
    machine->world->history->n_asked++;
    return asked;
}

bool door_is_asked(struct asked *asked, int rc, const struct lun_err *err) {
    if (rc == 0)
        return true;
    asked->is_out = false;
    tell(asked->machine, "%s: refused: %s", asked->what, err->text);
    return false;
}

int64_t door_timeout(struct machine *machine) {
    int64_t choice = below(&machine->dice, 10);
    return choice < 2   ? below(&machine->dice, 20)
           : choice < 5 ? 200 + below(&machine->dice, 4000)
           : choice < 8 ? 30000
                        : -1;
}

/* Every call is answered within its time, however late; a machine that did not run is given some from then on. */
void check_asked(struct machine *machine) {
    int64_t now = machine_now(machine);
    for (int i = 0; i < ASKED; i++) {
        const struct asked *asked = &machine->asked[i];
        if (!asked->is_out || asked->due_ns == RPC_NEVER)
            continue;
        int64_t from = asked->due_ns > machine->ran_since_ns ? asked->due_ns : machine->ran_since_ns;
        if (now - from > SLACK_NS)
            broken(machine->world, INVARIANT_answer_comes, machine->name, asked->what);
    }
}

static void forget_asked(struct machine *machine) {
    for (int i = 0; i < ASKED; i++)
        machine->asked[i].is_out = false;
}

/* ---- its session ---------------------------------------------------------------------------------------- */

static void on_session_state(struct asked *asked, const struct lun_result *result);

static void await_state(struct machine *machine, enum lun_session_state known) {
    struct lun_ask ask;
    struct lun_err err;
    struct asked *asked = door_ask(machine, NULL, "await the session", -1, on_session_state, &ask);
    if (asked)
        (void)door_is_asked(asked, lun_session_await(machine->open, known, &ask, &asked->op, &err), &err);
}

static void on_session_state(struct asked *asked, const struct lun_result *result) {
    struct machine *machine = asked->machine;
    if (result->err || machine->life != OPEN)
        return;
    tell(machine, "session %s %s", lun_session_state_name(result->state), lun_reason_name(result->reason));
    if (result->state == LUN_SESSION_LOST)
        on_session_lost(machine, result->reason, lun_session_lease(machine->open));
    else
        await_state(machine, result->state);
}

static void on_session_open(struct asked *asked, const struct lun_result *result) {
    struct machine *machine = asked->machine;
    machine->life = NONE;
    if (result->err)
        return;
    machine->open = result->session;
    machine->life = OPEN;
    tell(machine, "has a session, lease %llx", (unsigned long long)lun_session_lease(machine->open));
    await_state(machine, LUN_SESSION_ALIVE);
}

static void open_session(struct machine *machine) {
    struct lun_session_options options = {.ttl_s = machine_ttl_s(machine),
                                          .grace_ms = machine_has_grace(machine) ? -1 : 0,
                                          .lease = machine_adopts(machine)};
    struct lun_ask ask;
    struct lun_err err;
    int64_t timeout_ms = door_timeout(machine);
    if (!machine_may(machine, OPEN_SESSION))
        return;
    struct asked *asked = door_ask(machine, NULL, "open a session", timeout_ms, on_session_open, &ask);
    if (asked)
        asked->is_taken_late = true;
    if (asked &&
        door_is_asked(asked, lun_session_open(machine->door, &options, &ask, &asked->op, &err), &err)) {
        machine->life = OPENING;
        machine->opened_ns = sim_now(machine->world->sim);
    }
}

static void let_session_go(struct machine *machine) {
    for (int i = 0; i < STANDS; i++)
        door_drop_stand(&machine->stands[i]);
    lun_session_free(machine->open);
    machine->open = NULL;
    machine->life = NONE;
}

static void on_session_closed(struct asked *asked, const struct lun_result *result) {
    (void)result;
    if (asked->machine->life == ENDING)
        let_session_go(asked->machine);
}

void door_close_session(struct machine *machine) {
    struct lun_ask ask;
    struct lun_err err;
    if (machine->life != OPEN && machine->life != OVER)
        return;
    if (machine->world->phase != CALM)
        forsake(machine);
    struct asked *asked =
        door_ask(machine, NULL, "close the session", door_timeout(machine), on_session_closed, &ask);
    if (!asked)
        return;
    tell(machine, "closes its session");
    bool is_revoked = chance(&machine->dice, 500);
    machine->life = ENDING;
    if (!door_is_asked(asked, lun_session_close(machine->open, is_revoked, &ask, &asked->op, &err), &err))
        let_session_go(machine);
}

static void end_session(struct machine *machine) {
    int64_t choice = below(&machine->dice, 10);
    if (!machine_may(machine, END_SESSION))
        return;
    if (choice < 6) {
        door_close_session(machine);
        return;
    }
    forsake(machine);
    tell(machine, "%s", choice < 7 ? "orphans its lease" : "frees its session");
    if (choice < 7)
        (void)lun_session_orphan(machine->open, NULL);
    let_session_go(machine);
}

static void live_session(struct machine *machine) {
    enum phase phase = machine->world->phase;
    if (machine->life == NONE && phase < SETTLING)
        open_session(machine);
    else if (machine->life == OVER && chance(&machine->dice, 500))
        door_close_session(machine);
    else if (machine->life == OPEN && phase == CLOSING)
        door_close_session(machine);
    else if (machine->life == OPEN && phase < SETTLING &&
             chance(&machine->dice, machine->world->restlessness))
        end_session(machine);
}

/* ---- its client ----------------------------------------------------------------------------------------- */

static void on_note(void *arg) {
    struct machine *machine = arg;
    uint64_t *dice = &machine->dice;
    machine->is_noted = true;
    int64_t in_ns = chance(dice, 800)   ? below(dice, MS(1))
                    : chance(dice, 900) ? below(dice, MS(40))
                                        : below(dice, MS(1500));
    if (!machine->poll.node.index)
        sim_at(machine->world->sim, &machine->poll, sim_now(machine->world->sim) + in_ns);
}

static void on_poll(struct sim_event *event) {
    struct machine *machine = CONTAINER_OF(event, struct machine, poll);
    if (machine->is_up && !machine->is_paused)
        (void)lun_client_poll(machine->door, 0);
}

/* Somebody frees a client that is not closed: the world goes on meanwhile. */
static void wait_in_world(void *arg, int64_t until_ns) {
    struct machine *machine = arg;
    struct sim *sim = machine->world->sim;
    machine->is_noted = false;
    while (!machine->is_noted && machine_now(machine) < until_ns)
        sim_step(sim);
}

static void on_trace(void *arg, const char *line) {
    struct machine *machine = arg;
    sim_say(machine->world->sim, "%s: %s", machine->name, line);
}

void door_start(struct machine *machine) {
    static const char *const addresses[SIM_MEMBERS] = {"a:1", "b:1", "c:1"};
    static const struct sim_host host = {on_note, wait_in_world};
    struct lun_config config = {.endpoints = addresses,
                                .n_endpoints = SIM_MEMBERS,
                                .name = machine->name,
                                .user = machine_user(machine),
                                .password = machine->world->has_users ? USER_PASSWORD : NULL,
                                .only_given_endpoints = true};
    sim_client_join(machine->client, machine->client, &host, machine);
    machine->poll.run = on_poll;
    if (client_open_on(machine->rpc, &config, &machine->door, NULL))
        abort();
    /* Not by the client's own on_trace: its lines are notes, and every note is a draw. What it does while it is opened
     * is not told. */
    if (machine->world->options.on_line)
        machine->door->trace = (struct trace){on_trace, machine};
    machine->open = NULL;
    machine->is_closed = machine->is_door_closing = false;
    forget_asked(machine);
}

/* From here on it is another machine. */
static void drop_all(struct machine *machine) {
    door_stop_looking(machine);
    for (int i = 0; i < ASKED; i++) {
        lun_op_free(machine->asked[i].kept);
        machine->asked[i].kept = NULL;
    }
    for (int i = 0; i < STANDS; i++)
        door_drop_stand(&machine->stands[i]);
    lun_session_free(machine->open);
    machine->open = NULL;
}

void door_end(struct machine *machine) {
    drop_all(machine);
    machine->is_up = false;
    lun_client_free(machine->door);
    machine->door = NULL;
    sim_off(machine->world->sim, &machine->poll);
    forget_asked(machine);
}

void door_kill(struct machine *machine) {
    door_end(machine);
}

static void on_client_closed(struct asked *asked, const struct lun_result *result) {
    struct machine *machine = asked->machine;
    (void)result;
    tell(machine, "client closed");
    machine->is_closed = true;
    machine->life = NONE;
    for (int i = 0; i < ASKED; i++)
        if (machine->asked[i].is_out)
            broken(machine->world, INVARIANT_answer_comes, machine->name, machine->asked[i].what);
}

static void close_client(struct machine *machine, int64_t timeout_ms) {
    struct lun_ask ask;
    struct lun_err err;
    struct asked *asked = door_ask(machine, NULL, "close the client", timeout_ms, on_client_closed, &ask);
    if (!asked)
        return;
    tell(machine, "closes its client");
    asked->due_ns += timeout_ms < 0 ? 0 : SECONDS(1); /* what is cut off then has to come back */
    forsake(machine);
    machine->is_door_closing = true;
    (void)door_is_asked(asked, lun_client_close(machine->door, &ask, &asked->op, &err), &err);
}

void door_close(struct machine *machine) {
    if (!machine->is_door_closing)
        close_client(machine, 30000);
}

static void end_client(struct machine *machine) {
    bool is_freed = chance(&machine->dice, 300);
    if (!machine_may(machine, is_freed ? FREE_CLIENT : CLOSE_CLIENT))
        return;
    if (is_freed) {
        tell(machine, "frees its client");
        forsake(machine);
        machine_end(machine);
    } else {
        close_client(machine, chance(&machine->dice, 300) ? below(&machine->dice, 3000) : 20000);
    }
}

void door_live(struct machine *machine) {
    (void)lun_client_poll(machine->door, 0);
    take_kept(machine);
    check_asked(machine);
    if (machine->is_door_closing) {
        if (machine->is_closed && machine->world->phase < CLOSING)
            machine_end(machine);
        return;
    }
    for (int i = 0; i < STANDS; i++)
        door_live_stand(&machine->stands[i]);
    door_look(machine);
    live_session(machine);
    if (machine->world->phase < SETTLING && chance(&machine->dice, 5))
        end_client(machine);
}
