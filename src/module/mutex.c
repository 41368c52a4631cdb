/* module/mutex.c - mutexes. */
#include "module/module.h"

static int mutex_lock(lua_State *L) {
    struct handle *self = handle_check(L, 1, &mutex_class);
    struct lun_err err = {0};
    struct op *op = op_new(L, self->box, self, ANSWER_TOKEN, 2);
    return op_asked(L, op, lun_mutex_lock(self->object, &op->ask, &op->lun, &err), &err);
}

static int mutex_try_lock(lua_State *L) {
    struct handle *self = handle_check(L, 1, &mutex_class);
    struct lun_err err = {0};
    struct op *op = op_new(L, self->box, self, ANSWER_TOKEN, 2);
    return op_asked(L, op, lun_mutex_try_lock(self->object, &op->ask, &op->lun, &err), &err);
}

static int mutex_unlock(lua_State *L) {
    struct handle *self = handle_check(L, 1, &mutex_class);
    struct lun_err err = {0};
    struct op *op = op_new(L, self->box, self, ANSWER_TRUE, 2);
    return op_asked(L, op, lun_mutex_unlock(self->object, &op->ask, &op->lun, &err), &err);
}

static int mutex_owner(lua_State *L) {
    struct handle *self = handle_check(L, 1, &mutex_class);
    struct lun_err err = {0};
    struct op *op = op_new(L, self->box, self, ANSWER_LEADER, 2);
    return op_asked(L, op, lun_mutex_owner(self->object, &op->ask, &op->lun, &err), &err);
}

static int mutex_await_loss(lua_State *L) {
    struct handle *self = handle_check(L, 1, &mutex_class);
    struct lun_err err = {0};
    struct op *op = op_new(L, self->box, self, ANSWER_REASON, 2);
    return op_asked(L, op, lun_mutex_await_loss(self->object, &op->ask, &op->lun, &err), &err);
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

static const luaL_Reg METHODS[] = {
    {"lock", mutex_lock},   {"try_lock", mutex_try_lock},     {"unlock", mutex_unlock},
    {"owner", mutex_owner}, {"await_loss", mutex_await_loss}, {"is_held", mutex_is_held},
    {"token", mutex_token}, {"stop_at", mutex_stop_at},       {"key", mutex_key},
    {NULL, NULL},
};

static void mutex_free(void *object) {
    lun_mutex_free(object);
}

const struct class mutex_class = {"lunarch.core.mutex", mutex_free, METHODS};
