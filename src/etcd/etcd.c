/* etcd/etcd.c - the cluster: its members and the choice among them. See etcd.h.
 *
 * The files of this floor stand in a circle, for one reason: the cluster makes and closes its parts (calls, watches, renewals,
 * users, the survey, DNS), and each of them asks it for a member and reports how that member did. */
#include "etcd/etcd.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "etcd/cluster.h"
#include "etcd/endpoint.h"

/* Attempts that the caller's own deadline cut short say little about a member, until they add up to this. */
#define SILENT_ENOUGH_NS (500 * NS_PER_MS)
/* Nor do such as are shorter than so many answers of a member that is far away. */
enum { USUAL_ANSWERS = 2 };
#define USUAL_MOST_NS (8 * NS_PER_S)
/* No read of the list is out for so long at a member that was left. */
#define RETIRED_NS (60 * NS_PER_S)

/* ---- members of the list ---------------------------------------------------------------------------- */

int etcd_member_open(struct etcd *etcd, size_t i, const char *address, struct lun_err *ret_err) {
    struct etcd_member *member = &etcd->members[i];
    struct rpc_channel *channel;
    int rc = rpc_channel_open(etcd->rpc, address, &channel, ret_err);
    if (rc)
        return rc;
    *member = (struct etcd_member){.etcd = etcd, .channel = channel};
    for (int kind = 0; kind < WINDOW_N_KINDS; kind++)
        window_init(&member->windows[kind], (enum window_kind)kind);
    if (etcd_confirm_init(member)) {
        rpc_channel_close(channel);
        member->channel = NULL;
        return lun_err_set(ret_err, LUN_ENOMEM, "out of memory");
    }
    etcd->n_slots += i == etcd->n_slots;
    return 0;
}

void etcd_member_use(struct etcd_member *member) {
    member->is_used = true;
    member->etcd->n_used++;
}

static int add_given(struct etcd *etcd, const struct endpoint *endpoint, struct lun_err *ret_err) {
    struct etcd_member *member = &etcd->members[etcd->n_slots];
    int rc = etcd_member_open(etcd, etcd->n_slots, endpoint->address, ret_err);
    if (rc)
        return rc;
    etcd_member_use(member);
    if (endpoint->scheme == ENDPOINT_SRV)
        etcd->discovery.placeholder = member;
    else
        member->is_given = true;
    etcd->member_list.is_local |= endpoint_place(endpoint) == ENDPOINT_LOCAL;
    return 0;
}

/* Streams and reads to a member that was left may be out for a while. */
static bool is_needed(const struct etcd_member *member) {
    const struct etcd *etcd = member->etcd;
    bool is_left_lately = member->left_ns != 0 && rpc_now(etcd->rpc) - member->left_ns < RETIRED_NS;
    bool is_candidate = member->channel && member->left_ns == 0;
    if (is_candidate || is_left_lately || member->confirm.is_under_way ||
        member == etcd->discovery.placeholder ||
        (etcd->watch_stream.rpc_stream && etcd->watch_stream.member == member))
        return true;
    return etcd_calls_use(etcd, member) || renewals_use(&etcd->renewals, member);
}

static void close_slot(struct etcd_member *member) {
    etcd_confirm_fini(member);
    rpc_channel_close(member->channel);
    member->channel = NULL;
}

struct etcd_member *etcd_member_add(struct etcd *etcd, const char *address) {
    size_t i = 0;
    while (i < etcd->n_slots && is_needed(&etcd->members[i]))
        i++;
    if (i == ETCD_MAX_MEMBERS)
        return NULL;
    close_slot(&etcd->members[i]);
    return etcd_member_open(etcd, i, address, NULL) ? NULL : &etcd->members[i];
}

void etcd_member_leave(struct etcd_member *member, const char *why) {
    struct etcd *etcd = member->etcd;
    if (etcd->n_used == 1)
        return;
    if (etcd->identity.stranger == member)
        etcd->identity.stranger = NULL;
    member->is_used = false;
    member->left_ns = rpc_now(etcd->rpc);
    etcd->n_used--;
    etcd_member_failed(member, why);
}

/* ---- life ------------------------------------------------------------------------------------------- */

static void on_closed_due(struct rpc_timer *timer) {
    struct etcd *etcd = CONTAINER_OF(timer, struct etcd, closed_timer);
    if (etcd->n_out > 0 || !etcd->on_closed)
        return;
    void (*on_closed)(void *arg) = etcd->on_closed;
    etcd->on_closed = NULL;
    on_closed(etcd->on_closed_arg);
}

int etcd_new(struct rpc *rpc, const char *const *endpoints, size_t n_endpoints, const struct trace *trace,
             struct etcd **ret_etcd, struct lun_err *ret_err) {
    struct endpoints parsed;
    int rc = endpoints_parse(endpoints, n_endpoints, &parsed, ret_err);
    if (rc)
        return rc;
    struct etcd *etcd = calloc(1, sizeof *etcd);
    if (!etcd)
        return lun_err_set(ret_err, LUN_ENOMEM, "out of memory");
    etcd->rpc = rpc;
    etcd->trace = trace;
    etcd->tally.least_slack_ns = INT64_MAX;
    etcd_calls_init(etcd);
    rc = rpc_timer_init(rpc, &etcd->closed_timer, on_closed_due);
    if (!rc)
        rc = rpc_timer_init(rpc, &etcd->room_timer, etcd_calls_on_room_timer);
    if (!rc)
        rc = rpc_timer_init(rpc, &etcd->survey.timer, etcd_survey_on_timer);
    if (!rc)
        rc = identity_init(etcd);
    if (!rc)
        rc = auth_init(&etcd->auth, etcd);
    if (!rc)
        rc = watch_stream_init(&etcd->watch_stream, etcd);
    if (!rc)
        rc = renewals_init(&etcd->renewals, etcd);
    if (!rc)
        rc = member_list_init(&etcd->member_list, etcd);
    if (!rc)
        rc = discovery_init(&etcd->discovery, etcd);
    if (rc)
        lun_err_set(ret_err, rc, "out of memory");
    for (size_t i = 0; i < parsed.n && !rc; i++)
        rc = add_given(etcd, &parsed.items[i], ret_err);
    if (rc) {
        etcd_free(etcd);
        return rc;
    }
    etcd->current = (size_t)(rpc_random(rpc) % etcd->n_used);
    *ret_etcd = etcd;
    return 0;
}

void etcd_set_warnings(struct etcd *etcd, const struct trace *warnings) {
    etcd->warnings = warnings;
}

int etcd_set_user(struct etcd *etcd, const char *user, const char *password) {
    return auth_set_user(&etcd->auth, user, password);
}

int etcd_set_prefix(struct etcd *etcd, const char *prefix) {
    return namespace_init(&etcd->namespace, prefix);
}

int etcd_check_key(const struct etcd *etcd, struct lun_bytes key, struct lun_bytes range_end,
                   struct lun_err *ret_err) {
    return namespace_check(&etcd->namespace, key, range_end, ret_err);
}

void etcd_out_begin(struct etcd *etcd) {
    etcd->n_out++;
}

void etcd_out_end(struct etcd *etcd) {
    if (--etcd->n_out == 0 && etcd->is_closing)
        rpc_timer_start(&etcd->closed_timer, rpc_now(etcd->rpc));
}

void etcd_close(struct etcd *etcd, void (*on_closed)(void *arg), void *arg) {
    etcd->is_closing = true;
    etcd->on_closed = on_closed;
    etcd->on_closed_arg = arg;
    watch_stream_close(&etcd->watch_stream);
    member_list_close(&etcd->member_list);
    discovery_close(&etcd->discovery);
    for (size_t i = 0; i < etcd->n_slots; i++)
        etcd_confirm_cancel(&etcd->members[i]);
    etcd_calls_cancel(etcd);
    if (etcd->n_out == 0)
        rpc_timer_start(&etcd->closed_timer, rpc_now(etcd->rpc));
}

void etcd_free(struct etcd *etcd) {
    if (!etcd)
        return;
    watch_stream_fini(&etcd->watch_stream);
    renewals_fini(&etcd->renewals);
    for (size_t i = 0; i < etcd->n_slots; i++)
        close_slot(&etcd->members[i]);
    auth_fini(&etcd->auth);
    namespace_fini(&etcd->namespace);
    identity_fini(etcd);
    member_list_fini(&etcd->member_list);
    discovery_fini(&etcd->discovery);
    rpc_timer_fini(&etcd->room_timer);
    rpc_timer_fini(&etcd->survey.timer);
    rpc_timer_fini(&etcd->closed_timer);
    free(etcd);
}

struct etcd_tally *etcd_tally(struct etcd *etcd) {
    return &etcd->tally;
}

struct rpc *etcd_rpc(const struct etcd *etcd) {
    return etcd->rpc;
}

const struct trace *etcd_trace(const struct etcd *etcd) {
    return etcd->trace;
}

/* ---- members ---------------------------------------------------------------------------------------- */

size_t etcd_n_members(const struct etcd *etcd) {
    return etcd->n_used;
}

struct etcd_member *etcd_member_at(const struct etcd *etcd, size_t i) {
    const struct etcd_member *member = etcd->members;
    while (!member->is_used || i-- > 0)
        member++;
    return (struct etcd_member *)member;
}

bool etcd_member_is_learnt(const struct etcd_member *member) {
    return !member->is_given;
}

size_t etcd_member_index(const struct etcd_member *member) {
    return (size_t)(member - member->etcd->members);
}

const char *etcd_member_address(const struct etcd_member *member) {
    return rpc_channel_address(member->channel);
}

const char *etcd_member_trouble(const struct etcd_member *member, int64_t *ret_ns) {
    *ret_ns = member->why_ns;
    return member->why_ns ? member->why : NULL;
}

struct etcd_member *etcd_after(struct etcd *etcd, const struct etcd_member *member) {
    size_t i = etcd_member_index(member);
    do
        i = (i + 1) % etcd->n_slots;
    while (!etcd->members[i].is_used);
    return &etcd->members[i];
}

/* In the circle from the current one: the first that is trusted, else the one that failed longest ago. */
struct etcd_member *etcd_next(struct etcd *etcd, uint32_t tried) {
    struct etcd_member *best = NULL;
    for (size_t n = 0; n < etcd->n_slots; n++) {
        size_t i = (etcd->current + n) % etcd->n_slots;
        struct etcd_member *member = &etcd->members[i];
        if (member->is_used && !(tried & UINT32_C(1) << i) && (!best || member->failed_ns < best->failed_ns))
            best = member;
    }
    return best;
}

struct etcd_member *etcd_pick(struct etcd *etcd) {
    if (etcd->members[etcd->current].failed_ns != 0 || !etcd->members[etcd->current].is_used)
        etcd->current = etcd_member_index(etcd_next(etcd, 0));
    return &etcd->members[etcd->current];
}

void etcd_member_answered(struct etcd_member *member) {
    member->heard_ns = rpc_now(member->etcd->rpc);
    member->silent_since_ns = 0;
    if (member->failed_ns == 0)
        return;
    trace_line(member->etcd->trace, "etcd: %s answers again", etcd_member_address(member));
    member->failed_ns = 0;
    member->is_silent = member->is_guessed = false;
    watch_stream_member_answered(&member->etcd->watch_stream, member);
    member_list_prompt(&member->etcd->member_list);
}

bool etcd_has_trusted(const struct etcd *etcd, const struct etcd_member *except) {
    for (size_t i = 0; i < etcd->n_slots; i++) {
        const struct etcd_member *member = &etcd->members[i];
        if (member != except && member->is_used && member->failed_ns == 0)
            return true;
    }
    return false;
}

static void fail(struct etcd_member *member, const char *why) {
    struct etcd *etcd = member->etcd;
    if (member->failed_ns == 0)
        member_list_prompt(&etcd->member_list);
    if (member == etcd->discovery.placeholder && member->is_used)
        why = discovery_trouble(&etcd->discovery);
    member->failed_ns = rpc_now(etcd->rpc);
    member->why_ns = member->failed_ns;
    (void)snprintf(member->why, sizeof member->why, "%s", why);
    (void)text_tame(member->why);
    trace_line(etcd->trace, "etcd: %s %s", etcd_member_address(member), member->why);
    watch_stream_member_failed(&etcd->watch_stream, member);
    etcd_calls_member_failed(member);
    if (!etcd_has_trusted(etcd, NULL))
        discovery_prompt(&etcd->discovery);
}

void etcd_member_failed(struct etcd_member *member, const char *why) {
    member->is_silent = member->is_guessed = false;
    member->silent_since_ns = 0;
    fail(member, why);
}

/* What was waited for less long than an answer usually takes shows nothing: a call with a short timeout would else call one
 * far-away member silent after the other, and drive the watches about. */
static int64_t usual_ns(const struct etcd_member *member) {
    int64_t span_ns = USUAL_ANSWERS * etcd_member_answer_ns(member);
    return span_ns < USUAL_MOST_NS ? span_ns : USUAL_MOST_NS;
}

void etcd_member_silent(struct etcd_member *member, int64_t sent_ns, bool is_over, const char *guess) {
    if (member->silent_since_ns == 0)
        member->silent_since_ns = sent_ns;
    int64_t silent_ns = rpc_now(member->etcd->rpc) - member->silent_since_ns;
    if ((!is_over && silent_ns < SILENT_ENOUGH_NS) || silent_ns < usual_ns(member))
        return;
    char span[32], why[ETCD_WHY_BYTES];
    (void)snprintf(why, sizeof why, "silent for %s", etcd_span_text(span, sizeof span, silent_ns));
    if (guess)
        (void)snprintf(why, sizeof why, "%s", guess);
    member->is_silent = true;
    member->is_guessed = guess != NULL;
    fail(member, why);
}

void etcd_member_describe(const struct etcd_member *member, char *text, size_t n_bytes) {
    char span[32];
    bool is_placeholder = member == member->etcd->discovery.placeholder;
    bool is_silent = member->silent_since_ns != 0 && !member->is_guessed && !is_placeholder;
    if (is_silent)
        (void)snprintf(
            text, n_bytes, "silent for %s",
            etcd_span_text(span, sizeof span, rpc_now(member->etcd->rpc) - member->silent_since_ns));
    else
        (void)snprintf(text, n_bytes, "%s", member->failed_ns ? member->why : "");
}

void etcd_describe_failures(const struct etcd *etcd, char *text, size_t n_bytes) {
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < etcd->n_slots && used < n_bytes; i++) {
        char why[ETCD_WHY_BYTES];
        etcd_member_describe(&etcd->members[i], why, sizeof why);
        if (why[0] == '\0' || !etcd->members[i].is_used)
            continue;
        int n = snprintf(text + used, n_bytes - used, "%s%s %s", used ? "; " : "",
                         etcd_member_address(&etcd->members[i]), why);
        used += n > 0 ? (size_t)n : 0;
    }
}

int64_t etcd_member_answer_ns(const struct etcd_member *member) {
    int64_t longest = 0;
    for (int i = 0; i < WINDOW_N_KINDS; i++)
        if (member->windows[i].answer_ns > longest)
            longest = member->windows[i].answer_ns;
    return longest;
}

int64_t etcd_member_distance_ns(const struct etcd_member *member) {
    int64_t nearest_ns = member->distance_ns;
    for (size_t i = 0; i < member->etcd->n_slots && member->distance_ns == 0; i++) {
        int64_t distance_ns = member->etcd->members[i].distance_ns;
        if (distance_ns != 0 && (nearest_ns == 0 || distance_ns < nearest_ns))
            nearest_ns = distance_ns;
    }
    return nearest_ns;
}

struct rpc_options etcd_options(const struct etcd *etcd, int64_t deadline_ns) {
    return (struct rpc_options){.deadline_ns = deadline_ns, .has_leader = true, .token = etcd->auth.token};
}

/* ---- small things ----------------------------------------------------------------------------------- */

const char *etcd_span_text(char *text, size_t n_bytes, int64_t ns) {
    int64_t ms = (ns + NS_PER_MS / 2) / NS_PER_MS;
    if (ms < 1000)
        (void)snprintf(text, n_bytes, "%lld ms", (long long)ms);
    else if ((ms + 50) % 1000 < 100)
        (void)snprintf(text, n_bytes, "%lld s", (long long)(ms + 50) / 1000);
    else
        (void)snprintf(text, n_bytes, "%.1f s", (double)ms / 1000);
    return text;
}
