/* module/watch.c - what is asked again and again for what comes next: watches of keys, and observers of a
 * leader. */
#include "module/module.h"

/* ---- watch ------------------------------------------------------------------------------------------ */

static int ask_next_events(lua_State *L, void *watch, const struct lun_ask *ask, struct lun_op **ret_op,
                           struct lun_err *err) {
    (void)L;
    return lun_watch_next(watch, ask, ret_op, err);
}

static int ask_ready(lua_State *L, void *watch, const struct lun_ask *ask, struct lun_op **ret_op,
                     struct lun_err *err) {
    (void)L;
    return lun_watch_ready(watch, ask, ret_op, err);
}

static const struct asking WATCH_ASKS[] = {{"next", ANSWER_EVENTS, 2, ask_next_events, NULL},
                                           {"ready", ANSWER_TRUE, 2, ask_ready, NULL},
                                           {.name = NULL}};

static int watch_close(lua_State *L) {
    handle_close(handle_peek(L, 1, &watch_class));
    return 0;
}

static const luaL_Reg WATCH_METHODS[] = {
    {"close", watch_close},
    {NULL, NULL},
};

static void watch_free(void *object) {
    lun_watch_free(object);
}

const struct class watch_class = {LUN_CORE ".watch", watch_free, WATCH_METHODS, WATCH_ASKS, NULL};

/* ---- observer --------------------------------------------------------------------------------------- */

static int ask_next_leader(lua_State *L, void *observer, const struct lun_ask *ask, struct lun_op **ret_op,
                           struct lun_err *err) {
    (void)L;
    return lun_observer_next(observer, ask, ret_op, err);
}

static const struct asking OBSERVER_ASKS[] = {{"next", ANSWER_LEADER, 2, ask_next_leader, NULL},
                                              {.name = NULL}};

static int observer_close(lua_State *L) {
    handle_close(handle_peek(L, 1, &observer_class));
    return 0;
}

static const luaL_Reg OBSERVER_METHODS[] = {
    {"close", observer_close},
    {NULL, NULL},
};

static void observer_free(void *object) {
    lun_observer_free(object);
}

const struct class observer_class = {LUN_CORE ".observer", observer_free, OBSERVER_METHODS, OBSERVER_ASKS,
                                     NULL};
