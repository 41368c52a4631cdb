/* etcd/identity.c - decides from reply headers which cluster a member belongs to, and whether etcd began anew.
 * See identity.h.
 *
 * Two things show that the etcd behind the addresses is not the one that was known: a reply that reflects the
 * present and bears a lower raft term or revision than was heard before it was asked for (the same flags give a
 * wiped or restored etcd the same cluster id); and another cluster id in the answers of every member. One false
 * reply shows neither. Then the marks begin again, and the followers are told: sessions are lost, watches end,
 * observers read again.
 *
 * A mark that one reply alone has borne, and that is undercut, was false or of an etcd that is no more: nobody can
 * tell. The watches end then too, for they may stand at a revision that never was, and would be silent; sessions
 * stay, for their leases tell.
 *
 * What cannot be noticed here: an etcd begun anew that, before it answers us first, has come to the term and passed every
 * revision that we have heard. The headers of its replies are those that the old one might have sent. A session is lost all
 * the same, as revoked, within a tenth of its TTL (its lease is unknown), an observer and a waiter find out by their next
 * read without cause; a plain watch goes on at the next revision of the new etcd and leaves out what that did before. */
#include "etcd/identity.h"

#include <inttypes.h>

#include "etcd/cluster.h"
#include "etcd/malformed.h"

/* Answers that must agree on another cluster's id. */
enum { OTHERS_AT_LEAST = 2 };

static void on_timer(struct rpc_timer *timer) {
    struct identity *identity = CONTAINER_OF(timer, struct identity, timer);
    struct etcd *etcd = CONTAINER_OF(identity, struct etcd, identity);
    struct list todo, *node;
    if (etcd->is_closing)
        return;
    int64_t ends_before_ns = identity->stranger ? ETCD_BEGAN_NEVER : identity->began_ns;
    if (!identity->stranger)
        watch_stream_begin_anew(&etcd->watch_stream);
    if (!identity->is_to_tell)
        return;
    identity->is_to_tell = false;
    list_move(&identity->followers, &todo);
    while ((node = list_pop_front(&todo))) {
        list_push_back(&identity->followers, node);
        struct etcd_follower *follower = CONTAINER_OF(node, struct etcd_follower, in_etcd);
        follower->on_began_anew(follower, ends_before_ns);
    }
}

static void tell_followers(struct etcd *etcd) {
    etcd->identity.is_to_tell = true;
    rpc_timer_start(&etcd->identity.timer, rpc_now(etcd->rpc));
}

int identity_init(struct etcd *etcd) {
    list_init(&etcd->identity.followers);
    return rpc_timer_init(etcd->rpc, &etcd->identity.timer, on_timer);
}

void identity_fini(struct etcd *etcd) {
    rpc_timer_fini(&etcd->identity.timer);
}

void etcd_follow(struct etcd *etcd, struct etcd_follower *follower) {
    list_push_back(&etcd->identity.followers, &follower->in_etcd);
}

void etcd_unfollow(struct etcd_follower *follower) {
    if (follower->in_etcd.next)
        list_remove(&follower->in_etcd);
}

int64_t etcd_began_ns(const struct etcd *etcd) {
    return etcd->identity.began_ns;
}

uint64_t etcd_highest_term(const struct etcd *etcd) {
    return etcd->identity.term.value;
}

int64_t etcd_highest_revision(const struct etcd *etcd) {
    return (int64_t)etcd->identity.revision.value;
}

bool identity_is_suspect(const struct etcd *etcd, const Etcdserverpb__ResponseHeader *header) {
    return header->raft_term < etcd->identity.term.value ||
           (uint64_t)header->revision < etcd->identity.revision.value;
}

static void begin_anew(struct etcd *etcd, const Etcdserverpb__ResponseHeader *header, int64_t sent_ns) {
    struct identity *identity = &etcd->identity;
    trace_line(etcd->trace,
               "etcd: began anew: cluster %" PRIx64 ", raft term %" PRIu64 ", revision %" PRId64
               "; it was cluster %" PRIx64 ", term %" PRIu64 ", revision %" PRIu64,
               header->cluster_id, header->raft_term, header->revision, identity->cluster_id,
               identity->term.value, identity->revision.value);
    identity->cluster_id = header->cluster_id;
    identity->n_other = 0;
    identity->stranger = NULL;
    identity->began_ns = sent_ns;
    mark_reset(&identity->term, header->raft_term, rpc_now(etcd->rpc));
    mark_reset(&identity->revision, (uint64_t)header->revision, rpc_now(etcd->rpc));
    for (size_t i = 0; i < etcd->n_slots; i++)
        etcd->members[i].is_verified = etcd->members[i].was_ours =
            etcd->members[i].shown_id == header->cluster_id;
    member_list_begin_anew(&etcd->member_list);
    tell_followers(etcd);
}

/* ---- another cluster's id --------------------------------------------------------------------------- */

/* Do all members show it? A member that has shown ours and has failed since does not count where most of those given
 * are of the other: it may never come back. Members learnt do not speak for another cluster. */
static bool is_everywhere(const struct etcd *etcd, uint64_t cluster_id) {
    size_t n_given = 0, n_shown = 0, n_ours = 0;
    for (size_t i = 0; i < etcd->n_slots; i++) {
        const struct etcd_member *member = &etcd->members[i];
        bool is_given = member->is_given && member->is_used;
        n_given += is_given;
        n_shown += is_given && member->shown_id == cluster_id;
        n_ours += is_given && member->shown_id != cluster_id && member->shown_id != 0;
        if (member->is_used && member->shown_id != cluster_id && member->shown_id != 0 &&
            member->failed_ns == 0)
            return false;
    }
    return n_shown > 0 && (n_ours == 0 || n_shown > n_given / 2);
}

static const struct etcd_member *one_of_ours(const struct etcd *etcd) {
    for (size_t i = 0; i < etcd->n_slots; i++)
        if (etcd->members[i].shown_id == etcd->identity.cluster_id && etcd->members[i].was_ours &&
            etcd->members[i].is_used)
            return &etcd->members[i];
    return NULL;
}

int identity_check(const struct etcd *etcd, struct lun_err *ret_err) {
    const struct etcd_member *stranger = etcd->identity.stranger, *ours = one_of_ours(etcd);
    if (!stranger || !ours)
        return 0;
    return lun_err_set(ret_err, LUN_EINVALID,
                       "the endpoints are of two clusters: %s belongs to cluster %" PRIx64 ", %s to %" PRIx64
                       "; list the members of one",
                       etcd_member_address(ours), etcd->identity.cluster_id, etcd_member_address(stranger),
                       stranger->shown_id);
}

static int saw_other(struct etcd_member *member, const Etcdserverpb__ResponseHeader *header, int64_t sent_ns,
                     struct lun_err *ret_err) {
    struct etcd *etcd = member->etcd;
    struct identity *identity = &etcd->identity;
    identity->n_other = header->cluster_id == identity->other_id ? identity->n_other + 1 : 1;
    identity->other_id = header->cluster_id;
    if (identity->n_other >= OTHERS_AT_LEAST && is_everywhere(etcd, header->cluster_id)) {
        begin_anew(etcd, header, sent_ns);
        return 0;
    }
    member->is_verified = false;
    if (++member->n_other >= OTHERS_AT_LEAST && !member->was_ours && one_of_ours(etcd) &&
        !identity->stranger) {
        identity->stranger = member;
        etcd_survey_stranger(etcd);
        tell_followers(etcd);
    }
    return lun_err_set(ret_err, LUN_EUNAVAILABLE,
                       "belongs to another cluster (%" PRIx64 "; the first to answer was of %" PRIx64 ")",
                       header->cluster_id, identity->cluster_id);
}

/* ---- lower terms and revisions ---------------------------------------------------------------------- */

static void saw_marks(struct etcd *etcd, const Etcdserverpb__ResponseHeader *header, struct heard heard) {
    struct identity *identity = &etcd->identity;
    uint64_t revision = (uint64_t)header->revision;
    int64_t now_ns = rpc_now(etcd->rpc);
    if (heard.is_present) {
        enum mark_verdict by_term = mark_check(&identity->term, header->raft_term, heard.sent_ns);
        enum mark_verdict by_revision = mark_check(&identity->revision, revision, heard.sent_ns);
        if (by_term == MARK_BEGAN_ANEW || by_revision == MARK_BEGAN_ANEW) {
            begin_anew(etcd, header, heard.sent_ns);
            return;
        }
        if (by_term == MARK_WAS_FALSE || by_revision == MARK_WAS_FALSE) /* or of an etcd that is no more */
            rpc_timer_start(&identity->timer, now_ns);
        /* A member that has lost the others may raise its own term for nothing: only the term in which a majority
         * has answered is heard. */
        mark_hear(&identity->term, header->raft_term, now_ns);
    }
    mark_hear(&identity->revision, revision, now_ns);
}

/* No answer is sooner here than the member is far away. */
static void saw_distance(struct etcd_member *member, int64_t took_ns) {
    if (took_ns < member->distance_ns)
        member->distance_ns = took_ns;
}

int etcd_saw_header(struct etcd_member *member, const Etcdserverpb__ResponseHeader *header,
                    struct heard heard, struct lun_err *ret_err) {
    struct identity *identity = &member->etcd->identity;
    if (!header)
        return lun_err_set(ret_err, LUN_EUNAVAILABLE, "sent a reply without a header");
    int rc = malformed_header(header, heard.is_present, ret_err);
    if (rc)
        return rc;
    saw_distance(member, rpc_now(member->etcd->rpc) - heard.sent_ns);
    bool is_old = heard.sent_ns < identity->began_ns;
    if (identity->cluster_id == 0) {
        identity->cluster_id = header->cluster_id;
        etcd_survey_again(member->etcd);
        member_list_prompt(&member->etcd->member_list);
    }
    if (!is_old) {
        member->shown_id = header->cluster_id;
        member->member_id = header->member_id;
        member->raft_term = header->raft_term;
    }
    if (header->cluster_id != identity->cluster_id) {
        if (is_old)
            return lun_err_set(ret_err, LUN_EUNAVAILABLE, "answered for an etcd that is no more");
        rc = saw_other(member, header, heard.sent_ns, ret_err);
        if (rc)
            return rc;
    } else if (!is_old) {
        identity->n_other = 0;
        saw_marks(member->etcd, header, heard);
    }
    member->is_verified = member->was_ours = true;
    member->n_other = 0;
    if (identity->stranger == member)
        identity->stranger = NULL;
    etcd_member_answered(member);
    return 0;
}
