/* host/http_text.h - how the pages write numbers and strings, and their two long ones. */
#ifndef LUN_HOST_HTTP_TEXT_H
#define LUN_HOST_HTTP_TEXT_H

#include <stdint.h>
#include <stdio.h>

#include "host/facts.h"

/* With milliseconds or microseconds, and a point whatever the locale is. */
void text_seconds(FILE *out, double seconds);
void text_seconds_ns(FILE *out, int64_t ns);
/* In quotes, as JSON and Prometheus take it; what is no UTF-8 becomes U+FFFD. Control characters: \u00XX in JSON, a blank
 * in a label. */
void text_json(FILE *out, const char *text);
void text_label(FILE *out, const char *text);

/* What a page is made of, all of it known at one instant. */
struct client {
    const struct fact *fact; /* the first candidate that uses it */
    struct lun_stats stats;
    bool is_open;
};

struct snapshot {
    const struct facts_access *facts;
    int64_t now_ns;
    struct client *clients; /* each once */
    size_t n_clients;
};

/* Inside (facts.h), until snapshot_free. */
void snapshot_take(struct snapshot *ret, const struct facts_access *facts);
void snapshot_free(struct snapshot *snapshot);
double snapshot_remaining_s(const struct snapshot *snapshot, const struct fact *fact);

void text_metrics(FILE *out, const struct snapshot *snapshot);
void text_status(FILE *out, const struct snapshot *snapshot);

#endif
