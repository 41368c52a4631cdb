/* etcd/survey.c - at the start every endpoint is asked once which cluster it belongs to: two clusters in one list would
 * give two leaders, each client keeping to the first that answers it. What is found is kept by identity.c. */
#include "etcd/cluster.h"
#include "etcd/kv.h"

#define SURVEY_NS (3 * NS_PER_S)

static void on_status(void *arg, const struct etcd_reply *reply) {
    struct etcd_member *member = arg;
    if (reply->err && reply->err->code != LUN_ECANCELLED)
        trace_line(member->etcd->trace, "etcd: the endpoint %s cannot be used: %s",
                   etcd_member_address(member), reply->err->text);
}

int etcd_survey(struct etcd *etcd) {
    if (etcd->n_members == 1)
        return 0;
    int rc = 0;
    for (size_t i = 0; i < etcd->n_members && !rc; i++) {
        struct etcd_call_options how = {.deadline_ns = rpc_now(etcd->rpc) + SURVEY_NS,
                                        .member = &etcd->members[i]};
        rc = etcd_member_status(etcd, &how, on_status, &etcd->members[i], NULL);
    }
    return rc;
}
