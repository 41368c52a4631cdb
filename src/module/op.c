/* module/op.c - operations: asked, answered, taken or forgotten.
 *
 *   asked --answered--> done --take--> (unused)
 *     |                   `--forget--> undone, (unused)
 *     `--forget--> forgotten --answered--> undone, (unused)
 *
 * Undone: a lock that nobody will hear of is unlocked, a session or term that nobody has is freed. */
#include "module/module.h"

#include <stdlib.h>

/* The number of an operation: its slot below, and how often the slot was used above, so that an old number
 * finds nothing. */
enum { SLOT_BITS = 24, MAX_SLOTS = 1 << SLOT_BITS };
#define USE_STEP ((lua_Integer)MAX_SLOTS)
/* Numbers stay exact on every VM. */
#define MAX_ID ((lua_Integer)1 << 52)

static const char TOKEN[] = LUN_CORE ".token";

struct token {
    struct box *box;
    lua_Integer id;
};

static void on_done(void *arg, const struct lun_result *result) {
    struct op *op = arg;
    (void)result;
    if (op->is_forgotten) {
        lun_op_free(op->lun);
        op_recycle(op);
        return;
    }
    lun_op_keep(op->lun);
    op->is_done = true;
    list_push_back(&op->box->finished, &op->link);
}

static struct op *grow(lua_State *L, struct box *box) {
    if (box->n_ops >= MAX_SLOTS)
        luaL_error(L, "lunarch: %d operations of one client are waiting for an answer", (int)MAX_SLOTS);
    struct op **ops = realloc(box->ops, (box->n_ops + 1) * sizeof(struct op *));
    if (ops)
        box->ops = ops;
    struct op *op = ops ? calloc(1, sizeof *op) : NULL;
    if (!op) {
        luaL_error(L, "not enough memory");
        return NULL;
    }
    list_init(&op->link);
    op->box = box;
    op->id = (lua_Integer)box->n_ops + USE_STEP;
    ops[box->n_ops++] = op;
    return op;
}

struct op *op_new(lua_State *L, struct box *box, struct handle *handle, enum answer answer,
                  int timeout_index) {
    lua_Integer timeout_ms = luaL_checkinteger(L, timeout_index);
    struct token *token = lua_newuserdatauv(L, sizeof *token, 0);
    *token = (struct token){0};
    luaL_getmetatable(L, TOKEN);
    lua_setmetatable(L, -2);
    struct op *op = box->unused;
    if (op)
        box->unused = op->next_unused;
    else
        op = grow(L, box);
    op->next_unused = NULL;
    op->is_used = true;
    op->answer = answer;
    op->handle = handle;
    if (handle)
        handle->refs++;
    op->ask = (struct lun_ask){.timeout_ms = timeout_ms, .on_done = on_done, .arg = op};
    token->box = box;
    token->id = op->id;
    box_ref(box);
    return op;
}

void op_recycle(struct op *op) {
    struct box *box = op->box;
    list_remove(&op->link);
    handle_unref(op->handle);
    op->handle = NULL;
    op->lun = NULL;
    op->is_used = op->is_done = op->is_forgotten = false;
    op->id = op->id + USE_STEP < MAX_ID ? op->id + USE_STEP : op->id % USE_STEP + USE_STEP;
    op->next_unused = box->unused;
    box->unused = op;
}

int op_asked(lua_State *L, struct op *op, int code, const struct lun_err *err) {
    if (code != 0) {
        op_recycle(op);
        return push_error(L, code, err->code == code ? err->text : "");
    }
    lua_pushinteger(L, op->id);
    lua_insert(L, -2);
    return 2;
}

void op_check_token(lua_State *L, int index, const struct op *op) {
    const struct token *token = luaL_checkudata(L, index, TOKEN);
    if (token->box != op->box || token->id != op->id)
        luaL_argerror(L, index, "the token of another operation");
}

static int token_gc(lua_State *L) {
    struct token *token = lua_touserdata(L, 1);
    struct box *box = token->box;
    token->box = NULL;
    struct op *op = box ? op_find(box, token->id) : NULL;
    /* An argument was wrong: it was not asked. What is answered with no more than true is a release: it goes on. */
    if (op && !op->lun)
        op_recycle(op);
    else if (op && op->answer == ANSWER_TRUE)
        op_forget(op);
    else if (op)
        op_cancel(op);
    box_unref(box);
    return 0;
}

void op_register(lua_State *L) {
    if (luaL_newmetatable(L, TOKEN)) {
        lua_pushcfunction(L, token_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_pop(L, 1);
}

struct op *op_find(struct box *box, lua_Integer id) {
    if (id < 0)
        return NULL;
    size_t slot = (size_t)(id % USE_STEP);
    if (slot >= box->n_ops)
        return NULL;
    struct op *op = box->ops[slot];
    return op->is_used && !op->is_forgotten && op->id == id ? op : NULL;
}

void op_forget(struct op *op) {
    if (op->is_done) {
        lun_op_free(op->lun);
        op_recycle(op);
    } else {
        op->is_forgotten = true;
    }
}

void op_cancel(struct op *op) {
    struct lun_op *lun = op->is_done ? NULL : op->lun;
    op_forget(op);
    if (lun)
        lun_op_cancel(lun);
}
