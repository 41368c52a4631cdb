/* etcd/survey.c - at the start every endpoint is asked once which cluster it belongs to: two clusters in one list would
 * give two leaders, each client keeping to the first that answers it. What is found is kept by identity.c.
 *
 * An endpoint that cannot be used is warned of, although the others serve: else it would be noticed when they fail. Where none
 * answers there are errors enough, and the survey is made again once one does. It is also made again and again as long as two
 * clusters are in the list, for no other call asks a member then: the list may become one of one cluster, and what showed
 * another cluster may have been a false answer. */
#include "etcd/cluster.h"
#include "etcd/kv.h"

/* A connection may take so long where each answer takes seconds. */
#define SURVEY_NS (10 * NS_PER_S)
/* Between two surveys while two clusters are in the list. */
#define AGAIN_NS (2 * NS_PER_S)

static void warn(const struct etcd_member *member, const char *why) {
    trace_line(member->etcd->trace, "etcd: the endpoint %s cannot be used: %s", etcd_member_address(member),
               why);
    trace_line(member->etcd->warnings, "the etcd endpoint %s cannot be used: %s", etcd_member_address(member),
               why);
}

static bool is_surveyed(const struct etcd_member *member) {
    return member->is_given && member->is_used;
}

static void finish(struct etcd *etcd) {
    for (size_t i = 0; i < etcd->n_slots; i++) {
        const struct etcd_member *member = &etcd->members[i];
        if (!is_surveyed(member))
            continue;
        char why[ETCD_WHY_BYTES];
        etcd_member_describe(member, why, sizeof why);
        if (member->shown_id == 0 && why[0] != '\0')
            warn(member, why);
    }
}

static void on_status(void *arg, const struct etcd_reply *reply) {
    struct etcd *etcd = arg;
    (void)reply;
    if (--etcd->survey.n_out > 0 || etcd->is_closing)
        return;
    etcd->survey.is_to_come = etcd->identity.cluster_id == 0;
    if (identity_check(etcd, NULL))
        etcd_survey_stranger(etcd);
    else if (!etcd->survey.is_to_come)
        finish(etcd);
}

int etcd_survey(struct etcd *etcd) {
    if (etcd->n_used == 1)
        return 0;
    int rc = 0;
    for (size_t i = 0; i < etcd->n_slots && !rc; i++) {
        if (!is_surveyed(&etcd->members[i]))
            continue;
        struct etcd_call_options how = {.deadline_ns = rpc_now(etcd->rpc) + SURVEY_NS,
                                        .member = &etcd->members[i]};
        rc = etcd_member_status(etcd, &how, on_status, etcd, NULL);
        etcd->survey.n_out += rc == 0;
    }
    return rc;
}

void etcd_survey_again(struct etcd *etcd) {
    if (!etcd->survey.is_to_come)
        return;
    etcd->survey.is_to_come = false;
    rpc_timer_start(&etcd->survey.timer, rpc_now(etcd->rpc));
}

void etcd_survey_stranger(struct etcd *etcd) {
    if (etcd->survey.n_out == 0 && !rpc_timer_is_running(&etcd->survey.timer))
        rpc_timer_start(&etcd->survey.timer, rpc_now(etcd->rpc) + AGAIN_NS);
}

void etcd_survey_on_timer(struct rpc_timer *timer) {
    struct survey *survey = CONTAINER_OF(timer, struct survey, timer);
    struct etcd *etcd = CONTAINER_OF(survey, struct etcd, survey);
    if (etcd->is_closing)
        return;
    (void)etcd_survey(etcd);
    if (identity_check(etcd, NULL))
        etcd_survey_stranger(etcd); /* there was no memory to ask any */
}
