/* module/answer.c - answers, pushed as Lua values. */
#include "module/module.h"

#include <string.h>

/* ---- pushing ---------------------------------------------------------------------------------------- */

static void set_int64(lua_State *L, const char *name, int64_t value) {
    push_int64(L, value);
    lua_setfield(L, -2, name);
}

static void set_bytes(lua_State *L, const char *name, struct lun_bytes bytes) {
    push_bytes(L, bytes);
    lua_setfield(L, -2, name);
}

static void set_flag(lua_State *L, const char *name, bool value) {
    lua_pushboolean(L, value);
    lua_setfield(L, -2, name);
}

static void set_string(lua_State *L, const char *name, const char *value) {
    if (!value)
        return;
    push_text(L, value);
    lua_setfield(L, -2, name);
}

static void set_seconds(lua_State *L, const char *name, int64_t ns) {
    push_seconds(L, ns);
    lua_setfield(L, -2, name);
}

static void set_lease(lua_State *L, const char *name, int64_t lease) {
    if (lease == 0)
        return;
    push_lease(L, lease);
    lua_setfield(L, -2, name);
}

/* The value at the top prints as lua/lunarch/internal/values.lua says. */
static void set_class(lua_State *L, const char *name) {
    luaL_getmetatable(L, name);
    lua_setmetatable(L, -2);
}

static void push_kv(lua_State *L, const struct lun_kv *kv) {
    lua_createtable(L, 0, 6);
    set_bytes(L, "key", kv->key);
    set_bytes(L, "value", kv->value);
    set_int64(L, "create_revision", kv->create_rev);
    set_int64(L, "mod_revision", kv->mod_rev);
    set_int64(L, "version", kv->version);
    set_lease(L, "lease", kv->lease);
    set_class(L, "lunarch.kv");
}

static void push_kvs(lua_State *L, const struct lun_kv_result *result) {
    lua_createtable(L, (int)result->n_kvs, 0);
    for (size_t i = 0; i < result->n_kvs; i++) {
        push_kv(L, &result->kvs[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
}

/* get: { kvs, count, more }; put: { prev_kv }; delete: { deleted, prev_kvs }. */
static void push_kv_result(lua_State *L, const struct lun_kv_result *result) {
    lua_createtable(L, 0, 4);
    if (result->kind == LUN_OP_RANGE) {
        push_kvs(L, result);
        lua_setfield(L, -2, "kvs");
        set_int64(L, "count", result->count);
        set_flag(L, "more", result->has_more);
    } else if (result->kind == LUN_OP_DELETE) {
        push_kvs(L, result);
        lua_setfield(L, -2, "prev_kvs");
        set_int64(L, "deleted", result->deleted);
    } else if (result->n_kvs > 0) {
        push_kv(L, &result->kvs[0]);
        lua_setfield(L, -2, "prev_kv");
    }
}

static void push_txn(lua_State *L, const struct lun_result *result) {
    lua_createtable(L, 0, 3);
    set_flag(L, "succeeded", result->is_success);
    set_int64(L, "revision", result->revision);
    lua_createtable(L, (int)result->n_results, 0);
    for (size_t i = 0; i < result->n_results; i++) {
        push_kv_result(L, &result->results[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
    lua_setfield(L, -2, "responses");
}

static void push_event(lua_State *L, const struct lun_event *event) {
    lua_createtable(L, 0, 8);
    set_string(L, "type", event->is_delete ? "delete" : "put");
    set_bytes(L, "key", event->kv.key);
    set_int64(L, "revision", event->kv.mod_rev);
    if (!event->is_delete) {
        set_bytes(L, "value", event->kv.value);
        set_int64(L, "create_revision", event->kv.create_rev);
        set_int64(L, "version", event->kv.version);
        set_lease(L, "lease", event->kv.lease);
    }
    if (event->prev_kv.key.len > 0) {
        push_kv(L, &event->prev_kv);
        lua_setfield(L, -2, "prev_kv");
    }
    set_class(L, "lunarch.event");
}

static void push_events(lua_State *L, const struct lun_result *result) {
    lua_createtable(L, (int)result->n_events, 0);
    for (size_t i = 0; i < result->n_events; i++) {
        push_event(L, &result->events[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
}

/* A list of the words in "NOSPACE,CORRUPT". */
static void push_words(lua_State *L, const char *words) {
    lua_newtable(L);
    for (int i = 1; *words; i++) {
        size_t len = strcspn(words, ",");
        lua_pushlstring(L, words, len);
        lua_rawseti(L, -2, i);
        words += len + (words[len] == ',');
    }
}

static void push_member(lua_State *L, const struct lun_member *member) {
    lua_createtable(L, 0, 15);
    set_class(L, "lunarch.member");
    set_string(L, "endpoint", member->endpoint);
    set_flag(L, "is_learnt", member->is_learnt);
    set_string(L, "error", member->error);
    set_string(L, "trouble", member->trouble);
    if (member->trouble)
        set_seconds(L, "trouble_at", member->trouble_ns);
    if (member->error)
        return;
    set_seconds(L, "round_trip", member->round_trip_ns);
    set_string(L, "version", member->version);
    push_words(L, member->alarms);
    lua_setfield(L, -2, "alarms");
    set_lease(L, "id", (int64_t)member->member_id);
    set_flag(L, "is_leader", member->member_id == member->leader_id);
    set_flag(L, "has_leader", member->leader_id != 0);
    set_int64(L, "db_size", member->db_size_bytes);
    set_int64(L, "raft_index", member->raft_index);
    set_int64(L, "raft_term", (int64_t)member->raft_term);
    set_int64(L, "revision", member->revision);
}

static void push_members(lua_State *L, const struct lun_result *result) {
    lua_createtable(L, (int)result->n_members, 0);
    for (size_t i = 0; i < result->n_members; i++) {
        push_member(L, &result->members[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
}

static void push_leader(lua_State *L, const struct lun_leader *leader) {
    if (!leader) {
        lua_pushboolean(L, 0);
        return;
    }
    lua_createtable(L, 0, 5);
    set_bytes(L, "key", leader->key);
    set_bytes(L, "value", leader->value);
    set_int64(L, "token", leader->token);
    set_int64(L, "revision", leader->revision);
    set_class(L, "lunarch.leader");
}

static void push_lease_table(lua_State *L, const struct lun_result *result) {
    lua_createtable(L, 0, 2);
    set_lease(L, "id", result->lease);
    set_int64(L, "ttl", result->ttl_s);
}

static int push_true_and(lua_State *L, int64_t number) {
    lua_pushboolean(L, 1);
    push_int64(L, number);
    return 2;
}

void answer_push_classes(lua_State *L) {
    static const char *const names[] = {"lunarch.kv", "lunarch.event", "lunarch.member", "lunarch.leader"};
    lua_newtable(L);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        (void)luaL_newmetatable(L, names[i]);
        lua_pushstring(L, names[i]);
        lua_setfield(L, -2, "__name");
        lua_setfield(L, -2, strchr(names[i], '.') + 1);
    }
}

/* The object comes first: what may raise, and what may take time, is over when the clock is asked. */
static int push_handle(lua_State *L, struct pending *pending, const struct class *class) {
    struct handle *handle = handle_new(L, class);
    const struct lun_result *result = lun_op_result(pending->lun);
    if (result->err)
        return push_error(L, result->err->code, result->err->text);
    handle_open(handle, pending->ref, class == &term_class ? (void *)result->term : (void *)result->session);
    return 1;
}

int answer_push(lua_State *L, struct pending *pending) {
    if (pending->answer == ANSWER_SESSION)
        return push_handle(L, pending, &session_class);
    if (pending->answer == ANSWER_TERM)
        return push_handle(L, pending, &term_class);
    const struct lun_result *result = lun_op_result(pending->lun);
    if (result->err)
        return push_error(L, result->err->code, result->err->text);
    switch (pending->answer) {
    case ANSWER_TRUE:
        lua_pushboolean(L, 1);
        return 1;
    case ANSWER_TOKEN:
        return push_true_and(L, result->token);
    case ANSWER_REVISION:
        return push_true_and(L, result->revision);
    case ANSWER_KV:
        push_kv_result(L, &result->results[0]);
        set_int64(L, "revision", result->revision);
        return 1;
    case ANSWER_TXN:
        push_txn(L, result);
        return 1;
    case ANSWER_LEASE:
        push_lease_table(L, result);
        return 1;
    case ANSWER_TTL:
        push_int64(L, result->ttl_s);
        push_int64(L, result->granted_ttl_s);
        return 2;
    case ANSWER_STATUS:
        push_members(L, result);
        return 1;
    case ANSWER_EVENTS:
        push_events(L, result);
        return 1;
    case ANSWER_STATE:
        lua_pushstring(L, lun_session_state_name(result->state));
        return 1;
    case ANSWER_LEADER:
        push_leader(L, result->leader);
        return 1;
    case ANSWER_REASON:
        lua_pushstring(L, lun_reason_name(result->reason));
        return 1;
    case ANSWER_POSITION:
        push_int64(L, result->position);
        return 1;
    case ANSWER_SESSION:
    case ANSWER_TERM:
        break;
    }
    return 0;
}
