/* spec/unit/recipe/observer_test.c - who leads, told without a gap: by a watch, a read whenever it matters, and
 * neither compaction nor a broken stream nor a stubborn server ends it. */
#include "check.h"
#include "recipe/observer.h"
#include "recipe_world.h"

static struct world *world;
static struct observer observer;
static bool is_closed, closes_when_told;

static void on_closed(struct observer *closed) {
    (void)closed;
    is_closed = true;
}

static void on_change(struct observer *changed) {
    if (changed->has_leader)
        world_tell(world, "%.*s", (int)changed->value.len, changed->value.data);
    else
        world_tell(world, "nobody");
    if (closes_when_told)
        observer_close(changed, on_closed);
}

static void open_observer(void) {
    is_closed = closes_when_told = false;
    rpc_enter(world->rpc);
    CHECK(observer_open(&observer, world->etcd, lun_bytes_of("/line"), on_change, NULL) == 0);
    rpc_leave(world->rpc);
}

static void begin(void) {
    world = world_new(1);
    open_observer();
}

static void close_observer(void) {
    rpc_enter(world->rpc);
    observer_close(&observer, on_closed);
    rpc_leave(world->rpc);
    world_run(world);
    CHECK(is_closed);
}

static void end(void) {
    for (int i = 0; i < RPC_N_METHODS; i++)
        world->is_held[i] = false;
    if (!is_closed)
        close_observer();
    world_free(world);
}

static void put(const char *key, const char *value) {
    char whole[64];
    snprintf(whole, sizeof whole, "/line/%s", key);
    world_put(world, whole, value, 0);
}

static void drop(const char *key) {
    char whole[64];
    snprintf(whole, sizeof whole, "/line/%s", key);
    world_delete(world, whole);
}

static void nobody_is_told_too(void) {
    begin();
    world_run(world);
    STORY(world, "nobody");
    end();
}

static void the_leader_is_told_at_first_and_whenever_it_changes(void) {
    begin();
    put("a", "A");
    put("b", "B");
    world_run(world);
    STORY(world, "A");
    drop("a");
    world_run(world);
    STORY(world, "B");
    drop("b");
    world_run(world);
    STORY(world, "nobody");
    put("c", "C");
    world_run(world);
    STORY(world, "C");
    end();
}

static void who_came_first_leads_whatever_its_key(void) {
    begin();
    put("b", "B");
    put("a", "A");
    world_run(world);
    STORY(world, "B");
    end();
}

static void a_proclaim_is_told_without_a_read(void) {
    begin();
    put("a", "A");
    world_run(world);
    int n = world->n_answered[RPC_TXN];
    put("a", "A2");
    world_run(world);
    STORY(world, "A, A2");
    CHECK(world->n_answered[RPC_TXN] == n);
    end();
}

static void what_followers_do_is_neither_told_nor_read(void) {
    begin();
    put("a", "A");
    world_run(world);
    int n = world->n_answered[RPC_TXN];
    put("b", "B");
    put("b", "B2");
    drop("b");
    world_run(world);
    STORY(world, "A");
    CHECK(world->n_answered[RPC_TXN] == n);
    end();
}

/* The leader's key goes and comes again, as when it resigns and campaigns anew: it is the last in line now. */
static void the_same_key_again_is_not_the_same_place(void) {
    begin();
    put("a", "A");
    put("b", "B");
    world_run(world);
    STORY(world, "A");
    drop("a");
    put("a", "A again");
    world_run(world);
    STORY(world, "B");
    end();
}

static void the_same_key_again_is_not_taken_from_its_event(void) {
    begin();
    put("a", "A");
    put("b", "B");
    world_run(world);
    STORY(world, "A");
    world->is_held[RPC_TXN] = true;
    drop("a");
    put("a", "A again");
    world_run(world); /* both events are told before the read is answered */
    STORY(world, "");
    world->is_held[RPC_TXN] = false;
    world_run(world);
    STORY(world, "B");
    end();
}

/* The read that is due is carried out before that, and answered after it: what its reply says is old when it comes. */
static void put_while_the_read_is_under_way(const char *key, const char *value) {
    world_run(world);
    world_answer_slowly(world, RPC_TXN);
    put(key, value);
    world_run(world);
    world_deliver(world);
    world->is_held[RPC_TXN] = false;
    world_run(world);
}

static void who_comes_while_a_read_is_under_way_is_not_missed(void) {
    begin();
    put("a", "A");
    world_run(world);
    STORY(world, "A");
    world->is_held[RPC_TXN] = true;
    drop("a");
    put_while_the_read_is_under_way("b", "B"); /* the read finds no leader */
    STORY(world, "nobody, B");
    end();
}

/* The same with a proclaim: of the one that came when there was no leader, and of the one that is next when the leader goes. */
static void a_proclaim_while_a_read_is_under_way_is_not_missed(void) {
    begin();
    world_run(world);
    STORY(world, "nobody");
    world->is_held[RPC_TXN] = true;
    put("a", "A");
    put_while_the_read_is_under_way("a", "A2"); /* the read finds A */
    STORY(world, "A, A2");

    put("b", "B");
    world->is_held[RPC_TXN] = true;
    drop("a");
    put_while_the_read_is_under_way("b", "B2"); /* the read finds B */
    STORY(world, "B, B2");
    end();
}

static void something_is_told_however_much_happens(void) {
    begin();
    world->is_held[RPC_TXN] = true;
    world_run(world);
    for (int i = 0; i < 40; i++) { /* an event comes with every read, before it is answered */
        char key[16];
        snprintf(key, sizeof key, "k%02d", i);
        put(key, "first");
        drop(i > 0 ? "k00" : "none");
        if (i > 0)
            put("k00", "again");
        world_run(world);
        if (fake_n_calls(world->fake, RPC_TXN) > 0)
            world_answer_one(world, RPC_TXN);
    }
    CHECK(strlen(world->story) > 0);
    end();
}

/* The read that shows it asks for the key of the leader, which stands in the snapshot too, behind another. */
static void a_snapshot_in_which_another_was_first_is_not_taken_for_the_leaders(void) {
    begin();
    put("a", "A");
    put("b", "B");
    int64_t snapshot = world_revision(world);
    drop("a");
    put("c", "C");
    world_run(world);
    STORY(world, "B");
    world_restore(world, snapshot);
    world_advance(world, SECONDS(11));
    world_run(world);
    STORY(world, "A");
    end();
}

static void compaction_is_survived(void) {
    begin();
    put("a", "A");
    world_run(world);
    world_advance(world, SECONDS(1));
    world->is_held[RPC_WATCH] = true;
    world_break_streams(world, RPC_WATCH);
    drop("a");
    put("b", "B");
    world_compact(world);
    world_run(world);
    world->is_held[RPC_WATCH] = false;
    world_advance(world, SECONDS(2));
    STORY(world, "A, B");
    drop("b");
    world_run(world);
    STORY(world, "nobody");
    end();
}

static void a_refused_watch_becomes_polling(void) {
    world = world_new(1);
    world->watch_refusal = "etcdserver: permission denied";
    open_observer();
    put("a", "A");
    world_advance(world, SECONDS(2));
    STORY(world, "A");
    drop("a");
    int n = world->n_watches_created;
    world_advance(world, SECONDS(10));
    STORY(world, "nobody");
    CHECK(world->n_watches_created - n >= 5 && world->n_watches_created - n <= 30);
    end();
}

static void a_watch_that_ends_while_a_read_is_under_way_is_made_anew_soon(void) {
    begin();
    world_run(world);
    STORY(world, "nobody");
    world->is_held[RPC_TXN] = true;
    put("a", "A");
    world_run(world);
    world->watch_refusal = "etcdserver: permission denied";
    world_break_streams(world, RPC_WATCH);
    world_advance(world, MS(200));
    world->watch_refusal = NULL;
    world->is_held[RPC_TXN] = false;
    world_advance(world, SECONDS(2));
    STORY(world, "A");
    CHECK(world_n_watches(world) == 1);
    end();
}

static void a_read_that_fails_is_made_again(void) {
    world = world_new(1);
    world->n_refused[RPC_TXN] = 2;
    world->refusal_status = RPC_PERMISSION_DENIED;
    world->refusal = "etcdserver: permission denied";
    open_observer();
    put("a", "A");
    world_run(world);
    STORY(world, "");
    world_advance(world, SECONDS(3));
    STORY(world, "A");
    end();
}

static void a_dropped_event_is_made_good_by_the_slow_read(void) {
    begin();
    put("a", "A");
    world_run(world);
    world->are_events_held = true;
    drop("a");
    world_advance(world, SECONDS(11));
    STORY(world, "A, nobody");
    end();
}

static void confirm(void) {
    rpc_enter(world->rpc);
    observer_confirm(&observer);
    rpc_leave(world->rpc);
    world_run(world);
}

static void what_was_confirmed_lately_is_known(void) {
    begin();
    world_run(world);
    STORY(world, "nobody");
    for (int i = 0; i < 30; i++) {
        world_advance(world, SECONDS(1));
        confirm();
        CHECK(observer.is_known);
    }
    STORY(world, "");
    end();
}

static void what_a_silent_etcd_has_not_confirmed_is_known_no_more(bool has_leader) {
    begin();
    if (has_leader)
        put("a", "A");
    world_run(world);
    STORY(world, has_leader ? "A" : "nobody");
    world->is_held[RPC_TXN] = true;
    world_advance(world, SECONDS(16));
    confirm();
    CHECK(!observer.is_known);
    STORY(world, "");
    world->is_held[RPC_TXN] = false;
    world_advance(world, SECONDS(2));
    STORY(world, has_leader ? "A" : "nobody");
    CHECK(observer.is_known && observer.has_leader == has_leader);
    end();
}

static void nobody_is_known_no_more_while_etcd_is_silent(void) {
    what_a_silent_etcd_has_not_confirmed_is_known_no_more(false);
}

static void a_leader_is_known_no_more_while_etcd_is_silent(void) {
    what_a_silent_etcd_has_not_confirmed_is_known_no_more(true);
}

static void closing_ends_it_in_every_state(void) {
    for (int state = 0; state < 4; state++) {
        begin();
        if (state == 1)
            world->is_held[RPC_WATCH] = true;
        if (state == 2)
            world->is_held[RPC_TXN] = true;
        if (state > 0)
            world_run(world);
        world->story[0] = '\0';
        close_observer();
        put("a", "A");
        world_advance(world, SECONDS(1));
        STORY(world, "");
        end();
    }
}

static void it_may_be_closed_from_its_own_callback(void) {
    begin();
    closes_when_told = true;
    world_run(world);
    STORY(world, "nobody");
    CHECK(is_closed);
    end();
}

static void it_may_be_closed_when_told_of_a_proclaim(void) {
    begin();
    put("a", "A");
    world_run(world);
    closes_when_told = true;
    put("a", "A2");
    world_run(world);
    STORY(world, "A, A2");
    CHECK(is_closed);
    end();
}

static void a_line_beside_it_is_not_its_own(void) {
    begin();
    world_run(world);
    STORY(world, "nobody");
    world_put(world, "/line2/x", "X", 0);
    world_put(world, "/line", "Y", 0);
    world_run(world);
    STORY(world, "");
    end();
}

static void names_are_checked(void) {
    world = world_new(1);
    struct lun_err err;
    rpc_enter(world->rpc);
    CHECK(observer_open(&observer, world->etcd, lun_bytes_of(""), on_change, &err) == LUN_EINVALID);
    CHECK(observer_open(&observer, world->etcd, lun_bytes_of("/line/"), on_change, &err) == LUN_EINVALID);
    rpc_leave(world->rpc);
    world_free(world);
}

int main(void) {
    RUN(nobody_is_told_too);
    RUN(the_leader_is_told_at_first_and_whenever_it_changes);
    RUN(who_came_first_leads_whatever_its_key);
    RUN(a_proclaim_is_told_without_a_read);
    RUN(what_followers_do_is_neither_told_nor_read);
    RUN(the_same_key_again_is_not_the_same_place);
    RUN(the_same_key_again_is_not_taken_from_its_event);
    RUN(who_comes_while_a_read_is_under_way_is_not_missed);
    RUN(a_proclaim_while_a_read_is_under_way_is_not_missed);
    RUN(something_is_told_however_much_happens);
    RUN(a_snapshot_in_which_another_was_first_is_not_taken_for_the_leaders);
    RUN(compaction_is_survived);
    RUN(a_refused_watch_becomes_polling);
    RUN(a_watch_that_ends_while_a_read_is_under_way_is_made_anew_soon);
    RUN(a_read_that_fails_is_made_again);
    RUN(a_dropped_event_is_made_good_by_the_slow_read);
    RUN(what_was_confirmed_lately_is_known);
    RUN(nobody_is_known_no_more_while_etcd_is_silent);
    RUN(a_leader_is_known_no_more_while_etcd_is_silent);
    RUN(closing_ends_it_in_every_state);
    RUN(it_may_be_closed_from_its_own_callback);
    RUN(it_may_be_closed_when_told_of_a_proclaim);
    RUN(a_line_beside_it_is_not_its_own);
    RUN(names_are_checked);
    return check_end();
}
