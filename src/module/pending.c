/* module/pending.c - operations: asked, answered, taken or forgotten.
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
    struct client_ref *ref;
    lua_Integer id;
};

static void on_done(void *arg, const struct lun_result *result) {
    struct pending *pending = arg;
    (void)result;
    if (pending->is_forgotten) {
        lun_op_free(pending->lun);
        pending_recycle(pending);
        return;
    }
    lun_op_keep(pending->lun);
    pending->is_done = true;
    list_push_back(&pending->ref->finished, &pending->link);
}

static struct pending *grow(lua_State *L, struct client_ref *ref) {
    if (ref->n_slots >= MAX_SLOTS)
        luaL_error(L, "lunarch: %d operations of one client are waiting for an answer", (int)MAX_SLOTS);
    struct pending **slots = realloc(ref->slots, (ref->n_slots + 1) * sizeof(struct pending *));
    if (slots)
        ref->slots = slots;
    struct pending *pending = slots ? calloc(1, sizeof *pending) : NULL;
    if (!pending) {
        luaL_error(L, "not enough memory");
        return NULL;
    }
    list_init(&pending->link);
    pending->ref = ref;
    pending->id = (lua_Integer)ref->n_slots + USE_STEP;
    slots[ref->n_slots++] = pending;
    return pending;
}

struct pending *pending_new(lua_State *L, struct client_ref *ref, struct handle *handle, enum answer answer,
                            int timeout_index, struct lun_ask *ret_ask) {
    lua_Integer timeout_ms = luaL_checkinteger(L, timeout_index);
    struct token *token = lua_newuserdatauv(L, sizeof *token, 0);
    *token = (struct token){0};
    luaL_getmetatable(L, TOKEN);
    lua_setmetatable(L, -2);
    struct list *node = list_pop_front(&ref->unused);
    struct pending *pending = node ? CONTAINER_OF(node, struct pending, link) : grow(L, ref);
    pending->is_used = true;
    pending->answer = answer;
    pending->handle = handle;
    if (handle)
        handle->refs++;
    *ret_ask = (struct lun_ask){.timeout_ms = timeout_ms, .on_done = on_done, .arg = pending};
    token->ref = ref;
    token->id = pending->id;
    client_ref_hold(ref);
    return pending;
}

void pending_recycle(struct pending *pending) {
    struct client_ref *ref = pending->ref;
    list_remove(&pending->link);
    handle_unref(pending->handle);
    pending->handle = NULL;
    pending->lun = NULL;
    pending->is_used = pending->is_done = pending->is_forgotten = false;
    pending->id =
        pending->id + USE_STEP < MAX_ID ? pending->id + USE_STEP : pending->id % USE_STEP + USE_STEP;
    list_push_back(&ref->unused, &pending->link);
}

int pending_asked(lua_State *L, struct pending *pending, int code, const struct lun_err *err) {
    if (code != 0) {
        pending_recycle(pending);
        return push_error(L, code, err->code == code ? err->text : "");
    }
    lua_pushinteger(L, pending->id);
    lua_insert(L, -2);
    return 2;
}

void pending_check_token(lua_State *L, int index, const struct pending *pending) {
    const struct token *token = luaL_checkudata(L, index, TOKEN);
    if (token->ref != pending->ref || token->id != pending->id)
        luaL_argerror(L, index, "the token of another operation");
}

static int token_gc(lua_State *L) {
    struct token *token = lua_touserdata(L, 1);
    struct client_ref *ref = token->ref;
    token->ref = NULL;
    struct pending *pending = ref ? pending_find(ref, token->id) : NULL;
    /* An argument was wrong: it was not asked. What is answered with no more than true is a release: it goes on. */
    if (pending && !pending->lun)
        pending_recycle(pending);
    else if (pending && pending->answer == ANSWER_TRUE)
        pending_forget(pending);
    else if (pending)
        pending_cancel(pending);
    client_ref_release(ref);
    return 0;
}

void pending_register(lua_State *L) {
    if (luaL_newmetatable(L, TOKEN)) {
        lua_pushcfunction(L, token_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_pop(L, 1);
}

struct pending *pending_find(struct client_ref *ref, lua_Integer id) {
    if (id < 0)
        return NULL;
    size_t slot = (size_t)(id % USE_STEP);
    if (slot >= ref->n_slots)
        return NULL;
    struct pending *pending = ref->slots[slot];
    return pending->is_used && !pending->is_forgotten && pending->id == id ? pending : NULL;
}

void pending_forget(struct pending *pending) {
    if (pending->is_done) {
        lun_op_free(pending->lun);
        pending_recycle(pending);
    } else {
        pending->is_forgotten = true;
    }
}

void pending_cancel(struct pending *pending) {
    struct lun_op *lun = pending->is_done ? NULL : pending->lun;
    pending_forget(pending);
    if (lun)
        lun_op_cancel(lun);
}
