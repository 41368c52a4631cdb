/* sim/auth.c - users, their tokens, and what they may touch.
 *
 * Simple tokens: every member hears of each that is given out, and forgets it 300 s after it was last shown to
 * that member, or when it is restarted; all forget it when its user gets another password, or authentication is
 * switched off. Signed ones (JWT) are good everywhere until their time is over, which they tell in whole seconds of the
 * servers' calendar, or anything about users changes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim/world.h"

#define TOKEN_LIFE_NS (300 * NS_PER_S)
/* By the servers' calendar: when the world began. */
#define EPOCH_NS (INT64_C(1700000000) * NS_PER_S)
/* In which requests may have been looked at before it, and are carried out after it. */
#define MOMENT_NS (20 * NS_PER_MS)

enum { GRANTS_MAX = 8 };

/* A role of one permission. */
struct sim_role {
    char prefix[64];
    unsigned rights;
};

struct sim_user {
    char name[32], password[32];
    struct sim_role roles[GRANTS_MAX];
    size_t n_roles;
};

struct sim_token {
    char text[64];
    size_t user;
    unsigned n_auth_changes; /* there had been, when it was given */
    int64_t expires_ns[SIM_MEMBERS];
};

/* ---- what an operator does ------------------------------------------------------------------------------ */

static struct sim_user *find_user(struct sim *sim, const char *name) {
    for (size_t i = 0; i < sim->n_users; i++)
        if (strcmp(sim->users[i].name, name) == 0)
            return &sim->users[i];
    return NULL;
}

void sim_add_user(struct sim *sim, const char *name, const char *password, const char *prefix) {
    sim->users = sim_grow(sim->users, sim->n_users, &sim->users_room, sizeof *sim->users);
    struct sim_user *user = &sim->users[sim->n_users++];
    *user = (struct sim_user){.n_roles = 1};
    (void)snprintf(user->name, sizeof user->name, "%s", name);
    (void)snprintf(user->password, sizeof user->password, "%s", password);
    user->roles[0].rights = SIM_READ | SIM_WRITE;
    (void)snprintf(user->roles[0].prefix, sizeof user->roles[0].prefix, "%s", prefix);
}

void sim_allow(struct sim *sim, const char *name, const char *prefix, unsigned rights) {
    struct sim_user *user = find_user(sim, name);
    if (!user)
        sim_die("no such user");
    struct sim_role *role = user->roles;
    while (role < user->roles + user->n_roles && strcmp(role->prefix, prefix) != 0)
        role++;
    if (role == user->roles + GRANTS_MAX)
        sim_die("too many roles");
    user->n_roles += role == user->roles + user->n_roles;
    (void)snprintf(role->prefix, sizeof role->prefix, "%s", prefix);
    role->rights = rights;
    sim_touch_auth(sim);
    sim_say(sim, "operator: %s may %s %s", name,
            rights == 0           ? "touch nothing below"
            : rights == SIM_READ  ? "read"
            : rights == SIM_WRITE ? "write"
                                  : "read and write",
            prefix);
}

void sim_set_password(struct sim *sim, const char *name, const char *password) {
    struct sim_user *user = find_user(sim, name);
    if (!user)
        sim_die("no such user");
    (void)snprintf(user->password, sizeof user->password, "%s", password);
    for (size_t i = 0; i < sim->n_tokens && !sim->are_tokens_signed; i++)
        if (&sim->users[sim->tokens[i].user] == user)
            memset(sim->tokens[i].expires_ns, 0, sizeof sim->tokens[i].expires_ns);
    sim_touch_auth(sim);
    sim_say(sim, "operator: another password for %s", name);
}

void sim_enable_auth(struct sim *sim) {
    sim->has_auth = true;
}

void sim_disable_auth(struct sim *sim) {
    sim->has_auth = false;
    if (sim->are_tokens_signed)
        sim_touch_auth(sim);
    for (int i = 0; i < SIM_MEMBERS; i++)
        sim_forget_tokens(sim, i);
}

void sim_sign_tokens(struct sim *sim) {
    sim->are_tokens_signed = true;
}

void sim_set_token_life(struct sim *sim, int64_t life_ns) {
    sim->token_life_ns = life_ns;
}

void sim_touch_auth(struct sim *sim) {
    sim->auth_touched_ns = sim->now_ns;
    sim->n_auth_changes++;
}

void sim_forget_tokens(struct sim *sim, int member) {
    for (size_t i = 0; i < sim->n_tokens && !sim->are_tokens_signed; i++)
        sim->tokens[i].expires_ns[member] = 0;
}

void sim_auth_fini(struct sim *sim) {
    free(sim->users);
    free(sim->tokens);
}

/* ---- tokens --------------------------------------------------------------------------------------------- */

static int64_t token_life_ns(const struct sim *sim) {
    return sim->token_life_ns ? sim->token_life_ns : TOKEN_LIFE_NS;
}

int64_t sim_calendar(const struct sim *sim) {
    return EPOCH_NS + sim->now_ns;
}

/* "header.{"exp":SECONDS}.signature", the middle in base64. */
static void write_signed(struct sim_token *token, int64_t end_s, const char *signature) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    char payload[32], encoded[48] = "";
    size_t n_payload = (size_t)snprintf(payload, sizeof payload, "{\"exp\":%lld}", (long long)end_s), n = 0;
    for (size_t i = 0; i + 3 <= n_payload; i += 3) {
        unsigned bits = (unsigned)payload[i] << 16 | (unsigned)payload[i + 1] << 8 | (unsigned)payload[i + 2];
        for (int shift = 18; shift >= 0; shift -= 6)
            encoded[n++] = digits[bits >> shift & 63];
    }
    (void)snprintf(token->text, sizeof token->text, "h.%.*s.%s", (int)n, encoded, signature);
}

static struct sim_token *give_token(struct sim *sim, size_t user) {
    sim->tokens = sim_grow(sim->tokens, sim->n_tokens, &sim->tokens_room, sizeof *sim->tokens);
    struct sim_token *token = &sim->tokens[sim->n_tokens++];
    *token = (struct sim_token){.user = user, .n_auth_changes = sim->n_auth_changes};
    int64_t expires_ns = sim->now_ns + token_life_ns(sim);
    char name[16];
    (void)snprintf(name, sizeof name, "token%08llx", (unsigned long long)(sim_random(sim) >> 32));
    if (sim->are_tokens_signed) {
        int64_t end_s = (sim_calendar(sim) + token_life_ns(sim)) / NS_PER_S;
        write_signed(token, end_s, name);
        expires_ns = end_s * NS_PER_S - EPOCH_NS;
    } else {
        (void)snprintf(token->text, sizeof token->text, "%s.%zu", name, sim->n_entries);
    }
    for (int i = 0; i < SIM_MEMBERS; i++)
        token->expires_ns[i] = expires_ns;
    return token;
}

struct sim_answer sim_authenticate(struct sim *sim, const Etcdserverpb__AuthenticateRequest *request) {
    if (!sim->has_auth)
        return sim_refusal(RPC_FAILED_PRECONDITION, "etcdserver: authentication is not enabled");
    size_t i = 0;
    while (i < sim->n_users && (strcmp(sim->users[i].name, request->name) != 0 ||
                                strcmp(sim->users[i].password, request->password) != 0))
        i++;
    if (i == sim->n_users)
        return sim_refusal(RPC_INVALID_ARGUMENT,
                           "etcdserver: authentication failed, invalid user ID or password");
    sim_commit(sim);
    Etcdserverpb__AuthenticateResponse *response = sim_take(sim, sizeof *response);
    etcdserverpb__authenticate_response__init(response);
    response->header = sim_header(sim);
    char *text = sim_take(sim, sizeof sim->tokens->text);
    response->token = memcpy(text, give_token(sim, i)->text, sizeof sim->tokens->text);
    return sim_reply(&response->base);
}

/* Shown to that member; being used it lives longer there, unless it is signed. NULL: unknown, or expired. */
static const struct sim_token *known_token(struct sim_member *member, const char *text) {
    struct sim *sim = member->sim;
    for (size_t i = 0; i < sim->n_tokens; i++) {
        struct sim_token *token = &sim->tokens[i];
        if (strcmp(token->text, text) != 0 || token->expires_ns[member->index] <= sim->now_ns)
            continue;
        if (!sim->are_tokens_signed)
            token->expires_ns[member->index] = sim->now_ns + token_life_ns(sim);
        return token;
    }
    return NULL;
}

/* ---- what a user may touch ------------------------------------------------------------------------------ */

static bool is_below(const char *prefix, struct lun_bytes key) {
    size_t n = strlen(prefix);
    return key.len >= n && (n == 0 || memcmp(key.data, prefix, n) == 0);
}

/* The whole range, or nothing. */
static bool is_range_below(const char *prefix, ProtobufCBinaryData key, ProtobufCBinaryData range_end) {
    if (prefix[0] == '\0')
        return true;
    if (range_end.len == 0)
        return is_below(prefix, sim_bytes(key));
    struct bytes end;
    if (bytes_prefix_end(&end, lun_bytes_of(prefix)))
        sim_die("out of memory");
    struct sim_range range = sim_range_of(sim_bytes(key), sim_bytes(range_end));
    bool is_inside =
        is_below(prefix, range.from) && !range.is_open && sim_bytes_order(range.end, bytes_view(&end)) <= 0;
    bytes_fini(&end);
    return is_inside;
}

/* One permission has to cover it. */
static bool may_touch(const struct sim_user *user, unsigned rights, ProtobufCBinaryData key,
                      ProtobufCBinaryData range_end) {
    for (size_t i = 0; i < user->n_roles; i++)
        if ((user->roles[i].rights & rights) == rights &&
            is_range_below(user->roles[i].prefix, key, range_end))
            return true;
    return false;
}

static bool may_touch_lease(struct sim *sim, const struct sim_user *user, unsigned rights, int64_t id) {
    for (size_t i = 0; i < sim->keys.n; i++) {
        const struct sim_kv *kv = &sim->keys.kvs[i];
        ProtobufCBinaryData key = {kv->key_bytes, (uint8_t *)(uintptr_t)kv->key};
        if (kv->lease == id && !may_touch(user, rights, key, (ProtobufCBinaryData){0}))
            return false;
    }
    return true;
}

static bool may_put(struct sim *sim, const struct sim_user *user, const Etcdserverpb__PutRequest *request) {
    ProtobufCBinaryData none = {0};
    return may_touch(user, SIM_WRITE, request->key, none) &&
           (!request->prev_kv || may_touch(user, SIM_READ, request->key, none)) &&
           (request->lease == 0 || may_touch_lease(sim, user, SIM_WRITE, request->lease));
}

static bool may_do(struct sim *sim, const struct sim_user *user, const Etcdserverpb__RequestOp *op) {
    const Etcdserverpb__DeleteRangeRequest *gone = op->request_delete_range;
    switch (op->request_case) {
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE:
        return may_touch(user, SIM_READ, op->request_range->key, op->request_range->range_end);
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT:
        return may_put(sim, user, op->request_put);
    default:
        return may_touch(user, SIM_WRITE, gone->key, gone->range_end) &&
               (!gone->prev_kv || may_touch(user, SIM_READ, gone->key, gone->range_end));
    }
}

static bool may_do_txn(struct sim *sim, const struct sim_user *user,
                       const Etcdserverpb__TxnRequest *request) {
    bool may = true;
    for (size_t i = 0; i < request->n_compare; i++)
        may = may && may_touch(user, SIM_READ, request->compare[i]->key, request->compare[i]->range_end);
    for (size_t i = 0; i < request->n_success; i++)
        may = may && may_do(sim, user, request->success[i]);
    for (size_t i = 0; i < request->n_failure; i++)
        may = may && may_do(sim, user, request->failure[i]);
    return may;
}

static bool may(struct sim *sim, const struct sim_user *user, enum rpc_method method,
                const ProtobufCMessage *message) {
    Etcdserverpb__RequestOp op = ETCDSERVERPB__REQUEST_OP__INIT;
    switch (method) {
    case RPC_RANGE:
        op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
        op.request_range = (Etcdserverpb__RangeRequest *)(uintptr_t)message;
        return may_do(sim, user, &op);
    case RPC_PUT:
        return may_put(sim, user, (const Etcdserverpb__PutRequest *)message);
    case RPC_DELETE_RANGE:
        op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
        op.request_delete_range = (Etcdserverpb__DeleteRangeRequest *)(uintptr_t)message;
        return may_do(sim, user, &op);
    case RPC_TXN:
        return may_do_txn(sim, user, (const Etcdserverpb__TxnRequest *)message);
    case RPC_LEASE_REVOKE:
        return may_touch_lease(sim, user, SIM_WRITE, ((const Etcdserverpb__LeaseRevokeRequest *)message)->id);
    case RPC_LEASE_KEEP_ALIVE:
        return may_touch_lease(sim, user, SIM_WRITE,
                               ((const Etcdserverpb__LeaseKeepAliveRequest *)message)->id);
    case RPC_LEASE_TIME_TO_LIVE:
        return may_touch_lease(sim, user, SIM_READ,
                               ((const Etcdserverpb__LeaseTimeToLiveRequest *)message)->id);
    case RPC_WATCH: {
        const Etcdserverpb__WatchCreateRequest *request = (const Etcdserverpb__WatchCreateRequest *)message;
        return may_touch(user, SIM_READ, request->key, request->range_end);
    }
    default:
        return true;
    }
}

struct sim_answer sim_authorize(struct sim_member *member, const char *token, enum rpc_method method,
                                const ProtobufCMessage *message) {
    if (!member->sim->has_auth || method == RPC_AUTHENTICATE)
        return sim_reply(NULL);
    if (!token)
        return sim_refusal(RPC_INVALID_ARGUMENT, "etcdserver: user name is empty");
    const struct sim_token *known = known_token(member, token);
    if (!known)
        return sim_refusal(RPC_UNAUTHENTICATED, "etcdserver: invalid auth token");
    const struct sim_user *user = &member->sim->users[known->user];
    bool is_old = member->sim->are_tokens_signed && known->n_auth_changes != member->sim->n_auth_changes;
    bool is_crossing = member->sim->now_ns - member->sim->auth_touched_ns < MOMENT_NS;
    if (is_old || (is_crossing && sim_is_write(method, message) && sim_chance(member->sim, 500)))
        return sim_refusal(RPC_INVALID_ARGUMENT, "etcdserver: revision of auth store is old");
    if (!may(member->sim, user, method, message))
        return sim_refusal(RPC_PERMISSION_DENIED, "etcdserver: permission denied");
    return sim_reply(NULL);
}
