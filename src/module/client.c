/* module/client.c - the client class: opening clients, polling them, giving up what nothing refers to any more. A circle with the
 * other classes: a client hands out their objects in its answers, and they keep it alive. */
#include "module/module.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "module/view.h"

static const char CLIENT[] = CLIENT_CLASS;

/* A trace that nobody fetches must not grow for ever. */
enum { MAX_LINES = 10000 };

struct line {
    struct list link;
    bool is_warning;
    bool is_being_told;
    size_t len;
    char text[];
};

static void keep_line(struct client_ref *ref, const char *text, bool is_warning) {
    size_t len = strlen(text);
    struct line *line = ref->n_lines < MAX_LINES ? malloc(sizeof *line + len) : NULL;
    if (!line)
        return;
    line->len = len;
    line->is_warning = is_warning;
    line->is_being_told = false;
    memcpy(line->text, text, len);
    list_push_back(&ref->lines, &line->link);
    ref->n_lines++;
}

static void on_trace(void *arg, const char *text) {
    keep_line(arg, text, false);
}

static void on_warning(void *arg, const char *text) {
    keep_line(arg, text, true);
}

static void free_line(struct client_ref *ref, struct line *line) {
    list_remove(&line->link);
    free(line);
    ref->n_lines--;
}

/* ---- lifetime --------------------------------------------------------------------------------------- */

void client_ref_hold(struct client_ref *ref) {
    ref->refs++;
}

void client_ref_release(struct client_ref *ref) {
    if (!ref || --ref->refs > 0)
        return;
    for (size_t i = 0; i < ref->n_slots; i++) {
        struct pending *pending = ref->slots[i];
        if (pending->is_used && pending->is_done)
            pending_forget(pending);
    }
    lun_client_abandon(ref->client);
    for (size_t i = 0; i < ref->n_slots; i++) {
        handle_unref(ref->slots[i]->handle);
        free(ref->slots[i]);
    }
    free(ref->slots);
    while (!list_is_empty(&ref->lines))
        free_line(ref, CONTAINER_OF(ref->lines.next, struct line, link));
    free(ref);
}

struct client_ref *client_ref_check(lua_State *L, int index) {
    struct client_ref **slot = luaL_checkudata(L, index, CLIENT);
    if (!*slot)
        luaL_error(L, "%s: the object has been collected", CLIENT);
    return *slot;
}

static int client_gc(lua_State *L) {
    struct client_ref **slot = lua_touserdata(L, 1);
    struct client_ref *ref = *slot;
    *slot = NULL;
    client_ref_release(ref);
    return 0;
}

/* The string of that name in the table at `index`, which keeps it alive; NULL for none. */
static const char *string_field(lua_State *L, int index, const char *name) {
    lua_getfield(L, index, name);
    const char *text = lua_tostring(L, -1);
    lua_pop(L, 1);
    return text;
}

static bool flag_field(lua_State *L, int index, const char *name) {
    lua_getfield(L, index, name);
    bool is_set = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return is_set;
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
int client_ref_endpoints(lua_State *L) {
    size_t n;
    const char **given = string_list(L, 1, &n);
    struct lun_err err = {0};
    lua_newtable(L);
    int code = lun_endpoints(given, n, add_endpoint, L, &err);
    return code ? push_error(L, code, err.text) : 1;
}

/* connect(endpoints, name or nil, wants_trace, options): of the options those of lua/lunarch/internal/connection.lua. */
int client_ref_connect(lua_State *L) {
    luaL_checktype(L, 4, LUA_TTABLE);
    const char *name = luaL_optstring(L, 2, NULL);
    bool wants_trace = lua_toboolean(L, 3);
    size_t n;
    const char **endpoints = string_list(L, 1, &n);
    struct client_ref **slot = lua_newuserdatauv(L, sizeof *slot, 0);
    *slot = NULL;
    luaL_getmetatable(L, CLIENT);
    lua_setmetatable(L, -2);
    struct client_ref *ref = calloc(1, sizeof *ref);
    if (!ref)
        return luaL_error(L, "not enough memory");
    ref->refs = 1;
    list_init(&ref->finished);
    list_init(&ref->unused);
    list_init(&ref->lines);
    struct lun_config config = {.endpoints = endpoints,
                                .n_endpoints = n,
                                .name = name,
                                .on_trace = wants_trace ? on_trace : NULL,
                                .on_warning = on_warning,
                                .trace_arg = ref};
#define TAKE(field) config.field = string_field(L, 4, #field);
    LUN_CONFIG_STRINGS(TAKE)
#undef TAKE
    config.insecure_skip_tls_verify = flag_field(L, 4, "insecure_skip_tls_verify");
    config.only_given_endpoints = flag_field(L, 4, "only_given_endpoints");
    struct lun_err err = {0};
    int code = lun_client_open(&config, &ref->client, &err);
    if (code != 0) {
        free(ref);
        return push_error(L, code, err.text);
    }
    *slot = ref;
    return 1;
}

/* ---- polling ---------------------------------------------------------------------------------------- */

static int client_pollfd(lua_State *L) {
    lua_pushinteger(L, lun_client_fd(client_ref_check(L, 1)->client));
    return 1;
}

static struct line *first_untold(struct client_ref *ref, bool is_warning) {
    for (struct list *node = ref->lines.next; node != &ref->lines; node = node->next) {
        struct line *line = CONTAINER_OF(node, struct line, link);
        if (!line->is_being_told && line->is_warning == is_warning)
            return line;
    }
    return NULL;
}

/* To push a string may collect garbage, and a finalizer may come here again: it leaves alone what is being told. */
static void push_lines(lua_State *L, struct client_ref *ref, bool is_warning) {
    struct line *line = first_untold(ref, is_warning);
    if (!line) {
        lua_pushnil(L);
        return;
    }
    lua_newtable(L);
    for (int i = 1; (line = first_untold(ref, is_warning)); i++) {
        line->is_being_told = true;
        lua_pushlstring(L, line->text, line->len);
        lua_rawseti(L, -2, i);
        free_line(ref, line);
    }
}

/* drain(ids) -> n, lines or nil, warnings or nil: runs what is due, fills `ids` with the numbers of the operations
 * finished since. */
static int client_drain(lua_State *L) {
    struct client_ref *ref = client_ref_check(L, 1);
    luaL_checktype(L, 2, LUA_TTABLE);
    lun_client_poll(ref->client, 0);
    int n = 0;
    push_lines(L, ref, false); /* first: a finalizer may finish operations meanwhile */
    push_lines(L, ref, true);
    for (struct list *node = ref->finished.next; node != &ref->finished; node = node->next) {
        lua_pushinteger(L, CONTAINER_OF(node, struct pending, link)->id);
        lua_rawseti(L, 2, ++n);
    }
    while (list_pop_front(&ref->finished)) { /* only now: an error raised before loses none */
    }
    lua_pushinteger(L, n);
    lua_insert(L, -3);
    return 3;
}

/* wait(id or nil, timeout_ms) -> whether it is done (something was run); nil, message, code on a signal or
 * when closed. */
static int client_wait(lua_State *L) {
    struct client_ref *ref = client_ref_check(L, 1);
    struct pending *pending = lua_isnoneornil(L, 2) ? NULL : pending_find(ref, luaL_checkinteger(L, 2));
    lua_Integer timeout_ms = luaL_checkinteger(L, 3);
    if (!pending && !lua_isnoneornil(L, 2))
        return luaL_argerror(L, 2, "no such operation");
    int n = pending && pending->is_done ? 1 : lun_client_poll(ref->client, timeout_ms);
    if (n < 0)
        return push_error(L, n, "");
    lua_pushboolean(L, pending ? pending->is_done : n > 0);
    return 1;
}

/* has_lines() -> whether drain has lines or warnings to give. */
static int client_has_lines(lua_State *L) {
    lua_pushboolean(L, client_ref_check(L, 1)->n_lines > 0);
    return 1;
}

static struct pending *pending_check(lua_State *L, struct client_ref *ref) {
    struct pending *pending = pending_find(ref, luaL_checkinteger(L, 2));
    if (!pending)
        luaL_argerror(L, 2, "no such operation");
    return pending;
}

/* take(id, token, owner) -> what it came to. One that is not finished is cancelled: only a client of another
 * process leaves it so. The last two are here to stay alive: to push an answer may collect garbage. */
static int client_take(lua_State *L) {
    struct pending *pending = pending_check(L, client_ref_check(L, 1));
    pending_check_token(L, 3, pending);
    if (!pending->is_done) {
        pending_cancel(pending);
        return push_error(L, LUN_ECLOSED, "the client is closed");
    }
    int n = answer_push(L, pending);
    lun_op_take(pending->lun);
    pending_recycle(pending);
    return n;
}

/* cancel(id), forget(id): nothing where the operation is gone: a coroutine that was collected took it along. */
static int client_cancel(lua_State *L) {
    struct pending *pending = pending_find(client_ref_check(L, 1), luaL_checkinteger(L, 2));
    if (pending)
        pending_cancel(pending);
    return 0;
}

static int client_forget(lua_State *L) {
    struct pending *pending = pending_find(client_ref_check(L, 1), luaL_checkinteger(L, 2));
    if (pending)
        pending_forget(pending);
    return 0;
}

static int ask_close(lua_State *L, void *client, const struct lun_ask *ask, struct lun_op **ret_op,
                     struct lun_err *err) {
    (void)L;
    return lun_client_close(client, ask, ret_op, err);
}

/* ---- the store -------------------------------------------------------------------------------------- */

static int ask_kv(lua_State *L, void *client, const struct lun_ask *ask, struct lun_op **ret_op,
                  struct lun_err *err) {
    struct lun_kv_op kv_op;
    read_op(L, 2, &kv_op);
    return lun_kv(client, &kv_op, ask, ret_op, err);
}

static int ask_txn(lua_State *L, void *client, const struct lun_ask *ask, struct lun_op **ret_op,
                   struct lun_err *err) {
    struct lun_txn txn;
    read_txn(L, 2, &txn);
    return lun_txn(client, &txn, ask, ret_op, err);
}

/* lease_grant(id or nil, ttl_s, timeout_ms) */
static int ask_lease_grant(lua_State *L, void *client, const struct lun_ask *ask, struct lun_op **ret_op,
                           struct lun_err *err) {
    int64_t lease = read_lease(L, 2);
    int64_t ttl_s = luaL_checkinteger(L, 3);
    return lun_lease_grant(client, lease, ttl_s, ask, ret_op, err);
}

static int ask_lease_revoke(lua_State *L, void *client, const struct lun_ask *ask, struct lun_op **ret_op,
                            struct lun_err *err) {
    int64_t lease = read_lease(L, 2);
    return lun_lease_revoke(client, lease, ask, ret_op, err);
}

static int ask_lease_ttl(lua_State *L, void *client, const struct lun_ask *ask, struct lun_op **ret_op,
                         struct lun_err *err) {
    int64_t lease = read_lease(L, 2);
    return lun_lease_time_to_live(client, lease, ask, ret_op, err);
}

static int ask_status(lua_State *L, void *client, const struct lun_ask *ask, struct lun_op **ret_op,
                      struct lun_err *err) {
    (void)L;
    return lun_status(client, ask, ret_op, err);
}

/* ---- what is made from it --------------------------------------------------------------------------- */

/* session(ttl_s, grace_ms, lease or nil, timeout_ms) */
static int ask_session(lua_State *L, void *client, const struct lun_ask *ask, struct lun_op **ret_op,
                       struct lun_err *err) {
    struct lun_session_options options = {
        .ttl_s = luaL_checkinteger(L, 2), .grace_ms = luaL_checkinteger(L, 3), .lease = read_lease(L, 4)};
    return lun_session_open(client, &options, ask, ret_op, err);
}

/* watch(key, range_end or nil, revision, wants_prev_kv, is_deletes_only) */
static int client_watch(lua_State *L) {
    struct client_ref *ref = client_ref_check(L, 1);
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
    int code = lun_watch_open(ref->client, &options, &watch, &err);
    if (code != 0)
        return push_error(L, code, err.text);
    handle_open(handle, ref, watch);
    return 1;
}

static int client_observer(lua_State *L) {
    struct client_ref *ref = client_ref_check(L, 1);
    const char *name = luaL_checkstring(L, 2);
    struct lun_observer *observer;
    struct lun_err err = {0};
    struct handle *handle = handle_new(L, &observer_class);
    int code = lun_observer_open(ref->client, name, &observer, &err);
    if (code != 0)
        return push_error(L, code, err.text);
    handle_open(handle, ref, observer);
    return 1;
}

/* stats() -> table, or nil, message, code: in a forked child. */
static int client_stats(lua_State *L) {
    enum { MOST_WAITS = 100 };
    struct client_ref *ref = client_ref_check(L, 1);
    struct lun_stats stats;
    struct lun_wait *waits = lua_newuserdatauv(L, MOST_WAITS * sizeof *waits, 0);
    int code = lun_client_stats(ref->client, &stats);
    if (code != 0)
        return push_error(L, code, "");
    stats_push(L, &stats, waits, lun_client_waits(ref->client, waits, MOST_WAITS));
    return 1;
}

/* view() -> the client and the functions of view.h, as light userdata */
static int client_view(lua_State *L) {
    lua_pushlightuserdata(L, client_ref_check(L, 1)->client);
    lua_pushlightuserdata(L, (void *)(uintptr_t)&module_view);
    return 2;
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
    {"pollfd", client_pollfd}, {"has_lines", client_has_lines}, {"drain", client_drain},
    {"wait", client_wait},     {"take", client_take},           {"cancel", client_cancel},
    {"forget", client_forget}, {"stats", client_stats},         {"view", client_view},
    {"watch", client_watch},   {"observer", client_observer},   {NULL, NULL},
};

void client_ref_register(lua_State *L) {
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
