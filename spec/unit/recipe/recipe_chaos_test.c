/* spec/unit/recipe/recipe_chaos_test.c - sessions and places under a random run of faults, many seeds: never two
 * valid holders, tokens that rise, and nothing left behind. CHAOS_SEED runs one seed, CHAOS_RUNS so many. */
#include "check.h"
#include "recipe_world.h"

enum { PEOPLE = 3, STANDS = 6, STEPS = 400 };

static struct world *world;
static struct person people[PEOPLE];
static struct stand stands[STANDS];
static bool is_out[PEOPLE]; /* not opened, or ended */
static uint64_t state;
static int64_t last_token;
static unsigned long long seed;
static bool
    with_adoption; /* people live on each other's leases: then nobody is killed, and no copy comes late */
static bool with_operator; /* who deletes keys and revokes leases: then two may believe for a moment */

static uint64_t draw(uint64_t below) {
    uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % below;
}

static bool may_keep(void) {
    return !world->kept && !with_adoption && draw(6) == 0;
}

static void check_exclusion(void) {
    const struct stand *holder = NULL;
    int n = 0;
    for (int i = 0; i < STANDS; i++)
        if (stands[i].place && stands[i].is_holding && person_is_valid(stands[i].person)) {
            n++;
            if (!holder || stands[i].token > holder->token)
                holder = &stands[i];
        }
    if (n > 1 && !with_operator) {
        printf("# seed %llu: %d valid holders at %lld ms\n", seed, n,
               (long long)((fake_now(world->fake) - SECONDS(1000)) / NS_PER_MS));
        CHECK(n <= 1);
    }
    if (!holder)
        return;
    if (holder->token < last_token && !with_operator)
        CHECK(!"tokens fall");
    last_token = holder->token > last_token ? holder->token : last_token;
}

static int64_t somebodys_lease(void) {
    const struct person *person = &people[draw(PEOPLE)];
    return person->is_open && world_has_lease(world, person->session.lease) ? person->session.lease : 0;
}

static void open_all(void) {
    static const char *const names[PEOPLE] = {"P0", "P1", "P2"};
    for (int i = 0; i < PEOPLE; i++) {
        if (people[i].is_ended)
            is_out[i] = true;
        if (!is_out[i] && session_state(&people[i].session) == LUN_SESSION_LOST)
            person_close(&people[i], !people[i].session.is_adopted);
        if (!is_out[i])
            continue;
        fake_fail_next(world->fake, 0);
        person_open(&people[i], world, names[i], 2 + (int64_t)draw(4), with_adoption ? somebodys_lease() : 0);
        is_out[i] = false;
    }
}

static void enter_one(void) {
    int i = (int)draw(STANDS), p = (int)draw(PEOPLE);
    for (int k = 0; k < STANDS && stands[i].place; k++)
        i = (i + 1) % STANDS;
    for (int k = 0; k < PEOPLE && (is_out[p] || !person_is_valid(&people[p])); k++)
        p = (p + 1) % PEOPLE;
    static const char *const names[STANDS] = {"s0", "s1", "s2", "s3", "s4", "s5"};
    if (stands[i].place || is_out[p] || people[p].is_ended || !people[p].is_open)
        return;
    stand_enter(&stands[i], &people[p], names[i], draw(4) ? PLACE_WAIT : PLACE_TRY);
    if (may_keep() && fake_call(world->fake, RPC_TXN))
        world_keep(world, RPC_TXN);
}

static void leave_one(void) {
    for (int i = 0; i < STANDS; i++)
        if (stands[i].place && place_is_held(stands[i].place) && stands[i].is_holding) {
            stand_leave(&stands[i]);
            if (may_keep() && fake_call(world->fake, RPC_DELETE_RANGE))
                world_keep(world, RPC_DELETE_RANGE);
            return;
        }
}

static void give_up_one(void) {
    struct stand *stand = &stands[draw(STANDS)];
    if (stand->place)
        stand_give_up(stand);
}

static void end_one(void) {
    int i = (int)draw(PEOPLE);
    if (is_out[i] || people[i].is_ended)
        return;
    switch (with_adoption ? 2 : draw(8)) {
    case 0:
        person_kill(&people[i]);
        break;
    case 1:
        person_orphan(&people[i]);
        break;
    default:
        person_close(&people[i], with_adoption ? !people[i].session.is_adopted : draw(4) != 0);
    }
}

static void trouble(void) {
    static const enum rpc_method methods[] = {RPC_RANGE,       RPC_TXN,          RPC_DELETE_RANGE,
                                              RPC_LEASE_GRANT, RPC_LEASE_REVOKE, RPC_LEASE_KEEP_ALIVE,
                                              RPC_WATCH};
    enum rpc_method method = methods[draw(7)];
    struct world_member *member = &world->members[draw(world->n_members)];
    switch (draw(14)) {
    case 0:
        world->is_held[method] = true;
        break;
    case 1:
    case 12:
        world->is_slow[method] = true;
        break;
    case 2:
    case 3:
        world->n_replies_lost[method]++;
        break;
    case 4:
        world->n_refused[method]++;
        world->refusal_status = RPC_UNAVAILABLE;
        world->refusal = "etcdserver: no leader";
        break;
    case 5:
        member->is_frozen = true;
        break;
    case 6:
        world_break_streams(world, draw(2) ? RPC_WATCH : RPC_LEASE_KEEP_ALIVE);
        break;
    case 7: /* an election that this member sleeps through */
        member->renewals_term = world->raft_term++;
        member->renewals_ttl = draw(2) ? 10 : 0;
        break;
    case 8:
        method = fake_call(world->fake, RPC_TXN) ? RPC_TXN : RPC_DELETE_RANGE;
        if (!world->kept && !with_adoption && fake_call(world->fake, (int)method))
            world_keep(world, method);
        break;
    case 9:
        world_put(world, "/other", "x", 0);
        if (draw(2))
            world_compact(world);
        break;
    case 10:
        world->are_events_held = !world->are_events_held;
        break;
    case 11:
        fake_fail_next(world->fake, 1 + (int)draw(3)); /* no memory */
        break;
    default:
        fake_hold_cancelled(world->fake, draw(2));
        break;
    }
}

static void heal(void) {
    for (int i = 0; i < RPC_N_METHODS; i++) {
        world->is_held[i] = world->is_slow[i] = false;
        world->n_refused[i] = world->n_replies_lost[i] = 0;
    }
    for (size_t i = 0; i < world->n_members; i++) {
        world->members[i].is_frozen = false;
        world->members[i].renewals_term = 0;
    }
    world->are_events_held = false;
    fake_hold_cancelled(world->fake, false);
    fake_fail_next(world->fake, 0);
}

static void heal_a_little(void) {
    for (int i = 0; i < RPC_N_METHODS; i++)
        if (draw(3) == 0)
            world->is_held[i] = world->is_slow[i] = false;
    struct world_member *member = &world->members[draw(world->n_members)];
    if (draw(2))
        member->is_frozen = false;
    if (draw(4) == 0)
        member->renewals_term = 0;
    if (draw(4) == 0)
        world->are_events_held = false;
}

static void operate(void) {
    if (!with_operator)
        return;
    const struct world_kv *kv = world_first(world, "/line/");
    if (kv && draw(2)) {
        char key[WORLD_KEY_BYTES];
        snprintf(key, sizeof key, "%s", kv->key);
        world_delete(world, key);
    } else if (kv && kv->lease) {
        world_revoke(world, kv->lease);
    }
}

static void forget_old_events(void) {
    size_t n = world->n_events;
    if (n < WORLD_EVENTS * 3 / 4)
        return;
    world->n_events = WORLD_EVENTS / 2;
    memmove(world->events, world->events + n - world->n_events, world->n_events * sizeof world->events[0]);
}

static void step(void) {
    forget_old_events();
    open_all();
    switch (draw(16)) {
    case 0:
    case 1:
    case 2:
    case 3:
        enter_one();
        break;
    case 4:
        leave_one();
        break;
    case 5:
        heal_a_little();
        break;
    case 6:
        give_up_one();
        break;
    case 7:
        if (draw(8) == 0)
            end_one();
        break;
    case 8:
    case 9:
        trouble();
        break;
    case 10:
        if (draw(3) == 0)
            heal();
        break;
    case 11:
        if (world->kept && draw(4) == 0)
            world_carry_out_kept(world);
        break;
    case 12:
        if (draw(24) == 0)
            world_freeze(world, MS((int64_t)draw(8000)));
        break;
    case 13:
        operate();
        break;
    default:
        break;
    }
    check_exclusion(); /* what an answer given before anybody has run would be */
    for (int64_t ms = (int64_t)(draw(3) ? draw(50) : draw(1500)); ms >= 0; ms -= 5) {
        world_advance(world, MS(5));
        check_exclusion();
    }
    world->story[0] = '\0';
}

/* Once all is well again, and those who had no session any more have lapsed, every key has somebody who wants
 * it. */
static void audit(void) {
    heal();
    if (world->kept)
        world_carry_out_kept(world);
    world_advance(world, SECONDS(15));
    for (size_t i = 0; i < world->n_kvs; i++) {
        bool is_wanted = strncmp(world->kvs[i].key, "/line/", 6) != 0;
        for (int k = 0; k < STANDS; k++)
            is_wanted = is_wanted || (stands[k].place && strcmp(stands[k].key, world->kvs[i].key) == 0);
        if (!is_wanted) {
            printf("# seed %llu: %s at %lld ms\n", seed, world->kvs[i].key,
                   (long long)((fake_now(world->fake) - SECONDS(1000)) / NS_PER_MS));
            CHECK(!"a place is left that nobody wants");
        }
    }
}

static void run_one(void) {
    world = world_new(3);
    state = seed;
    last_token = 0;
    memset(people, 0, sizeof people);
    memset(stands, 0, sizeof stands);
    for (int i = 0; i < PEOPLE; i++)
        is_out[i] = true;
    for (int i = 0; i < STEPS && !check_is_failing; i++) {
        step();
        if (i % 50 == 49)
            audit();
    }
    for (int i = 0; i < STANDS; i++)
        if (stands[i].place)
            stand_give_up(&stands[i]);
    world_advance(world, SECONDS(25)); /* without any session's help */
    if (world_count(world, "/line/") != 0) {
        printf("# seed %llu: %s is left\n", seed, world_first(world, "/line/")->key);
        CHECK(!"a place is left that nobody wants");
    }
    for (int i = 0; i < PEOPLE; i++)
        if (!is_out[i] && !people[i].is_ended)
            person_close(&people[i], true);
    world_advance(world, SECONDS(30));
    for (int i = 0; i < PEOPLE; i++)
        CHECK(is_out[i] || people[i].is_ended);
    world_free(world);
}

static void run_many(unsigned long long first) {
    const char *one = getenv("CHAOS_SEED"), *runs = getenv("CHAOS_RUNS");
    unsigned long long n = runs ? strtoull(runs, NULL, 10) : 12;
    if (one) {
        first = strtoull(one, NULL, 10);
        n = 1;
    }
    for (seed = first; seed < first + n && !check_is_failing; seed++) {
        run_one();
        if (check_is_failing)
            printf("# seed %llu\n", seed);
    }
}

static void never_two_valid_holders_and_nothing_left_behind(void) {
    with_operator = false;
    run_many(1);
}

static void nothing_left_behind_though_an_operator_deletes_and_revokes(void) {
    with_operator = true;
    run_many(1000001);
}

static void nothing_left_behind_on_leases_that_others_renew(void) {
    with_operator = with_adoption = true;
    run_many(2000001);
}

int main(void) {
    RUN(never_two_valid_holders_and_nothing_left_behind);
    RUN(nothing_left_behind_though_an_operator_deletes_and_revokes);
    RUN(nothing_left_behind_on_leases_that_others_renew);
    return check_end();
}
