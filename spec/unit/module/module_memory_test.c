/* spec/unit/module/module_memory_test.c - Lua's allocator, and ours beneath it, refuse: the module raises "not enough memory"
 * or answers no_memory, and whatever it had begun is ended by the collector.
 *
 * The stories are in module_memory_story.lua; they block, on the simulator. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <stdlib.h>

#include "check.h"
#include "rpc/grpc.h"
#include "rpc/rpc.h"
#include "starve.h"
#include "tale.h"

int luaopen_lunarch_core(lua_State *L);

/* In place of the one over gRPC (see --wrap): each client of a story is another one of the simulator's. */
int __wrap_rpc_grpc_new(const struct rpc_tls *tls, struct rpc **ret_rpc, struct lun_err *ret_err);
int __wrap_rpc_grpc_new(const struct rpc_tls *tls, struct rpc **ret_rpc, struct lun_err *ret_err) {
    (void)tls;
    if (starve_refuses())
        return lun_err_set(ret_err, LUN_ENOMEM, "out of memory");
    *ret_rpc = sim_client_rpc(tale_another());
    return 0;
}

/* Lua counts on shrinking to succeed, and repeats a request that failed once, after collecting garbage. */
static void *allocate(void *arg, void *memory, size_t old_size, size_t new_size) {
    (void)arg;
    if (new_size == 0) {
        free(memory);
        return NULL;
    }
    if (memory && new_size <= old_size) {
        void *smaller = starve_shrink(memory, new_size);
        return smaller ? smaller : memory;
    }
    return realloc(memory, new_size);
}

static bool is_about_memory(const char *text) {
    return strstr(text, "not enough memory") || strstr(text, "out of memory") || strstr(text, "no_memory");
}

/* Pushes stories[name], lunarch, endpoints. */
static void prepare(lua_State *L, const char *name) {
    lua_settop(L, 2); /* lunarch, stories */
    lua_getfield(L, 2, name);
    lua_pushvalue(L, 1);
    lua_createtable(L, SIM_MEMBERS, 0);
    for (int i = 0; i < SIM_MEMBERS; i++) {
        lua_pushstring(L, sim_addresses[i]);
        lua_rawseti(L, -2, i + 1);
    }
}

static int open_state(lua_State *L) {
    luaL_openlibs(L);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, luaopen_lunarch_core);
    lua_setfield(L, -2, "lunarch.core");
    lua_settop(L, 0);
    lua_getglobal(L, "require");
    lua_pushliteral(L, "lunarch");
    lua_call(L, 1, 1);
    const char *root = getenv("LUNARCH_ROOT");
    if (luaL_dofile(L, lua_pushfstring(L, "%s/spec/unit/module/module_memory_story.lua", root)))
        return lua_error(L);
    lua_replace(L, 2);
    lua_settop(L, 2);
    return 2;
}

static void collect_all(lua_State *L) {
    lua_settop(L, 2);
    for (int i = 0; i < 3; i++)
        lua_gc(L, LUA_GCCOLLECT);
    lun_shutdown(60000);
}

/* False: it came to its end without having been refused anything. */
static bool tell(const char *name, size_t n_before, size_t n_refused) {
    tale_begin(3);
    lua_State *L = lua_newstate(allocate, NULL);
    lua_pushcfunction(L, open_state);
    if (lua_pcall(L, 0, 2, 0) != LUA_OK)
        check_fail(__FILE__, __LINE__, lua_tostring(L, -1));
    prepare(L, name);
    starve_begin(n_before, n_refused);
    bool is_told = lua_pcall(L, 2, 0, 0) == LUA_OK, has_refused = starve_has_refused();
    starve_end();
    if (!is_told && (!has_refused || !is_about_memory(lua_tostring(L, -1))))
        check_fail(__FILE__, __LINE__, lua_tostring(L, -1));
    collect_all(L);
    CHECK(sim_n_leases(tale->sim) == 0);
    /* Nothing has been spoilt for the next. */
    prepare(L, name);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK)
        check_fail(__FILE__, __LINE__, lua_tostring(L, -1));
    collect_all(L);
    lua_close(L);
    tale_end();
    return has_refused;
}

static void tell_all(const char *name) {
    static const size_t lengths[] = {1, 2, 3, 6, STARVE_FAMINE};
    const char *only = getenv("REFUSE");
    size_t n_told = 0, n_before, n_refused;
    if (only && sscanf(only, "%zu,%zu", &n_before, &n_refused) == 2) {
        (void)tell(name, n_before, n_refused);
        return;
    }
    starve_begin(0, 0);
    (void)tell(name, SIZE_MAX, 1);
    size_t n_points = starve_n_asked(), stride = 1 + n_points / 60;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0] && !check_is_failing; i++)
        for (size_t n = i % stride; tell(name, n, lengths[i]); n += stride) {
            n_told++;
            if (check_is_failing) {
                printf("# REFUSE=%zu,%zu tells it alone\n", n, lengths[i]);
                break;
            }
        }
    printf("# %zu requests for memory; told %zu times\n", n_points, n_told);
}

static void a_lock_is_taken_and_given_back(void) {
    tell_all(__func__);
}

static void a_term_is_won_and_resigned(void) {
    tell_all(__func__);
}

static void the_store_answers(void) {
    tell_all(__func__);
}

static void all_is_left_to_the_collector(void) {
    tell_all(__func__);
}

static void what_is_finished_is_told(void) {
    tell_all(__func__);
}

int main(void) {
    if (!getenv("LUNARCH_ROOT") || !getenv("LUA_PATH"))
        return check_skip("LUNARCH_ROOT and LUA_PATH say where the Lua files are");
    tale_on_failure = check_fail;
    RUN(a_lock_is_taken_and_given_back);
    RUN(a_term_is_won_and_resigned);
    RUN(the_store_answers);
    RUN(all_is_left_to_the_collector);
    RUN(what_is_finished_is_told);
    return check_end();
}
