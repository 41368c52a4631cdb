/* lab/run.c - luaopen_lunarch_sim: runs, one at a time, for lua/lunarch/cli/sim:
 *
 *   prepare(options) ... begin(seed), start(i), run(until), faults ..., finish() ... begin(seed) ...
 *
 * A circle with process.c and checker.c: a run drives its processes, whose code reports to it and may fail it.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lualib.h>

#include "lab/run.h"

/* Exported by name. */
int luaopen_lunarch_sim(lua_State *L);

struct run *the_run;

/* ---- telling -------------------------------------------------------------------------------------------- */

double run_seconds(const struct run *run) {
    return (double)(sim_now(run->sim) - RUN_BEGIN_NS) / 1e9;
}

void run_report(struct run *run, const char *who, const char *kind, const char *format, ...) {
    if (!run->on_event || run->is_mute)
        return;
    char text[2048];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    run->on_event(run->event_arg, run_seconds(run), who, kind, text);
}

void run_fail(struct run *run, enum verdict verdict, const char *who, const char *format, ...) {
    if (run->verdict)
        return;
    run->verdict = verdict;
    (void)snprintf(run->culprit, sizeof run->culprit, "%s", who);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(run->reason, sizeof run->reason, format, args);
    va_end(args);
    run_report(run, who, "verdict", "%s", run->reason);
}

/* "fault: A.1.1 loses its connection to b:1" stands with A: a client is named after its process. */
static void on_line(void *arg, int64_t now_ns, const char *line) {
    struct run *run = arg;
    (void)now_ns;
    const char *kind = strncmp(line, "fault: ", 7) == 0 ? "fault" : "etcd";
    const char *colon = strstr(line, ": ");
    const char *text = colon ? colon + 2 : line;
    for (int i = 0; i < run->n_processes; i++) {
        const char *name = run->processes[i].name;
        size_t n = strlen(name);
        const char *rest = strchr(text, ' ');
        if (rest && strncmp(text, name, n) == 0 && text[n] == '.') {
            run_report(run, name, kind, "%s", rest + 1);
            return;
        }
    }
    run_report(run, "etcd", kind, "%s", text);
}

static const char *cause_name(enum sim_cause cause) {
    static const char *const names[] = {"", " (revoked)", " (its lease has expired)", " (by an operator)"};
    return names[cause];
}

static void on_delete(void *arg, const struct sim_kv *kv, enum sim_cause cause) {
    struct run *run = arg;
    run_report(run, "etcd", "store", "%s is gone%s", kv->key, cause_name(cause));
    process_lost(run, kv, cause);
}

static void on_put(void *arg, const char *key, const char *value) {
    run_report(arg, "etcd", "store", "%s = %s", key, value);
}

/* on_event(at, who, kind, text), from a run for the state `arg` */
static void call_caller(void *arg, double at_s, const char *who, const char *kind, const char *text) {
    lua_State *L = arg;
    if (!lua_checkstack(L, 6))
        return;
    lua_getfield(L, LUA_REGISTRYINDEX, "lunarch.sim.on_event");
    lua_pushnumber(L, at_s);
    lua_pushstring(L, who);
    lua_pushstring(L, kind);
    lua_pushstring(L, text);
    if (lua_pcall(L, 4, 0, 0) != LUA_OK)
        lua_pop(L, 1);
}

/* ---- preparing ------------------------------------------------------------------------------------------ */

static void preload(lua_State *L, const char *name, lua_CFunction open) {
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, open);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
}

static void set_path(lua_State *L, lua_State *from, const char *field) {
    lua_getglobal(from, "package");
    lua_getfield(from, -1, field);
    lua_getglobal(L, "package");
    size_t len;
    const char *path = lua_tolstring(from, -1, &len);
    lua_pushlstring(L, path, len);
    lua_setfield(L, -2, field);
    lua_pop(L, 1);
    lua_pop(from, 2);
}

/* A state that is put back after it was closed must find the libraries it had loaded. */
static void keep_libraries(lua_State *L) {
    if (lua_getfield(L, LUA_REGISTRYINDEX, "_CLIBS") == LUA_TTABLE) {
        lua_pushnil(L);
        lua_setmetatable(L, -2);
    }
    lua_pop(L, 1);
}

/* Upvalue-free, under pcall. Arguments: the caller's state, the file of lua/lunarch/cli/sim, and the options. */
static int boot(lua_State *L) {
    lua_State *caller = lua_touserdata(L, 1);
    luaL_openlibs(L);
    keep_libraries(L);
    set_path(L, caller, "path");
    set_path(L, caller, "cpath");
    preload(L, "lunarch.core", luaopen_lunarch_sim_core);
    preload(L, "lunarch.sim.process", luaopen_lunarch_sim_process);
    preload(L, "lunarch.sim.world", luaopen_lunarch_sim_world);
    lua_getglobal(L, "require");
    lua_pushvalue(L, 2);
    lua_call(L, 1, 1);
    lua_pushvalue(L, 3);
    lua_call(L, 1, 1);
    if (lua_istable(L, -1))
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
            lua_pushvalue(L, -2);
            lua_pushvalue(L, -2);
            lua_settable(L, LUA_REGISTRYINDEX);
        }
    return 0;
}

struct booting {
    struct fiber *fiber;
    lua_State *caller, *L;
    const char *module;
    int status;
};

static void boot_on_fiber(void *arg) {
    struct booting *booting = arg;
    lua_State *L = booting->L;
    lua_pushcfunction(L, boot);
    lua_pushlightuserdata(L, booting->caller);
    lua_pushstring(L, booting->module);
    copy_value(booting->caller, 1, L);
    booting->status = lua_pcall(L, 3, 0, 0);
    fiber_leave(booting->fiber);
}

/* Makes a state, boots it with the caller's options, and keeps it. On failure pushes why. On a fiber from the
 * beginning: Lua keeps strings by the address from which they were made, on the stack too. */
static bool prepare_vm(lua_State *caller, struct vm *vm, int place, struct fiber *fiber, const char *module) {
    if (!fiber || vm_init(vm, place) != 0) {
        lua_pushliteral(caller, "no memory for a Lua state");
        return false;
    }
    lua_State *L = vm->L;
    struct booting booting = {fiber, caller, L, module, LUA_OK};
    fiber_set(fiber, boot_on_fiber, &booting);
    fiber_enter(fiber);
    if (booting.status != LUA_OK) {
        lua_pushstring(caller, lua_tostring(L, -1));
        vm_fini(vm);
        return false;
    }
    lua_settop(L, 0);
    if (vm_save(vm) != 0) {
        lua_pushliteral(caller, "no memory to keep a Lua state");
        return false;
    }
    return true;
}

static void set_name(lua_State *L, int index, const char *name) {
    lua_pushstring(L, name);
    lua_setfield(L, index, "name");
}

/* prepare { names =, ... } -> { has_check =, is_repeatable =, ttl =, stop_timeout = (0: not said) }; nil, message. The options go to boot.lua and checker.lua. */
static int l_prepare(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    struct run *run = the_run = calloc(1, sizeof *run);
    if (!run)
        return luaL_error(L, "not enough memory");
    lua_getfield(L, 1, "names");
    int n = (int)lua_rawlen(L, -1);
    luaL_argcheck(L, n >= 1 && n <= RUN_MAX_PROCESSES, 1, "names");
    bool is_ready = true;
    for (int i = 0; i < n && is_ready; i++) {
        struct process *process = &run->processes[i];
        process->run = run;
        process->index = i;
        list_init(&process->clients);
        lua_rawgeti(L, 2, i + 1);
        (void)snprintf(process->name, sizeof process->name, "%s", lua_tostring(L, -1));
        lua_pop(L, 1);
        set_name(L, 1, process->name);
        process->fiber = fiber_new(i);
        is_ready = prepare_vm(L, &process->vm, i, process->fiber, "lunarch.cli.sim.boot");
        if (is_ready)
            vm_close(&process->vm);
        run->n_processes++;
    }
    struct fiber *fiber = fiber_new(RUN_MAX_PROCESSES);
    is_ready = is_ready && prepare_vm(L, &run->checker, RUN_MAX_PROCESSES, fiber, "lunarch.cli.sim.checker");
    fiber_free(fiber);
    if (!is_ready) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    const char *trouble = checker_open(run);
    if (trouble) {
        lua_pushnil(L);
        lua_pushstring(L, trouble);
        return 2;
    }
    vm_close(&run->checker);
    lua_createtable(L, 0, 4);
    lua_pushboolean(L, run->has_check);
    lua_setfield(L, -2, "has_check");
    lua_pushboolean(L, vm_is_repeatable());
    lua_setfield(L, -2, "is_repeatable");
    lua_pushnumber(L, run->ttl_s);
    lua_setfield(L, -2, "ttl");
    lua_pushnumber(L, run->stop_timeout_s);
    lua_setfield(L, -2, "stop_timeout");
    return 1;
}

/* ---- playing -------------------------------------------------------------------------------------------- */

struct run *run_under_way(lua_State *L) {
    if (!the_run || !the_run->sim)
        (void)luaL_error(L, "lunarch.sim: no run is under way");
    return the_run;
}

/* begin(seed, on_event or nil) */
static int l_begin(lua_State *L) {
    uint64_t seed = (uint64_t)luaL_checkinteger(L, 1);
    struct run *run = the_run;
    if (!run || run->sim)
        return luaL_error(L, "lunarch.sim: prepare first, and finish the run before");
    run->sim = sim_new(seed);
    run->phase = "calm";
    run->delayed = 0;
    run->verdict = VERDICT_NONE;
    run->reason[0] = run->culprit[0] = '\0';
    run->n_steps = run->n_elected = run->n_kills = run->n_pauses = 0;
    run->on_event = NULL;
    if (lua_isfunction(L, 2)) {
        lua_pushvalue(L, 2);
        lua_setfield(L, LUA_REGISTRYINDEX, "lunarch.sim.on_event");
        run->on_event = call_caller;
        run->event_arg = L;
        sim_trace(run->sim, on_line, run);
    }
    struct sim_watcher watcher = {.on_delete = on_delete, .on_put = on_put, .arg = run};
    sim_look_on(run->sim, &watcher);
    vm_restore(&run->checker);
    (void)checker_open(run);
    for (int i = 0; i < run->n_processes; i++) {
        struct process *process = &run->processes[i];
        process->n_lives = process->n_candidates = 0;
        memset(process->candidates, 0, sizeof process->candidates);
        /* The promise allows rates 10 % apart; the last half per cent is left to the ticks. */
        process->clock = sim_client_new(run->sim, process->name, sim_below(run->sim, 190001) - 95000);
    }
    return 0;
}

/* run(until) -> whether it goes on: until an instant of the world, or a verdict */
static int l_run(lua_State *L) {
    struct run *run = run_under_way(L);
    int64_t until_ns = RUN_BEGIN_NS + (int64_t)(luaL_checknumber(L, 1) * 1e9);
    while (!run->verdict && sim_now(run->sim) < until_ns) {
        sim_step(run->sim);
        run->n_steps++;
        checker_look(run);
    }
    lua_pushboolean(L, !run->verdict);
    return 1;
}

static int l_finish(lua_State *L) {
    struct run *run = run_under_way(L);
    run->on_event = NULL;
    for (int i = 0; i < run->n_processes; i++)
        process_kill(&run->processes[i]);
    vm_close(&run->checker);
    sim_free(run->sim);
    run->sim = NULL;
    return 0;
}

/* result() -> verdict or nil, reason, culprit, { steps =, elected =, kills =, pauses = } */
static int l_result(lua_State *L) {
    static const char *const names[] = {NULL, "check", "lunarch", "script", "liveness"};
    struct run *run = run_under_way(L);
    lua_pushstring(L, names[run->verdict]);
    lua_pushstring(L, run->reason);
    lua_pushstring(L, run->culprit);
    lua_createtable(L, 0, 4);
    const struct {
        const char *name;
        int64_t n;
    } counts[] = {{"steps", run->n_steps},
                  {"elected", run->n_elected},
                  {"kills", run->n_kills},
                  {"pauses", run->n_pauses}};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        lua_pushinteger(L, counts[i].n);
        lua_setfield(L, -2, counts[i].name);
    }
    return 4;
}

/* fail(text): what should have come does not */
static int l_fail(lua_State *L) {
    run_fail(run_under_way(L), VERDICT_LIVENESS, "", "%s", luaL_checkstring(L, 1));
    return 0;
}

static int l_look(lua_State *L) {
    checker_look(run_under_way(L));
    return 0;
}

/* phase(name): what check(world) finds in world.phase */
static int l_phase(lua_State *L) {
    static const char *const names[] = {"calm", "faults", "recovery", "stopping", "end", NULL};
    struct run *run = run_under_way(L);
    run->phase = names[luaL_checkoption(L, 1, NULL, names)];
    run_report(run, "", "phase", "%s", run->phase);
    return 0;
}

static int l_now(lua_State *L) {
    lua_pushnumber(L, run_seconds(run_under_way(L)));
    return 1;
}

static int l_below(lua_State *L) {
    lua_Integer n = luaL_checkinteger(L, 1);
    luaL_argcheck(L, n > 0, 1, "1 or more");
    lua_pushinteger(L, sim_below(run_under_way(L)->sim, n));
    return 1;
}

int luaopen_lunarch_sim(lua_State *L) {
    static const luaL_Reg functions[] = {
        {"prepare", l_prepare},
        {"begin", l_begin},
        {"run", l_run},
        {"finish", l_finish},
        {"result", l_result},
        {"fail", l_fail},
        {"look", l_look},
        {"phase", l_phase},
        {"now", l_now},
        {"below", l_below},
        {"fork", worker_fork},
        {"read", worker_read},
        {"write", worker_write},
        {"quit", worker_quit},
        {"reap", worker_reap},
        {"n_cores", worker_n_cores},
        {NULL, NULL},
    };
    luaL_newlib(L, functions);
    luaL_setfuncs(L, run_fault_functions, 0);
    lua_pushinteger(L, RUN_MAX_PROCESSES);
    lua_setfield(L, -2, "max_candidates");
    lua_pushinteger(L, SIM_MEMBERS);
    lua_setfield(L, -2, "members");
    return 1;
}
