/* spec/seeds/users.c - histories with users: every machine is one of etcd's, with rights to the lines and to what leaders write.
 *
 * Tokens end, and authentication is off for a while: nobody loses anything by that, so it happens in calm times too. While
 * faults are on a password becomes one that the machine does not know, or a user loses rights to a line; both are as before in
 * the end. Half of these histories have no other fault: what is lost then, is lost for those reasons.
 *
 * In half of them tokens are signed (JWT): good for some seconds, everywhere, and until anything about users changes; for
 * three round trips at the least, where answers take seconds. */
#include <stdio.h>
#include <string.h>

#include "world.h"

/* A client whose password was refused asks again within 15 s by its own clock; until then it answers from
 * memory. */
#define SAME_WORDS_NS SECONDS(20)
/* How long a signed token is good: near, and far away, where it is so many round trips at the least. */
#define TOKEN_LEAST_NS SECONDS(10)
#define TOKEN_MOST_NS SECONDS(40)
#define FAR_TOKEN_LEAST_NS SECONDS(3)
#define FAR_TOKEN_MOST_NS SECONDS(10)
enum { ROUND_TRIPS_OF_A_LIFE = 3 };

static const char data[] = "/data";

static void name_user(const struct machine *machine, char *ret_name) {
    (void)snprintf(ret_name, USER_BYTES, "user%d", machine->index);
}

const char *machine_user(struct machine *machine) {
    name_user(machine, machine->user);
    return machine->world->has_users ? machine->user : NULL;
}

static void allow(struct world *world, int machine, int line, unsigned rights) {
    char name[USER_BYTES], below_data[KEY_BYTES];
    name_user(&world->machines[machine], name);
    (void)snprintf(below_data, sizeof below_data, "%s%s", data, lines[line]);
    sim_allow(world->sim, name, lines[line], rights);
    sim_allow(world->sim, name, below_data, rights);
}

static void add_users(struct world *world) {
    for (int i = 0; i < MACHINES; i++) {
        char name[USER_BYTES];
        world->machines[i].index = i;
        name_user(&world->machines[i], name);
        sim_add_user(world->sim, name, USER_PASSWORD, data);
        for (int line = 0; line < LINES; line++)
            allow(world, i, line, SIM_READ | SIM_WRITE);
    }
    sim_enable_auth(world->sim);
}

static int64_t draw_life(int64_t far_ns, uint64_t *dice) {
    int64_t drawn_ns = far_ns ? FAR_TOKEN_LEAST_NS + below(dice, FAR_TOKEN_MOST_NS - FAR_TOKEN_LEAST_NS)
                              : TOKEN_LEAST_NS + below(dice, TOKEN_MOST_NS - TOKEN_LEAST_NS);
    int64_t needed_ns = ROUND_TRIPS_OF_A_LIFE * far_ns;
    return drawn_ns > needed_ns ? drawn_ns : needed_ns;
}

void plan_users(struct world *world, uint64_t *dice) {
    static const enum fault_kind harmless[] = {TOKENS, AUTH_OFF}, harmful[] = {PASSWORD, RIGHTS};
    world->has_users = true;
    add_users(world);
    world->are_users_alone = chance(dice, 500) && !world_far_ns(world);
    if (world->are_users_alone) {
        world->message_faults = (struct sim_faults){0};
        world->n_faults = 0;
    }
    int64_t n_harmless = below(dice, 12), n_harmful = 1 + below(dice, 10);
    for (int64_t i = 0; i < n_harmless; i++)
        add_fault(world, dice, harmless[below(dice, 2)], sim_now(world->sim) + below(dice, SECONDS(50)));
    for (int64_t i = 0; i < n_harmful; i++)
        add_fault(world, dice, harmful[below(dice, 2)], below(dice, world->faults_end_ns));
    world->are_tokens_signed = chance(dice, 500);
    if (world->are_tokens_signed) {
        sim_sign_tokens(world->sim);
        sim_set_token_life(world->sim, draw_life(world_far_ns(world), dice));
    }
}

/* ---- what is changed, and changed back ------------------------------------------------------------------- */

static void set_password(struct world *world, int machine, const char *password) {
    char name[USER_BYTES];
    name_user(&world->machines[machine], name);
    sim_set_password(world->sim, name, password);
}

static void note_tokens_ended(struct world *world) {
    world->tokens_ended_ns[world->n_token_ends++ % TOKEN_ENDS] = sim_now(world->sim);
}

void change_users(struct world *world, const struct fault *fault) {
    struct machine *machine = &world->machines[fault->machine];
    int line = (int)(fault->which % LINES);
    switch (fault->kind) {
    case TOKENS:
        note_tokens_ended(world);
        sim_say(world->sim, "operator: tokens end");
        if (world->are_tokens_signed)
            sim_touch_auth(world->sim);
        for (int i = 0; i < SIM_MEMBERS; i++)
            if (fault->member == SIM_MEMBERS || fault->member == i)
                sim_forget_tokens(world->sim, i);
        break;
    case AUTH_OFF:
        note_tokens_ended(world);
        sim_say(world->sim, "operator: no authentication");
        sim_disable_auth(world->sim);
        later(world, AUTH_ON, 0, fault->for_ns, 0);
        break;
    case PASSWORD:
        machine->no_password_until_ns = INT64_MAX;
        set_password(world, fault->machine, "another");
        later(world, OLD_PASSWORD, fault->machine, fault->for_ns, 0);
        break;
    default:
        machine->no_right_until_ns[line] = INT64_MAX;
        allow(world, fault->machine, line, (unsigned)(fault->which / LINES % (SIM_READ | SIM_WRITE)));
        later(world, OLD_RIGHTS, fault->machine * LINES + line, fault->for_ns, 0);
    }
}

void change_users_back(struct world *world, const struct recovery *recovery) {
    int64_t now = sim_now(world->sim);
    int index = recovery->index;
    switch (recovery->cure) {
    case AUTH_ON:
        note_tokens_ended(world);
        sim_say(world->sim, "operator: authentication again");
        sim_enable_auth(world->sim);
        break;
    case OLD_PASSWORD:
        world->machines[index].no_password_until_ns = now;
        set_password(world, index, USER_PASSWORD);
        break;
    default:
        world->machines[index / LINES].no_right_until_ns[index % LINES] = now;
        allow(world, index / LINES, index % LINES, SIM_READ | SIM_WRITE);
    }
}

/* ---- what must hold -------------------------------------------------------------------------------------- */

void check_refusal(struct machine *machine, enum lun_reason reason) {
    struct world *world = machine->world;
    bool was_unknown = machine->no_password_until_ns > machine->opened_ns - SAME_WORDS_NS,
         had_no_right = false;
    for (int line = 0; line < LINES; line++)
        had_no_right |= machine->no_right_until_ns[line] > machine->opened_ns;
    bool is_true = reason == LUN_LOST_PERMISSION        ? had_no_right
                   : reason == LUN_LOST_UNAUTHENTICATED ? was_unknown
                                                        : true;
    if (!is_true)
        broken(world, INVARIANT_refusal_is_true, machine->name, lun_reason_name(reason));
    world->history->n_denied += reason == LUN_LOST_PERMISSION || reason == LUN_LOST_UNAUTHENTICATED;
    bool is_own = !machine->is_adopted && !machine->is_lease_taken;
    if (world->are_users_alone && is_own && (reason == LUN_LOST_EXPIRED || reason == LUN_LOST_FROZEN))
        broken(world, INVARIANT_refusal_is_named, machine->name, lun_reason_name(reason));
}
