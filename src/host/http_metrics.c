/* host/http_metrics.c - /metrics, in the text format of Prometheus, version 0.0.4: family by family, each with its help
 * and type. Candidates bear the labels `election` and `candidate`; clients, which candidates may share, a number. */
#include "host/http_text.h"

#include <inttypes.h>
#include <string.h>

/* What is known of one candidate or client while a family is written. */
struct row {
    FILE *out;
    const char *family;
    const struct snapshot *snapshot;
    const struct fact *fact; /* the candidate; of a client, the first that uses it */
    const struct lun_stats *stats;
    size_t client;
};

struct family {
    const char *name, *type, *help;
    void (*write)(const struct row *row);
};

static void head(FILE *out, const struct family *family) {
    (void)fprintf(out, "# HELP lunarch_%s %s\n# TYPE lunarch_%s %s\n", family->name, family->help,
                  family->name, family->type);
}

/* ---- candidates ------------------------------------------------------------------------------------- */

/* The name with its labels, and a blank: `more` is a further label, or NULL, with its value. */
static void begin(const struct row *row, const char *suffix, const char *more, const char *value) {
    (void)fprintf(row->out, "lunarch_%s%s{election=", row->family, suffix);
    text_label(row->out, row->fact->election);
    (void)fputs(",candidate=", row->out);
    text_label(row->out, row->fact->name);
    if (more) {
        (void)fprintf(row->out, ",%s=", more);
        text_label(row->out, value);
    }
    (void)fputs("} ", row->out);
}

static void count(const struct row *row, uint64_t n) {
    begin(row, "", NULL, NULL);
    (void)fprintf(row->out, "%" PRIu64 "\n", n);
}

static void leader(const struct row *row) {
    count(row, snapshot_remaining_s(row->snapshot, row->fact) > 0);
}

static void remaining(const struct row *row) {
    begin(row, "", NULL, NULL);
    text_seconds(row->out, snapshot_remaining_s(row->snapshot, row->fact));
    (void)fputc('\n', row->out);
}

static void token(const struct row *row) {
    count(row, row->fact->term ? (uint64_t)row->fact->token : 0);
}

static void term_age(const struct row *row) {
    begin(row, "", NULL, NULL);
    text_seconds_ns(row->out, row->fact->term ? row->snapshot->now_ns - row->fact->elected_at_ns : 0);
    (void)fputc('\n', row->out);
}

static void state(const struct row *row) {
    static const char *const states[] = {"new",           "connecting",   "unfit",    "standing", "leading",
                                         "stepping down", "stepped back", "stopping", "ended"};
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        begin(row, "", "state", states[i]);
        (void)fprintf(row->out, "%d\n", strcmp(row->fact->state, states[i]) == 0);
    }
}

static void terms(const struct row *row) {
    count(row, row->fact->n_terms);
}

static void failures(const struct row *row) {
    count(row, row->fact->n_failures);
}

static void losses(const struct row *row) {
    for (int i = 0; i <= FACT_MAX_LOSSES; i++) {
        const struct fact_loss *loss = &row->fact->losses[i];
        if (loss->n == 0)
            continue;
        begin(row, "", "reason", loss->reason);
        (void)fprintf(row->out, "%" PRIu64 "\n", loss->n);
    }
}

static void handover(const struct row *row) {
    begin(row, "_sum", NULL, NULL);
    text_seconds_ns(row->out, row->fact->handover_sum_ns);
    (void)fputc('\n', row->out);
    begin(row, "_count", NULL, NULL);
    (void)fprintf(row->out, "%" PRIu64 "\n", row->fact->n_handovers);
}

static void handover_last(const struct row *row) {
    if (row->fact->n_handovers == 0)
        return;
    begin(row, "", NULL, NULL);
    text_seconds_ns(row->out, row->fact->handover_ns);
    (void)fputc('\n', row->out);
}

static const struct family CANDIDATES[] = {
    {"leader", "gauge",
     "1 while this candidate leads: on_elected has returned, and it has not been told to stop.", leader},
    {"leader_remaining_seconds", "gauge",
     "Until the leader is told to stop, unless etcd renews its lease; 0: it does not lead.", remaining},
    {"term_token", "gauge", "The fencing token of the present term; 0: none.", token},
    {"term_age_seconds", "gauge", "Since the present term began; 0: none.", term_age},
    {"state", "gauge", "1 for what the candidate does now.", state},
    {"terms_total", "counter", "Terms that were won.", terms},
    {"losses_total", "counter", "Terms that have ended, by reason.", losses},
    {"handler_failures_total", "counter", "Handlers that have raised an error.", failures},
    {"handover_seconds", "summary", "From the end of the work being due until the place was given up.",
     handover},
    {"handover_last_seconds", "gauge", "The same, of the last term.", handover_last},
};

/* Two lines with the same labels would spoil the page: of candidates that are called alike the first is shown. */
static void write_candidates(FILE *out, const struct snapshot *snapshot, const struct family *family) {
    const struct facts_access *facts = snapshot->facts;
    head(out, family);
    for (const struct list *node = facts->all()->next; node != facts->all(); node = node->next) {
        struct row row = {.out = out, .family = family->name, .snapshot = snapshot, .fact = fact_of(node)};
        if (!row.fact->is_namesake)
            family->write(&row);
    }
}

/* ---- clients ---------------------------------------------------------------------------------------- */

static void client_begin(const struct row *row, const char *more, const char *value) {
    (void)fprintf(row->out, "lunarch_%s{client=\"%zu\"", row->family, row->client);
    if (more)
        (void)fprintf(row->out, ",%s=\"%s\"", more, value);
    (void)fputs("} ", row->out);
}

static void client_count(const struct row *row, uint64_t n) {
    client_begin(row, NULL, NULL);
    (void)fprintf(row->out, "%" PRIu64 "\n", n);
}

static void client_seconds(const struct row *row, int64_t ns) {
    client_begin(row, NULL, NULL);
    text_seconds_ns(row->out, ns);
    (void)fputc('\n', row->out);
}

static void sessions(const struct row *row) {
    client_count(row, row->stats->n_sessions);
}

static void renewals(const struct row *row) {
    client_count(row, row->stats->n_renewals);
}

static void renewal_last(const struct row *row) {
    if (row->stats->n_renewals > 0)
        client_seconds(row, row->stats->renewal_ns);
}

static void renewal_mean(const struct row *row) {
    if (row->stats->n_renewals > 0)
        client_seconds(row, row->stats->renewal_mean_ns);
}

static void renewal_longest(const struct row *row) {
    if (row->stats->n_renewals > 0)
        client_seconds(row, row->stats->renewal_most_ns);
}

static void least_slack(const struct row *row) {
    if (row->stats->least_slack_ns != INT64_MAX)
        client_seconds(row, row->stats->least_slack_ns);
}

static void confirmations(const struct row *row) {
    client_begin(row, "result", "confirmed");
    (void)fprintf(row->out, "%" PRIu64 "\n", row->stats->n_confirmed);
    client_begin(row, "result", "failed");
    (void)fprintf(row->out, "%" PRIu64 "\n", row->stats->n_unconfirmed);
}

static void session_losses(const struct row *row) {
    for (int reason = 1; reason < LUN_N_REASONS; reason++) {
        client_begin(row, "reason", row->fact->view->reason_name((enum lun_reason)reason));
        (void)fprintf(row->out, "%" PRIu64 "\n", row->stats->n_losses[reason]);
    }
}

static void retries(const struct row *row) {
    client_count(row, row->stats->n_retries);
}

static void streams(const struct row *row) {
    client_count(row, row->stats->n_streams_replaced);
}

static const struct family CLIENTS[] = {
    {"sessions", "gauge", "Sessions with etcd that have not ended.", sessions},
    {"renewals_total", "counter", "Renewals of leases that were confirmed.", renewals},
    {"renewal_last_seconds", "gauge", "From sending the last renewal until it was confirmed.", renewal_last},
    {"renewal_mean_seconds", "gauge", "The same, the mean of all.", renewal_mean},
    {"renewal_longest_seconds", "gauge", "The same, the longest.", renewal_longest},
    {"least_slack_seconds", "gauge",
     "The least that was left until a leader had to stop when a renewal was confirmed.", least_slack},
    {"confirmations_total", "counter", "Reads that confirm that a member is up to date.", confirmations},
    {"session_losses_total", "counter", "Sessions that were lost, by reason.", session_losses},
    {"retries_total", "counter", "Attempts of calls after their first.", retries},
    {"streams_replaced_total", "counter", "Streams of watches and renewals that broke or were left.",
     streams},
};

static void write_clients(FILE *out, const struct snapshot *snapshot, const struct family *family) {
    head(out, family);
    for (size_t i = 0; i < snapshot->n_clients; i++) {
        const struct client *client = &snapshot->clients[i];
        struct row row = {.out = out,
                          .family = family->name,
                          .snapshot = snapshot,
                          .fact = client->fact,
                          .stats = &client->stats,
                          .client = i + 1};
        if (client->is_open)
            family->write(&row);
    }
}

/* ---- all of it -------------------------------------------------------------------------------------- */

void text_metrics(FILE *out, const struct snapshot *snapshot) {
    static const struct family info = {"build_info", "gauge", "The version of lunarch.", NULL};
    static const struct family silent = {"loop_silent", "gauge",
                                         "1 while the script has not yielded for three TTLs.", NULL};
    head(out, &info);
    (void)fprintf(out, "lunarch_build_info{version=\"%s\"} 1\n", LUN_VERSION);
    head(out, &silent);
    (void)fprintf(out, "lunarch_loop_silent %d\n", snapshot->facts->is_silent());
    for (size_t i = 0; i < sizeof CANDIDATES / sizeof *CANDIDATES; i++)
        write_candidates(out, snapshot, &CANDIDATES[i]);
    for (size_t i = 0; i < sizeof CLIENTS / sizeof *CLIENTS; i++)
        write_clients(out, snapshot, &CLIENTS[i]);
}
