/* module/box.c - clients: opening them, running what is due, and letting go of them. */
#include "module/module.h"

#include <stdlib.h>
#include <string.h>

static const char CLIENT[] = CLIENT_CLASS;

/* A trace that nobody fetches must not grow for ever. */
enum { MAX_LINES = 10000 };

struct line {
    struct list link;
    bool is_being_told;
    size_t len;
    char text[];
};

static void on_trace(void *arg, const char *text) {
    struct box *box = arg;
    size_t len = strlen(text);
    struct line *line = box->n_lines < MAX_LINES ? malloc(sizeof *line + len) : NULL;
    if (!line)
        return;
    line->len = len;
    line->is_being_told = false;
    memcpy(line->text, text, len);
    list_push_back(&box->lines, &line->link);
    box->n_lines++;
}

static void free_line(struct box *box, struct line *line) {
    list_remove(&line->link);
    free(line);
    box->n_lines--;
}

/* ---- lifetime --------------------------------------------------------------------------------------- */

void box_ref(struct box *box) {
    box->refs++;
}

void box_unref(struct box *box) {
    if (!box || --box->refs > 0)
        return;
    for (size_t i = 0; i < box->n_ops; i++) {
        struct op *op = box->ops[i];
        if (op->is_used && op->is_done)
            op_forget(op);
    }
    lun_client_abandon(box->client);
    for (size_t i = 0; i < box->n_ops; i++) {
        handle_unref(box->ops[i]->handle);
        free(box->ops[i]);
    }
    free(box->ops);
    while (!list_is_empty(&box->lines))
        free_line(box, CONTAINER_OF(box->lines.next, struct line, link));
    free(box);
}

struct box *box_check(lua_State *L, int index) {
    struct box **slot = luaL_checkudata(L, index, CLIENT);
    if (!*slot)
        luaL_error(L, "%s: the object has been collected", CLIENT);
    return *slot;
}

static int client_gc(lua_State *L) {
    struct box **slot = lua_touserdata(L, 1);
    struct box *box = *slot;
    *slot = NULL;
    box_unref(box);
    return 0;
}

/* The string of that name in the table at `index`, which keeps it alive; NULL for none. */
static const char *string_field(lua_State *L, int index, const char *name) {
    lua_getfield(L, index, name);
    const char *text = lua_tostring(L, -1);
    lua_pop(L, 1);
    return text;
}

/* The strings of the list at `index`, which keeps them alive. Left on the stack, for the collector. */
static const char **string_list(lua_State *L, int index, size_t *ret_n) {
    luaL_checktype(L, index, LUA_TTABLE);
    size_t n = *ret_n = lua_rawlen(L, index);
    const char **strings = lua_newuserdatauv(L, (n + 1) * sizeof *strings, 0);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, index, (int)i + 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            (void)luaL_argerror(L, index, "a list of strings expected");
        strings[i] = lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    return strings;
}

static void add_endpoint(void *arg, const char *text) {
    lua_State *L = arg;
    lua_pushstring(L, text);
    lua_rawseti(L, -2, (int)lua_rawlen(L, -2) + 1);
}

/* endpoints(list) -> list, each address once and written in full; or nil, message, code. */
int box_endpoints(lua_State *L) {
    size_t n;
    const char **given = string_list(L, 1, &n);
    struct lun_err err = {0};
    lua_newtable(L);
    int code = lun_endpoints(given, n, add_endpoint, L, &err);
    return code ? push_error(L, code, err.text) : 1;
}

/* connect(endpoints, name or nil, wants_trace, options): of the options those of lua/lunarch/connection.lua. */
int box_connect(lua_State *L) {
    luaL_checktype(L, 4, LUA_TTABLE);
    const char *name = luaL_optstring(L, 2, NULL);
    bool wants_trace = lua_toboolean(L, 3);
    size_t n;
    const char **endpoints = string_list(L, 1, &n);
    struct box **slot = lua_newuserdatauv(L, sizeof *slot, 0);
    *slot = NULL;
    luaL_getmetatable(L, CLIENT);
    lua_setmetatable(L, -2);
    struct box *box = calloc(1, sizeof *box);
    if (!box)
        return luaL_error(L, "not enough memory");
    box->refs = 1;
    list_init(&box->finished);
    list_init(&box->lines);
    struct lun_config config = {.endpoints = endpoints,
                                .n_endpoints = n,
                                .name = name,
                                .cacert = string_field(L, 4, "cacert"),
                                .cert = string_field(L, 4, "cert"),
                                .key = string_field(L, 4, "key"),
                                .server_name = string_field(L, 4, "server_name"),
                                .prefix = string_field(L, 4, "prefix"),
                                .user = string_field(L, 4, "user"),
                                .password = string_field(L, 4, "password"),
                                .on_trace = wants_trace ? on_trace : NULL,
                                .trace_arg = box};
    lua_getfield(L, 4, "insecure_skip_tls_verify");
    config.insecure_skip_tls_verify = lua_toboolean(L, -1);
    lua_pop(L, 1);
    struct lun_err err = {0};
    int code = lun_client_open(&config, &box->client, &err);
    if (code != 0) {
        free(box);
        return push_error(L, code, err.text);
    }
    *slot = box;
    return 1;
}

/* ---- polling ---------------------------------------------------------------------------------------- */

static int client_pollfd(lua_State *L) {
    lua_pushinteger(L, lun_client_fd(box_check(L, 1)->client));
    return 1;
}

static struct line *first_untold(struct box *box) {
    for (struct list *node = box->lines.next; node != &box->lines; node = node->next) {
        struct line *line = CONTAINER_OF(node, struct line, link);
        if (!line->is_being_told)
            return line;
    }
    return NULL;
}

/* To push a string may collect garbage, and a finalizer may come here again: it leaves alone what is being told. */
static void push_lines(lua_State *L, struct box *box) {
    struct line *line;
    lua_createtable(L, (int)box->n_lines, 0);
    for (int i = 1; (line = first_untold(box)); i++) {
        line->is_being_told = true;
        lua_pushlstring(L, line->text, line->len);
        lua_rawseti(L, -2, i);
        free_line(box, line);
    }
}

/* drain(ids) -> n, lines or nil: runs what is due, fills `ids` with the numbers of the operations finished
 * since. */
static int client_drain(lua_State *L) {
    struct box *box = box_check(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    lun_client_poll(box->client, 0);
    int n = 0;
    if (box->n_lines > 0)
        push_lines(L, box); /* first: a finalizer may finish operations meanwhile */
    else
        lua_pushnil(L);
    for (struct list *node = box->finished.next; node != &box->finished; node = node->next) {
        lua_pushinteger(L, CONTAINER_OF(node, struct op, link)->id);
        lua_rawseti(L, 2, ++n);
    }
    while (list_pop_front(&box->finished)) { /* only now: an error raised before loses none */
    }
    lua_pushinteger(L, n);
    lua_insert(L, -2);
    return 2;
}

/* wait(id or nil, timeout_ms) -> whether it is done (something was run); nil, message, code on a signal or
 * when closed. */
static int client_wait(lua_State *L) {
    struct box *box = box_check(L, 1);
    struct op *op = lua_isnoneornil(L, 2) ? NULL : op_find(box, luaL_checkinteger(L, 2));
    lua_Integer timeout_ms = luaL_checkinteger(L, 3);
    if (!op && !lua_isnoneornil(L, 2))
        return luaL_argerror(L, 2, "no such operation");
    int n = op && op->is_done ? 1 : lun_client_poll(box->client, timeout_ms);
    if (n < 0)
        return push_error(L, n, "");
    lua_pushboolean(L, op ? op->is_done : n > 0);
    return 1;
}

static struct op *op_check(lua_State *L, struct box *box) {
    struct op *op = op_find(box, luaL_checkinteger(L, 2));
    if (!op)
        luaL_argerror(L, 2, "no such operation");
    return op;
}

/* take(id, token, owner) -> what it came to. One that is not finished is cancelled: only a client of another
 * process leaves it so. The last two are here to stay alive: to push an answer may collect garbage. */
static int client_take(lua_State *L) {
    struct op *op = op_check(L, box_check(L, 1));
    op_check_token(L, 3, op);
    if (!op->is_done) {
        op_cancel(op);
        return push_error(L, LUN_ECLOSED, "the client is closed");
    }
    int n = answer_push(L, op);
    lun_op_take(op->lun);
    op_recycle(op);
    return n;
}

/* cancel(id), forget(id): nothing where the operation is gone: a coroutine that was collected took it along. */
static int client_cancel(lua_State *L) {
    struct op *op = op_find(box_check(L, 1), luaL_checkinteger(L, 2));
    if (op)
        op_cancel(op);
    return 0;
}

static int client_forget(lua_State *L) {
    struct op *op = op_find(box_check(L, 1), luaL_checkinteger(L, 2));
    if (op)
        op_forget(op);
    return 0;
}

static int ask_close(lua_State *L, void *client, struct op *op, struct lun_err *err) {
    (void)L;
    return lun_client_close(client, &op->ask, &op->lun, err);
}

/* ---- the store -------------------------------------------------------------------------------------- */

static int ask_kv(lua_State *L, void *client, struct op *op, struct lun_err *err) {
    struct lun_kv_op kv_op;
    read_op(L, 2, &kv_op);
    return lun_kv(client, &kv_op, &op->ask, &op->lun, err);
}

static int ask_txn(lua_State *L, void *client, struct op *op, struct lun_err *err) {
    struct lun_txn txn;
    read_txn(L, 2, &txn);
    return lun_txn(client, &txn, &op->ask, &op->lun, err);
}

/* lease_grant(id or nil, ttl_s, timeout_ms) */
static int ask_lease_grant(lua_State *L, void *client, struct op *op, struct lun_err *err) {
    int64_t lease = read_lease(L, 2);
    int64_t ttl_s = luaL_checkinteger(L, 3);
    return lun_lease_grant(client, lease, ttl_s, &op->ask, &op->lun, err);
}

static int ask_lease_revoke(lua_State *L, void *client, struct op *op, struct lun_err *err) {
    int64_t lease = read_lease(L, 2);
    return lun_lease_revoke(client, lease, &op->ask, &op->lun, err);
}

static int ask_lease_ttl(lua_State *L, void *client, struct op *op, struct lun_err *err) {
    int64_t lease = read_lease(L, 2);
    return lun_lease_time_to_live(client, lease, &op->ask, &op->lun, err);
}

static int ask_status(lua_State *L, void *client, struct op *op, struct lun_err *err) {
    (void)L;
    return lun_status(client, &op->ask, &op->lun, err);
}

/* ---- what is made from it --------------------------------------------------------------------------- */

/* session(ttl_s, grace_ms, lease or nil, timeout_ms) */
static int ask_session(lua_State *L, void *client, struct op *op, struct lun_err *err) {
    struct lun_session_options options = {
        .ttl_s = luaL_checkinteger(L, 2), .grace_ms = luaL_checkinteger(L, 3), .lease = read_lease(L, 4)};
    return lun_session_open(client, &options, &op->ask, &op->lun, err);
}

/* watch(key, range_end or nil, revision, wants_prev_kv, is_deletes_only) */
static int client_watch(lua_State *L) {
    struct box *box = box_check(L, 1);
    struct lun_watch_options options = {
        .key = read_bytes(L, 2),
        .start_rev = luaL_checkinteger(L, 4),
        .wants_prev_kv = lua_toboolean(L, 5),
        .is_deletes_only = lua_toboolean(L, 6),
    };
    if (!lua_isnil(L, 3))
        options.range_end = read_bytes(L, 3);
    struct lun_watch *watch;
    struct lun_err err = {0};
    struct handle *handle = handle_new(L, &watch_class);
    int code = lun_watch_open(box->client, &options, &watch, &err);
    if (code != 0)
        return push_error(L, code, err.text);
    handle_open(handle, box, watch);
    return 1;
}

static int client_observer(lua_State *L) {
    struct box *box = box_check(L, 1);
    const char *name = luaL_checkstring(L, 2);
    struct lun_observer *observer;
    struct lun_err err = {0};
    struct handle *handle = handle_new(L, &observer_class);
    int code = lun_observer_open(box->client, name, &observer, &err);
    if (code != 0)
        return push_error(L, code, err.text);
    handle_open(handle, box, observer);
    return 1;
}

/* stats() -> table, or nil, message, code: in a forked child. */
static int client_stats(lua_State *L) {
    enum { MOST_WAITS = 100 };
    struct box *box = box_check(L, 1);
    struct lun_stats stats;
    struct lun_wait *waits = lua_newuserdatauv(L, MOST_WAITS * sizeof *waits, 0);
    int code = lun_client_stats(box->client, &stats);
    if (code != 0)
        return push_error(L, code, "");
    stats_push(L, &stats, waits, lun_client_waits(box->client, waits, MOST_WAITS));
    return 1;
}

const struct asking client_asks[] = {
    {"close", ANSWER_TRUE, 2, ask_close, NULL},
    {"kv", ANSWER_KV, 3, ask_kv, "kv"},
    {"txn", ANSWER_TXN, 3, ask_txn, "txn"},
    {"lease_grant", ANSWER_LEASE, 4, ask_lease_grant, ""},
    {"lease_revoke", ANSWER_TRUE, 3, ask_lease_revoke, ""},
    {"lease_ttl", ANSWER_TTL, 3, ask_lease_ttl, NULL},
    {"status", ANSWER_STATUS, 2, ask_status, NULL},
    {"session", ANSWER_SESSION, 5, ask_session, ""},
    {.name = NULL},
};

static const luaL_Reg METHODS[] = {
    {"pollfd", client_pollfd},
    {"drain", client_drain},
    {"wait", client_wait},
    {"take", client_take},
    {"cancel", client_cancel},
    {"forget", client_forget},
    {"stats", client_stats},
    {"watch", client_watch},
    {"observer", client_observer},
    {NULL, NULL},
};

void box_register(lua_State *L) {
    if (luaL_newmetatable(L, CLIENT)) {
        lua_newtable(L);
        luaL_setfuncs(L, METHODS, 0);
        asking_register(L, client_asks, NULL);
        lua_setfield(L, -2, "__index");
        lua_pushcfunction(L, client_gc);
        lua_setfield(L, -2, "__gc");
        lua_pushstring(L, CLIENT);
        lua_setfield(L, -2, "__name");
    }
    lua_pop(L, 1);
}
