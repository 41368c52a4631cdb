/* client/stats.c - what a client has done and met so far, and what its own calls wait for: from memory, at once. */
#include <stdio.h>
#include <string.h>

#include "client/claim.h"
#include "etcd/tally.h"

static size_t length(const struct list *list) {
    size_t n = 0;
    for (const struct list *node = list->next; node != list; node = node->next)
        n++;
    return n;
}

/* The claim that an asked call waits for; NULL: it waits for something else. */
static const struct claim *claim_of_op(const struct lun_op *op) {
    const struct claim *claim = op->kind->on_give_up == claim_give_up ? op->object : NULL;
    return claim && claim_state(claim) == CLAIM_ENTERING ? claim : NULL;
}

static const struct lun_op *op_of_client(const struct list *node) {
    return CONTAINER_OF(node, struct lun_op, in_client);
}

static size_t count_waits(const struct lun_client *client) {
    size_t n = 0;
    for (const struct list *node = client->ops.next; node != &client->ops; node = node->next)
        n += claim_of_op(op_of_client(node)) != NULL;
    return n;
}

int lun_client_stats(struct lun_client *client, struct lun_stats *ret_stats) {
    int rc = client_enter_closed(client);
    if (rc)
        return rc;
    const struct etcd_tally *tally = etcd_tally(client->etcd);
    *ret_stats = (struct lun_stats){
        .n_sessions = length(&client->sessions),
        .n_waits = count_waits(client),
        .n_renewals = tally->n_renewals,
        .renewal_ns = tally->round_trip_ns,
        .renewal_mean_ns = tally->n_renewals ? tally->round_trip_sum_ns / (int64_t)tally->n_renewals : 0,
        .renewal_most_ns = tally->round_trip_most_ns,
        .n_confirmed = tally->n_confirmed,
        .n_unconfirmed = tally->n_unconfirmed,
        .least_slack_ns = tally->least_slack_ns,
        .n_retries = tally->n_retries,
        .n_streams_replaced = tally->n_streams_replaced,
    };
    memcpy(ret_stats->n_losses, tally->n_losses, sizeof ret_stats->n_losses);
    client_leave(client);
    return 0;
}

static void describe(struct lun_wait *wait, const struct lun_client *client, const struct claim *claim) {
    *wait = (struct lun_wait){.is_campaign = claim->class->is_term,
                              .waited_ns = rpc_now(client->rpc) - claim->entered_ns,
                              .token = place_create_rev(claim->place)};
    (void)snprintf(wait->name, sizeof wait->name, "%s", claim->name);
    if (!claim_is_blocked(claim, wait->behind, sizeof wait->behind))
        (void)snprintf(wait->behind, sizeof wait->behind, "%s", place_owner_text(claim->place));
}

size_t lun_client_waits(struct lun_client *client, struct lun_wait *ret_waits, size_t n_waits) {
    size_t n = 0;
    if (client_enter_closed(client))
        return 0;
    for (const struct list *node = client->ops.next; node != &client->ops && n < n_waits; node = node->next) {
        const struct claim *claim = claim_of_op(op_of_client(node));
        if (claim)
            describe(&ret_waits[n++], client, claim);
    }
    client_leave(client);
    return n;
}
