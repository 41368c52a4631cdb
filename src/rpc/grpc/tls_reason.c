/* rpc/grpc/tls_reason.c - see tls_reason.h. */
#include "rpc/grpc/tls_reason.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "rpc/grpc/tls_probe.h"

#define PROBE_AGAIN_NS (10 * NS_PER_S)
enum { TEXT_BYTES = 320 };

struct tls_reason {
    size_t n_users;
    char *host, *port;
    struct tls_probe *probe; /* the latest */
    int64_t probed_ns;
    unsigned generation; /* of the certificates that it was made with */
    char text[TEXT_BYTES];
};

struct tls_reason *tls_reason_new(const char *host, const char *port) {
    struct tls_reason *reason = calloc(1, sizeof *reason);
    if (!reason)
        return NULL;
    reason->n_users = 1;
    reason->host = strdup(host);
    reason->port = strdup(port);
    if (reason->host && reason->port)
        return reason;
    tls_reason_unref(reason);
    return NULL;
}

struct tls_reason *tls_reason_ref(struct tls_reason *reason) {
    if (reason)
        reason->n_users++;
    return reason;
}

void tls_reason_unref(struct tls_reason *reason) {
    if (!reason || --reason->n_users > 0)
        return;
    tls_probe_free(reason->probe);
    free(reason->host);
    free(reason->port);
    free(reason);
}

static bool is_probe_due(const struct tls_reason *reason, const struct tls *tls, int64_t now_ns) {
    return !reason->probe || now_ns - reason->probed_ns >= PROBE_AGAIN_NS ||
           reason->generation != tls->generation;
}

const char *tls_reason_text(struct tls_reason *reason, struct tls *tls, int64_t now_ns) {
    if (!reason)
        return NULL;
    const char *found = reason->probe && reason->generation == tls->generation &&
                                tls_probe_result(reason->probe, reason->text, sizeof reason->text)
                            ? reason->text
                            : NULL;
    tls_look(tls, now_ns, true);
    if (is_probe_due(reason, tls, now_ns)) {
        tls_probe_free(reason->probe);
        reason->probe = tls_probe_start(tls, reason->host, reason->port);
        reason->probed_ns = now_ns;
        reason->generation = tls->generation;
    }
    return found;
}
