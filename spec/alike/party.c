/* spec/alike/party.c - the parties: opened, emptied, hurt, waited for. See party.h. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "etcd_server.h"
#include "party_parts.h"
#include "rpc/grpc.h"
#include "stage.h"

#define START_LIMIT_NS (30 * NS_PER_S)

void party_die(const char *what) {
    (void)fprintf(stderr, "conform: %s\n", what);
    abort();
}

/* ---- waiting -------------------------------------------------------------------------------------------- */

static void on_bell(struct rpc_completion *note) {
    (void)note;
}

int party_peek(struct party *party, const int *counter) {
    rpc_enter(party->rpc);
    int n = *counter;
    rpc_leave(party->rpc);
    return n;
}

bool party_wait(struct party *party, const int *counter, int n, int64_t limit_ns) {
    if (party->sim) {
        int64_t end = sim_now(party->sim) + limit_ns;
        while (*counter < n && sim_now(party->sim) < end)
            sim_step(party->sim);
        return *counter >= n;
    }
    int64_t end = clock_boottime_ns() + limit_ns;
    while (party_peek(party, counter) < n && clock_boottime_ns() < end)
        (void)rpc_poll(party->rpc, end);
    return party_peek(party, counter) >= n;
}

void party_pause(struct party *party, int64_t ns) {
    static const int never = 0;
    (void)party_wait(party, &never, 1, ns);
}

struct rpc_options party_options(const struct party *party) {
    return (struct rpc_options){
        .deadline_ns = RPC_NEVER, .has_leader = party->has_leader, .token = party->token};
}

/* ---- stories -------------------------------------------------------------------------------------------- */

void party_say(struct party *party, const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)vfprintf(party->story, format, args);
    va_end(args);
    (void)fputc('\n', party->story);
}

static void drop_tale(struct party *party) {
    if (party->story)
        (void)fclose(party->story);
    free(party->text);
    party->story = NULL;
    party->text = NULL;
}

void party_begin(struct party *party) {
    drop_tale(party);
    party->has_leader = false;
    if (party->admin) /* a scene may have ended the token before */
        party_become_admin(party, "root", "toor");
    party->token = party->admin;
    party->story = open_memstream(&party->text, &party->n_text);
    if (!party->story)
        party_die("out of memory");
    Etcdserverpb__DeleteRangeRequest all = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    uint8_t zero = 0;
    all.key = all.range_end = (ProtobufCBinaryData){1, &zero};
    if (ask_aside(party, RPC_DELETE_RANGE, &all.base))
        party_die("the store cannot be emptied");
    party->base_rev = party->last_rev;
    party->token = NULL;
}

const char *party_tale(struct party *party) {
    (void)fflush(party->story);
    return party->text;
}

/* ---- opening -------------------------------------------------------------------------------------------- */

static bool open_channel(struct party *party, const char *address) {
    struct lun_err err;
    rpc_enter(party->rpc);
    int rc = rpc_channel_open(party->rpc, address, &party->channel, &err);
    rpc_leave(party->rpc);
    return rc == 0;
}

void party_visit(struct party *party, int member) {
    rpc_enter(party->rpc);
    rpc_channel_close(party->channel);
    rpc_leave(party->rpc);
    party->member = member;
    if (!open_channel(party, sim_addresses[member]))
        party_die("no channel");
}

/* ---- troubles ------------------------------------------------------------------------------------------- */

void party_become_admin(struct party *party, const char *name, const char *password) {
    party->story = fopen("/dev/null", "w");
    if (!party->story)
        party_die("no /dev/null");
    static char admin[2][512];
    const char *token = ask_token(party, name, password);
    if (!token)
        party_die("no token for the administrator");
    party->admin = memcpy(admin[party->sim != NULL], token, sizeof admin[0]);
    (void)fclose(party->story);
    party->story = NULL;
}

static void change_simulated_users(struct sim *sim, enum users_change change) {
    switch (change) {
    case ANN_HAS_ANOTHER_PASSWORD:
        sim_set_password(sim, "ann", "another");
        break;
    case ANN_HAS_HER_PASSWORD:
        sim_set_password(sim, "ann", "secret");
        break;
    case NOBODY_SHOWS_A_TOKEN:
        sim_disable_auth(sim);
        break;
    case EVERYBODY_SHOWS_A_TOKEN:
        sim_enable_auth(sim);
        break;
    default:
        sim_allow(sim, "ann", "/ann",
                  change == ANN_MAY_READ      ? SIM_READ
                  : change == ANN_MAY_WRITE   ? SIM_WRITE
                  : change == ANN_MAY_NOTHING ? 0
                                              : SIM_READ | SIM_WRITE);
    }
}

/* What is asked in the very moment may have to be asked again: no scene does. */
void party_change_users(struct party *party, enum users_change change) {
    if (party->sim)
        change_simulated_users(party->sim, change);
    else
        stage_change_users(party->server, change);
    party_pause(party, 100 * NS_PER_MS);
}

void party_fill(struct party *party) {
    enum { TOO_MUCH = 1400 * 1000 };
    char *value = calloc(1, TOO_MUCH);
    if (!value)
        party_die("out of memory");
    if (party->sim)
        sim_set_full(party->sim, true);
    ask_op(party, &(struct lun_kv_op){.kind = LUN_OP_PUT, .key = B("/big"), .value = {value, TOO_MUCH}});
    free(value);
}

void party_lose_leader(struct party *party) {
    if (party->sim)
        for (int i = 1; i < SIM_MEMBERS; i++)
            sim_stop(party->sim, (party->member + i) % SIM_MEMBERS);
    else
        etcd_server_kill(party->peer_server);
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    request.key = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) "x"};
    request.serializable = 1;
    while (ask_aside(party, RPC_RANGE, &request.base) != RPC_UNAVAILABLE)
        party_pause(party, 20 * NS_PER_MS);
}

void party_open_sim(struct party *party) {
    party_open_sim_of(party, 1);
}

void party_open_sim_of(struct party *party, uint64_t seed) {
    *party = (struct party){.name = "sim"};
    party->sim = sim_new(seed);
    party->client = sim_client_new(party->sim, "conform", 0);
    party->rpc = sim_client_rpc(party->client);
    rpc_completion_init(&party->bell, on_bell);
    party->member = sim_leader(party->sim);
    if (!open_channel(party, sim_addresses[party->member]))
        party_die("no channel");
}

bool party_open_etcd(struct party *party, struct etcd_server *server) {
    struct lun_err err;
    *party = (struct party){.name = "etcd", .server = server};
    rpc_completion_init(&party->bell, on_bell);
    if (rpc_grpc_new(NULL, &party->rpc, &err) || !open_channel(party, server->address))
        return false;
    Etcdserverpb__StatusRequest request = ETCDSERVERPB__STATUS_REQUEST__INIT;
    Etcdserverpb__RangeRequest read = ETCDSERVERPB__RANGE_REQUEST__INIT;
    read.key = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) "x"};
    for (int64_t end = clock_boottime_ns() + START_LIMIT_NS; clock_boottime_ns() < end;) {
        if (ask_aside(party, RPC_RANGE, &read.base) == RPC_OK) {
            (void)ask_aside(party, RPC_MEMBER_STATUS, &request.base);
            (void)snprintf(party->version, sizeof party->version, "%.15s", party->last_text);
            return true;
        }
        party_pause(party, 10 * NS_PER_MS);
    }
    return false;
}

void party_close(struct party *party) {
    drop_tale(party);
    rpc_enter(party->rpc);
    rpc_withdraw(party->rpc, &party->bell);
    rpc_channel_close(party->channel);
    rpc_leave(party->rpc);
    if (party->sim)
        sim_free(party->sim);
    else
        rpc_free(party->rpc);
}
