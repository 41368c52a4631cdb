/* lab/process_api.c - what a script's state finds below it: its process (waiting, telling, the life of its
 * handlers), and lunarch.core with a clock of the world's. For lua/lunarch/cli/sim/boot.lua and cli/sim/loop.lua. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lab/run.h"
#include "rpc/rpc.h"

/* Of a process's calendar: an instant in 2026. */
#define EPOCH_S 1790000000.0
enum { ALARM_INSTRUCTIONS = 1000000, MAX_ALARMS = 20 };

int luaopen_lunarch_core(lua_State *L);

static struct process *self(lua_State *L) {
    if (!the_process || the_process->is_dying)
        (void)luaL_error(L, "the process is over");
    return the_process;
}

/* ---- time ----------------------------------------------------------------------------------------------- */

static int l_now(lua_State *L) {
    lua_pushnumber(L, (lua_Number)lun_now_ns() / 1e9);
    return 1;
}

/* The calendar's time, with fraction. */
static int l_time(lua_State *L) {
    lua_pushnumber(L, EPOCH_S + (the_process ? run_seconds(the_process->run) : 0));
    return 1;
}

/* phase() -> the part of the history, as in world.phase */
static int l_phase(lua_State *L) {
    lua_pushstring(L, the_process ? the_process->run->phase : "");
    return 1;
}

/* wait(until or nil): until then, or until something has come */
static int l_wait(lua_State *L) {
    struct process *process = self(L);
    lua_Number until_s = luaL_optnumber(L, 1, HUGE_VAL);
    process_wait(process, until_s < 1e9 ? (int64_t)ceil(until_s * 1e9) : RPC_NEVER, NULL);
    return 0;
}

static int l_sleep(lua_State *L) {
    struct process *process = self(L);
    lua_Number seconds = luaL_checknumber(L, 1);
    int64_t until_ns = process_now_ns(process) + (int64_t)ceil(seconds * 1e9);
    while (process_now_ns(process) < until_ns)
        process_sleep(process, until_ns);
    lua_pushboolean(L, 1);
    return 1;
}

static int l_take_notes(lua_State *L) {
    lua_pushboolean(L, process_take_notes(self(L)));
    return 1;
}

/* delay(): now and then other tasks of the program go first, and take long; then what was answered is taken late */
static int l_delay(lua_State *L) {
    struct process *process = self(L);
    struct sim *sim = process->run->sim;
    if (!sim_chance(sim, process->run->delayed))
        return 0;
    int64_t for_ns = sim_below(sim, sim_chance(sim, 300) ? 8 * NS_PER_S : 300 * NS_PER_MS);
    int64_t until_ns = process_now_ns(process) + for_ns;
    run_report(process->run, process->name, "fault", "its other tasks take %lld ms",
               (long long)(for_ns / NS_PER_MS));
    while (process_now_ns(process) < until_ns)
        process_sleep(process, until_ns);
    return 0;
}

static int l_take_signal(lua_State *L) {
    struct process *process = self(L);
    if (process->signal == 0)
        return 0;
    lua_pushinteger(L, process->signal);
    process->signal = 0;
    return 1;
}

/* ---- telling -------------------------------------------------------------------------------------------- */

/* report(kind, text) */
static int l_report(lua_State *L) {
    struct process *process = the_process;
    const char *kind = luaL_checkstring(L, 1), *text = luaL_checkstring(L, 2);
    if (process && !process->is_dying)
        run_report(process->run, process->name, kind, "%s", text);
    return 0;
}

/* fail(text): a verdict on the script */
static int l_fail(lua_State *L) {
    struct process *process = the_process;
    if (process && !process->is_dying && !process->run->is_by_hand)
        run_fail(process->run, VERDICT_SCRIPT, process->name, "%s", luaL_checkstring(L, 1));
    return 0;
}

/* exit(status) */
static int l_exit(lua_State *L) {
    struct process *process = self(L);
    process->exit_status = (int)luaL_optinteger(L, 1, 0);
    process_exit(process);
}

/* answered(text): a script that raises it raises what the world has done to it */
static int l_answered(lua_State *L) {
    struct process *process = the_process;
    const char *text = luaL_checkstring(L, 1);
    if (process && *text)
        (void)snprintf(process->answers[process->next_answer++ % 8], sizeof process->answers[0], "%s", text);
    return 0;
}

/* is_answer(text): whether it holds what one of the latest failed calls answered */
static int l_is_answer(lua_State *L) {
    struct process *process = the_process;
    const char *text = luaL_checkstring(L, 1);
    bool is_answer = false;
    for (size_t i = 0; process && i < sizeof process->answers / sizeof *process->answers; i++)
        is_answer = is_answer || (process->answers[i][0] && strstr(text, process->answers[i]));
    lua_pushboolean(L, is_answer);
    return 1;
}

/* What was noted, by whichever process. Upvalue: a function of lua/lunarch/cli/sim/noted.lua */
static int l_ask(lua_State *L) {
    struct process *process = the_process;
    if (!process || process->is_dying)
        return 0;
    return checker_ask(process->run, lua_tostring(L, lua_upvalueindex(1)), L);
}

static void set_asks(lua_State *L) {
    static const char *const names[] = {"note",     "noted",      "add",           "read_file",
                                        "has_file", "write_file", "append_to_file"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        lua_pushstring(L, names[i]);
        lua_pushcclosure(L, l_ask, 1);
        lua_setfield(L, -2, names[i]);
    }
}

/* name() -> of the process */
static int l_name(lua_State *L) {
    lua_pushstring(L, the_process ? the_process->name : "");
    return 1;
}

/* ---- handlers ------------------------------------------------------------------------------------------- */

/* candidate(election) -> its number */
static int l_candidate(lua_State *L) {
    struct process *process = self(L);
    const char *election = luaL_checkstring(L, 1);
    if (process->n_candidates >= RUN_MAX_CANDIDATES)
        return luaL_error(L, "candidate: at most %d of them in one script can be simulated",
                          RUN_MAX_CANDIDATES);
    struct candidate *candidate = &process->candidates[process->n_candidates++];
    (void)snprintf(candidate->election, sizeof candidate->election, "%s", election);
    lua_pushinteger(L, process->n_candidates);
    return 1;
}

static struct candidate *candidate_check(lua_State *L, struct process *process) {
    lua_Integer index = luaL_checkinteger(L, 1);
    luaL_argcheck(L, index >= 1 && index <= process->n_candidates, 1, "no such candidate");
    return &process->candidates[index - 1];
}

static void check_alone(struct process *process, const struct candidate *candidate) {
    struct run *run = process->run;
    for (int i = 0; i < run->n_processes; i++)
        for (int k = 0; k < run->processes[i].n_candidates; k++) {
            const struct candidate *other = &run->processes[i].candidates[k];
            if (other != candidate && strcmp(other->election, candidate->election) == 0 &&
                process_leads(&run->processes[i], other))
                run_fail(run, VERDICT_LUNARCH, process->name,
                         "leads %s while %s still does (tokens %lld, %lld)", candidate->election,
                         run->processes[i].name, (long long)candidate->token, (long long)other->token);
            if (other != candidate && strcmp(other->election, candidate->election) == 0 &&
                other->token >= candidate->token)
                run_fail(run, VERDICT_LUNARCH, process->name,
                         "token %lld of %s does not rise above %s's %lld", (long long)candidate->token,
                         candidate->election, run->processes[i].name, (long long)other->token);
        }
}

/* elected(candidate, term): on_elected is about to be called */
static int l_elected(lua_State *L) {
    struct process *process = self(L);
    struct candidate *candidate = candidate_check(L, process);
    struct handle *term = handle_check(L, 2, &term_class);
    if (candidate->is_entered)
        run_fail(process->run, VERDICT_LUNARCH, process->name, "on_elected again, without on_lost");
    handle_unref(candidate->term);
    candidate->term = term;
    term->refs++;
    candidate->token = lun_term_token(term->object);
    candidate->is_entered = true;
    candidate->is_robbed = false;
    process->run->n_elected++;
    check_alone(process, candidate);
    return 0;
}

/* lost(candidate): on_lost has returned, or is none */
static int l_lost(lua_State *L) {
    struct process *process = self(L);
    struct candidate *candidate = candidate_check(L, process);
    handle_unref(candidate->term);
    candidate->term = NULL;
    candidate->is_entered = false;
    return 0;
}

/* leader(candidate, is_me, token or nil): on_leader is about to be called. Of us only once on_elected has begun, of
 * another or nobody not before on_lost has returned. */
static int l_leader(lua_State *L) {
    struct process *process = self(L);
    const struct candidate *candidate = candidate_check(L, process);
    bool is_me = lua_toboolean(L, 2);
    lua_Integer token = luaL_optinteger(L, 3, 0);
    if (is_me && token > candidate->token)
        run_fail(process->run, VERDICT_LUNARCH, process->name, "on_leader(us) before on_elected");
    if (!is_me && candidate->is_entered)
        run_fail(process->run, VERDICT_LUNARCH, process->name,
                 "on_leader(%s) before our on_lost has returned", token ? "another" : "nobody");
    return 0;
}

/* enter(candidate, handler): one of a term's handlers is about to be called */
static int l_enter(lua_State *L) {
    static const char *const names[] = {"on_elected", "do_work", "on_lost", NULL};
    struct process *process = self(L);
    struct candidate *candidate = candidate_check(L, process);
    const char *name = names[luaL_checkoption(L, 2, NULL, names)];
    if (!candidate->is_entered || candidate->handler)
        run_fail(process->run, VERDICT_LUNARCH, process->name, "%s is called %s %s", name,
                 candidate->handler ? "during" : "outside of a term",
                 candidate->handler ? candidate->handler : "");
    bool is_work = strcmp(name, "on_lost") != 0;
    if (is_work && candidate->term && lun_term_stop_at_ns(candidate->term->object) <= lun_now_ns())
        run_fail(process->run, VERDICT_LUNARCH, process->name, "%s is called after the end of its term",
                 name);
    candidate->handler = name;
    return 0;
}

static int l_leave(lua_State *L) {
    if (the_process && !the_process->is_dying)
        candidate_check(L, the_process)->handler = NULL;
    return 0;
}

void process_lost(struct run *run, const struct sim_kv *kv, enum sim_cause cause) {
    for (int i = 0; i < run->n_processes; i++)
        for (int k = 0; k < run->processes[i].n_candidates; k++) {
            struct candidate *candidate = &run->processes[i].candidates[k];
            size_t n = strlen(candidate->election);
            if (!candidate->is_entered || candidate->token != kv->create_rev ||
                strncmp(kv->key, candidate->election, n) != 0)
                continue;
            if (cause == SIM_BY_EXPIRY && process_leads(&run->processes[i], candidate))
                run_fail(run, VERDICT_LUNARCH, run->processes[i].name,
                         "believes to lead %s although its lease has expired", candidate->election);
            candidate->is_robbed = true;
        }
}

/* ---- a program that does not wait ------------------------------------------------------------------------- */

static void on_count(lua_State *L, lua_Debug *ar) {
    (void)ar;
    struct process *process = the_process;
    if (!process)
        return;
    if (process->is_dying) {
        (void)luaL_error(L, "the process is over");
        return;
    }
    if (++process->n_alarms < MAX_ALARMS)
        return;
    luaL_traceback(L, L, NULL, 0);
    run_fail(
        process->run, VERDICT_SCRIPT, process->name,
        "runs on and on without waiting (%d million instructions): a handler has to wait with lunarch.sleep and "
        "the like\n%s",
        ALARM_INSTRUCTIONS / 1000000 * MAX_ALARMS, lua_tostring(L, -1));
    process_exit(process);
}

static const luaL_Reg FUNCTIONS[] = {
    {"phase", l_phase},
    {"now", l_now},
    {"time", l_time},
    {"wait", l_wait},
    {"sleep", l_sleep},
    {"take_notes", l_take_notes},
    {"delay", l_delay},
    {"take_signal", l_take_signal},
    {"report", l_report},
    {"fail", l_fail},
    {"exit", l_exit},
    {"answered", l_answered},
    {"is_answer", l_is_answer},
    {"name", l_name},
    {"candidate", l_candidate},
    {"elected", l_elected},
    {"lost", l_lost},
    {"leader", l_leader},
    {"enter", l_enter},
    {"leave", l_leave},
    {NULL, NULL},
};

int luaopen_lunarch_sim_process(lua_State *L) {
    /* Coroutines made from here on inherit it. */
    lua_sethook(L, on_count, LUA_MASKCOUNT, ALARM_INSTRUCTIONS);
    luaL_newlib(L, FUNCTIONS);
    set_asks(L);
    return 1;
}

/* ---- lunarch.core --------------------------------------------------------------------------------------- */

/* `text` of the table that lua/lunarch/internal/operations.lua makes, at the top. */
static void describe_op(lua_State *L, char *text, size_t n_bytes) {
    static const char *const kinds[] = {"get", "put", "delete"};
    lua_getfield(L, -1, "kind");
    lua_getfield(L, -2, "key");
    lua_getfield(L, -3, "value");
    lua_Integer kind = lua_tointeger(L, -3);
    const char *key = lua_tostring(L, -2), *value = lua_tostring(L, -1);
    (void)snprintf(text, n_bytes, "%s %.48s%s%.40s", kinds[kind >= 0 && kind < 3 ? kind : 0], key ? key : "?",
                   kind == 1 ? " = " : "", kind == 1 && value ? value : "");
    lua_pop(L, 3);
}

static void describe_txn(lua_State *L, const char *name, char *text, size_t n_bytes) {
    (void)snprintf(text, n_bytes, "%s", name);
    if (lua_getfield(L, 2, "success") == LUA_TTABLE && lua_rawlen(L, -1) > 0) {
        size_t at = strlen(text), n = lua_rawlen(L, -1);
        lua_rawgeti(L, -1, 1);
        (void)snprintf(text + at, n_bytes - at, ": ");
        at += 2;
        describe_op(L, text + at, n_bytes - at);
        at = strlen(text);
        if (n > 1)
            (void)snprintf(text + at, n_bytes - at, " and %d more", (int)n - 1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void report_asked(lua_State *L, const char *name, struct asked *asked) {
    if (strcmp(name, "kv") == 0 && lua_istable(L, 2)) {
        lua_pushvalue(L, 2);
        describe_op(L, asked->text, sizeof asked->text);
        lua_pop(L, 1);
    } else if (strstr(name, "txn") && lua_istable(L, 2)) {
        describe_txn(L, name, asked->text, sizeof asked->text);
    } else {
        (void)snprintf(asked->text, sizeof asked->text, "%s", name);
    }
    if (asked->text[0])
        run_report(the_process->run, the_process->name, "ask", "%s", asked->text);
}

/* Of `n` results: whether they are nil, message, code. */
static bool keep_answer(struct process *process, lua_State *L, int n) {
    if (n != 3 || !lua_isnil(L, -3) || !lua_isstring(L, -2))
        return false;
    (void)snprintf(process->answers[process->next_answer++ % 8], sizeof process->answers[0], "%s",
                   lua_tostring(L, -2));
    return true;
}

/* The client that the object at 1 belongs to; NULL: the object is closed. */
static struct client_ref *ref_of(lua_State *L) {
    if (luaL_testudata(L, 1, CLIENT_CLASS))
        return client_ref_check(L, 1);
    struct handle *handle = *(struct handle **)lua_touserdata(L, 1);
    return handle ? handle->ref : NULL;
}

/* A call that sends something. Upvalues: the real one, its name. */
static int asking(lua_State *L) {
    struct process *process = self(L);
    struct client_ref *ref = ref_of(L);
    if (ref && !process_has_client(process, ref->client))
        return push_error(L, LUN_ECLOSED, "the world that it belongs to has ended");
    process_before_request(process);
    struct asked *asked = &process->asked[process->next_asked++ % RUN_MAX_ASKED];
    *asked = (struct asked){0};
    report_asked(L, lua_tostring(L, lua_upvalueindex(2)), asked);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    int n = lua_gettop(L);
    if (lua_isinteger(L, 1))
        asked->ref = ref;
    asked->id = lua_tointeger(L, 1);
    keep_answer(process, L, n);
    return n;
}

static struct asked *find_asked(struct process *process, const struct client_ref *ref, lua_Integer id) {
    for (int i = 0; i < RUN_MAX_ASKED; i++)
        if (process->asked[i].ref == ref && process->asked[i].id == id)
            return &process->asked[i];
    return NULL;
}

/* Whether what an answer says is ours is ours at this moment: S2 as taken. `asked`: whose method it was; an object that
 * came with the answer is at the top. */
static bool is_true_now(lua_State *L, enum answer answer, const struct handle *asked) {
    const struct handle *of = answer == ANSWER_TOKEN     ? asked
                              : answer == ANSWER_TERM    ? handle_peek(L, -1, &term_class)
                              : answer == ANSWER_SESSION ? handle_peek(L, -1, &session_class)
                                                         : NULL;
    return !of || !of->object || !of->class->is_held || of->class->is_held(of->object);
}

/* take(id). Upvalue: the real one. */
static int taking(lua_State *L) {
    struct process *process = self(L);
    struct asked *asked = find_asked(process, client_ref_check(L, 1), luaL_checkinteger(L, 2));
    const struct pending *pending = pending_find(client_ref_check(L, 1), luaL_checkinteger(L, 2));
    enum answer answer = pending ? pending->answer : ANSWER_TRUE;
    const struct handle *of = pending ? pending->handle : NULL;
    int n = lua_tocfunction(L, lua_upvalueindex(1))(L);
    bool has_failed = keep_answer(process, L, n);
    if (!has_failed && !is_true_now(L, answer, of))
        run_fail(process->run, VERDICT_LUNARCH, process->name,
                 "a call succeeded although its session was lost");
    if (asked && asked->text[0])
        run_report(process->run, process->name, "answer", "%s -> %s%s%s", asked->text,
                   has_failed ? lua_tostring(L, -1) : "ok", has_failed ? ": " : "",
                   has_failed ? lua_tostring(L, -2) : "");
    if (asked)
        asked->ref = NULL;
    return n;
}

/* Once in a state: its next world begins with the same classes. */
static void wrap(lua_State *L, const char *class, const char *method, const char *name,
                 lua_CFunction wrapper) {
    luaL_getmetatable(L, class);
    lua_getfield(L, -1, "__index");
    lua_getfield(L, -1, method);
    if (lua_tocfunction(L, -1) == wrapper) {
        lua_pop(L, 3);
        return;
    }
    lua_pushstring(L, name);
    lua_pushcclosure(L, wrapper, 2);
    lua_setfield(L, -2, method);
    lua_pop(L, 2);
}

static void wrap_asks(lua_State *L, const char *class, const struct asking *asks) {
    for (; asks && asks->name; asks++)
        if (asks->told)
            wrap(L, class, asks->name, asks->told, asking);
}

int luaopen_lunarch_sim_core(lua_State *L) {
    (void)luaopen_lunarch_core(L);
    lua_pushcfunction(L, l_sleep);
    lua_setfield(L, -2, "sleep");
    wrap_asks(L, CLIENT_CLASS, client_asks);
    for (const struct class *const *class = module_classes; *class; class ++)
        wrap_asks(L, (*class)->name, (*class)->asks);
    wrap(L, CLIENT_CLASS, "take", "", taking);
    return 1;
}
