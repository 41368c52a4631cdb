/* spec/unit/sim/starved_prove_test.c - the prover's histories, with all their faults, while memory is short too: now and then
 * a request for it is refused. What must never happen never happens then either. */
#include "check.h"
#include "client/client.h"
#include "etcd/etcd.h"
#include "history.h"
#include "starve.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SEEDS = 100 }; /* ten times as slow */
#else
enum { SEEDS = 400 };
#endif
/* Where more is refused, promises of how soon things happen need not be kept. */
enum { FOR_THE_HISTORY = 20, PER_MILLE_IN_THE_WAY = 20 };
static const unsigned per_mille[] = {3, 20, 60, 120};

/* What a history cannot do without is granted: its clients, and the calls that it asks but once. */
#define GRANTED(name, parameters, arguments)                                                                 \
    int __real_##name parameters;                                                                            \
    int __wrap_##name parameters;                                                                            \
    int __wrap_##name parameters {                                                                           \
        starve_pause(true);                                                                                  \
        int rc = __real_##name arguments;                                                                    \
        starve_pause(false);                                                                                 \
        return rc;                                                                                           \
    }
GRANTED(etcd_new,
        (struct rpc * rpc, const char *const *endpoints, size_t n, const struct trace *trace,
         struct etcd **ret, struct lun_err *ret_err),
        (rpc, endpoints, n, trace, ret, ret_err))
GRANTED(client_open_on,
        (struct rpc * rpc, const struct lun_config *config, struct lun_client **ret, struct lun_err *ret_err),
        (rpc, config, ret, ret_err))
GRANTED(lun_client_close,
        (struct lun_client * client, const struct lun_ask *ask, struct lun_op **ret, struct lun_err *ret_err),
        (client, ask, ret, ret_err))
GRANTED(lun_session_await,
        (struct lun_session * session, enum lun_session_state known, const struct lun_ask *ask,
         struct lun_op **ret, struct lun_err *ret_err),
        (session, known, ask, ret, ret_err))
GRANTED(lun_observer_next,
        (struct lun_observer * observer, const struct lun_ask *ask, struct lun_op **ret,
         struct lun_err *ret_err),
        (observer, ask, ret, ret_err))
GRANTED(lun_watch_next,
        (struct lun_watch * watch, const struct lun_ask *ask, struct lun_op **ret, struct lun_err *ret_err),
        (watch, ask, ret, ret_err))

static bool is_of_time(enum invariant invariant) {
    return invariant == INVARIANT_session_survives || invariant == INVARIANT_loss_is_told ||
           invariant == INVARIANT_observer_is_right;
}

static void nothing_breaks_though_memory_is_short(void) {
    const char *first = getenv("SEED"), *many = getenv("SEEDS");
    uint64_t from = first ? (uint64_t)atoll(first) : 1, n = many ? (uint64_t)atoll(many) : first ? 1 : SEEDS;
    struct history_options options = {.on_line = getenv("TRACE") ? history_print : NULL};
    size_t n_refused = 0;
    for (uint64_t seed = from; seed < from + n; seed++) {
        struct history history;
        starve_begin_at_random(FOR_THE_HISTORY, per_mille[seed % 4], seed);
        history_run(seed, &options, &history);
        n_refused += starve_n_refused();
        starve_end();
        if (per_mille[seed % 4] > PER_MILLE_IN_THE_WAY && is_of_time(history.broken))
            history.broken = INVARIANT_NONE;
        if (history.broken)
            printf("# seed %llu: %s (%s): %s; SEED=%llu TRACE=1 tells it\n", (unsigned long long)seed,
                   invariant_name(history.broken), invariant_text(history.broken), history.text,
                   (unsigned long long)seed);
        CHECK(history.broken == INVARIANT_NONE);
        CHECK(starve_n_live() == 0);
    }
    printf("# %zu requests refused in %llu histories\n", n_refused, (unsigned long long)n);
    CHECK(n_refused > n);
}

int main(void) {
    RUN(nothing_breaks_though_memory_is_short);
    return check_end();
}
