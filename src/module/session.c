/* module/session.c - sessions. */
#include "module/module.h"

/* close(is_revoked, timeout_ms) */
static int ask_close(lua_State *L, void *session, const struct lun_ask *ask, struct lun_op **ret_op,
                     struct lun_err *err) {
    return lun_session_close(session, lua_toboolean(L, 2), ask, ret_op, err);
}

/* await(known, timeout_ms) */
static int ask_await(lua_State *L, void *session, const struct lun_ask *ask, struct lun_op **ret_op,
                     struct lun_err *err) {
    enum lun_session_state known = (enum lun_session_state)luaL_checkinteger(L, 2);
    return lun_session_await(session, known, ask, ret_op, err);
}

static int session_orphan(lua_State *L) {
    struct lun_err err = {0};
    int code = lun_session_orphan(handle_check(L, 1, &session_class)->object, &err);
    if (code != 0)
        return push_error(L, code, err.text);
    lua_pushboolean(L, 1);
    return 1;
}

static int session_lease(lua_State *L) {
    push_lease(L, lun_session_lease(handle_check(L, 1, &session_class)->object));
    return 1;
}

static int session_ttl(lua_State *L) {
    push_int64(L, lun_session_ttl_s(handle_check(L, 1, &session_class)->object));
    return 1;
}

static int session_stop_at(lua_State *L) {
    push_seconds(L, lun_session_stop_at_ns(handle_check(L, 1, &session_class)->object));
    return 1;
}

static int session_valid_until(lua_State *L) {
    push_seconds(L, lun_session_valid_until_ns(handle_check(L, 1, &session_class)->object));
    return 1;
}

static int session_away_limit(lua_State *L) {
    push_seconds(L, lun_session_away_limit_ns(handle_check(L, 1, &session_class)->object));
    return 1;
}

/* state() -> state, reason or nil, etcd's words or nil */
static int session_state(lua_State *L) {
    struct lun_session *session = handle_check(L, 1, &session_class)->object;
    lua_pushstring(L, lun_session_state_name(lun_session_state(session)));
    enum lun_reason reason = lun_session_reason(session);
    char text[LUN_ERR_TEXT_BYTES];
    bool is_refused = lun_session_refusal(session, text, sizeof text) > 0;
    if (reason == LUN_NOT_LOST && !is_refused)
        return 1;
    lua_pushstring(L, reason == LUN_NOT_LOST ? NULL : lun_reason_name(reason));
    if (!is_refused)
        return 2;
    lua_pushstring(L, text);
    return 3;
}

/* mutex(name, is_reentrant) */
static int session_mutex(lua_State *L) {
    struct handle *self = handle_check(L, 1, &session_class);
    const char *name = luaL_checkstring(L, 2);
    bool is_reentrant = lua_toboolean(L, 3);
    struct lun_mutex *mutex;
    struct lun_err err = {0};
    struct handle *made = handle_new(L, &mutex_class);
    int code = lun_mutex_new(self->object, name, is_reentrant, &mutex, &err);
    if (code != 0)
        return push_error(L, code, err.text);
    handle_open(made, self->ref, mutex);
    return 1;
}

static int session_election(lua_State *L) {
    struct handle *self = handle_check(L, 1, &session_class);
    const char *name = luaL_checkstring(L, 2);
    struct lun_election *election;
    struct lun_err err = {0};
    struct handle *made = handle_new(L, &election_class);
    int code = lun_election_new(self->object, name, &election, &err);
    if (code != 0)
        return push_error(L, code, err.text);
    handle_open(made, self->ref, election);
    return 1;
}

static const luaL_Reg METHODS[] = {
    {"orphan", session_orphan},
    {"lease", session_lease},
    {"ttl", session_ttl},
    {"stop_at", session_stop_at},
    {"valid_until", session_valid_until},
    {"away_limit", session_away_limit},
    {"state", session_state},
    {"mutex", session_mutex},
    {"election", session_election},
    {NULL, NULL},
};

static void session_free(void *object) {
    lun_session_free(object);
}

static const struct asking ASKS[] = {
    {"close", ANSWER_TRUE, 3, ask_close, ""}, {"await", ANSWER_STATE, 3, ask_await, NULL}, {.name = NULL}};

static bool is_held(void *object) {
    return lun_session_valid_until_ns(object) != 0;
}

const struct class session_class = {LUN_CORE ".session", session_free, METHODS, ASKS, is_held};
