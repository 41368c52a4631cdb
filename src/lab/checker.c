/* lab/checker.c - the state in which check(world) runs, and what it sees: the candidates, the store, the time, and
 * what the script has noted. */
#include <string.h>

#include "lab/run.h"

enum { ALARM_INSTRUCTIONS = 1000000, MAX_ALARMS = 20 };

static int n_alarms;

/* ---- what it sees --------------------------------------------------------------------------------------- */

static int l_now(lua_State *L) {
    lua_pushnumber(L, the_run && the_run->sim ? run_seconds(the_run) : 0);
    return 1;
}

static int l_phase(lua_State *L) {
    lua_pushstring(L, the_run ? the_run->phase : "");
    return 1;
}

static void push_kv(lua_State *L, const struct sim_kv *kv) {
    lua_createtable(L, 0, 5);
    lua_pushlstring(L, kv->key, kv->key_bytes);
    lua_setfield(L, -2, "key");
    lua_pushlstring(L, kv->value, kv->value_bytes);
    lua_setfield(L, -2, "value");
    lua_pushinteger(L, kv->create_rev);
    lua_setfield(L, -2, "create_revision");
    lua_pushinteger(L, kv->mod_rev);
    lua_setfield(L, -2, "mod_revision");
    lua_pushinteger(L, kv->version);
    lua_setfield(L, -2, "version");
}

/* get(key) -> value | nil */
static int l_get(lua_State *L) {
    size_t len;
    const char *key = luaL_checklstring(L, 1, &len);
    const struct sim *sim = the_run ? the_run->sim : NULL;
    for (size_t i = 0; sim && i < sim_n_kvs(sim); i++) {
        const struct sim_kv *kv = sim_kv_at(sim, i);
        if (kv->key_bytes != len || memcmp(kv->key, key, len) != 0)
            continue;
        lua_pushlstring(L, kv->value, kv->value_bytes);
        return 1;
    }
    lua_pushnil(L);
    return 1;
}

/* list(prefix) -> kvs */
static int l_list(lua_State *L) {
    const char *prefix = luaL_optstring(L, 1, "");
    const struct sim *sim = the_run ? the_run->sim : NULL;
    lua_newtable(L);
    lua_Integer n = 0;
    for (size_t i = 0; sim && i < sim_n_kvs(sim); i++) {
        const struct sim_kv *kv = sim_kv_at(sim, i);
        if (strncmp(kv->key, prefix, strlen(prefix)) != 0)
            continue;
        push_kv(L, kv);
        lua_rawseti(L, -2, ++n);
    }
    return 1;
}

/* The candidate that leads, or else the first. */
static struct candidate *main_candidate(struct process *process) {
    for (int i = 0; i < process->n_candidates; i++)
        if (process_leads(process, &process->candidates[i]))
            return &process->candidates[i];
    return &process->candidates[0];
}

/* candidate(index, field) */
static int l_candidate(lua_State *L) {
    lua_Integer index = luaL_checkinteger(L, 1);
    const char *field = luaL_checkstring(L, 2);
    if (!the_run || index < 1 || index > the_run->n_processes)
        return 0;
    struct process *process = &the_run->processes[index - 1];
    struct candidate *candidate = main_candidate(process);
    bool has_stand = process->is_up && process->n_candidates > 0;
    if (strcmp(field, "leads") == 0)
        lua_pushboolean(L, has_stand && process_leads(process, candidate));
    else if (strcmp(field, "is_elected") == 0)
        lua_pushboolean(L, has_stand && candidate->is_entered);
    else if (strcmp(field, "is_up") == 0)
        lua_pushboolean(L, process->is_up);
    else if (strcmp(field, "is_paused") == 0)
        lua_pushboolean(L, process->is_paused);
    else if (strcmp(field, "now") == 0)
        lua_pushnumber(L, (lua_Number)process_now_ns(process) / 1e9);
    else if (strcmp(field, "lives") == 0)
        lua_pushinteger(L, process->n_lives);
    else if (strcmp(field, "election") == 0 && has_stand)
        lua_pushstring(L, candidate->election);
    else if (strcmp(field, "token") == 0 && has_stand && candidate->is_entered)
        lua_pushinteger(L, candidate->token);
    else if (strcmp(field, "handler") == 0 && has_stand && candidate->handler)
        lua_pushstring(L, candidate->handler);
    else
        lua_pushnil(L);
    return 1;
}

static void on_count(lua_State *L, lua_Debug *ar) {
    if (++n_alarms <= MAX_ALARMS || !lua_getinfo(L, "Sl", ar))
        return;
    /* From now on at every instruction: a pcall around it must not go on. */
    lua_sethook(L, on_count, LUA_MASKCOUNT, 1);
    (void)luaL_error(L, "%s:%d: it runs on and on (%d million instructions)", ar->short_src, ar->currentline,
                     ALARM_INSTRUCTIONS / 1000000 * MAX_ALARMS);
}

int luaopen_lunarch_sim_world(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"now", l_now},   {"phase", l_phase},         {"get", l_get},
        {"list", l_list}, {"candidate", l_candidate}, {NULL, NULL},
    };
    luaL_newlib(L, functions);
    return 1;
}

/* ---- what it says --------------------------------------------------------------------------------------- */

static void begin(lua_State *L, int n_alarms_so_far) {
    n_alarms = n_alarms_so_far;
    lua_sethook(L, on_count, LUA_MASKCOUNT, ALARM_INSTRUCTIONS);
    lua_settop(L, 0);
}

const char *checker_open(struct run *run) {
    lua_State *L = run->checker.L;
    run->has_check = false;
    /* What goes wrong there goes wrong in the candidates too, and is reported there. */
    begin(L, MAX_ALARMS - 1);
    lua_getfield(L, LUA_REGISTRYINDEX, "lunarch.sim.load");
    (void)lua_pcall(L, 0, 0, 0);
    begin(L, 0);
    lua_getfield(L, LUA_REGISTRYINDEX, "lunarch.sim.open");
    if (lua_pcall(L, 0, 3, 0) != LUA_OK)
        return lua_tostring(L, -1);
    run->ttl_s = lua_tonumber(L, -2);
    run->stop_timeout_s = lua_tonumber(L, -1);
    lua_pop(L, 2);
    run->has_check = lua_isfunction(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, "lunarch.sim.check");
    return NULL;
}

static int describe(lua_State *L) {
    (void)luaL_tolstring(L, 1, NULL);
    return 1;
}

void checker_look(struct run *run) {
    lua_State *L = run->checker.L;
    if (!run->has_check || run->verdict)
        return;
    begin(L, 0);
    lua_pushcfunction(L, describe);
    lua_getfield(L, LUA_REGISTRYINDEX, "lunarch.sim.check");
    lua_getfield(L, LUA_REGISTRYINDEX, "lunarch.sim.view");
    if (lua_pcall(L, 1, 2, 1) != LUA_OK) {
        run_fail(run, VERDICT_CHECK, "", "check: %s", lua_tostring(L, -1));
    } else if (lua_isboolean(L, -2) && !lua_toboolean(L, -2)) {
        const char *why = lua_isnil(L, -1) ? NULL : luaL_tolstring(L, -1, NULL);
        run_fail(run, VERDICT_CHECK, "", "check: %s", why ? why : "it returned false");
    }
}

int checker_ask(struct run *run, const char *what, lua_State *from) {
    lua_State *L = run->checker.L;
    int n = lua_gettop(from);
    if (!L) {
        lua_pushnil(from);
        return 1;
    }
    begin(L, 0);
    lua_getfield(L, LUA_REGISTRYINDEX, "lunarch.sim.noted");
    lua_getfield(L, -1, what);
    for (int i = 1; i <= n; i++)
        copy_value(from, i, L);
    if (lua_pcall(L, n, 1, 0) == LUA_OK)
        copy_value(L, -1, from);
    else
        lua_pushnil(from);
    return 1;
}
