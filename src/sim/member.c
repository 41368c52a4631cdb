/* sim/member.c - what a member says of itself and of its peers. */
#include <stdio.h>

#include "sim/world.h"

enum { FIRST_RAFT_INDEX = 4, DB_BYTES = 20480 };

struct sim_answer sim_tell_status(struct sim_member *member) {
    struct sim *sim = member->sim;
    Etcdserverpb__StatusResponse *response = sim_take(sim, sizeof *response);
    etcdserverpb__status_response__init(response);
    response->header = sim_member_header(member);
    response->version = "3.4.23";
    response->dbsize = response->dbsizeinuse = DB_BYTES;
    if (member->is_stale_leader)
        response->leader = sim_member_id(member);
    else if (member->has_leader && sim->leader >= 0)
        response->leader = sim_member_id(&sim->members[sim->leader]);
    response->raftindex = FIRST_RAFT_INDEX + sim->n_entries;
    response->raftappliedindex = FIRST_RAFT_INDEX + member->applied;
    response->raftterm = member->term;
    if (response->leader == 0) {
        response->errors = sim_take(sim, sizeof *response->errors);
        response->errors[response->n_errors++] = "etcdserver: no leader";
    }
    return sim_reply(&response->base);
}

static Etcdserverpb__Member *describe(struct sim *sim, const struct sim_member *member) {
    Etcdserverpb__Member *message = sim_take(sim, sizeof *message);
    etcdserverpb__member__init(message);
    message->id = sim_member_id(member);
    char *url = sim_take(sim, 32);
    (void)snprintf(url, 32, "http://%s", sim_addresses[member->index]);
    char *name = sim_take(sim, 2);
    name[0] = sim_addresses[member->index][0];
    message->name = name;
    message->clienturls = sim_take(sim, sizeof *message->clienturls);
    message->clienturls[message->n_clienturls++] = url;
    message->peerurls = message->clienturls;
    message->n_peerurls = 1;
    return message;
}

struct sim_answer sim_list_members(struct sim_member *member) {
    struct sim *sim = member->sim;
    Etcdserverpb__MemberListResponse *response = sim_take(sim, sizeof *response);
    etcdserverpb__member_list_response__init(response);
    response->header = sim_member_header(member);
    response->members = sim_take(sim, SIM_MEMBERS * sizeof *response->members);
    for (int i = 0; i < SIM_MEMBERS; i++)
        response->members[response->n_members++] = describe(sim, &sim->members[i]);
    return sim_reply(&response->base);
}
