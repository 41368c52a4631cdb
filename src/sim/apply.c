/* sim/apply.c - which request is carried out by whom, and the header all replies bear. */
#include "sim/world.h"

Etcdserverpb__ResponseHeader *sim_header(struct sim *sim) {
    Etcdserverpb__ResponseHeader *header = sim_take(sim, sizeof *header);
    etcdserverpb__response_header__init(header);
    header->cluster_id = sim->cluster_id;
    header->member_id = 1;
    header->revision = sim->revision;
    header->raft_term = sim->term;
    return header;
}

uint64_t sim_member_id(const struct sim_member *member) {
    return (uint64_t)member->index + 1;
}

Etcdserverpb__ResponseHeader *sim_member_header(struct sim_member *member) {
    Etcdserverpb__ResponseHeader *header = sim_header(member->sim);
    header->member_id = sim_member_id(member);
    header->revision = sim_applied_rev(member);
    header->raft_term = member->term;
    return header;
}

int64_t sim_applied_rev(const struct sim_member *member) {
    return member->applied ? member->sim->entries[member->applied - 1].revision : 1;
}

bool sim_is_write(enum rpc_method method, const ProtobufCMessage *request) {
    if (method == RPC_TXN)
        return sim_txn_writes((const Etcdserverpb__TxnRequest *)request);
    return method != RPC_RANGE && method != RPC_LEASE_TIME_TO_LIVE && method != RPC_MEMBER_STATUS &&
           method != RPC_MEMBER_LIST;
}

bool sim_is_local(enum rpc_method method, const ProtobufCMessage *request) {
    return method == RPC_MEMBER_STATUS || method == RPC_MEMBER_LIST ||
           (method == RPC_RANGE && ((const Etcdserverpb__RangeRequest *)request)->serializable);
}

static struct sim_answer compact(struct sim *sim, const Etcdserverpb__CompactionRequest *request) {
    if (request->revision > sim->revision)
        return sim_refusal(RPC_OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision");
    if (request->revision <= sim->compacted_rev)
        return sim_refusal(RPC_OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted");
    sim->compacted_rev = request->revision;
    sim_say(sim, "etcd: compacted at %lld", (long long)sim->compacted_rev);
    sim_commit(sim);
    Etcdserverpb__CompactionResponse *response = sim_take(sim, sizeof *response);
    etcdserverpb__compaction_response__init(response);
    response->header = sim_header(sim);
    return sim_reply(&response->base);
}

/* With the alarm NOSPACE raised. */
static bool needs_room(enum rpc_method method, const ProtobufCMessage *request) {
    if (method == RPC_TXN)
        return sim_txn_puts((const Etcdserverpb__TxnRequest *)request);
    return method == RPC_PUT || method == RPC_LEASE_GRANT;
}

void sim_set_full(struct sim *sim, bool is_full) {
    sim->is_full = is_full;
    sim_say(sim, "fault: %s", is_full ? "no space left" : "space again");
}

static struct sim_answer check(struct sim_member *member, const char *token, enum rpc_method method,
                               const ProtobufCMessage *request) {
    struct sim *sim = member->sim;
    struct sim_answer answer = sim_check(sim, method, request);
    if (!answer.status)
        answer = sim_authorize(member, token, method, request);
    if (!answer.status && sim->is_full && needs_room(method, request))
        return sim_refusal(RPC_RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded");
    if (!answer.status && sim_is_write(method, request) && sim_chance(sim, sim->faults.busy))
        return sim_refusal(RPC_RESOURCE_EXHAUSTED, "etcdserver: too many requests");
    return answer;
}

struct sim_answer sim_carry_out(struct sim_member *member, const char *token, enum rpc_method method,
                                const ProtobufCMessage *request) {
    struct sim *sim = member->sim;
    int64_t revision = sim_is_local(method, request) ? sim_applied_rev(member) : sim->revision;
    struct sim_answer answer = check(member, token, method, request);
    if (answer.status)
        return answer;
    switch (method) {
    case RPC_RANGE:
        return sim_range(sim, (const Etcdserverpb__RangeRequest *)request, revision);
    case RPC_PUT:
        return sim_put_asked(sim, (const Etcdserverpb__PutRequest *)request);
    case RPC_DELETE_RANGE:
        return sim_delete_asked(sim, (const Etcdserverpb__DeleteRangeRequest *)request);
    case RPC_TXN:
        return sim_txn(sim, (const Etcdserverpb__TxnRequest *)request);
    case RPC_COMPACT:
        return compact(sim, (const Etcdserverpb__CompactionRequest *)request);
    case RPC_LEASE_GRANT:
        return sim_grant(sim, (const Etcdserverpb__LeaseGrantRequest *)request);
    case RPC_LEASE_REVOKE:
        return sim_revoke_asked(sim, (const Etcdserverpb__LeaseRevokeRequest *)request);
    case RPC_LEASE_TIME_TO_LIVE:
        return sim_time_to_live(sim, (const Etcdserverpb__LeaseTimeToLiveRequest *)request);
    case RPC_AUTHENTICATE:
        return sim_authenticate(sim, (const Etcdserverpb__AuthenticateRequest *)request);
    case RPC_MEMBER_STATUS:
        return sim_tell_status(member);
    case RPC_MEMBER_LIST:
        return sim_list_members(member);
    default:
        return sim_refusal(RPC_UNIMPLEMENTED, "unknown method");
    }
}
