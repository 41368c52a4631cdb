/* host/http_pages.c - the pages: see http_pages.h.
 *
 *   /leader    200 while on_elected has returned and the leader has not been told to stop, by the clock; 503 otherwise
 *   /healthz   503 while the script has not yielded for three TTLs
 *   /ready     200 while every candidate stands or leads: it has a session, and is fit
 *   /metrics   for Prometheus (http_metrics.c)
 *   /status    all of it, as JSON (http_status.c) */
#include "host/http_pages.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "host/http_text.h"

enum { OK = 200, BAD_REQUEST = 400, NOT_FOUND = 404, UNAVAILABLE = 503 };

static const char PLAIN[] = "text/plain; charset=utf-8", JSON[] = "application/json",
                  METRICS[] = "text/plain; version=0.0.4; charset=utf-8";

/* ---- /leader ---------------------------------------------------------------------------------------- */

static bool is_called(const struct fact *fact, const char *name) {
    return strcmp(fact->election, name) == 0 || strcmp(fact->name, name) == 0;
}

/* The one candidate that is meant: NULL, and `*ret_status`, when there is none, or more than one. */
static const struct fact *find(const struct facts_access *facts, const char *name, unsigned *ret_status) {
    const struct fact *found = NULL;
    for (const struct list *node = facts->all()->next; node != facts->all(); node = node->next) {
        if (name && !is_called(fact_of(node), name))
            continue;
        if (found) {
            *ret_status = BAD_REQUEST;
            return NULL;
        }
        found = fact_of(node);
    }
    *ret_status = name ? NOT_FOUND : UNAVAILABLE;
    return found;
}

static unsigned write_choice(FILE *out, const struct facts_access *facts, const char *name, unsigned status) {
    if (status == UNAVAILABLE)
        (void)fputs("no candidate stands in this process\n", out);
    else if (status == NOT_FOUND)
        (void)fprintf(
            out, "no candidate of this process is called '%s', and none stands in such an election\n", name);
    else
        (void)fputs(
            "several candidates stand in this process; ?name= says which is meant, by its election or its name:\n",
            out);
    for (const struct list *node = facts->all()->next; node != facts->all(); node = node->next)
        (void)fprintf(out, "%s as %s\n", fact_of(node)->election, fact_of(node)->name);
    return status;
}

static unsigned write_leader(FILE *out, const struct facts_access *facts, const char *name) {
    unsigned status;
    const struct fact *fact = find(facts, name, &status);
    if (!fact)
        return write_choice(out, facts, name, status);
    double left_s = facts->remaining_s(fact, clock_boottime_ns());
    if (left_s > 0) {
        (void)fprintf(out, "%s leads %s, token %lld, for ", fact->name, fact->election,
                      (long long)fact->token);
        text_seconds(out, left_s);
        (void)fputs(" s\n", out);
        return OK;
    }
    (void)fprintf(out, "%s does not lead %s: %s\n", fact->name, fact->election,
                  fact->term && !fact->is_ready ? "on_elected has not returned"
                  : fact->term                  ? "its term has ended"
                                                : fact->state);
    return UNAVAILABLE;
}

/* ---- /healthz, /ready ------------------------------------------------------------------------------- */

static unsigned write_health(FILE *out, const struct facts_access *facts) {
    bool is_silent = facts->is_silent();
    (void)fputs(is_silent ? "the script has not yielded for three TTLs\n" : "ok\n", out);
    return is_silent ? UNAVAILABLE : OK;
}

/* Whether it would take over. */
static bool is_ready(const struct fact *fact) {
    static const char *const states[] = {"standing", "leading", "stepping down"};
    for (size_t i = 0; i < sizeof states / sizeof *states; i++)
        if (strcmp(fact->state, states[i]) == 0)
            return true;
    return false;
}

static unsigned write_ready(FILE *out, const struct facts_access *facts) {
    unsigned status = list_is_empty(facts->all()) ? UNAVAILABLE : OK;
    for (const struct list *node = facts->all()->next; node != facts->all(); node = node->next) {
        const struct fact *fact = fact_of(node);
        if (!is_ready(fact))
            status = UNAVAILABLE;
        (void)fprintf(out, "%s in %s: %s\n", fact->name, fact->election, fact->state);
    }
    if (list_is_empty(facts->all()))
        (void)fputs("no candidate stands in this process\n", out);
    return status;
}

/* ---- all of them ------------------------------------------------------------------------------------ */

static unsigned write_snapshot(FILE *out, const struct facts_access *facts,
                               void (*write)(FILE *out, const struct snapshot *snapshot)) {
    struct snapshot snapshot;
    snapshot_take(&snapshot, facts);
    write(out, &snapshot);
    snapshot_free(&snapshot);
    return OK;
}

static unsigned write_page(FILE *out, const struct facts_access *facts, const char *path, const char *name,
                           const char **ret_type) {
    *ret_type = PLAIN;
    if (strcmp(path, "/leader") == 0)
        return write_leader(out, facts, name);
    if (strcmp(path, "/healthz") == 0)
        return write_health(out, facts);
    if (strcmp(path, "/ready") == 0)
        return write_ready(out, facts);
    if (strcmp(path, "/metrics") == 0) {
        *ret_type = METRICS;
        return write_snapshot(out, facts, text_metrics);
    }
    if (strcmp(path, "/status") == 0) {
        *ret_type = JSON;
        return write_snapshot(out, facts, text_status);
    }
    (void)fputs("here are /leader /healthz /ready /metrics /status\n", out);
    return strcmp(path, "/") == 0 ? OK : NOT_FOUND;
}

void page_make(struct page *ret, const struct facts_access *facts, const char *path, const char *name) {
    *ret = (struct page){.status = UNAVAILABLE, .type = PLAIN};
    FILE *out = open_memstream(&ret->text, &ret->len);
    if (!out)
        return;
    facts->enter();
    ret->status = write_page(out, facts, path, name, &ret->type);
    facts->leave();
    if (fclose(out) == 0)
        return;
    free(ret->text);
    ret->text = NULL;
}
