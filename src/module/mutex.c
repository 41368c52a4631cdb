/* module/mutex.c - mutexes. */
#include "module/module.h"

static int ask_lock(lua_State *L, void *mutex, const struct lun_ask *ask, struct lun_op **ret_op,
                    struct lun_err *err) {
    (void)L;
    return lun_mutex_lock(mutex, ask, ret_op, err);
}

static int ask_try_lock(lua_State *L, void *mutex, const struct lun_ask *ask, struct lun_op **ret_op,
                        struct lun_err *err) {
    (void)L;
    return lun_mutex_try_lock(mutex, ask, ret_op, err);
}

static int ask_unlock(lua_State *L, void *mutex, const struct lun_ask *ask, struct lun_op **ret_op,
                      struct lun_err *err) {
    (void)L;
    return lun_mutex_unlock(mutex, ask, ret_op, err);
}

static int ask_owner(lua_State *L, void *mutex, const struct lun_ask *ask, struct lun_op **ret_op,
                     struct lun_err *err) {
    (void)L;
    return lun_mutex_owner(mutex, ask, ret_op, err);
}

static int ask_await_loss(lua_State *L, void *mutex, const struct lun_ask *ask, struct lun_op **ret_op,
                          struct lun_err *err) {
    (void)L;
    return lun_mutex_await_loss(mutex, ask, ret_op, err);
}

static int mutex_is_held(lua_State *L) {
    lua_pushboolean(L, lun_mutex_is_held(handle_check(L, 1, &mutex_class)->object));
    return 1;
}

static int mutex_token(lua_State *L) {
    int64_t token = lun_mutex_token(handle_check(L, 1, &mutex_class)->object);
    if (token == 0)
        lua_pushnil(L);
    else
        push_int64(L, token);
    return 1;
}

static int mutex_stop_at(lua_State *L) {
    push_seconds(L, lun_mutex_stop_at_ns(handle_check(L, 1, &mutex_class)->object));
    return 1;
}

static int mutex_key(lua_State *L) {
    struct lun_bytes key = lun_mutex_key(handle_check(L, 1, &mutex_class)->object);
    if (key.len == 0)
        lua_pushnil(L);
    else
        push_bytes(L, key);
    return 1;
}

static int ask_position(lua_State *L, void *mutex, const struct lun_ask *ask, struct lun_op **ret_op,
                        struct lun_err *err) {
    (void)L;
    return lun_mutex_position(mutex, ask, ret_op, err);
}

/* blocked_by() -> text, or nil */
static int mutex_blocked_by(lua_State *L) {
    char text[LUN_ERR_TEXT_BYTES];
    if (!lun_mutex_blocked_by(handle_check(L, 1, &mutex_class)->object, text, sizeof text))
        return 0;
    push_text(L, text);
    return 1;
}

static const luaL_Reg METHODS[] = {
    {"is_held", mutex_is_held}, {"token", mutex_token},           {"stop_at", mutex_stop_at},
    {"key", mutex_key},         {"blocked_by", mutex_blocked_by}, {NULL, NULL},
};

static void mutex_free(void *object) {
    lun_mutex_free(object);
}

static const struct asking ASKS[] = {
    {"lock", ANSWER_TOKEN, 2, ask_lock, "lock"},
    {"try_lock", ANSWER_TOKEN, 2, ask_try_lock, "try_lock"},
    {"unlock", ANSWER_TRUE, 2, ask_unlock, "unlock"},
    {"owner", ANSWER_LEADER, 2, ask_owner, NULL},
    {"position", ANSWER_POSITION, 2, ask_position, NULL},
    {"await_loss", ANSWER_REASON, 2, ask_await_loss, NULL},
    {.name = NULL},
};

static bool is_held(void *object) {
    return lun_mutex_is_held(object);
}

const struct class mutex_class = {LUN_CORE ".mutex", mutex_free, METHODS, ASKS, is_held};
