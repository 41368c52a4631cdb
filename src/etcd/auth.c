/* etcd/auth.c - asks for a user's token once for all calls, and replaces it when it is refused or about to end.
 * See auth.h.
 *
 * The happy path: the first call that needs a token waits, Authenticate goes out (alone: it costs the server 70 ms of processor), the token
 * comes, all that waited go on. A wrong password fails them, and is not tried again before a growing delay has passed: what comes meanwhile
 * fails at once with the same words. An etcd without authentication says so: then calls carry no token until one is asked for again. */
#include "etcd/auth.h"

#include <stdlib.h>
#include <string.h>

#include "base/secret.h"
#include "etcd/backoff.h"
#include "etcd/call.h"
#include "etcd/cluster.h"

#define RETRY_LEAST_NS NS_PER_S
/* A password put right is noticed within 15 s; each try costs etcd 70 ms. */
#define RETRY_MOST_NS (10 * NS_PER_S)
#define SUSPECT_AGAIN_NS (10 * NS_PER_S)
enum { SILENT_ENOUGH = 2, MAX_EXPIRY_S = 365 * 24 * 3600 };

/* ---- the life of a signed token ---------------------------------------------------------------------- */

static int base64_value(char c) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const char *found = c ? strchr(digits, c) : NULL;
    return found ? (int)(found - digits) : -1;
}

/* The payload of "header.payload.signature" as text, cut at the room there is. */
static void decode_payload(const char *token, char *ret_text, size_t n_bytes) {
    const char *from = strchr(token, '.');
    unsigned bits = 0, n_bits = 0;
    size_t n = 0;
    for (from = from ? from + 1 : ""; base64_value(*from) >= 0 && n + 1 < n_bytes; from++) {
        bits = (bits << 6 | (unsigned)base64_value(*from)) & 0xffff;
        n_bits += 6;
        if (n_bits >= 8) {
            n_bits -= 8;
            ret_text[n++] = (char)(bits >> n_bits & 0xff);
        }
    }
    ret_text[n] = '\0';
}

static bool is_signed(const char *token) {
    const char *dot = strchr(token, '.');
    return dot && strchr(dot + 1, '.');
}

/* How long a signed token lives from now on, by its own word and this machine's calendar; 0: it does not say, or cannot be. */
static int64_t life_ns(struct rpc *rpc, const char *token) {
    char text[512];
    if (!is_signed(token))
        return 0;
    decode_payload(token, text, sizeof text);
    const char *expiry = strstr(text, "\"exp\":");
    if (!expiry)
        return 0;
    int64_t end_s = strtoll(expiry + strlen("\"exp\":"), NULL, 10), now_ns = rpc_calendar(rpc);
    return end_s > now_ns / NS_PER_S && end_s - now_ns / NS_PER_S < MAX_EXPIRY_S ? end_s * NS_PER_S - now_ns
                                                                                 : 0;
}

/* In which the next one is asked for. Two thirds: streams and calls that carry the old one have time to end. Where answers
 * take long, so early that the new one comes, and what was sent before has arrived, until the end; not all the time. */
static int64_t renewal_delay_ns(int64_t left_ns, int64_t took_ns) {
    int64_t usual_ns = left_ns / 3 * 2, early_ns = left_ns - 2 * took_ns, least_ns = left_ns / 4;
    int64_t delay_ns = early_ns < usual_ns ? early_ns : usual_ns;
    return delay_ns > least_ns ? delay_ns : least_ns;
}

/* ---- asking ------------------------------------------------------------------------------------------ */

/* What follows a colon in a name may be a password that was given twice. */
static int shown_length(const struct auth *auth) {
    return (int)strcspn(auth->user, ":");
}

static void drop_token(struct auth *auth) {
    secret_wipe(&auth->token);
    auth->generation++;
    auth->n_silent = 0;
    auth->ends_ns = RPC_NEVER;
    rpc_timer_stop(&auth->timer);
}

static void answer_all(struct auth *auth, const struct lun_err *err) {
    struct list batch, *node;
    list_move(&auth->waiting, &batch);
    while ((node = list_pop_front(&batch))) {
        struct auth_waiter *waiter = CONTAINER_OF(node, struct auth_waiter, in_auth);
        waiter->on_token(waiter, err);
    }
    renewals_plan(&auth->etcd->renewals);
}

static int take_token(struct auth *auth, const char *text) {
    char *copy = strdup(text);
    if (!copy)
        return LUN_ENOMEM;
    drop_token(auth);
    auth->token = copy;
    auth->is_off = false;
    auth->n_refused = 0;
    auth->retry_ns = 0;
    int64_t now_ns = rpc_now(auth->etcd->rpc), left_ns = life_ns(auth->etcd->rpc, copy);
    if (left_ns > 0) {
        auth->ends_ns = now_ns + left_ns;
        rpc_timer_start(&auth->timer, now_ns + renewal_delay_ns(left_ns, now_ns - auth->asked_ns));
    }
    trace_line(auth->etcd->trace, "auth: a token for user %.*s", shown_length(auth), auth->user);
    return 0;
}

static void fail(struct auth *auth, const struct lun_err *err) {
    struct rpc *rpc = auth->etcd->rpc;
    int64_t delay_ns = backoff_grown(RETRY_LEAST_NS, RETRY_MOST_NS, auth->n_refused++);
    auth->retry_ns = rpc_now(rpc) + backoff_around(rpc, delay_ns);
    auth->err = *err;
    (void)lun_err_wrap(&auth->err, "user %.*s", shown_length(auth), auth->user);
    trace_line(auth->etcd->trace, "auth: %s", auth->err.text);
}

static void on_reply(void *arg, const struct etcd_reply *reply) {
    struct auth *auth = arg;
    struct lun_err memory;
    auth->call = NULL;
    const struct lun_err *err = reply->err;
    if (err && strstr(err->text, "authentication is not enabled")) {
        drop_token(auth);
        auth->is_off = true;
        err = NULL;
    } else if (!err && take_token(auth, reply->token)) {
        lun_err_set(&memory, LUN_ENOMEM, "out of memory");
        err = &memory;
    }
    if (err)
        fail(auth, err);
    answer_all(auth, err ? &auth->err : NULL);
}

static void ask(struct auth *auth) {
    auth->asked_ns = rpc_now(auth->etcd->rpc);
    Etcdserverpb__AuthenticateRequest request = ETCDSERVERPB__AUTHENTICATE_REQUEST__INIT;
    request.name = auth->user;
    request.password = auth->password;
    struct request_meta meta = {.method = RPC_AUTHENTICATE, .is_tokenless = true};
    struct etcd_call_options how = {.class = ETCD_LEASE, .deadline_ns = RPC_NEVER, .is_idempotent = true};
    if (call_start(auth->etcd, &meta, NULL, &request.base, &how, on_reply, auth, &auth->call)) {
        struct lun_err memory;
        lun_err_set(&memory, LUN_ENOMEM, "out of memory");
        fail(auth, &memory);
    }
}

/* Either a call waits for a token, or the renewal is due, or the token has ended: what would carry it waits for the next one
 * from now on, where it would be refused. */
static void on_timer(struct rpc_timer *timer) {
    struct auth *auth = CONTAINER_OF(timer, struct auth, timer);
    bool is_closing = auth->etcd->is_closing;
    int64_t now_ns = rpc_now(auth->etcd->rpc);
    struct lun_err closed;
    lun_err_set(&closed, LUN_ECLOSED, "%s", lun_strerror(LUN_ECLOSED));
    if (auth->token && now_ns >= auth->ends_ns)
        drop_token(auth);
    if (auth->call)
        return;
    if (!is_closing && now_ns >= auth->retry_ns)
        ask(auth);
    if (auth->token)
        rpc_timer_start(timer, auth->ends_ns);
    if (!auth->call)
        answer_all(auth, is_closing ? &closed : &auth->err);
}

bool auth_is_to_come(const struct auth *auth) {
    return auth_is_needed(auth) && (auth->call || rpc_now(auth->etcd->rpc) >= auth->retry_ns);
}

void auth_prompt(struct auth *auth) {
    if (auth_is_needed(auth) && !auth->call)
        rpc_timer_start(&auth->timer, rpc_now(auth->etcd->rpc));
}

void auth_wait(struct auth *auth, struct auth_waiter *waiter) {
    list_push_back(&auth->waiting, &waiter->in_auth);
    auth_prompt(auth);
}

/* ---- what members say of it -------------------------------------------------------------------------- */

void auth_refused(struct auth *auth, unsigned generation) {
    if (!auth->user || generation != auth->generation)
        return;
    drop_token(auth);
    auth->is_off = false; /* it was switched on again */
    auth_prompt(auth);
}

void auth_silent(struct auth *auth, unsigned generation) {
    int64_t now_ns = rpc_now(auth->etcd->rpc);
    if (!auth->token || generation != auth->generation || ++auth->n_silent < SILENT_ENOUGH)
        return;
    if (auth->suspected_ns != 0 && now_ns - auth->suspected_ns < SUSPECT_AGAIN_NS)
        return;
    auth->suspected_ns = now_ns;
    auth_refused(auth, generation);
}

bool auth_is_refused(const struct auth *auth, const struct lun_err *err) {
    if (err->code != LUN_EUNAUTHENTICATED)
        return false;
    return !auth->user || (auth->n_refused > 0 && auth->err.code == LUN_EUNAUTHENTICATED);
}

void auth_explain(const struct auth *auth, struct lun_err *err) {
    char text[LUN_ERR_TEXT_BYTES];
    memcpy(text, err->text, sizeof text);
    int status = err->status;
    if (err->code == LUN_EPERMISSION && auth->user)
        lun_err_set(err, err->code, "user %.*s: %s", shown_length(auth), auth->user, text);
    else if (err->code == LUN_EUNAUTHENTICATED && !auth->user && strstr(text, "user name is empty"))
        lun_err_set(err, err->code, "etcd wants to know the user: give user and password (%s)", text);
    err->status = status;
}

/* ---- life -------------------------------------------------------------------------------------------- */

int auth_init(struct auth *auth, struct etcd *etcd) {
    auth->etcd = etcd;
    auth->ends_ns = RPC_NEVER;
    list_init(&auth->waiting);
    return rpc_timer_init(etcd->rpc, &auth->timer, on_timer);
}

int auth_set_user(struct auth *auth, const char *user, const char *password) {
    auth->user = strdup(user);
    auth->password = strdup(password ? password : "");
    return auth->user && auth->password ? 0 : LUN_ENOMEM;
}

void auth_fini(struct auth *auth) {
    if (!auth->etcd)
        return;
    rpc_timer_fini(&auth->timer);
    secret_wipe(&auth->token);
    secret_wipe(&auth->password);
    free(auth->user);
}
