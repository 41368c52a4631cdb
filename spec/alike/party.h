/* spec/alike/party.h - one of the two that must answer alike: the simulator, or gRPC and a real etcd. A scene
 * plays before each of them in turn; what it asked and what came is kept as text, and the texts are compared.
 *
 * All calls from one thread, outside. */
#ifndef LUN_CONFORM_PARTY_H
#define LUN_CONFORM_PARTY_H

#include <stdio.h>

#include "base/clock.h"
#include "base/kv.h"
#include "etcd.pb-c.h"
#include "rpc/rpc.h"
#include "sim/sim.h"

struct etcd_server;

/* A literal, zeros inside it included. */
#define B(literal) ((struct lun_bytes){literal, sizeof(literal) - 1})

struct party {
    const char *name;
    struct rpc *rpc;
    struct rpc_channel *channel;
    struct sim *sim; /* NULL: it is the real one, `server` */
    struct sim_client *client;
    int member;                               /* that is asked: first the leader */
    struct etcd_server *server, *peer_server; /* the second: what it leads or follows; NULL: it is alone */
    struct rpc_completion bell;
    int64_t base_rev;  /* what revisions are told from */
    const char *token; /* goes with every call and stream; NULL: none */
    const char *admin; /* the token of whoever empties the store */
    bool has_leader;
    char version[16]; /* of the real etcd, to both */
    int64_t last_rev; /* of the last answer to a call; with its term, and its token or version */
    uint64_t last_term;
    char last_text[512];
    struct asked *later[8];
    size_t n_later;
    char tokens[16][512];
    size_t n_tokens;
    FILE *story;
    char *text; /* the story, after party_tale */
    size_t n_text;
};

/* A simulated etcd of its own. */
void party_open_sim(struct party *party);
void party_open_sim_of(struct party *party, uint64_t seed);
/* A real one, serving when this returns; false: it does not. */
bool party_open_etcd(struct party *party, struct etcd_server *server);
void party_close(struct party *party);

/* From now on asks another member of the simulated cluster. */
void party_visit(struct party *party, int member);
void party_become_admin(struct party *party, const char *name, const char *password);
/* Takes all room away, by asking for more than there is. */
void party_fill(struct party *party);
/* What an operator does to the users: "ann" has the password "secret" and may read and write "/ann". */
enum users_change {
    ANN_HAS_ANOTHER_PASSWORD,
    ANN_HAS_HER_PASSWORD,
    ANN_MAY_READ,
    ANN_MAY_WRITE,
    ANN_MAY_NOTHING,
    ANN_MAY_ALL,
    NOBODY_SHOWS_A_TOKEN,
    EVERYBODY_SHOWS_A_TOKEN
};
void party_change_users(struct party *party, enum users_change change);
/* Takes its peers away, and waits until it knows of no leader. */
void party_lose_leader(struct party *party);

/* Begins a story with an empty store: revisions count from here. */
void party_begin(struct party *party);
/* Ends it. Until the next begins, or party_close. */
const char *party_tale(struct party *party);
/* A line of the story. */
void party_say(struct party *party, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Asks, waits, and tells request and answer. Returns the status. */
int ask(struct party *party, enum rpc_method method, const ProtobufCMessage *request);
int ask_op(struct party *party, const struct lun_kv_op *op);
int ask_txn(struct party *party, const struct lun_txn *txn);
/* Asks, and waits only in ask_rest, which tells all such answers in the order they were asked for. */
void ask_later(struct party *party, enum rpc_method method, const ProtobufCMessage *request);
void ask_rest(struct party *party);
/* As ask; what is asked is not told. */
int ask_aside(struct party *party, enum rpc_method method, const ProtobufCMessage *request);
/* The token of the answer, good for the next fifteen; NULL: refused. */
const char *ask_token(struct party *party, const char *name, const char *password);

/* Waits until the counter, which callbacks count up, has reached `n`; false: not in time. */
bool party_wait(struct party *party, const int *counter, int n, int64_t limit_ns);
void party_pause(struct party *party, int64_t ns);

/* ---- streams */

struct talk;
struct talk *talk_open(struct party *party, enum rpc_method method);
/* Sends, and tells it. */
void talk_send(struct talk *talk, const ProtobufCMessage *message);
/* Each event is a message, without the header it came under. */
struct talk *talk_open_by_event(struct party *party);
void talk_watch(struct talk *talk, const Etcdserverpb__WatchCreateRequest *request);
void talk_renew(struct talk *talk, int64_t lease);
void talk_unwatch(struct talk *talk, int64_t id);
/* Waits until so many watches have been created, or refused. */
void talk_await_created(struct talk *talk, int n);
int talk_n_heard(struct talk *talk);
/* Waits for `n` more messages (the end of the stream is one) and tells them, watcher by watcher. */
void talk_tell(struct talk *talk, int n);
/* Gives the stream up. */
void talk_drop(struct talk *talk);
/* Listens first: whatever comes that talk_tell did not wait for is told. */
void talk_close(struct talk *talk);

#endif
