/* client/election.c - elections: one object is one candidate. What is won is a term, see term.c. */
#include <stdlib.h>
#include <string.h>

#include "client/check.h"
#include "client/term.h"

int lun_election_new(struct lun_session *session, const char *name, struct lun_election **ret_election,
                     struct lun_err *ret_err) {
    int rc = check_name(session->client->etcd, name, "election", ret_err);
    if (rc || (rc = client_enter(session->client, ret_err)))
        return rc;
    struct lun_election *election = calloc(1, sizeof *election);
    if (election)
        election->name = strdup(name);
    if (!election || !election->name) {
        free(election);
        rc = lun_err_set(ret_err, LUN_ENOMEM, "election: out of memory");
    } else {
        election->session = session;
        session_ref(session);
        *ret_election = election;
    }
    client_leave(session->client);
    return rc;
}

static int start_campaign(struct lun_op *op, const void *args, struct lun_err *ret_err) {
    struct lun_election *election = op->object;
    const struct lun_bytes *value = args;
    if (election->term)
        return lun_err_set(ret_err, LUN_EINVALID,
                           "campaign %s: this object %s already: one object is one candidate", election->name,
                           election->term->claim.class->busy[claim_state(&election->term->claim)]);
    struct lun_term *term = term_new(election);
    if (!term)
        return lun_err_set(ret_err, LUN_ENOMEM, "out of memory");
    int rc = claim_enter(&term->claim, op, *value, PLACE_WAIT, ret_err);
    if (rc) {
        term->claim.class->on_failed(&term->claim);
        return rc;
    }
    election->term = term;
    op->object = &term->claim;
    return 0;
}

int lun_election_campaign(struct lun_election *election, struct lun_bytes value, const struct lun_ask *ask,
                          struct lun_op **ret_op, struct lun_err *ret_err) {
    static const struct ask_kind kind = {.start = start_campaign, .on_give_up = claim_give_up};
    int rc = check_bytes(value, "value", ret_err);
    return rc ? rc : client_ask(election->session->client, &kind, election, &value, ask, ret_op, ret_err);
}

int lun_election_leader(struct lun_election *election, const struct lun_ask *ask, struct lun_op **ret_op,
                        struct lun_err *ret_err) {
    return leader_ask(election->session->client, "leader", election->name, ask, ret_op, ret_err);
}

static int start_position(struct lun_op *op, const void *args, struct lun_err *ret_err) {
    const struct lun_election *election = op->object;
    (void)args;
    return claim_start_position(op, election->term ? &election->term->claim : NULL, election->name, ret_err);
}

int lun_election_position(struct lun_election *election, const struct lun_ask *ask, struct lun_op **ret_op,
                          struct lun_err *ret_err) {
    static const struct ask_kind kind = {
        .start = start_position, .on_give_up = op_give_up_call, .has_own_deadline = true};
    return client_ask(election->session->client, &kind, election, NULL, ask, ret_op, ret_err);
}

bool lun_election_blocked_by(struct lun_election *election, char *ret_text, size_t n_bytes) {
    if (client_enter_closed(election->session->client))
        return false;
    bool is_blocked = election->term && claim_is_blocked(&election->term->claim, ret_text, n_bytes);
    client_leave(election->session->client);
    return is_blocked;
}

void lun_election_free(struct lun_election *election) {
    if (!election || client_enter_closed(election->session->client))
        return;
    struct lun_client *client = election->session->client;
    struct lun_term *term = election->term;
    if (term && claim_state(&term->claim) == CLAIM_ENTERING)
        claim_give_up(term->claim.op, LUN_ECLOSED);
    else if (term)
        term->election = NULL;
    session_unref(election->session);
    free(election->name);
    free(election);
    client_leave(client);
}
