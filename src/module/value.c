/* module/value.c - values on their way between Lua and C. */
#include "module/module.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- to Lua ----------------------------------------------------------------------------------------- */

void push_text(lua_State *L, const char *text) {
    lua_pushlstring(L, text, strlen(text));
}

int push_error(lua_State *L, int code, const char *text) {
    lua_pushnil(L);
    push_text(L, text[0] ? text : lun_strerror(code));
    lua_pushstring(L, lun_strerror_name(code));
    return 3;
}

void push_int64(lua_State *L, int64_t value) {
#if LUA_VERSION_NUM < 503
    if (value > (INT64_C(1) << 53) || value < -(INT64_C(1) << 53))
        luaL_error(L, "a revision is above 2^53, which the numbers of this Lua cannot hold");
    lua_pushnumber(L, (lua_Number)value);
#else
    lua_pushinteger(L, value);
#endif
}

void push_lease(lua_State *L, int64_t lease) {
    char text[17];
    snprintf(text, sizeof text, "%016" PRIx64, (uint64_t)lease);
    lua_pushlstring(L, text, 16);
}

void push_bytes(lua_State *L, struct lun_bytes bytes) {
    lua_pushlstring(L, bytes.len ? bytes.data : "", bytes.len);
}

void push_seconds(lua_State *L, int64_t ns) {
    lua_pushnumber(L, (lua_Number)ns / 1e9);
}

/* ---- from Lua --------------------------------------------------------------------------------------- */

/* A number would be turned into a string in place, in a table of the caller's. */
struct lun_bytes read_bytes(lua_State *L, int index) {
    if (lua_type(L, index) != LUA_TSTRING)
        luaL_error(L, "a string expected, got %s", luaL_typename(L, index));
    struct lun_bytes bytes;
    bytes.data = lua_tolstring(L, index, &bytes.len);
    return bytes;
}

int64_t read_lease(lua_State *L, int index) {
    if (lua_isnoneornil(L, index))
        return 0;
    struct lun_bytes text = read_bytes(L, index);
    char *end;
    unsigned long long lease = strtoull(text.data, &end, 16);
    if (text.len == 0 || text.len > 16 || end != (const char *)text.data + text.len || lease > INT64_MAX)
        luaL_error(L, "a lease id expected");
    return (int64_t)lease;
}

/* The slices stay valid when popped: the table keeps the strings. */
static struct lun_bytes field_bytes(lua_State *L, int table, const char *name) {
    struct lun_bytes bytes = {0};
    lua_getfield(L, table, name);
    if (!lua_isnil(L, -1))
        bytes = read_bytes(L, -1);
    lua_pop(L, 1);
    return bytes;
}

static int64_t field_number(lua_State *L, int table, const char *name) {
    lua_getfield(L, table, name);
    int64_t value = lua_isnil(L, -1) ? 0 : luaL_checkinteger(L, -1);
    lua_pop(L, 1);
    return value;
}

static int64_t field_lease(lua_State *L, int table, const char *name) {
    lua_getfield(L, table, name);
    int64_t value = read_lease(L, -1);
    lua_pop(L, 1);
    return value;
}

static bool field_flag(lua_State *L, int table, const char *name) {
    lua_getfield(L, table, name);
    bool value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

void read_op(lua_State *L, int index, struct lun_kv_op *ret) {
    luaL_checktype(L, index, LUA_TTABLE);
    *ret = (struct lun_kv_op){
        .kind = (enum lun_op_kind)field_number(L, index, "kind"),
        .key = field_bytes(L, index, "key"),
        .range_end = field_bytes(L, index, "range_end"),
        .wants_prev_kv = field_flag(L, index, "prev_kv"),
    };
    if (ret->kind == LUN_OP_PUT) {
        ret->value = field_bytes(L, index, "value");
        ret->lease = field_lease(L, index, "lease");
    } else if (ret->kind == LUN_OP_RANGE) {
        ret->limit = field_number(L, index, "limit");
        ret->revision = field_number(L, index, "revision");
        ret->min_create_rev = field_number(L, index, "min_create");
        ret->max_create_rev = field_number(L, index, "max_create");
        ret->min_mod_rev = field_number(L, index, "min_mod");
        ret->max_mod_rev = field_number(L, index, "max_mod");
        ret->sort_order = (enum lun_sort_order)field_number(L, index, "order");
        ret->sort_target = (enum lun_sort_target)field_number(L, index, "sort_by");
        ret->is_keys_only = field_flag(L, index, "keys_only");
        ret->is_count_only = field_flag(L, index, "count_only");
        ret->is_serializable = field_flag(L, index, "serializable");
    }
}

static void read_cmp(lua_State *L, int index, struct lun_cmp *ret) {
    luaL_checktype(L, index, LUA_TTABLE);
    *ret = (struct lun_cmp){
        .target = (enum lun_cmp_target)field_number(L, index, "target"),
        .result = (enum lun_cmp_result)field_number(L, index, "relation"),
        .key = field_bytes(L, index, "key"),
        .range_end = field_bytes(L, index, "range_end"),
        .value = field_bytes(L, index, "value"),
    };
    ret->number =
        ret->target == LUN_CMP_LEASE ? field_lease(L, index, "lease") : field_number(L, index, "number");
}

/* Pushes the list of that name, and an array for as many elements. */
static void *push_array(lua_State *L, int index, const char *name, size_t size, size_t *ret_n) {
    lua_getfield(L, index, name);
    *ret_n = lua_isnil(L, -1) ? 0 : lua_rawlen(L, -1);
    return lua_newuserdatauv(L, *ret_n * size + 1, 0);
}

static const struct lun_kv_op *read_ops(lua_State *L, int index, const char *name, size_t *ret_n) {
    struct lun_kv_op *ops = push_array(L, index, name, sizeof *ops, ret_n);
    int list = lua_gettop(L) - 1;
    for (size_t i = 0; i < *ret_n; i++) {
        lua_rawgeti(L, list, (int)i + 1);
        read_op(L, lua_gettop(L), &ops[i]);
        lua_pop(L, 1);
    }
    return ops;
}

void read_txn(lua_State *L, int index, struct lun_txn *ret) {
    luaL_checktype(L, index, LUA_TTABLE);
    luaL_checkstack(L, 16, NULL);
    struct lun_cmp *compares = push_array(L, index, "compare", sizeof *compares, &ret->n_compares);
    int list = lua_gettop(L) - 1;
    for (size_t i = 0; i < ret->n_compares; i++) {
        lua_rawgeti(L, list, (int)i + 1);
        read_cmp(L, lua_gettop(L), &compares[i]);
        lua_pop(L, 1);
    }
    ret->compares = compares;
    ret->success = read_ops(L, index, "success", &ret->n_success);
    ret->failure = read_ops(L, index, "failure", &ret->n_failure);
}
