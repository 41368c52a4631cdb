/* etcd/member_list.c - reads the cluster's list of members, and proves those that were not given before they are used.
 *
 *             timer            answered               1 s               all have answered
 *   resting ---------> reading ---------> settling ---------> probing --------------------> resting
 *     ^ ^                 |                  |
 *     | +--- no answer ---+                  |
 *     +--------------- nobody new -----------+
 *
 * Suspended in
 *   resting   the timer runs to the next read: minutes away while all is well, sooner after a member has failed, answered
 *             again, or could not be proven. It does not run before a member given has shown which cluster it belongs to
 *   reading   a MemberList is in flight. It asks for a leader: a member that was removed, or cut off, has an old list
 *   settling  listed members that are not known have channels; the timer runs
 *   probing   a Status is in flight to each of them
 *
 * What is advertised is often of no use here: "localhost", an address behind a proxy or of another network, where another
 * etcd may live, even one that bears the same ids because it was begun with the same flags. So a member is used once it has
 * answered and shown the cluster's id, its own id as listed, and a raft term and a revision that are not below what was
 * heard a second earlier. Until then nothing asks it, and what cannot be reached costs no call anything.
 *
 * Departs from etcd's Go client: AutoSync is off there, replaces the endpoints given, and proves nothing. */
#include "etcd/member_list.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "etcd/backoff.h"
#include "etcd/cluster.h"
#include "etcd/reply.h"
#include "etcd/status_class.h"

#define FIRST_NS NS_PER_S         /* programs that end sooner never ask */
#define SOON_NS NS_PER_S          /* after a member failed, around this */
#define APART_NS (5 * NS_PER_S)   /* reads, at the least */
#define REST_NS (120 * NS_PER_S)  /* while all is well, around this */
#define UNREST_NS (30 * NS_PER_S) /* at the most, as long as something is wrong, for TRIES reads */
#define ANSWER_NS (10 * NS_PER_S) /* for the list, and for a member to prove itself */
#define SETTLE_NS NS_PER_S      /* a follower of a healthy cluster knows by then what was committed before */
#define LOST_NS (60 * NS_PER_S) /* a member given that was not heard for so long may have moved */

enum { TRIES = 20 };

enum { RESTING, READING, SETTLING, PROBING };

static const struct sm_state states[] = {
    [RESTING] = {"resting", SM_ARC(READING)},
    [READING] = {"reading", SM_ARC(RESTING) | SM_ARC(SETTLING)},
    [SETTLING] = {"settling", SM_ARC(PROBING) | SM_ARC(RESTING)},
    [PROBING] = {"probing", SM_ARC(RESTING)},
};
static const struct sm_class member_list_class = {
    .name = "member list", .states = states, .n_states = sizeof states / sizeof states[0]};

static struct etcd_member *end_of(const struct etcd *etcd) {
    return (struct etcd_member *)etcd->members + etcd->n_slots;
}

/* ---- when to read ----------------------------------------------------------------------------------- */

static bool is_one_failed(const struct etcd *etcd) {
    for (const struct etcd_member *member = etcd->members; member < end_of(etcd); member++)
        if (member->is_used && member->failed_ns != 0)
            return true;
    return false;
}

/* Often for some minutes after something has happened, for then members are replaced. */
static void rest(struct member_list *list) {
    struct rpc *rpc = list->etcd->rpc;
    bool is_settled = (list->is_all_well && !is_one_failed(list->etcd)) || list->n_tries == TRIES;
    int64_t span = is_settled ? REST_NS : backoff_grown(APART_NS, UNREST_NS, list->n_tries);
    list->n_tries += list->n_tries < TRIES;
    sm_move(&list->sm, RESTING);
    rpc_timer_start(&list->timer, rpc_now(rpc) + backoff_around(rpc, span));
}

void member_list_prompt(struct member_list *list) {
    struct etcd *etcd = list->etcd;
    if (!list->is_on || etcd->is_closing || list->sm.state != RESTING || etcd->identity.cluster_id == 0)
        return;
    list->n_tries = 0;
    int64_t at_ns = rpc_now(etcd->rpc) + backoff_around(etcd->rpc, list->sent_ns ? SOON_NS : FIRST_NS);
    if (list->sent_ns && at_ns < list->sent_ns + APART_NS)
        at_ns = list->sent_ns + APART_NS;
    if (!rpc_timer_is_running(&list->timer) || at_ns < list->timer.node.key)
        rpc_timer_start(&list->timer, at_ns);
}

/* ---- slots ------------------------------------------------------------------------------------------ */

static bool is_learnt(const struct etcd_member *member) {
    return member->is_used && !member->is_given && member != member->etcd->discovery.placeholder;
}

/* Listed, and not proven yet. */
static bool is_candidate(const struct etcd_member *member) {
    return !member->is_used && member->channel && member->listed_id != 0 && member->left_ns == 0;
}

static void empty(struct etcd_member *member) {
    if (member->channel)
        rpc_channel_close(member->channel);
    member->channel = NULL;
    member->listed_id = 0;
}

static size_t n_learnt(const struct etcd *etcd) {
    size_t n = 0;
    for (const struct etcd_member *member = etcd->members; member < end_of(etcd); member++)
        n += is_learnt(member) || is_candidate(member);
    return n;
}

static void add_candidate(struct etcd *etcd, uint64_t id, const char *address) {
    struct etcd_member *member = n_learnt(etcd) < ENDPOINT_MAX ? etcd_member_add(etcd, address) : NULL;
    if (member)
        member->listed_id = id;
}

void member_list_begin_anew(struct member_list *list) {
    struct etcd *etcd = list->etcd;
    for (struct etcd_member *member = etcd->members; member < end_of(etcd); member++)
        if (is_learnt(member) && member->shown_id != etcd->identity.cluster_id)
            etcd_member_leave(member, "is a member of another cluster");
    member_list_prompt(list);
}

/* ---- proving ---------------------------------------------------------------------------------------- */

/* What speaks against it; NULL: nothing. */
static const char *objection(const struct etcd_member *member, const struct rpc_result *result,
                             const ProtobufCMessage *message) {
    const struct etcd *etcd = member->etcd;
    const struct member_list *list = &etcd->member_list;
    const Etcdserverpb__StatusResponse *status = (const Etcdserverpb__StatusResponse *)message;
    if (result->status != RPC_OK)
        return result->guess ? result->guess : result->message;
    if (!status->header || status->header->cluster_id != etcd->identity.cluster_id)
        return "belongs to another cluster";
    if (status->header->member_id != member->listed_id)
        return "is another member than the one that is listed there";
    if (status->header->raft_term < list->raft_term || status->header->revision < list->revision)
        return "is behind the cluster";
    return status->islearner ? "is a learner" : NULL;
}

static void join(struct etcd_member *member) {
    struct etcd *etcd = member->etcd;
    trace_line(etcd->trace, "etcd: %s was learnt from the list of members", etcd_member_address(member));
    member->shown_id = etcd->identity.cluster_id;
    member->member_id = member->listed_id;
    member->is_verified = member->was_ours = true;
    etcd_member_use(member);
    etcd_member_answered(member);
    watch_stream_member_answered(&etcd->watch_stream, member);
}

static void on_probe(void *arg, const struct rpc_result *result, const ProtobufCMessage *message) {
    struct etcd_member *member = arg;
    struct etcd *etcd = member->etcd;
    struct member_list *list = &etcd->member_list;
    const char *wrong = objection(member, result, message);
    member->probe = NULL;
    if (wrong) {
        trace_line(etcd->trace, "etcd: the listed member %s is not used: %s", etcd_member_address(member),
                   wrong);
        list->is_all_well = false;
        empty(member);
    } else if (!etcd->is_closing) {
        join(member);
    }
    if (--list->n_probes == 0 && !etcd->is_closing)
        rest(list);
    etcd_out_end(etcd);
}

static void probe(struct etcd_member *member) {
    struct etcd *etcd = member->etcd;
    Etcdserverpb__StatusRequest request = ETCDSERVERPB__STATUS_REQUEST__INIT;
    struct rpc_options options = etcd_options(etcd, rpc_now(etcd->rpc) + ANSWER_NS);
    options.has_leader = false;
    if (rpc_call(member->channel, RPC_MEMBER_STATUS, &request.base, &options, on_probe, member,
                 &member->probe)) {
        empty(member);
        return;
    }
    etcd->member_list.n_probes++;
    etcd_out_begin(etcd);
}

static void probe_all(struct member_list *list) {
    struct etcd *etcd = list->etcd;
    sm_move(&list->sm, PROBING);
    for (struct etcd_member *member = etcd->members; member < end_of(etcd); member++)
        if (is_candidate(member))
            probe(member);
    if (list->n_probes == 0)
        rest(list);
}

/* ---- the list --------------------------------------------------------------------------------------- */

/* The listed URL as an endpoint; false: it is of no use here. */
static bool parse(const struct member_list *list, const char *url, struct endpoint *ret_endpoint) {
    if (!endpoint_parse(url, ret_endpoint) ||
        ret_endpoint->scheme != (list->is_tls ? ENDPOINT_HTTPS : ENDPOINT_HTTP))
        return false;
    enum endpoint_place place = endpoint_place(ret_endpoint);
    return place == ENDPOINT_REMOTE || (place == ENDPOINT_LOCAL && list->is_local);
}

static bool has_url(const struct member_list *list, const Etcdserverpb__Member *listed, const char *address) {
    struct endpoint endpoint;
    for (size_t i = 0; i < listed->n_clienturls; i++)
        if (parse(list, listed->clienturls[i], &endpoint) && strcasecmp(endpoint.address, address) == 0)
            return true;
    return false;
}

/* Of several URLs another one at each read. */
static bool choose_url(const struct member_list *list, const Etcdserverpb__Member *listed,
                       struct endpoint *ret_endpoint) {
    for (size_t i = 0; i < listed->n_clienturls; i++)
        if (parse(list, listed->clienturls[(list->n_reads + i) % listed->n_clienturls], ret_endpoint))
            return true;
    return false;
}

static bool is_listed(const struct etcd_member *member, const Etcdserverpb__MemberListResponse *response) {
    for (size_t i = 0; i < response->n_members; i++)
        if (response->members[i]->id == member->listed_id)
            return has_url(&member->etcd->member_list, response->members[i], etcd_member_address(member));
    return false;
}

/* Under whatever name. One that was silent for long may be there under another name now. */
static bool is_known(const struct etcd *etcd, const Etcdserverpb__Member *listed) {
    int64_t now_ns = rpc_now(etcd->rpc);
    for (const struct etcd_member *member = etcd->members; member < end_of(etcd); member++) {
        bool is_lost = member->failed_ns != 0 && now_ns - member->heard_ns >= LOST_NS;
        if (is_candidate(member) && member->listed_id == listed->id)
            return true;
        if (!member->is_used)
            continue;
        if (has_url(&etcd->member_list, listed, etcd_member_address(member)) ||
            (member->member_id == listed->id && !is_lost))
            return true;
    }
    return false;
}

static void compare(struct member_list *list, const Etcdserverpb__MemberListResponse *response) {
    struct etcd *etcd = list->etcd;
    for (struct etcd_member *member = etcd->members; member < end_of(etcd); member++)
        if (is_learnt(member) && !is_listed(member, response))
            etcd_member_leave(member, "is not listed any more");
    for (size_t i = 0; i < response->n_members; i++) {
        const Etcdserverpb__Member *listed = response->members[i];
        struct endpoint endpoint;
        bool is_to_come = listed->islearner || listed->n_clienturls == 0; /* it has not been started yet */
        list->is_all_well &= !is_to_come;
        if (listed->id != 0 && !listed->islearner && !is_known(etcd, listed) &&
            choose_url(list, listed, &endpoint))
            add_candidate(etcd, listed->id, endpoint.address);
    }
}

static bool is_one_new(const struct etcd *etcd) {
    for (const struct etcd_member *member = etcd->members; member < end_of(etcd); member++)
        if (is_candidate(member))
            return true;
    return false;
}

/* 0, or an error: the list is read again later, and why is in the trace. */
static int judge(struct member_list *list, const struct rpc_result *result, const ProtobufCMessage *message) {
    struct etcd *etcd = list->etcd;
    struct lun_err err;
    if (result->status == RPC_OK) {
        int rc = etcd_saw_header(list->asked, reply_header(RPC_MEMBER_LIST, message),
                                 (struct heard){list->sent_ns, false}, &err);
        if (rc)
            etcd_member_failed(list->asked, err.text);
        return rc;
    }
    struct status_class class = status_classify(result->status, result->message, result->is_unsent);
    if (class.is_token_stale)
        auth_refused(&etcd->auth, list->generation);
    trace_line(etcd->trace, "etcd: the list of members was not read: %s %s", etcd_member_address(list->asked),
               result->message);
    return LUN_EUNAVAILABLE;
}

static void on_list(void *arg, const struct rpc_result *result, const ProtobufCMessage *message) {
    struct member_list *list = arg;
    struct etcd *etcd = list->etcd;
    list->read = NULL;
    list->is_all_well = judge(list, result, message) == 0;
    if (list->is_all_well && !etcd->is_closing && !identity_check(etcd, NULL))
        compare(list, (const Etcdserverpb__MemberListResponse *)message);
    if (!etcd->is_closing && is_one_new(etcd)) {
        list->revision = etcd_highest_revision(etcd);
        list->raft_term = etcd_highest_term(etcd);
        sm_move(&list->sm, SETTLING);
        rpc_timer_start(&list->timer, rpc_now(etcd->rpc) + SETTLE_NS);
    } else if (!etcd->is_closing) {
        rest(list);
    }
    etcd_out_end(etcd);
}

static void read_list(struct member_list *list) {
    struct etcd *etcd = list->etcd;
    Etcdserverpb__MemberListRequest request = ETCDSERVERPB__MEMBER_LIST_REQUEST__INIT;
    request.linearizable = true; /* servers before 3.5 do not know it, and answer with what they know */
    auth_prompt(&etcd->auth);
    list->sent_ns = rpc_now(etcd->rpc);
    list->generation = etcd->auth.generation;
    list->asked = etcd_pick(etcd);
    list->n_reads++;
    sm_move(&list->sm, READING);
    struct rpc_options options = etcd_options(etcd, list->sent_ns + ANSWER_NS);
    if (rpc_call(list->asked->channel, RPC_MEMBER_LIST, &request.base, &options, on_list, list,
                 &list->read)) {
        list->is_all_well = false;
        rest(list);
        return;
    }
    etcd_out_begin(etcd);
}

static void on_timer(struct rpc_timer *timer) {
    struct member_list *list = CONTAINER_OF(timer, struct member_list, timer);
    struct etcd *etcd = list->etcd;
    if (etcd->is_closing)
        return;
    if (list->sm.state == SETTLING)
        probe_all(list);
    else if (etcd->survey.n_out > 0) /* which members are known by the endpoints given comes first */
        rpc_timer_start(timer, rpc_now(etcd->rpc) + FIRST_NS);
    else
        read_list(list);
}

/* ---- life ------------------------------------------------------------------------------------------- */

int member_list_init(struct member_list *list, struct etcd *etcd) {
    list->etcd = etcd;
    sm_init(&list->sm, &member_list_class, etcd->trace, RESTING);
    return rpc_timer_init(etcd->rpc, &list->timer, on_timer);
}

void member_list_fini(struct member_list *list) {
    rpc_timer_fini(&list->timer);
}

void member_list_close(struct member_list *list) {
    rpc_timer_stop(&list->timer);
    if (list->read)
        rpc_cancel(list->read);
    for (struct etcd_member *member = list->etcd->members; member < end_of(list->etcd); member++)
        if (member->probe)
            rpc_cancel(member->probe);
}

void etcd_learn_members(struct etcd *etcd, bool is_tls) {
    struct member_list *list = &etcd->member_list;
    list->is_on = true;
    list->is_tls = is_tls;
    member_list_prompt(list);
}
