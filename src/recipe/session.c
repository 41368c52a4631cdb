/* recipe/session.c - the machine of a session: grants a lease, keeps it alive, loses it in time, revokes it.
 * See session.h. A circle with place*.c: a session ends its places, and a place is its session's until nothing of it is left.
 *
 *   GRANTING ---granted---> ALIVE ---valid_until passed, or lease gone---> LOST
 *      |  \                 ^   |                                            |
 *      |   `-"exists": ours-'   |                                            |
 *   ADOPTING --first renewal-'  |session_close                               |session_close
 *      |                        v                                            |
 *      |session_close,      REVOKING / DISPERSING <--------------------------'
 *      |refused                 |
 *      '------------------> ENDING ---nothing in flight---> ENDED
 *
 * What is in flight, and who cleans up:
 *   GRANTING     the grant. Cancelled by close: if it may have been carried out, REVOKING removes the lease.
 *   ADOPTING     the first renewal. Nothing to clean up: the lease is another program's. (Or ours, the
 *                grant's reply lost: then close revokes it, and GRANTING follows if it has lapsed.)
 *   ALIVE        the renewals. The validity and the jeopardy timer run. Places stand.
 *   LOST         nothing. Places have been told; their keys go with the lease. (Adopted lease: another program
 *                may renew it; each place leaves by itself, and tries again where etcd refuses.)
 *   REVOKING     the revocation, until answered or the lease has surely lapsed.
 *   DISPERSING   (adopted lease) each place leaves by itself. One that owes waits for the late copy a few
 *                seconds more: what comes after them stays until the lease ends.
 *   ENDING       nothing of ours; places whose last call is on its way back.
 *
 * Departs from etcd's Go client: the deadline counts from the send of the renewal, not from the arrival of
 * its reply, and less a margin. */
#include "recipe/session.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "etcd/tally.h"
#include "recipe/place.h"

enum { GRANTING, ADOPTING, ALIVE, LOST, REVOKING, DISPERSING, ENDING, ENDED };

static const struct sm_state states[] = {
    [GRANTING] = {"granting", SM_ARC(ALIVE) | SM_ARC(ADOPTING) | SM_ARC(REVOKING) | SM_ARC(ENDING)},
    [ADOPTING] = {"adopting", SM_ARC(ALIVE) | SM_ARC(GRANTING) | SM_ARC(REVOKING) | SM_ARC(ENDING)},
    [ALIVE] = {"alive", SM_ARC(LOST) | SM_ARC(REVOKING) | SM_ARC(DISPERSING) | SM_ARC(ENDING)},
    [LOST] = {"lost", SM_ARC(REVOKING) | SM_ARC(DISPERSING) | SM_ARC(ENDING)},
    [REVOKING] = {"revoking", SM_ARC(ENDING)},
    [DISPERSING] = {"dispersing", SM_ARC(ENDING)},
    [ENDING] = {"ending", SM_ARC(ENDED)},
    [ENDED] = {"ended", 0},
};
static const struct sm_class session_class = {
    .name = "session", .states = states, .n_states = sizeof states / sizeof states[0]};

#define MIN_MARGIN_NS (100 * NS_PER_MS)
#define FROZEN_NS (250 * NS_PER_MS) /* found lost that much too late: we were not running */
#define CLOSING_NS (5 * NS_PER_S)   /* what removing places may take, beyond the TTL */
#define DEBTS_NS                                                                                             \
    (7 * NS_PER_S) /* etcd itself gives a request up by then; only a frozen member holds it longer */
#define REVOKE_EXTRA_NS                                                                                      \
    (5 * NS_PER_S) /* after a change of etcd's leader leases live on for a full TTL and more */
#define REVOKE_AGAIN_NS (500 * NS_PER_MS) /* after want of memory */
#define LEASE_ID_MIN (INT64_C(1) << 60)   /* 16 hex digits however printed */

static int64_t margin_ns(int64_t ttl_ns) {
    return ttl_ns / 10 > MIN_MARGIN_NS ? ttl_ns / 10 : MIN_MARGIN_NS;
}

static int64_t ttl_ns(const struct session *session) {
    return session->ttl_s * NS_PER_S;
}

static int64_t valid_until_for(const struct session *session, int64_t sent_ns) {
    return sent_ns + ttl_ns(session) - margin_ns(ttl_ns(session));
}

/* At the worst etcd went away just before a renewal was confirmed. */
int64_t session_away_limit_ns(const struct session *session) {
    int64_t ttl = ttl_ns(session);
    int64_t left_ns =
        ttl - margin_ns(ttl) - session->grace_ns - renewal_interval_ns(ttl) - RENEWAL_RECOVERY_NS;
    return left_ns > 0 ? left_ns : 0;
}

int64_t session_longest_ns(const struct session *session) {
    return valid_until_for(session, 0);
}

bool session_is_over(const struct session *session) {
    return session->sm.state >= LOST;
}

bool session_is_dispersing(const struct session *session) {
    return session->sm.state == DISPERSING ||
           (session->sm.state == LOST && session->is_adopted && !session->is_lease_gone);
}

enum lun_session_state session_state(const struct session *session) {
    if (session->sm.state == LOST)
        return LUN_SESSION_LOST;
    if (session->sm.state > LOST)
        return LUN_SESSION_CLOSED;
    return session->is_in_jeopardy ? LUN_SESSION_JEOPARDY : LUN_SESSION_ALIVE;
}

enum lun_reason session_lapse_reason(const struct session *session) {
    return session->refused ? session->refused : LUN_LOST_EXPIRED;
}

static enum lun_reason reason_of_passing(const struct session *session, int64_t late_ns) {
    return late_ns > FROZEN_NS ? LUN_LOST_FROZEN : session_lapse_reason(session);
}

/* What the clock says of a session that nobody has declared lost yet. */
static enum lun_reason reason_by_clock(struct session *session) {
    if (session->sm.state != ALIVE || session_valid_until_ns(session) != 0)
        return LUN_NOT_LOST;
    return reason_of_passing(session,
                             rpc_now(session->rpc) - valid_until_for(session, session->confirmed_send_ns));
}

enum lun_reason session_reason(struct session *session) {
    return session->reason ? session->reason : reason_by_clock(session);
}

const char *session_refusal(const struct session *session) {
    return session->refusal ? session->refusal : "";
}

int64_t session_valid_until_ns(struct session *session) {
    return rpc_validity_read(&session->validity);
}

const _Atomic int64_t *session_share(struct session *session) {
    return rpc_validity_share(&session->validity);
}

int64_t session_stop_at_ns(struct session *session) {
    int64_t valid_until = rpc_validity_read(&session->validity);
    return valid_until ? valid_until - atomic_load_explicit(&session->validity.grace_ns, memory_order_relaxed)
                       : 0;
}

/* ---- ends ------------------------------------------------------------------------------------------- */

static void tell_state(struct session *session) {
    if (session->is_opened_told)
        session->callbacks->on_state(session);
}

static void tell_opened(struct session *session, const struct lun_err *err) {
    if (session->is_opened_told)
        return;
    session->is_opened_told = true;
    session->callbacks->on_opened(session, err);
}

static void maybe_ended(struct session *session) {
    if (session->is_visiting)
        return;
    if (session->sm.state == DISPERSING && list_is_empty(&session->places))
        sm_move(&session->sm, ENDING);
    if (session->sm.state == ENDING && !session->call && list_is_empty(&session->places))
        rpc_timer_start(&session->end_timer, rpc_now(session->rpc));
}

static void begin_revoking(struct session *session);

static void on_end_timer(struct rpc_timer *timer) {
    struct session *session = CONTAINER_OF(timer, struct session, end_timer);
    if (session->sm.state == REVOKING) { /* there was no memory to ask for it */
        begin_revoking(session);
        maybe_ended(session);
        return;
    }
    sm_move(&session->sm, ENDED);
    rpc_validity_stop(&session->validity);
    rpc_timer_fini(&session->jeopardy_timer);
    rpc_timer_fini(&session->end_timer);
    etcd_unfollow(&session->follower);
    renewal_stop(&session->renewal);
    place_index_fini(&session->own_index);
    free(session->refusal);
    session->refusal = NULL;
    session->callbacks->on_ended(session);
}

static void stop_keeping(struct session *session) {
    renewal_stop(&session->renewal);
    rpc_timer_stop(&session->jeopardy_timer);
    rpc_validity_stop(&session->validity);
    atomic_store(&session->validity.valid_until_ns, 0);
}

/* Visiting may free places. Until the last was visited the session cannot end. */
static void for_each_place(struct session *session, void (*visit)(struct place *, struct session *)) {
    struct list todo, *node;
    bool was_visiting = session->is_visiting;
    session->is_visiting = true;
    list_move(&session->places, &todo);
    while ((node = list_pop_front(&todo))) {
        list_push_back(&session->places, node);
        visit(place_of(node), session);
    }
    session->is_visiting = was_visiting;
}

static void tell_over(struct place *place, struct session *session) {
    place_on_session_over(place, session->reason);
}

/* The latest first: so none of them takes the one before it for the place that it waits for. */
static void tell_all_over(struct session *session) {
    for (struct list *node = session->places.prev; node != &session->places; node = node->prev)
        place_leave_line(place_of(node));
    for_each_place(session, tell_over);
}

static void kill_place(struct place *place, struct session *session) {
    (void)session;
    place_kill(place);
}

static void tell_stop(struct place *place, struct session *session) {
    (void)session;
    place_on_stop(place);
}

static void lose(struct session *session, enum lun_reason reason) {
    if (session->sm.state != ALIVE)
        return;
    stop_keeping(session);
    session->reason = reason;
    etcd_tally(session->etcd)->n_losses[reason]++;
    trace_line(etcd_trace(session->etcd), "session %" PRIx64 ": lost (%s)", (uint64_t)session->lease,
               lun_reason_name(reason));
    sm_move(&session->sm, LOST);
    tell_all_over(session);
    tell_state(session);
}

static void on_validity(struct rpc_validity *validity, bool is_lost) {
    struct session *session = CONTAINER_OF(validity, struct session, validity);
    if (is_lost)
        lose(session, reason_of_passing(session, validity->late_ns));
    else
        for_each_place(session, tell_stop);
}

/* ---- keeping ---------------------------------------------------------------------------------------- */

static void on_jeopardy(struct rpc_timer *timer) {
    struct session *session = CONTAINER_OF(timer, struct session, jeopardy_timer);
    session->is_in_jeopardy = true;
    trace_line(etcd_trace(session->etcd), "session %" PRIx64 ": no renewal for half a TTL",
               (uint64_t)session->lease);
    tell_state(session);
}

static void set_ttl(struct session *session, int64_t ttl_s) {
    session->ttl_s = ttl_s;
    session->grace_ns = session->asked_grace_ns >= 0 ? session->asked_grace_ns : ttl_ns(session) / 6;
    if (session->grace_ns > ttl_ns(session) / 2)
        session->grace_ns =
            ttl_ns(session) / 2; /* an adopted lease's TTL was not known when it was asked for */
}

/* A grant or a renewal sent at `sent_ns` is confirmed. */
static void credit(struct session *session, int64_t sent_ns) {
    if (sent_ns > session->confirmed_send_ns)
        session->confirmed_send_ns = sent_ns;
    rpc_timer_start(&session->jeopardy_timer, session->confirmed_send_ns + ttl_ns(session) / 2);
    if (session->is_in_jeopardy) {
        session->is_in_jeopardy = false;
        tell_state(session);
    }
}

static void become_alive(struct session *session, int64_t sent_ns) {
    int64_t valid_until = valid_until_for(session, sent_ns);
    if (valid_until <= rpc_now(session->rpc)) {
        /* The answer took a whole TTL: nothing to hold on to. Renew: it may still be there. */
        if (session->sm.state == GRANTING)
            sm_move(&session->sm, ADOPTING);
        renewal_start(&session->renewal, session->lease, ttl_ns(session), 0);
        return;
    }
    rpc_validity_start(session->rpc, &session->validity, valid_until, session->grace_ns, on_validity);
    sm_move(&session->sm, ALIVE);
    session->alive_sent_ns = sent_ns;
    credit(session, sent_ns);
    /* Anew, if it has found an adopted lease: it did not know the TTL. */
    renewal_start(&session->renewal, session->lease, ttl_ns(session), sent_ns);
    tell_opened(session, NULL);
}

static void forget_refusal(struct session *session);

static void on_renewed(struct renewal *renewal, int64_t sent_ns, int64_t ttl_s) {
    struct session *session = CONTAINER_OF(renewal, struct session, renewal);
    if (session->sm.state == ADOPTING) {
        set_ttl(session, ttl_s);
        become_alive(session, sent_ns);
        return;
    }
    assert(session->sm.state == ALIVE);
    int64_t now_ns = rpc_now(session->rpc), slack_ns = session_stop_at_ns(session) - now_ns;
    if (!rpc_validity_raise(&session->validity, valid_until_for(session, sent_ns)))
        return; /* too late to help: what it is lost for is the refusal before */
    forget_refusal(session);
    tally_renewal(etcd_tally(session->etcd), now_ns - sent_ns, slack_ns);
    credit(session, sent_ns);
    if (session->callbacks->on_renewed)
        session->callbacks->on_renewed(session);
}

static void fail_opening(struct session *session, const struct lun_err *err, bool is_lease_there);
static int grant(struct session *session);

static void on_gone(struct renewal *renewal) {
    struct session *session = CONTAINER_OF(renewal, struct session, renewal);
    bool is_ours = session->sm.state == ADOPTING && !session->is_adopted;
    if (is_ours && grant(session) == 0) {
        sm_move(&session->sm, GRANTING); /* our own, lapsed before its grant was answered: another */
        session->is_grant_unsure = false;
        return;
    }
    session->is_lease_gone = true;
    if (session->sm.state == ADOPTING) {
        struct lun_err err;
        if (is_ours)
            (void)lun_err_set(&err, LUN_ENOMEM, "session: out of memory");
        else
            (void)lun_err_set(&err, LUN_ELOST, "lease %016" PRIx64 " does not exist",
                              (uint64_t)session->lease);
        fail_opening(session, &err, false);
        return;
    }
    lose(session, LUN_LOST_REVOKED);
}

/* Its lease was the old etcd's, even where a snapshot has it. */
static void on_began_anew(struct etcd_follower *follower, int64_t began_ns) {
    struct session *session = CONTAINER_OF(follower, struct session, follower);
    if (session->alive_sent_ns < began_ns)
        lose(session, LUN_LOST_REPLACED);
}

static void forget_refusal(struct session *session) {
    session->refused = LUN_NOT_LOST;
    free(session->refusal);
    session->refusal = NULL;
}

/* "renew the lease of /a/b/694d...: user alice: 127.0.0.1:2379 etcdserver: permission denied": which key it is about etcd
 * does not say. */
static void describe_refusal(const struct session *session, struct lun_err *err) {
    if (list_is_empty(&session->places)) {
        (void)lun_err_wrap(err, "renew lease %016" PRIx64, (uint64_t)session->lease);
        return;
    }
    struct lun_bytes key = place_key(place_of(session->places.next));
    (void)lun_err_wrap(err, "renew the lease of %.*s", (int)key.len, (const char *)key.data);
}

static void on_refused(struct renewal *renewal, const struct lun_err *err) {
    struct session *session = CONTAINER_OF(renewal, struct session, renewal);
    struct lun_err copy = *err;
    describe_refusal(session, &copy);
    if (session->sm.state == ADOPTING && session->is_adopted) {
        fail_opening(session, &copy, false);
        return;
    }
    if (!session->refused)
        trace_line(etcd_trace(session->etcd), "session %" PRIx64 ": %s", (uint64_t)session->lease, copy.text);
    forget_refusal(session);
    session->refused = copy.code == LUN_EPERMISSION ? LUN_LOST_PERMISSION : LUN_LOST_UNAUTHENTICATED;
    session->refusal = strdup(copy.text);
}

static const struct renewal_callbacks renewal_callbacks = {on_renewed, on_gone, on_refused};

/* ---- granting --------------------------------------------------------------------------------------- */

static void fail_opening(struct session *session, const struct lun_err *err, bool is_lease_there) {
    session->reason = LUN_LOST_CLOSED;
    stop_keeping(session);
    if (is_lease_there && !session->is_adopted)
        begin_revoking(session);
    else
        sm_move(&session->sm, ENDING);
    tell_opened(session, err);
    maybe_ended(session);
}

static void on_granted(void *arg, const struct etcd_reply *reply) {
    struct session *session = arg;
    session->call = NULL;
    session->is_grant_unsure |= reply->has_unanswered || (reply->err && reply->err->is_outcome_unknown);
    if (session->sm.state !=
        GRANTING) { /* session_close ran while the grant was in flight: finish what it began */
        if (session->sm.state == REVOKING && reply->err && !session->is_grant_unsure)
            sm_move(&session->sm, ENDING);
        else if (session->sm.state == REVOKING)
            begin_revoking(session);
        maybe_ended(session);
        return;
    }
    if (!reply->err && reply->sent_ns < etcd_began_ns(session->etcd) && grant(session) == 0)
        return; /* by an etcd that is no more */
    if (!reply->err) {
        set_ttl(session, reply->ttl);
        become_alive(session, reply->sent_ns);
        return;
    }
    if (etcd_is_lease_exists(reply->err) && session->is_grant_unsure) {
        /* Our own earlier attempt; how old it is nobody knows: renew, and count from that. */
        sm_move(&session->sm, ADOPTING);
        session->ttl_s = session->asked_ttl_s;
        renewal_start(&session->renewal, session->lease, ttl_ns(session), 0);
        return;
    }
    if (etcd_is_lease_exists(reply->err) && grant(session) == 0)
        return; /* another client drew the same number */
    struct lun_err err = *reply->err;
    (void)lun_err_wrap(&err, "session: grant a lease of %" PRId64 " s", session->asked_ttl_s);
    fail_opening(session, &err, session->is_grant_unsure);
}

static int grant(struct session *session) {
    session->lease =
        LEASE_ID_MIN + (int64_t)(rpc_random(session->rpc) % (uint64_t)(INT64_MAX - LEASE_ID_MIN));
    struct etcd_call_options how = {.class = ETCD_LEASE, .deadline_ns = RPC_NEVER, .is_idempotent = true};
    return etcd_lease_grant(session->etcd, session->lease, session->asked_ttl_s, &how, on_granted, session,
                            &session->call);
}

static int check_options(const struct session_options *options, struct lun_err *ret_err) {
    if (options->lease < 0)
        return lun_err_set(ret_err, LUN_EINVALID, "session: lease must be a positive 63-bit number");
    if (options->lease == 0 && (options->ttl_s < 1 || options->ttl_s > SESSION_MAX_TTL_S))
        return lun_err_set(ret_err, LUN_EINVALID, "session: ttl must be 1 to %d seconds, not %" PRId64,
                           SESSION_MAX_TTL_S, options->ttl_s);
    if (options->grace_ns >= 0 && options->lease == 0 && options->grace_ns > options->ttl_s * NS_PER_S / 2)
        return lun_err_set(ret_err, LUN_EINVALID,
                           "session: grace must be at most half the ttl of %" PRId64 " s", options->ttl_s);
    return 0;
}

int session_start(struct session *session, struct etcd *etcd, const struct session_options *options,
                  const struct session_callbacks *callbacks, struct lun_err *ret_err) {
    int rc = check_options(options, ret_err);
    if (rc)
        return rc;
    memset(session, 0, sizeof *session);
    session->etcd = etcd;
    session->rpc = etcd_rpc(etcd);
    session->callbacks = callbacks;
    session->asked_ttl_s = options->ttl_s;
    session->asked_grace_ns = options->grace_ns;
    session->lease = options->lease;
    session->is_adopted = options->lease != 0;
    session->closing_until_ns = session->debts_until_ns = RPC_NEVER;
    list_init(&session->places);
    place_index_init(&session->own_index);
    session->index = options->index ? options->index : &session->own_index;
    sm_init(&session->sm, &session_class, etcd_trace(etcd), session->is_adopted ? ADOPTING : GRANTING);
    if (rpc_timer_init(session->rpc, &session->jeopardy_timer, on_jeopardy) ||
        rpc_timer_init(session->rpc, &session->end_timer, on_end_timer))
        goto no_memory;
    renewal_init(&session->renewal, etcd, &renewal_callbacks);
    session->follower.on_began_anew = on_began_anew;
    etcd_follow(etcd, &session->follower);
    if (session->is_adopted) {
        session->ttl_s = SESSION_DEFAULT_TTL_S; /* until the first answer tells */
        renewal_start(&session->renewal, session->lease, ttl_ns(session), 0);
    } else if (grant(session)) {
        goto no_memory;
    }
    return 0;

no_memory:
    etcd_unfollow(&session->follower);
    renewal_stop(&session->renewal);
    rpc_timer_fini(&session->end_timer);
    rpc_timer_fini(&session->jeopardy_timer);
    return lun_err_set(ret_err, LUN_ENOMEM, "session: out of memory");
}

/* ---- closing ---------------------------------------------------------------------------------------- */

static void on_revoked(void *arg, const struct etcd_reply *reply) {
    struct session *session = arg;
    session->call = NULL;
    if (session->sm.state == REVOKING && reply->err && reply->err->code == LUN_ENOMEM) {
        rpc_timer_start(&session->end_timer, rpc_now(session->rpc) + REVOKE_AGAIN_NS);
        return;
    }
    if (!reply->err || etcd_is_lease_not_found(reply->err))
        session->is_lease_gone = true;
    else
        trace_line(etcd_trace(session->etcd), "session %" PRIx64 ": revoke: %s", (uint64_t)session->lease,
                   reply->err->text);
    if (session->sm.state == REVOKING)
        sm_move(&session->sm, ENDING);
    maybe_ended(session);
}

/* Also entered a second time, when a grant that was in flight at the first has come back. */
static void begin_revoking(struct session *session) {
    if (session->sm.state != REVOKING)
        sm_move(&session->sm, REVOKING);
    if (session->call)
        return;
    int64_t now_ns = rpc_now(session->rpc);
    int64_t ttl = session->ttl_s ? ttl_ns(session) : session->asked_ttl_s * NS_PER_S;
    if (session->revoke_until_ns == 0)
        session->revoke_until_ns = now_ns + ttl + REVOKE_EXTRA_NS;
    if (now_ns >= session->revoke_until_ns) {
        sm_move(&session->sm, ENDING);
        return;
    }
    struct etcd_call_options how = {
        .class = ETCD_LEASE, .deadline_ns = session->revoke_until_ns, .is_idempotent = true};
    if (etcd_lease_revoke(session->etcd, session->lease, &how, on_revoked, session, &session->call))
        rpc_timer_start(&session->end_timer, now_ns + REVOKE_AGAIN_NS);
}

static void finish(struct session *session, int next_state) {
    bool was_over = session->sm.state == LOST;
    if (!was_over)
        session->reason = LUN_LOST_CLOSED;
    stop_keeping(session);
    session->closing_until_ns = rpc_now(session->rpc) + ttl_ns(session) + CLOSING_NS;
    session->debts_until_ns = rpc_now(session->rpc) + DEBTS_NS;
    if (session->call)
        etcd_cancel(session->call);
    if (next_state == REVOKING)
        begin_revoking(session);
    else
        sm_move(&session->sm, next_state);
    tell_all_over(session);
    struct lun_err err;
    (void)lun_err_set(&err, LUN_ECLOSED, "session: closed before it was open");
    tell_opened(session, &err);
    tell_state(session);
    maybe_ended(session);
}

void session_close(struct session *session, bool is_revoked) {
    if (session->sm.state > LOST)
        return;
    session->is_revoked = is_revoked;
    bool is_nothing_there = session->is_lease_gone || (session->sm.state == ADOPTING && !is_revoked);
    bool is_lapsing = session->sm.state == LOST && !session_is_dispersing(session);
    if (is_nothing_there || (!is_revoked && is_lapsing))
        finish(session, ENDING);
    else
        finish(session, is_revoked ? REVOKING : session->sm.state == GRANTING ? REVOKING : DISPERSING);
}

void session_orphan(struct session *session) {
    if (session->sm.state <= LOST)
        finish(session, ENDING);
}

void session_kill(struct session *session) {
    if (session->sm.state <= LOST)
        finish(session, ENDING);
    if (session->sm.state == REVOKING || session->sm.state == DISPERSING)
        sm_move(&session->sm, ENDING);
    if (session->sm.state == ENDING && session->call)
        etcd_cancel(session->call);
    if (session->sm.state == ENDING)
        for_each_place(session, kill_place);
    maybe_ended(session);
}

/* ---- for places ------------------------------------------------------------------------------------- */

bool session_suspect(struct session *session) {
    enum lun_reason reason = reason_by_clock(session);
    if (reason)
        lose(session, reason);
    if (session->sm.state != ALIVE)
        return false;
    renewal_hurry(&session->renewal);
    return true;
}

void session_on_lease_not_found(struct session *session) {
    session->is_lease_gone = true;
    lose(session, LUN_LOST_REVOKED);
}

void session_on_place_ended(struct session *session) {
    maybe_ended(session);
}
