/* module/watch.c - what is asked again and again for what comes next: watches of keys, and observers of a
 * leader. */
#include "module/module.h"

static int push_closed(lua_State *L, const char *what) {
    lua_pushfstring(L, "the %s is closed", what);
    return push_error(L, LUN_ECLOSED, lua_tostring(L, -1));
}

/* ---- watch ------------------------------------------------------------------------------------------ */

static int watch_next(lua_State *L) {
    struct handle *self = handle_peek(L, 1, &watch_class);
    if (!self->object)
        return push_closed(L, "watch");
    struct lun_err err = {0};
    struct op *op = op_new(L, self->box, self, ANSWER_EVENTS, 2);
    return op_asked(L, op, lun_watch_next(self->object, &op->ask, &op->lun, &err), &err);
}

static int watch_ready(lua_State *L) {
    struct handle *self = handle_peek(L, 1, &watch_class);
    if (!self->object)
        return push_closed(L, "watch");
    struct lun_err err = {0};
    struct op *op = op_new(L, self->box, self, ANSWER_TRUE, 2);
    return op_asked(L, op, lun_watch_ready(self->object, &op->ask, &op->lun, &err), &err);
}

static int watch_close(lua_State *L) {
    handle_close(handle_peek(L, 1, &watch_class));
    return 0;
}

static const luaL_Reg WATCH_METHODS[] = {
    {"next", watch_next},
    {"ready", watch_ready},
    {"close", watch_close},
    {NULL, NULL},
};

static void watch_free(void *object) {
    lun_watch_free(object);
}

const struct class watch_class = {"lunarch.core.watch", watch_free, WATCH_METHODS};

/* ---- observer --------------------------------------------------------------------------------------- */

static int observer_next(lua_State *L) {
    struct handle *self = handle_peek(L, 1, &observer_class);
    if (!self->object)
        return push_closed(L, "observer");
    struct lun_err err = {0};
    struct op *op = op_new(L, self->box, self, ANSWER_LEADER, 2);
    return op_asked(L, op, lun_observer_next(self->object, &op->ask, &op->lun, &err), &err);
}

static int observer_close(lua_State *L) {
    handle_close(handle_peek(L, 1, &observer_class));
    return 0;
}

static const luaL_Reg OBSERVER_METHODS[] = {
    {"next", observer_next},
    {"close", observer_close},
    {NULL, NULL},
};

static void observer_free(void *object) {
    lun_observer_free(object);
}

const struct class observer_class = {"lunarch.core.observer", observer_free, OBSERVER_METHODS};
