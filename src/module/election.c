/* module/election.c - elections, and the terms won in them. */
#include "module/module.h"

/* ---- election --------------------------------------------------------------------------------------- */

/* campaign(value, timeout_ms) */
static int election_campaign(lua_State *L) {
    struct handle *self = handle_check(L, 1, &election_class);
    struct lun_bytes value = read_bytes(L, 2);
    struct lun_err err = {0};
    struct op *op = op_new(L, self->box, self, ANSWER_TERM, 3);
    return op_asked(L, op, lun_election_campaign(self->object, value, &op->ask, &op->lun, &err), &err);
}

static int election_leader(lua_State *L) {
    struct handle *self = handle_check(L, 1, &election_class);
    struct lun_err err = {0};
    struct op *op = op_new(L, self->box, self, ANSWER_LEADER, 2);
    return op_asked(L, op, lun_election_leader(self->object, &op->ask, &op->lun, &err), &err);
}

static const luaL_Reg ELECTION_METHODS[] = {
    {"campaign", election_campaign},
    {"leader", election_leader},
    {NULL, NULL},
};

static void election_free(void *object) {
    lun_election_free(object);
}

const struct class election_class = {"lunarch.core.election", election_free, ELECTION_METHODS};

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

static int term_await_loss(lua_State *L) {
    struct handle *self = handle_check(L, 1, &term_class);
    struct lun_err err = {0};
    struct op *op = op_new(L, self->box, self, ANSWER_REASON, 2);
    return op_asked(L, op, lun_term_await_loss(self->object, &op->ask, &op->lun, &err), &err);
}

/* proclaim(value, timeout_ms) */
static int term_proclaim(lua_State *L) {
    struct handle *self = handle_check(L, 1, &term_class);
    struct lun_bytes value = read_bytes(L, 2);
    struct lun_err err = {0};
    struct op *op = op_new(L, self->box, self, ANSWER_REVISION, 3);
    return op_asked(L, op, lun_term_proclaim(self->object, value, &op->ask, &op->lun, &err), &err);
}

/* txn(txn, timeout_ms) */
static int term_txn(lua_State *L) {
    struct handle *self = handle_check(L, 1, &term_class);
    struct lun_txn txn;
    struct lun_err err = {0};
    read_txn(L, 2, &txn);
    struct op *op = op_new(L, self->box, self, ANSWER_TXN, 3);
    return op_asked(L, op, lun_term_txn(self->object, &txn, &op->ask, &op->lun, &err), &err);
}

static int term_resign(lua_State *L) {
    struct handle *self = handle_check(L, 1, &term_class);
    struct lun_err err = {0};
    struct op *op = op_new(L, self->box, self, ANSWER_TRUE, 2);
    return op_asked(L, op, lun_term_resign(self->object, &op->ask, &op->lun, &err), &err);
}

static const luaL_Reg TERM_METHODS[] = {
    {"token", term_token},       {"key", term_key},
    {"stop_at", term_stop_at},   {"valid_until", term_valid_until},
    {"reason", term_reason},     {"await_loss", term_await_loss},
    {"proclaim", term_proclaim}, {"txn", term_txn},
    {"resign", term_resign},     {NULL, NULL},
};

static void term_free(void *object) {
    lun_term_free(object);
}

const struct class term_class = {"lunarch.core.term", term_free, TERM_METHODS};
