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

/* Inside (facts.h). */
void text_metrics(FILE *out, const struct facts_access *facts);
void text_status(FILE *out, const struct facts_access *facts);

/* The clients of all candidates, each once: NULL after the last. `*node` begins as the list itself. Inside. */
const struct fact *text_next_client(const struct facts_access *facts, const struct list **node);

#endif
