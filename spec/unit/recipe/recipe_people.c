/* spec/unit/recipe/recipe_people.c - the people of recipe_world.h: their sessions, their places in the
 * line, and what others do to the store. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recipe_world.h"

static void die(const char *what) __attribute__((noreturn));
static void die(const char *what) {
    (void)printf("recipe_world: %s\n", what);
    (void)fflush(stdout);
    abort();
}

/* ---- other clients -------------------------------------------------------------------------------------- */

/* What other clients ask. */
static void ask(struct world *world, enum rpc_method method, const ProtobufCMessage *request) {
    int status;
    const char *message;
    ProtobufCMessage *reply = sim_still_ask(world->etcd_store, method, request, &status, &message);
    if (!reply)
        die(message);
    protobuf_c_message_free_unpacked(reply, NULL);
}

int64_t world_put(struct world *world, const char *key, const char *value, int64_t lease) {
    Etcdserverpb__PutRequest request = ETCDSERVERPB__PUT_REQUEST__INIT;
    request.key = world_bytes(key);
    request.value = world_bytes(value);
    request.lease = lease;
    ask(world, RPC_PUT, &request.base);
    return world_revision(world);
}

void world_grant(struct world *world, int64_t lease, int64_t ttl_s) {
    Etcdserverpb__LeaseGrantRequest request = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    request.id = lease;
    request.ttl = ttl_s;
    ask(world, RPC_LEASE_GRANT, &request.base);
}

void world_keep_alive(struct world *world, int64_t lease) {
    (void)sim_still_renew(world->etcd_store, lease);
}

void world_delete(struct world *world, const char *key) {
    sim_delete(world->etcd_store, key);
}

void world_revoke(struct world *world, int64_t lease) {
    sim_revoke(world->etcd_store, lease);
}

void world_compact(struct world *world) {
    sim_compact(world->etcd_store);
    world->compacted_rev = world_revision(world);
}

void world_restore(struct world *world, int64_t revision) {
    sim_still_begin_anew(world->etcd_store, &(struct sim_beginning){.revision = revision});
    world->raft_term--;
}

const struct sim_kv *world_get(const struct world *world, const char *key) {
    const struct sim_kv *kv = sim_first(world->etcd_store, key);
    return kv && strcmp(kv->key, key) == 0 ? kv : NULL;
}

size_t world_count(const struct world *world, const char *prefix) {
    size_t n = 0;
    for (size_t i = 0; i < sim_n_kvs(world->etcd_store); i++)
        n += strncmp(sim_kv_at(world->etcd_store, i)->key, prefix, strlen(prefix)) == 0;
    return n;
}

const struct sim_kv *world_first(const struct world *world, const char *prefix) {
    return sim_first(world->etcd_store, prefix);
}

int64_t world_revision(const struct world *world) {
    return sim_revision(world->etcd_store);
}

bool world_has_lease(const struct world *world, int64_t lease) {
    return sim_has_lease(world->etcd_store, lease);
}

/* ---- sessions ------------------------------------------------------------------------------------------- */

static void on_opened(struct session *session, const struct lun_err *err) {
    struct person *person = CONTAINER_OF(session, struct person, session);
    person->is_open = err == NULL;
    person->err = err ? err->code : 0;
    if (err)
        world_tell(person->world, "%s failed %s", person->name, lun_strerror_name(err->code));
    else
        world_tell(person->world, "%s opened", person->name);
}

static void on_state(struct session *session) {
    struct person *person = CONTAINER_OF(session, struct person, session);
    enum lun_session_state state = session_state(session);
    world_tell(person->world, "%s %s%s%s", person->name, lun_session_state_name(state),
               state == LUN_SESSION_LOST ? " " : "",
               state == LUN_SESSION_LOST ? lun_reason_name(session->reason) : "");
}

static void on_ended(struct session *session) {
    struct person *person = CONTAINER_OF(session, struct person, session);
    person->is_ended = true;
    world_tell(person->world, "%s ended", person->name);
}

void person_open(struct person *person, struct world *world, const char *name, int64_t ttl_s, int64_t lease) {
    static const struct session_callbacks callbacks = {on_opened, on_state, on_ended, NULL};
    *person = (struct person){.world = world, .name = name};
    struct session_options options = {
        .ttl_s = ttl_s, .grace_ns = -1, .lease = lease, .index = &world->places};
    struct lun_err err;
    rpc_enter(world->rpc);
    if (session_start(&person->session, world->etcd, &options, &callbacks, &err))
        die(err.text);
    rpc_leave(world->rpc);
}

void person_arrive(struct person *person, struct world *world, const char *name) {
    person_open(person, world, name, 10, 0);
    world_run(world);
    if (!person->is_open)
        die("a session did not open");
    world->story[0] = '\0';
}

void person_close(struct person *person, bool is_revoked) {
    rpc_enter(person->world->rpc);
    session_close(&person->session, is_revoked);
    rpc_leave(person->world->rpc);
}

void person_orphan(struct person *person) {
    rpc_enter(person->world->rpc);
    session_orphan(&person->session);
    rpc_leave(person->world->rpc);
}

void person_kill(struct person *person) {
    rpc_enter(person->world->rpc);
    session_kill(&person->session);
    rpc_leave(person->world->rpc);
}

bool person_is_valid(struct person *person) {
    return session_valid_until_ns(&person->session) != 0;
}

void person_leave(struct person *person) {
    if (!person->is_ended)
        person_close(person, true);
    world_run(person->world);
    if (!person->is_ended)
        die("a session does not end");
    person->world->story[0] = '\0';
}

static void let_go(struct stand *stand) {
    struct place *place = stand->place;
    stand->place = NULL;
    stand->is_holding = false;
    place_give_up(place);
}

static void on_place_entered(struct place *place, const struct lun_err *err) {
    struct stand *stand = place_owner(place);
    if (!err) {
        struct lun_bytes key = place_key(place);
        (void)snprintf(stand->key, sizeof stand->key, "%.*s", (int)key.len, (const char *)key.data);
        stand->is_holding = true;
        stand->token = place_create_rev(place);
        world_tell(stand->world, "%s holds", stand->name);
        return;
    }
    stand->err = err->code;
    (void)snprintf(stand->text, sizeof stand->text, "%s", err->text);
    world_tell(stand->world, "%s fails %s", stand->name, lun_strerror_name(err->code));
    let_go(stand);
}

static void on_place_stop(struct place *place, enum lun_reason reason, bool is_lost) {
    struct stand *stand = place_owner(place);
    if (is_lost)
        world_tell(stand->world, "%s lost %s", stand->name, lun_reason_name(reason));
    else
        world_tell(stand->world, "%s stop", stand->name);
    if (is_lost || stand->gives_up_on_stop)
        let_go(stand);
}

static void on_place_left(struct place *place, const struct lun_err *err) {
    struct stand *stand = place_owner(place);
    world_tell(stand->world, "%s left%s%s", stand->name, err ? " " : "",
               err ? lun_strerror_name(err->code) : "");
    let_go(stand);
}

static int enter(struct stand *stand, struct person *person, const char *name, enum place_mode mode,
                 struct line_rule rule) {
    static const struct place_callbacks callbacks = {on_place_entered, on_place_stop, on_place_left};
    *stand = (struct stand){.world = person->world, .person = person, .name = name};
    char value[64];
    (void)snprintf(value, sizeof value, "{\"name\":\"%s\",\"host\":\"h\",\"pid\":1}", name);
    struct lun_err err;
    rpc_enter(person->world->rpc);
    int rc = place_enter(&person->session, lun_bytes_of("/line"), lun_bytes_of(value), mode, rule, &callbacks,
                         stand, &stand->place, &err);
    if (!rc) {
        struct lun_bytes key = place_key(stand->place);
        (void)snprintf(stand->key, sizeof stand->key, "%.*s", (int)key.len, (const char *)key.data);
    }
    rpc_leave(person->world->rpc);
    return rc;
}

int stand_enter(struct stand *stand, struct person *person, const char *name, enum place_mode mode) {
    return enter(stand, person, name, mode, line_one_holds);
}

int stand_enter_among(struct stand *stand, struct person *person, const char *name, unsigned n_slots) {
    return enter(stand, person, name, PLACE_WAIT, (struct line_rule){LINE_EXCLUSIVE, n_slots});
}

void stand_leave(struct stand *stand) {
    rpc_enter(stand->world->rpc);
    stand->is_holding = false;
    place_leave(stand->place);
    rpc_leave(stand->world->rpc);
}

void stand_give_up(struct stand *stand) {
    rpc_enter(stand->world->rpc);
    let_go(stand);
    rpc_leave(stand->world->rpc);
}
