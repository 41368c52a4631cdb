/* client/status.c - how every member is: each is asked at once, and the op answers when all have. */
#include <stdio.h>
#include <string.h>

#include "client/client.h"

enum { DEFAULT_STATUS_MS = 2000 };

struct status_call {
    struct status *status;
    struct etcd_member *member;
    struct etcd_call *call;
};

struct status {
    struct lun_op *op;
    struct lun_member *members;
    size_t n_members, n_out;
    int give_up_code;
    struct status_call calls[ETCD_MAX_MEMBERS];
};

static const char *op_string(struct lun_op *op, const char *string) {
    struct lun_bytes copy;
    return op_copy(op, lun_bytes_of(string ? string : ""), &copy) ? copy.data : "";
}

/* The names in what a member says of itself ("memberID:12 alarm:NOSPACE "), each once: "NOSPACE,CORRUPT". */
static const char *alarms_of(struct lun_op *op, const struct etcd_reply *reply) {
    static const char *const known[] = {"NOSPACE", "CORRUPT"};
    char text[64] = "";
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        bool is_raised = false;
        for (size_t i = 0; i < reply->n_complaints; i++)
            is_raised |= strstr(reply->complaints[i], "alarm:") && strstr(reply->complaints[i], known[k]);
        if (is_raised)
            (void)snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", text[0] ? "," : "",
                           known[k]);
    }
    return op_string(op, text);
}

/* What was last wrong with a member; NULL: nothing. */
static const char *trouble_of(struct lun_op *op, const struct etcd_member *member, int64_t *ret_ns) {
    const char *text = etcd_member_trouble(member, ret_ns);
    return text ? op_string(op, text) : NULL;
}

static void finish_status(struct status *status) {
    struct lun_op *op = status->op;
    if (status->n_out > 0)
        return;
    op->result.members = status->members;
    op->result.n_members = status->n_members;
    if (status->give_up_code)
        (void)op_fail(op, status->give_up_code, "status: %s", lun_strerror(status->give_up_code));
    else
        op_finish(op, NULL);
}

static void on_member_status(void *arg, const struct etcd_reply *reply) {
    struct status_call *call = arg;
    struct status *status = call->status;
    struct lun_member *member = &status->members[call - status->calls];
    call->call = NULL;
    status->n_out--;
    member->trouble = trouble_of(status->op, call->member, &member->trouble_ns);
    if (reply->err) {
        member->error = op_string(status->op, reply->err->text);
    } else {
        member->round_trip_ns = rpc_now(status->op->client->rpc) - reply->sent_ns;
        member->version = op_string(status->op, reply->version);
        member->member_id = reply->member_id;
        member->leader_id = reply->leader_id;
        member->db_size_bytes = reply->db_size;
        member->raft_index = reply->raft_index;
        member->raft_term = reply->raft_term;
        member->alarms = alarms_of(status->op, reply);
        member->revision = reply->revision;
    }
    finish_status(status);
}

static void give_up_status(struct lun_op *op, int code) {
    struct status *status = op->object;
    status->give_up_code = code;
    for (size_t i = 0; i < status->n_members; i++)
        if (status->calls[i].call)
            etcd_cancel(status->calls[i].call);
}

static int64_t timeout_of(const struct lun_ask *ask) {
    bool is_shorter = ask->timeout_ms >= 0 && ask->timeout_ms < DEFAULT_STATUS_MS;
    return is_shorter ? ask->timeout_ms : DEFAULT_STATUS_MS;
}

static int start_status(struct lun_op *op, const void *args, struct lun_err *ret_err) {
    struct lun_client *client = op->client;
    struct status *status = op_alloc(op, sizeof *status);
    size_t n = etcd_n_members(client->etcd);
    (void)args;
    if (status)
        status->members = op_alloc(op, n * sizeof *status->members);
    if (!status || !status->members)
        return lun_err_set(ret_err, LUN_ENOMEM, "out of memory");
    op->object = status;
    status->op = op;
    status->n_members = n;
    int64_t until_ns = rpc_now(client->rpc) + timeout_of(&op->ask) * NS_PER_MS;
    for (size_t i = 0; i < n; i++) {
        struct etcd_call_options how = {.deadline_ns = until_ns, .member = etcd_member_at(client->etcd, i)};
        status->calls[i].status = status;
        status->calls[i].member = how.member;
        status->members[i].is_learnt = etcd_member_is_learnt(how.member);
        status->members[i].endpoint = op_string(op, etcd_member_address(how.member));
        if (etcd_member_status(client->etcd, &how, on_member_status, &status->calls[i],
                               &status->calls[i].call) == 0)
            status->n_out++;
        else
            status->members[i].error = "out of memory";
    }
    finish_status(status);
    return 0;
}

int lun_status(struct lun_client *client, const struct lun_ask *ask, struct lun_op **ret_op,
               struct lun_err *ret_err) {
    static const struct ask_kind kind = {
        .start = start_status, .on_give_up = give_up_status, .has_own_deadline = true};
    return client_ask(client, &kind, NULL, NULL, ask, ret_op, ret_err);
}
