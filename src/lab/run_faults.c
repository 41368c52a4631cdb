/* lab/run_faults.c - functions of lunarch.sim that hurt and heal: processes, their connections, the members, messages. */
#include <string.h>

#include "lab/run.h"

/* ---- processes ------------------------------------------------------------------------------------------ */

static struct process *process_check(lua_State *L) {
    struct run *run = run_under_way(L);
    lua_Integer index = luaL_checkinteger(L, 1);
    luaL_argcheck(L, index >= 1 && index <= run->n_processes, 1, "no such process");
    return &run->processes[index - 1];
}

static int64_t read_ns(lua_State *L, int index) {
    return (int64_t)(luaL_checknumber(L, index) * 1e9);
}

static int l_start(lua_State *L) {
    process_start(process_check(L));
    return 0;
}

static int l_kill(lua_State *L) {
    struct process *process = process_check(L);
    if (process->is_up) {
        run_report(process->run, process->name, "fault", "killed (SIGKILL)");
        process->run->n_kills++;
    }
    process_kill(process);
    return 0;
}

/* pause(index, seconds) */
static int l_pause(lua_State *L) {
    process_pause(process_check(L), read_ns(L, 2));
    return 0;
}

/* pause_later(index, requests, seconds) */
static int l_pause_later(lua_State *L) {
    process_pause_later(process_check(L), (int)luaL_checkinteger(L, 2), read_ns(L, 3));
    return 0;
}

static int l_resume(lua_State *L) {
    struct process *process = process_check(L);
    process->pause_in = 0;
    process_resume(process);
    return 0;
}

static int l_signal(lua_State *L) {
    process_signal(process_check(L), 15);
    return 0;
}

/* is_up(index) -> is_up, is_paused, its exit status if it has ended by itself */
static int l_is_up(lua_State *L) {
    const struct process *process = process_check(L);
    lua_pushboolean(L, process->is_up);
    lua_pushboolean(L, process->is_paused);
    if (!process->has_ended)
        return 2;
    lua_pushinteger(L, process->exit_status);
    return 3;
}

/* elections() -> { [name] = whether it is led }, of all candidates that are up */
static int l_elections(lua_State *L) {
    struct run *run = run_under_way(L);
    lua_newtable(L);
    for (int i = 0; i < run->n_processes; i++) {
        struct process *process = &run->processes[i];
        for (int k = 0; process->is_up && k < process->n_candidates; k++) {
            lua_getfield(L, -1, process->candidates[k].election);
            bool is_led = lua_toboolean(L, -1) || process_leads(process, &process->candidates[k]);
            lua_pop(L, 1);
            lua_pushboolean(L, is_led);
            lua_setfield(L, -2, process->candidates[k].election);
        }
    }
    return 1;
}

/* on_clients(set, index, member, seconds) */
static void each_client(const struct process *process, int member, int64_t for_ns,
                        void (*set)(struct sim_client *client, int member, int64_t for_ns)) {
    for (struct list *node = process->clients.next; process->is_up && node != &process->clients;
         node = node->next)
        set(CONTAINER_OF(node, struct process_client, in_process)->sim, member, for_ns);
}

static int member_check(lua_State *L, int index) {
    lua_Integer member = luaL_checkinteger(L, index);
    luaL_argcheck(L, member >= 0 && member < SIM_MEMBERS, index, "no such member");
    return (int)member;
}

/* hold(index, member, seconds): nothing passes between them */
static int l_hold(lua_State *L) {
    each_client(process_check(L), member_check(L, 2), read_ns(L, 3), sim_client_hold);
    return 0;
}

/* lag(index, member, seconds): answers take that long */
static int l_lag(lua_State *L) {
    each_client(process_check(L), member_check(L, 2), read_ns(L, 3), sim_client_lag);
    return 0;
}

static void reset(struct sim_client *client, int member, int64_t for_ns) {
    (void)for_ns;
    sim_client_reset(client, member);
}

/* reset(index, member): connections break */
static int l_reset(lua_State *L) {
    each_client(process_check(L), member_check(L, 2), 0, reset);
    return 0;
}

/* ---- etcd ----------------------------------------------------------------------------------------------- */

/* member(what, index) */
static int l_member(lua_State *L) {
    static const char *const names[] = {"freeze", "thaw", "cut", "join", "stop", "start", NULL};
    static void (*const acts[])(struct sim *, int) = {sim_freeze, sim_thaw, sim_cut,
                                                      sim_join,   sim_stop, sim_start};
    struct run *run = run_under_way(L);
    acts[luaL_checkoption(L, 1, NULL, names)](run->sim, member_check(L, 2));
    return 0;
}

static int l_is_well(lua_State *L) {
    lua_pushboolean(L, sim_is_well(run_under_way(L)->sim, member_check(L, 1)));
    return 1;
}

static int l_leader(lua_State *L) {
    lua_pushinteger(L, sim_leader(run_under_way(L)->sim));
    return 1;
}

static int per_mille(lua_State *L, const char *field) {
    lua_getfield(L, 1, field);
    int value = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return value;
}

static int64_t far_ns(lua_State *L) {
    lua_getfield(L, 1, "far");
    double seconds = luaL_optnumber(L, -1, 0);
    lua_pop(L, 1);
    if (seconds > 0)
        run_report(the_run, "etcd", "fault", "answers take %.1f s from now on", seconds);
    return (int64_t)(seconds * 1e9);
}

/* messages { reply_lost =, request_lost =, delayed =, late_after_cancel =, event_dropped =, busy = }, per mille; far =,
 * seconds that all answers take */
static int l_messages(lua_State *L) {
    struct run *run = run_under_way(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    struct sim_faults faults = {.reply_lost = per_mille(L, "reply_lost"),
                                .request_lost = per_mille(L, "request_lost"),
                                .delayed = per_mille(L, "delayed"),
                                .late_after_cancel = per_mille(L, "late_after_cancel"),
                                .event_dropped = per_mille(L, "event_dropped"),
                                .busy = per_mille(L, "busy"),
                                .far_ns = far_ns(L)};
    sim_set_faults(run->sim, &faults);
    return 0;
}

/* delays(per mille): answers that are taken late */
static int l_delays(lua_State *L) {
    run_under_way(L)->delayed = (int)luaL_checkinteger(L, 1);
    return 0;
}

static int l_compact(lua_State *L) {
    sim_compact(run_under_way(L)->sim);
    return 0;
}

/* rob(by revoking): an operator deletes a key that is bound to a lease, or revokes the lease */
static int l_rob(lua_State *L) {
    struct sim *sim = run_under_way(L)->sim;
    bool is_revoked = lua_toboolean(L, 1);
    size_t n = sim_n_kvs(sim);
    if (n == 0)
        return 0;
    struct sim_kv kv = *sim_kv_at(sim, (size_t)sim_below(sim, (int64_t)n));
    if (!kv.lease)
        return 0;
    if (is_revoked)
        sim_revoke(sim, kv.lease);
    else
        sim_delete(sim, kv.key);
    return 0;
}

const luaL_Reg run_fault_functions[] = {
    {"start", l_start},
    {"kill", l_kill},
    {"pause", l_pause},
    {"pause_later", l_pause_later},
    {"resume", l_resume},
    {"signal", l_signal},
    {"is_up", l_is_up},
    {"elections", l_elections},
    {"hold", l_hold},
    {"lag", l_lag},
    {"reset", l_reset},
    {"member", l_member},
    {"is_well", l_is_well},
    {"leader", l_leader},
    {"messages", l_messages},
    {"delays", l_delays},
    {"compact", l_compact},
    {"rob", l_rob},
    {NULL, NULL},
};
