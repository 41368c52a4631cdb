/* host/facts.c - what the candidates do, published by Lua: see facts.h.
 *
 * new_fact(name, election, lines, is UTC) makes an object with the methods below; lines: see overdue.h. It is published
 * until it is collected. A *hold* keeps an object of the core alive that it was given: when a Lua state closes, what was
 * made last goes first, so a hold withdraws the object before that goes. */
#include "host/facts.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>

#include "base/clock.h"
#include "host/watchdog.h"

static const char CLASS[] = "lunarch.host.fact", HOLD_CLASS[] = "lunarch.host.hold";

/* User values of the object. */
enum { TERM = 1, CLIENT = 2 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list all = {&all, &all};
static const struct fact *running_fact;
static char running_handler[FACT_WORD_BYTES];

void facts_enter(void) {
    pthread_mutex_lock(&lock);
}

void facts_leave(void) {
    pthread_mutex_unlock(&lock);
}

struct list *facts_all(void) {
    return &all;
}

const char *facts_running(const struct fact **ret_fact) {
    *ret_fact = running_fact;
    return running_handler;
}

double facts_remaining_s(const struct fact *fact, int64_t now_ns) {
    if (!fact->term || !fact->is_ready || fact->over[0])
        return 0;
    int64_t left_ns = fact->view->stop_at_ns(fact->term) - now_ns;
    return left_ns > 0 ? (double)left_ns / NS_PER_S : 0;
}

static void set_word(char word[FACT_WORD_BYTES], const char *text) {
    (void)snprintf(word, FACT_WORD_BYTES, "%s", text);
}

static struct fact *check_fact(lua_State *L) {
    return luaL_checkudata(L, 1, CLASS);
}

/* ---- holds ------------------------------------------------------------------------------------------ */

struct hold {
    struct fact *fact;
    const void *object;
};

static int hold_gc(lua_State *L) {
    struct hold *hold = luaL_checkudata(L, 1, HOLD_CLASS);
    if (!hold->fact)
        return 0;
    facts_enter();
    if (hold->object == hold->fact->term)
        hold->fact->term = NULL;
    if (hold->object == hold->fact->client)
        hold->fact->client = NULL;
    facts_leave();
    return 0;
}

/* The core's object is argument 2, and its view the two behind it. Keeps all of it as user value `which` of the fact. */
static void new_hold(lua_State *L, struct fact *fact, int which) {
    luaL_checktype(L, 2, LUA_TUSERDATA);
    luaL_checktype(L, 3, LUA_TLIGHTUSERDATA);
    luaL_checktype(L, 4, LUA_TLIGHTUSERDATA);
    struct hold *hold = lua_newuserdatauv(L, sizeof *hold, 2);
    *hold = (struct hold){.fact = NULL, .object = lua_touserdata(L, 3)};
    luaL_setmetatable(L, HOLD_CLASS);
    lua_pushvalue(L, 1);
    (void)lua_setiuservalue(L, -2, 1);
    lua_pushvalue(L, 2);
    (void)lua_setiuservalue(L, -2, 2);
    hold->fact = fact;
    (void)lua_setiuservalue(L, 1, which);
}

/* ---- the object ------------------------------------------------------------------------------------- */

static void free_texts(struct fact *fact) {
    free(fact->name);
    free(fact->election);
    for (int i = 0; i < FACT_N_LINES; i++)
        free(fact->lines[i]);
}

/* The first in the list with the name and election of this one, which is not in it; NULL: none. */
static struct fact *first_namesake(const struct fact *fact) {
    for (struct list *node = all.next; node != &all; node = node->next)
        if (strcmp(fact_of(node)->name, fact->name) == 0 &&
            strcmp(fact_of(node)->election, fact->election) == 0)
            return fact_of(node);
    return NULL;
}

static void leave_list(struct fact *fact) {
    bool is_first = !list_is_empty(&fact->link) && !fact->is_namesake;
    list_remove(&fact->link);
    struct fact *next = is_first ? first_namesake(fact) : NULL;
    if (next)
        next->is_namesake = false;
}

static int fact_gc(lua_State *L) {
    struct fact *fact = check_fact(L);
    facts_enter();
    leave_list(fact);
    if (running_fact == fact)
        running_fact = NULL;
    facts_leave();
    free_texts(fact);
    return 0;
}

/* new_fact(name, election, lines, is UTC) */
static int new_fact(lua_State *L) {
    const char *name = luaL_checkstring(L, 1), *election = luaL_checkstring(L, 2);
    luaL_checktype(L, 3, LUA_TTABLE);
    struct fact *fact = lua_newuserdatauv(L, sizeof *fact, 2);
    memset(fact, 0, sizeof *fact);
    list_init(&fact->link);
    fact->is_utc = lua_toboolean(L, 4);
    luaL_setmetatable(L, CLASS);
    bool is_whole = (fact->name = strdup(name)) && (fact->election = strdup(election));
    for (int i = 0; i < FACT_N_LINES; i++) {
        (void)lua_rawgeti(L, 3, i + 1);
        is_whole = is_whole && (fact->lines[i] = strdup(luaL_checkstring(L, -1)));
        lua_pop(L, 1);
    }
    if (!is_whole)
        return luaL_error(L, "not enough memory");
    facts_enter();
    fact->is_namesake = first_namesake(fact) != NULL;
    list_push_back(&all, &fact->link);
    facts_leave();
    return 1;
}

/* state(text) */
static int fact_state(lua_State *L) {
    struct fact *fact = check_fact(L);
    const char *state = luaL_checkstring(L, 2);
    facts_enter();
    set_word(fact->state, state);
    facts_leave();
    return 0;
}

/* client(core's client, its view() ...), or client(nil) */
static int fact_client(lua_State *L) {
    struct fact *fact = check_fact(L);
    bool is_none = lua_isnoneornil(L, 2);
    if (!is_none)
        new_hold(L, fact, CLIENT);
    lua_settop(L, 4);
    facts_enter();
    fact->client = is_none ? NULL : lua_touserdata(L, 3);
    if (!is_none)
        fact->view = lua_touserdata(L, 4);
    facts_leave();
    if (is_none) {
        lua_pushnil(L);
        (void)lua_setiuservalue(L, 1, CLIENT);
    }
    return 0;
}

/* elected(core's term, its view() ..., token) */
static int fact_elected(lua_State *L) {
    struct fact *fact = check_fact(L);
    int64_t token = luaL_checkinteger(L, 5);
    new_hold(L, fact, TERM);
    facts_enter();
    fact->term = lua_touserdata(L, 3);
    fact->view = lua_touserdata(L, 4);
    fact->token = token;
    fact->elected_at_ns = clock_boottime_ns();
    fact->is_entered = fact->is_ready = false;
    fact->over[0] = fact->handler[0] = '\0';
    memset(fact->is_said, 0, sizeof fact->is_said);
    memset(fact->watched, 0, sizeof fact->watched);
    fact->n_terms++;
    facts_leave();
    watchdog_ring();
    return 0;
}

/* entered() */
static int fact_entered(lua_State *L) {
    struct fact *fact = check_fact(L);
    facts_enter();
    fact->is_entered = true;
    facts_leave();
    return 0;
}

/* ready() */
static int fact_ready(lua_State *L) {
    struct fact *fact = check_fact(L);
    facts_enter();
    fact->is_ready = true;
    facts_leave();
    return 0;
}

/* over(reason) */
static int fact_over(lua_State *L) {
    struct fact *fact = check_fact(L);
    const char *reason = luaL_checkstring(L, 2);
    facts_enter();
    set_word(fact->over, reason[0] ? reason : "-");
    fact->over_at_ns = clock_boottime_ns();
    facts_leave();
    return 0;
}

static void count_loss(struct fact *fact, const char *reason) {
    struct fact_loss *loss = fact->losses;
    while (loss < fact->losses + FACT_MAX_LOSSES && loss->n > 0 && strcmp(loss->reason, reason) != 0)
        loss++;
    set_word(loss->reason, loss < fact->losses + FACT_MAX_LOSSES ? reason : "other");
    loss->n++;
}

/* left(reason) */
static int fact_left(lua_State *L) {
    struct fact *fact = check_fact(L);
    char reason[FACT_WORD_BYTES];
    set_word(reason, luaL_checkstring(L, 2));
    facts_enter();
    fact->term = NULL;
    fact->is_entered = fact->is_ready = false;
    fact->handler[0] = '\0';
    count_loss(fact, reason);
    if (fact->over[0]) {
        fact->handover_ns = clock_boottime_ns() - fact->over_at_ns;
        fact->handover_sum_ns += fact->handover_ns;
        fact->n_handovers++;
    }
    facts_leave();
    lua_pushnil(L);
    (void)lua_setiuservalue(L, 1, TERM);
    return 0;
}

/* handler(name of one of a term's own handlers, or nil) */
static int fact_handler(lua_State *L) {
    struct fact *fact = check_fact(L);
    const char *name = luaL_optstring(L, 2, "");
    facts_enter();
    set_word(fact->handler, name);
    facts_leave();
    return 0;
}

/* failed() */
static int fact_failed(lua_State *L) {
    struct fact *fact = check_fact(L);
    facts_enter();
    fact->n_failures++;
    facts_leave();
    return 0;
}

/* may_say("goes on" | "lapsed") -> whether that has not been said of this term; it counts as said from now on */
static int fact_may_say(lua_State *L) {
    static const char *const names[] = {"goes on", "lapsed", NULL};
    struct fact *fact = check_fact(L);
    int what = luaL_checkoption(L, 2, NULL, names);
    facts_enter();
    bool is_said = fact->is_said[what];
    fact->is_said[what] = true;
    facts_leave();
    lua_pushboolean(L, !is_said);
    return 1;
}

/* running(fact, name of the handler), or running(nil): what Lua runs from now on */
static int running(lua_State *L) {
    const struct fact *fact = lua_isnoneornil(L, 1) ? NULL : check_fact(L);
    const char *name = luaL_optstring(L, 2, "");
    facts_enter();
    running_fact = fact;
    set_word(running_handler, name);
    facts_leave();
    return 0;
}

void facts_register(lua_State *L) {
    static const luaL_Reg methods[] = {
        {"state", fact_state},
        {"client", fact_client},
        {"elected", fact_elected},
        {"entered", fact_entered},
        {"ready", fact_ready},
        {"over", fact_over},
        {"left", fact_left},
        {"handler", fact_handler},
        {"failed", fact_failed},
        {"may_say", fact_may_say},
        {NULL, NULL},
    };
    static const struct facts_access access = {facts_enter, facts_leave, facts_all, facts_remaining_s,
                                               watchdog_is_silent};
    static const luaL_Reg functions[] = {{"new_fact", new_fact}, {"running", running}, {NULL, NULL}};
    if (luaL_newmetatable(L, CLASS)) {
        luaL_newlib(L, methods);
        lua_setfield(L, -2, "__index");
        lua_pushcfunction(L, fact_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_pop(L, 1);
    if (luaL_newmetatable(L, HOLD_CLASS)) {
        lua_pushcfunction(L, hold_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_pop(L, 1);
    luaL_setfuncs(L, functions, 0);
    lua_pushlightuserdata(L, (void *)(uintptr_t)&access);
    lua_setfield(L, -2, "facts");
}
