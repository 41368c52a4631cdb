/* module/answer.c - answers: copied out of the door's borrowed memory, and pushed as Lua values. */
#include "module/module.h"

#include <stdalign.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* ---- copying: once without memory, to measure, and once more into a block of that size -------------- */

struct block {
    char *memory; /* NULL: measure */
    size_t used;
};

static void *reserve(struct block *block, size_t bytes) {
    size_t align = alignof(max_align_t);
    void *at = block->memory ? block->memory + block->used : NULL;
    block->used += (bytes + align - 1) / align * align;
    return at;
}

static struct lun_bytes copy_bytes(struct block *block, struct lun_bytes from) {
    void *to = reserve(block, from.len);
    if (to && from.len)
        memcpy(to, from.data, from.len);
    return (struct lun_bytes){to, from.len};
}

static const char *copy_string(struct block *block, const char *from) {
    return from ? copy_bytes(block, (struct lun_bytes){from, strlen(from) + 1}).data : NULL;
}

static struct lun_kv copy_kv(struct block *block, const struct lun_kv *from) {
    struct lun_kv kv = *from;
    kv.key = copy_bytes(block, from->key);
    kv.value = copy_bytes(block, from->value);
    return kv;
}

static const struct lun_kv_result *copy_results(struct block *block, const struct lun_kv_result *from,
                                                size_t n) {
    struct lun_kv_result *to = reserve(block, n * sizeof *to);
    for (size_t i = 0; i < n; i++) {
        struct lun_kv *kvs = reserve(block, from[i].n_kvs * sizeof *kvs);
        for (size_t j = 0; j < from[i].n_kvs; j++) {
            struct lun_kv kv = copy_kv(block, &from[i].kvs[j]);
            if (kvs)
                kvs[j] = kv;
        }
        if (to) {
            to[i] = from[i];
            to[i].kvs = kvs;
        }
    }
    return to;
}

static const struct lun_event *copy_events(struct block *block, const struct lun_event *from, size_t n) {
    struct lun_event *to = reserve(block, n * sizeof *to);
    for (size_t i = 0; i < n; i++) {
        struct lun_event event = {from[i].is_delete, copy_kv(block, &from[i].kv),
                                  copy_kv(block, &from[i].prev_kv)};
        if (to)
            to[i] = event;
    }
    return to;
}

static const struct lun_member *copy_members(struct block *block, const struct lun_member *from, size_t n) {
    struct lun_member *to = reserve(block, n * sizeof *to);
    for (size_t i = 0; i < n; i++) {
        struct lun_member member = from[i];
        member.endpoint = copy_string(block, from[i].endpoint);
        member.error = copy_string(block, from[i].error);
        member.version = copy_string(block, from[i].version);
        if (to)
            to[i] = member;
    }
    return to;
}

static const struct lun_leader *copy_leader(struct block *block, const struct lun_leader *from) {
    struct lun_leader leader = *from;
    struct lun_leader *to = reserve(block, sizeof *to);
    leader.key = copy_bytes(block, from->key);
    leader.value = copy_bytes(block, from->value);
    if (to)
        *to = leader;
    return to;
}

static const struct lun_err *copy_err(struct block *block, const struct lun_err *from) {
    return copy_bytes(block, (struct lun_bytes){from, sizeof *from}).data;
}

static void copy_into(struct block *block, struct lun_result *to, const struct lun_result *from) {
    *to = *from;
    if (from->err)
        to->err = copy_err(block, from->err);
    if (from->leader)
        to->leader = copy_leader(block, from->leader);
    to->results = copy_results(block, from->results, from->n_results);
    to->events = copy_events(block, from->events, from->n_events);
    to->members = copy_members(block, from->members, from->n_members);
}

int answer_copy(struct answer_copy *ret, const struct lun_result *from) {
    struct block block = {0};
    struct answer_copy copy = {0};
    copy_into(&block, &copy.result, from);
    if (block.used > 0) {
        block.memory = copy.memory = malloc(block.used);
        if (!block.memory)
            return LUN_ENOMEM;
        block.used = 0;
        copy_into(&block, &copy.result, from);
    }
    *ret = copy;
    return 0;
}

void answer_fini(struct answer_copy *copy) {
    free(copy->memory);
    *copy = (struct answer_copy){0};
}

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

static void set_lease(lua_State *L, const char *name, int64_t lease) {
    if (lease == 0)
        return;
    push_lease(L, lease);
    lua_setfield(L, -2, name);
}

static void push_kv(lua_State *L, const struct lun_kv *kv) {
    lua_createtable(L, 0, 6);
    set_bytes(L, "key", kv->key);
    set_bytes(L, "value", kv->value);
    set_int64(L, "create_revision", kv->create_rev);
    set_int64(L, "mod_revision", kv->mod_rev);
    set_int64(L, "version", kv->version);
    set_lease(L, "lease", kv->lease);
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
}

static void push_events(lua_State *L, const struct lun_result *result) {
    lua_createtable(L, (int)result->n_events, 0);
    for (size_t i = 0; i < result->n_events; i++) {
        push_event(L, &result->events[i]);
        lua_rawseti(L, -2, (int)i + 1);
    }
}

static void push_member(lua_State *L, const struct lun_member *member) {
    lua_createtable(L, 0, 9);
    set_string(L, "endpoint", member->endpoint);
    set_string(L, "error", member->error);
    if (member->error)
        return;
    set_string(L, "version", member->version);
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

int answer_push(lua_State *L, struct op *op) {
    struct lun_result *result = &op->copy.result;
    if (result->err)
        return push_error(L, result->err->code, result->err->text);
    switch (op->answer) {
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
    case ANSWER_SESSION:
        handle_open(handle_new(L, &session_class), op->box, result->session);
        result->session = NULL;
        return 1;
    case ANSWER_TERM:
        handle_open(handle_new(L, &term_class), op->box, result->term);
        result->term = NULL;
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
    }
    return 0;
}
