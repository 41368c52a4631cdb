/* rpc/grpc/srv.c - asks DNS for SRV records (RFC 2782). See srv.h.
 *
 * The machine's resolver is asked with limits of our own: a name server that is silent is given up after SECONDS, TRIES times. */
#include "rpc/grpc/srv.h"

#include <arpa/nameser.h>
#include <netdb.h>
#include <pthread.h>
#include <resolv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { SECONDS = 1, TRIES = 3, ANSWER_BYTES = 65535, SRV_FIXED_BYTES = 6 };

/* ---- reading the answer ------------------------------------------------------------------------------ */

/* False: not a record of ours, or one that says that there is no such service here (a host of "."). */
static bool read_record(ns_msg message, const ns_rr *record, struct rpc_srv *ret) {
    const unsigned char *data = ns_rr_rdata(*record);
    if (ns_rr_type(*record) != ns_t_srv || ns_rr_class(*record) != ns_c_in ||
        ns_rr_rdlen(*record) <= SRV_FIXED_BYTES)
        return false;
    ret->priority = (uint16_t)ns_get16(data);
    ret->weight = (uint16_t)ns_get16(data + 2);
    ret->port = (uint16_t)ns_get16(data + 4);
    int n = dn_expand(ns_msg_base(message), ns_msg_end(message), data + SRV_FIXED_BYTES, ret->host,
                      sizeof ret->host);
    return n > 0 && ret->host[0] != '\0' && strcmp(ret->host, ".") != 0 && ret->port != 0;
}

/* As many as there is room for; of more, those of the lowest priorities. */
static void keep(struct rpc_lookup *lookup, const struct rpc_srv *record) {
    size_t i = lookup->n;
    while (i > 0 && lookup->records[i - 1].priority > record->priority)
        i--;
    if (i == RPC_SRV_MOST)
        return;
    size_t n_moved = (lookup->n < RPC_SRV_MOST ? lookup->n : RPC_SRV_MOST - 1) - i;
    memmove(&lookup->records[i + 1], &lookup->records[i], n_moved * sizeof *record);
    lookup->records[i] = *record;
    lookup->n += lookup->n < RPC_SRV_MOST;
}

static unsigned draw_below(unsigned n) {
    uint32_t bits = 0;
    (void)!getrandom(&bits, sizeof bits, 0);
    return n > 0 ? bits % n : 0;
}

/* Of those of one priority, [from, to): each place is drawn by the weights of those left; a weight of 0 has a small chance. */
static void shuffle(struct rpc_srv *records, size_t from, size_t to) {
    for (; from + 1 < to; from++) {
        unsigned sum = 0;
        for (size_t i = from; i < to; i++)
            sum += records[i].weight + 1U;
        size_t chosen = from;
        for (unsigned left = draw_below(sum); left > records[chosen].weight; chosen++)
            left -= records[chosen].weight + 1U;
        struct rpc_srv record = records[chosen];
        records[chosen] = records[from];
        records[from] = record;
    }
}

static void put_in_order(struct rpc_lookup *lookup) {
    for (size_t from = 0, to; from < lookup->n; from = to) {
        for (to = from + 1; to < lookup->n && lookup->records[to].priority == lookup->records[from].priority;)
            to++;
        shuffle(lookup->records, from, to);
    }
}

static bool read_answer(const unsigned char *answer, int n_bytes, struct rpc_lookup *lookup) {
    ns_msg message;
    if (ns_initparse(answer, n_bytes, &message))
        return false;
    for (int i = 0; i < ns_msg_count(message, ns_s_an); i++) {
        ns_rr record;
        struct rpc_srv srv;
        if (ns_parserr(&message, ns_s_an, i, &record))
            return false;
        if (read_record(message, &record, &srv))
            keep(lookup, &srv);
    }
    return true;
}

/* ---- asking ------------------------------------------------------------------------------------------ */

static void refuse(struct rpc_lookup *lookup, const char *why) {
    (void)snprintf(lookup->error, sizeof lookup->error, "%s", why);
}

static void describe(int h_error, struct rpc_lookup *lookup) {
    lookup->is_missing = h_error == HOST_NOT_FOUND || h_error == NO_DATA;
    if (lookup->is_missing)
        refuse(lookup, "DNS has no such SRV record");
    else if (h_error == TRY_AGAIN)
        refuse(lookup, "no DNS server has answered the question for its SRV record");
    else
        refuse(lookup, "the DNS server could not answer the question for its SRV record");
}

void srv_query(const struct sockaddr_in *server, const char *name, struct rpc_lookup *lookup) {
    struct __res_state state = {0};
    unsigned char *answer = malloc(ANSWER_BYTES);
    if (!answer || res_ninit(&state)) {
        free(answer);
        refuse(lookup, "the system's resolver cannot be used");
        return;
    }
    state.retrans = SECONDS;
    state.retry = TRIES;
    if (server) {
        state.nscount = 1;
        state.nsaddr_list[0] = *server;
    }
    int n_bytes = res_nquery(&state, name, ns_c_in, ns_t_srv, answer, ANSWER_BYTES);
    if (n_bytes < 0) {
        describe(state.res_h_errno, lookup);
    } else if (!read_answer(answer, n_bytes, lookup)) {
        lookup->n = 0;
        refuse(lookup, "the answer of the DNS server cannot be read");
    } else if (lookup->n == 0) {
        describe(NO_DATA, lookup);
    }
    put_in_order(lookup);
    res_nclose(&state);
    free(answer);
}

/* ---- on a thread ------------------------------------------------------------------------------------- */

struct srv_lookup {
    struct rpc_lookup base;
    atomic_int n_users;
    char name[];
};

static void release(struct rpc_lookup *base) {
    struct srv_lookup *lookup = CONTAINER_OF(base, struct srv_lookup, base);
    if (atomic_fetch_sub(&lookup->n_users, 1) == 1)
        free(lookup);
}

static void *run(void *arg) {
    struct srv_lookup *lookup = arg;
    srv_query(NULL, lookup->name, &lookup->base);
    atomic_store(&lookup->base.is_done, true);
    release(&lookup->base);
    return NULL;
}

int srv_lookup_start(struct rpc *rpc, const char *name, struct rpc_lookup **ret_lookup) {
    (void)rpc;
    size_t n_bytes = strlen(name) + 1;
    pthread_attr_t attributes;
    pthread_t thread;
    struct srv_lookup *lookup = calloc(1, sizeof *lookup + n_bytes);
    if (!lookup)
        return LUN_ENOMEM;
    memcpy(lookup->name, name, n_bytes);
    lookup->base.release = release;
    atomic_store(&lookup->n_users, 2);
    int rc = pthread_attr_init(&attributes);
    if (!rc) {
        (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        rc = pthread_create(&thread, &attributes, run, lookup);
        (void)pthread_attr_destroy(&attributes);
    }
    if (rc) {
        free(lookup);
        return LUN_ENOMEM;
    }
    *ret_lookup = &lookup->base;
    return 0;
}
