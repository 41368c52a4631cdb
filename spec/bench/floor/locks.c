/* spec/bench/floor/locks.c - see locks.h. */
#include "floor/locks.h"

#include "etcd.pb-c.h"
#include "shared/figures.h"

static bool is_renewed;

static void on_renewal(void *message) {
    (void)message;
    is_renewed = true;
}

int64_t session_grant(void) {
    struct unary unary = {.then = NULL};
    Etcdserverpb__LeaseGrantRequest request = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    request.ttl = 60;
    unary_ask(&unary, GRANT, &request.base, &etcdserverpb__lease_grant_response__descriptor);
    Etcdserverpb__LeaseGrantResponse *reply = unary_wait(&unary);
    int64_t lease = reply->id;
    reply_free(reply);
    return lease;
}

void session_open(struct session *session) {
    session->lease = session_grant();
    stream_open(&session->renewals, KEEP_ALIVE, &etcdserverpb__lease_keep_alive_response__descriptor,
                on_renewal);
    Etcdserverpb__LeaseKeepAliveRequest request = ETCDSERVERPB__LEASE_KEEP_ALIVE_REQUEST__INIT;
    request.id = session->lease;
    is_renewed = false;
    stream_send(&session->renewals, &request.base);
    wire_drive_until(&is_renewed);
}

void session_close(struct session *session) {
    struct unary unary = {.then = NULL};
    Etcdserverpb__LeaseRevokeRequest request = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
    request.id = session->lease;
    unary_ask(&unary, REVOKE, &request.base, &etcdserverpb__lease_revoke_response__descriptor);
    reply_free(unary_wait(&unary));
    stream_close(&session->renewals);
}

static void send_txn(void *unary, const Etcdserverpb__TxnRequest *request) {
    unary_ask(unary, TXN, &request->base, &etcdserverpb__txn_response__descriptor);
}

void lock_ask(struct lock_key *lock, struct unary *unary) {
    lock_request(lock, send_txn, unary);
}

int64_t lock_answer(struct unary *unary, bool *ret_is_owner) {
    Etcdserverpb__TxnResponse *reply = unary->reply;
    int64_t revision = reply->header->revision;
    *ret_is_owner = lock_is_won(reply);
    reply_free(reply);
    return revision;
}

void lock_take(struct lock_key *lock) {
    struct unary unary = {.then = NULL};
    bool is_owner;
    lock_ask(lock, &unary);
    (void)unary_wait(&unary);
    (void)lock_answer(&unary, &is_owner);
    if (!is_owner)
        fail("somebody else holds the lock");
}

void unlock_ask(struct lock_key *lock, struct unary *unary) {
    Etcdserverpb__DeleteRangeRequest request = unlock_request(lock);
    unary_ask(unary, DELETE, &request.base, &etcdserverpb__delete_range_response__descriptor);
}

void lock_release(struct lock_key *lock) {
    struct unary unary = {.then = NULL};
    unlock_ask(lock, &unary);
    reply_free(unary_wait(&unary));
}
