/* host/http_status.c - /status: what /metrics has, and in words, as one JSON value. */
#include "host/http_text.h"

#include <inttypes.h>

static void field(FILE *out, const char *name, const char *value) {
    (void)fprintf(out, ",\"%s\":", name);
    text_json(out, value);
}

static void count(FILE *out, const char *name, uint64_t n) {
    (void)fprintf(out, ",\"%s\":%" PRIu64, name, n);
}

static void seconds(FILE *out, const char *name, int64_t ns) {
    (void)fprintf(out, ",\"%s\":", name);
    text_seconds_ns(out, ns);
}

static void write_losses(FILE *out, const struct fact *fact) {
    (void)fputs(",\"losses\":{", out);
    const char *between = "";
    for (int i = 0; i <= FACT_MAX_LOSSES; i++) {
        if (fact->losses[i].n == 0)
            continue;
        (void)fputs(between, out);
        text_json(out, fact->losses[i].reason);
        (void)fprintf(out, ":%" PRIu64, fact->losses[i].n);
        between = ",";
    }
    (void)fputc('}', out);
}

static void write_term(FILE *out, const struct snapshot *snapshot, const struct fact *fact) {
    (void)fprintf(out, ",\"term\":{\"token\":%" PRId64, fact->token);
    seconds(out, "age", snapshot->now_ns - fact->elected_at_ns);
    if (fact->over[0])
        field(out, "over", fact->over);
    if (fact->handler[0])
        field(out, "handler", fact->handler);
    (void)fputc('}', out);
}

static void write_candidate(FILE *out, const struct snapshot *snapshot, const struct fact *fact) {
    double left_s = snapshot_remaining_s(snapshot, fact);
    (void)fputs("{\"name\":", out);
    text_json(out, fact->name);
    field(out, "election", fact->election);
    field(out, "state", fact->state);
    (void)fprintf(out, ",\"leader\":%s,\"remaining\":", left_s > 0 ? "true" : "false");
    text_seconds(out, left_s);
    if (fact->term)
        write_term(out, snapshot, fact);
    count(out, "terms", fact->n_terms);
    write_losses(out, fact);
    count(out, "handler_failures", fact->n_failures);
    count(out, "handovers", fact->n_handovers);
    if (fact->n_handovers > 0)
        seconds(out, "last_handover", fact->handover_ns);
    (void)fputc('}', out);
}

static void write_client(FILE *out, const struct client *client) {
    const struct lun_stats *stats = &client->stats;
    if (!client->is_open) {
        (void)fputs("{}", out);
        return;
    }
    (void)fprintf(out, "{\"sessions\":%zu", stats->n_sessions);
    count(out, "renewals", stats->n_renewals);
    if (stats->n_renewals > 0) {
        seconds(out, "renewal_last", stats->renewal_ns);
        seconds(out, "renewal_mean", stats->renewal_mean_ns);
        seconds(out, "renewal_longest", stats->renewal_most_ns);
    }
    if (stats->least_slack_ns != INT64_MAX)
        seconds(out, "least_slack", stats->least_slack_ns);
    count(out, "confirmed", stats->n_confirmed);
    count(out, "unconfirmed", stats->n_unconfirmed);
    count(out, "retries", stats->n_retries);
    count(out, "streams_replaced", stats->n_streams_replaced);
    (void)fputc('}', out);
}

void text_status(FILE *out, const struct snapshot *snapshot) {
    const struct facts_access *facts = snapshot->facts;
    const char *between = "";
    (void)fprintf(out, "{\"version\":\"%s\",\"silent\":%s,\"candidates\":[", LUN_VERSION,
                  facts->is_silent() ? "true" : "false");
    for (const struct list *node = facts->all()->next; node != facts->all(); node = node->next) {
        (void)fputs(between, out);
        write_candidate(out, snapshot, fact_of(node));
        between = ",";
    }
    (void)fputs("],\"clients\":[", out);
    for (size_t i = 0; i < snapshot->n_clients; i++) {
        (void)fputs(i > 0 ? "," : "", out);
        write_client(out, &snapshot->clients[i]);
    }
    (void)fputs("]}\n", out);
}
