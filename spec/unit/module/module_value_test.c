/* Revisions, tokens and lease ids on LuaJIT, whose numbers are exact up to 2^53. */
#include "check.h"

#include <lualib.h>

#include "module/module.h"

static lua_State *L;

static int push(lua_State *state) {
    push_int64(state, *(int64_t *)lua_touserdata(state, 1));
    return 1;
}

/* 0: pushed, and on the stack; else its error is. */
static int pushed(int64_t value) {
    lua_settop(L, 0);
    lua_pushcfunction(L, push);
    lua_pushlightuserdata(L, &value);
    return lua_pcall(L, 1, 1, 0);
}

static void a_revision_up_to_2_to_the_53_is_exact(void) {
    const int64_t limit = INT64_C(1) << 53;
    const int64_t values[] = {0, 1, -1, INT64_C(4294967297), limit - 1, limit, -limit};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        REQUIRE(pushed(values[i]) == 0);
        CHECK((int64_t)lua_tonumber(L, -1) == values[i]);
        CHECK(lua_tointeger(L, -1) == values[i]);
    }
}

static void a_revision_above_raises_instead_of_being_rounded(void) {
    const int64_t limit = INT64_C(1) << 53;
    const int64_t values[] = {limit + 1, -limit - 1, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        REQUIRE(pushed(values[i]) != 0);
        CHECK(strstr(lua_tostring(L, -1), "above 2^53"));
    }
}

static void a_lease_id_is_a_string_and_comes_back_the_same(void) {
    const int64_t leases[] = {1, INT64_C(0x390da1f98be6f83c), INT64_MAX};
    const char *texts[] = {"0000000000000001", "390da1f98be6f83c", "7fffffffffffffff"};
    for (size_t i = 0; i < 3; i++) {
        lua_settop(L, 0);
        push_lease(L, leases[i]);
        CHECK_TEXT(lua_tostring(L, 1), texts[i]);
        CHECK(read_lease(L, 1) == leases[i]);
    }
}

int main(void) {
    L = luaL_newstate();
    if (!L)
        return check_skip("no memory for a Lua VM");
    RUN(a_revision_up_to_2_to_the_53_is_exact);
    RUN(a_revision_above_raises_instead_of_being_rounded);
    RUN(a_lease_id_is_a_string_and_comes_back_the_same);
    lua_close(L);
    return check_end();
}
