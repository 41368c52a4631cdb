/* module/stats.c - what client:stats() returns, as a Lua table. */
#include "module/module.h"

static void set_count(lua_State *L, const char *name, uint64_t value) {
    push_int64(L, (int64_t)value);
    lua_setfield(L, -2, name);
}

static void set_seconds(lua_State *L, const char *name, int64_t ns) {
    push_seconds(L, ns);
    lua_setfield(L, -2, name);
}

static void set_text(lua_State *L, const char *name, const char *value) {
    push_text(L, value);
    lua_setfield(L, -2, name);
}

/* Those that have happened, by name. */
static void push_losses(lua_State *L, const struct lun_stats *stats) {
    lua_newtable(L);
    for (int reason = 1; reason < LUN_N_REASONS; reason++)
        if (stats->n_losses[reason] > 0)
            set_count(L, lun_reason_name((enum lun_reason)reason), stats->n_losses[reason]);
}

static void push_renewals(lua_State *L, const struct lun_stats *stats) {
    lua_createtable(L, 0, 4);
    set_count(L, "count", stats->n_renewals);
    if (stats->n_renewals == 0)
        return;
    set_seconds(L, "last", stats->renewal_ns);
    set_seconds(L, "mean", stats->renewal_mean_ns);
    set_seconds(L, "longest", stats->renewal_most_ns);
}

static void push_confirmations(lua_State *L, const struct lun_stats *stats) {
    lua_createtable(L, 0, 2);
    set_count(L, "count", stats->n_confirmed);
    set_count(L, "failed", stats->n_unconfirmed);
}

static void push_waits(lua_State *L, const struct lun_wait *waits, size_t n_waits) {
    lua_createtable(L, (int)n_waits, 0);
    for (size_t i = 0; i < n_waits; i++) {
        lua_createtable(L, 0, 5);
        set_text(L, "name", waits[i].name);
        set_text(L, "kind", waits[i].is_campaign ? "campaign" : "lock");
        set_seconds(L, "waited", waits[i].waited_ns);
        if (waits[i].token)
            set_count(L, "token", (uint64_t)waits[i].token);
        if (waits[i].behind[0])
            set_text(L, "behind", waits[i].behind);
        lua_rawseti(L, -2, (int)i + 1);
    }
}

void stats_push(lua_State *L, const struct lun_stats *stats, const struct lun_wait *waits, size_t n_waits) {
    lua_createtable(L, 0, 10);
    set_count(L, "sessions", stats->n_sessions);
    push_renewals(L, stats);
    lua_setfield(L, -2, "renewals");
    push_confirmations(L, stats);
    lua_setfield(L, -2, "confirmations");
    if (stats->least_slack_ns != INT64_MAX)
        set_seconds(L, "least_slack", stats->least_slack_ns);
    push_losses(L, stats);
    lua_setfield(L, -2, "losses");
    set_count(L, "retries", stats->n_retries);
    set_count(L, "streams_replaced", stats->n_streams_replaced);
    set_count(L, "n_waiting", stats->n_waits);
    push_waits(L, waits, n_waits);
    lua_setfield(L, -2, "waiting");
}
