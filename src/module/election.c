/* module/election.c - elections, and the terms won in them. */
#include <stdint.h>

#include "module/module.h"
#include "module/view.h"

/* ---- election --------------------------------------------------------------------------------------- */

/* campaign(value, timeout_ms) */
static int ask_campaign(lua_State *L, void *election, const struct lun_ask *ask, struct lun_op **ret_op,
                        struct lun_err *err) {
    return lun_election_campaign(election, read_bytes(L, 2), ask, ret_op, err);
}

static int ask_leader(lua_State *L, void *election, const struct lun_ask *ask, struct lun_op **ret_op,
                      struct lun_err *err) {
    (void)L;
    return lun_election_leader(election, ask, ret_op, err);
}

static int ask_position(lua_State *L, void *election, const struct lun_ask *ask, struct lun_op **ret_op,
                        struct lun_err *err) {
    (void)L;
    return lun_election_position(election, ask, ret_op, err);
}

/* blocked_by() -> text, or nil */
static int election_blocked_by(lua_State *L) {
    char text[LUN_ERR_TEXT_BYTES];
    if (!lun_election_blocked_by(handle_check(L, 1, &election_class)->object, text, sizeof text))
        return 0;
    push_text(L, text);
    return 1;
}

static const struct asking ELECTION_ASKS[] = {
    {"campaign", ANSWER_TERM, 3, ask_campaign, ""},
    {"leader", ANSWER_LEADER, 2, ask_leader, ""},
    {"position", ANSWER_POSITION, 2, ask_position, NULL},
    {.name = NULL},
};

static const luaL_Reg ELECTION_METHODS[] = {{"blocked_by", election_blocked_by}, {NULL, NULL}};

static void election_free(void *object) {
    lun_election_free(object);
}

const struct class election_class = {LUN_CORE ".election", election_free, ELECTION_METHODS, ELECTION_ASKS,
                                     NULL};

/* ---- term ------------------------------------------------------------------------------------------- */

static int term_token(lua_State *L) {
    push_int64(L, lun_term_token(handle_check(L, 1, &term_class)->object));
    return 1;
}

static int term_key(lua_State *L) {
    push_bytes(L, lun_term_key(handle_check(L, 1, &term_class)->object));
    return 1;
}

static int term_stop_at(lua_State *L) {
    push_seconds(L, lun_term_stop_at_ns(handle_check(L, 1, &term_class)->object));
    return 1;
}

static int term_valid_until(lua_State *L) {
    push_seconds(L, lun_term_valid_until_ns(handle_check(L, 1, &term_class)->object));
    return 1;
}

static int term_reason(lua_State *L) {
    enum lun_reason reason = lun_term_reason(handle_check(L, 1, &term_class)->object);
    if (reason == LUN_NOT_LOST)
        return 0;
    lua_pushstring(L, lun_reason_name(reason));
    return 1;
}

/* view() -> the term and the functions of view.h, as light userdata */
static int term_view(lua_State *L) {
    lua_pushlightuserdata(L, handle_check(L, 1, &term_class)->object);
    lua_pushlightuserdata(L, (void *)(uintptr_t)&module_view);
    return 2;
}

static int ask_await_loss(lua_State *L, void *term, const struct lun_ask *ask, struct lun_op **ret_op,
                          struct lun_err *err) {
    (void)L;
    return lun_term_await_loss(term, ask, ret_op, err);
}

/* ensure(span_ms, timeout_ms) */
static int ask_ensure(lua_State *L, void *term, const struct lun_ask *ask, struct lun_op **ret_op,
                      struct lun_err *err) {
    return lun_term_ensure(term, luaL_checkinteger(L, 2), ask, ret_op, err);
}

/* proclaim(value, timeout_ms) */
static int ask_proclaim(lua_State *L, void *term, const struct lun_ask *ask, struct lun_op **ret_op,
                        struct lun_err *err) {
    return lun_term_proclaim(term, read_bytes(L, 2), ask, ret_op, err);
}

/* txn(txn, timeout_ms) */
static int ask_txn(lua_State *L, void *term, const struct lun_ask *ask, struct lun_op **ret_op,
                   struct lun_err *err) {
    struct lun_txn txn;
    read_txn(L, 2, &txn);
    return lun_term_txn(term, &txn, ask, ret_op, err);
}

static int ask_resign(lua_State *L, void *term, const struct lun_ask *ask, struct lun_op **ret_op,
                      struct lun_err *err) {
    (void)L;
    return lun_term_resign(term, ask, ret_op, err);
}

static const struct asking TERM_ASKS[] = {
    {"await_loss", ANSWER_REASON, 2, ask_await_loss, NULL},
    {"ensure", ANSWER_TRUE, 3, ask_ensure, NULL},
    {"proclaim", ANSWER_REVISION, 3, ask_proclaim, ""},
    {"txn", ANSWER_TXN, 3, ask_txn, "guarded txn"},
    {"resign", ANSWER_TRUE, 2, ask_resign, ""},
    {.name = NULL},
};

static const luaL_Reg TERM_METHODS[] = {
    {"token", term_token},
    {"key", term_key},
    {"stop_at", term_stop_at},
    {"valid_until", term_valid_until},
    {"reason", term_reason},
    {"view", term_view},
    {NULL, NULL},
};

static void term_free(void *object) {
    lun_term_free(object);
}

static bool term_is_held(void *object) {
    return lun_term_valid_until_ns(object) != 0;
}

const struct class term_class = {LUN_CORE ".term", term_free, TERM_METHODS, TERM_ASKS, term_is_held};
