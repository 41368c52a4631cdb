/* host/http_text.c - numbers, names and times as the answers of the HTTP server write them. See http_text.h. */
#include "host/http_text.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"

void text_seconds_ns(FILE *out, int64_t ns) {
    if (ns < 0)
        (void)fputc('-', out);
    uint64_t us = (uint64_t)(ns < 0 ? -ns : ns) / 1000;
    (void)fprintf(out, "%" PRIu64 ".%06" PRIu64, us / 1000000, us % 1000000);
}

void text_seconds(FILE *out, double seconds) {
    uint64_t ms = seconds > 0 ? (uint64_t)(seconds * 1000) : 0;
    (void)fprintf(out, "%" PRIu64 ".%03" PRIu64, ms / 1000, ms % 1000);
}

/* ---- strings ---------------------------------------------------------------------------------------- */

/* The length of the character at `s`, 0 if it is no UTF-8. */
static size_t utf8_len(const unsigned char *s) {
    size_t len = s[0] < 0x80 ? 1 : s[0] >= 0xC2 && s[0] < 0xE0 ? 2 : s[0] >= 0xE0 && s[0] < 0xF0 ? 3 : 0;
    if (s[0] >= 0xF0 && s[0] < 0xF5)
        len = 4;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    bool is_wrong = len > 2 && ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) ||
                                (s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F));
    return is_wrong ? 0 : len;
}

static void write_string(FILE *out, const char *text, void (*control)(FILE *out, unsigned char c)) {
    (void)fputc('"', out);
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        size_t len = utf8_len(s);
        if (len == 0)
            (void)fputs("\xEF\xBF\xBD", out);
        else if (*s == '"' || *s == '\\')
            (void)fprintf(out, "\\%c", *s);
        else if (*s == '\n')
            (void)fputs("\\n", out);
        else if (*s < 0x20 || *s == 0x7F)
            control(out, *s);
        else
            (void)fwrite(s, 1, len, out);
        s += len ? len : 1;
    }
    (void)fputc('"', out);
}

static void control_json(FILE *out, unsigned char c) {
    (void)fprintf(out, "\\u%04x", c);
}

static void control_label(FILE *out, unsigned char c) {
    (void)c;
    (void)fputc(' ', out);
}

void text_json(FILE *out, const char *text) {
    write_string(out, text, control_json);
}

void text_label(FILE *out, const char *text) {
    write_string(out, text, control_label);
}

/* ---- clients ---------------------------------------------------------------------------------------- */

static bool is_first_of_its_client(const struct facts_access *facts, const struct fact *fact) {
    const struct list *node = facts->all()->next;
    while (fact_of(node) != fact && fact_of(node)->client != fact->client)
        node = node->next;
    return fact_of(node) == fact;
}

/* Where memory is lacking there are none. */
void snapshot_take(struct snapshot *ret, const struct facts_access *facts) {
    *ret = (struct snapshot){.facts = facts, .now_ns = clock_boottime_ns()};
    size_t n = 0;
    for (const struct list *node = facts->all()->next; node != facts->all(); node = node->next)
        n++;
    ret->clients = n > 0 ? calloc(n, sizeof *ret->clients) : NULL;
    if (!ret->clients)
        return;
    for (const struct list *node = facts->all()->next; node != facts->all(); node = node->next) {
        const struct fact *fact = fact_of(node);
        if (!fact->client || !is_first_of_its_client(facts, fact))
            continue;
        struct client *client = &ret->clients[ret->n_clients++];
        client->fact = fact;
        client->is_open = fact->view->stats(fact->client, &client->stats) == 0;
    }
}

void snapshot_free(struct snapshot *snapshot) {
    free(snapshot->clients);
}

double snapshot_remaining_s(const struct snapshot *snapshot, const struct fact *fact) {
    return snapshot->facts->remaining_s(fact, snapshot->now_ns);
}
