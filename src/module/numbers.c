/* module/numbers.c - the numbers that lua/lunarch needs to know, by name: enums of lunarch.h, and limits. */
#include "module/module.h"

struct number {
    const char *name;
    int value;
};

static const struct {
    const char *name;
    struct number numbers[8];
} groups[] = {
    {"state",
     {{"alive", LUN_SESSION_ALIVE},
      {"jeopardy", LUN_SESSION_JEOPARDY},
      {"lost", LUN_SESSION_LOST},
      {"closed", LUN_SESSION_CLOSED}}},
    {"kind", {{"get", LUN_OP_RANGE}, {"put", LUN_OP_PUT}, {"delete", LUN_OP_DELETE}}},
    {"sort_by",
     {{"key", LUN_SORT_KEY},
      {"version", LUN_SORT_VERSION},
      {"create", LUN_SORT_CREATE},
      {"mod", LUN_SORT_MOD},
      {"value", LUN_SORT_VALUE}}},
    {"order", {{"ascend", LUN_SORT_ASCEND}, {"descend", LUN_SORT_DESCEND}}},
    {"target",
     {{"version", LUN_CMP_VERSION},
      {"create", LUN_CMP_CREATE},
      {"mod", LUN_CMP_MOD},
      {"value", LUN_CMP_VALUE},
      {"lease", LUN_CMP_LEASE}}},
    {"relation",
     {{"=", LUN_CMP_EQUAL},
      {"==", LUN_CMP_EQUAL},
      {">", LUN_CMP_GREATER},
      {"<", LUN_CMP_LESS},
      {"~=", LUN_CMP_NOT_EQUAL},
      {"!=", LUN_CMP_NOT_EQUAL}}},
    {"most", {{"operations", LUN_MAX_TXN_OPS}, {"name_bytes", LUN_MAX_NAME_BYTES}, {"ttl_s", LUN_MAX_TTL_S}}},
};

void numbers_push(lua_State *L) {
    lua_newtable(L);
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        lua_newtable(L);
        for (const struct number *number = groups[i].numbers; number->name; number++) {
            lua_pushinteger(L, number->value);
            lua_setfield(L, -2, number->name);
        }
        lua_setfield(L, -2, groups[i].name);
    }
}
