/* sim/txn.c - compares and operations, alone or in a transaction. */
#include "sim/world.h"

/* ---- compares ------------------------------------------------------------------------------------------- */

static int order(int64_t a, int64_t b) {
    return (a > b) - (a < b);
}

/* A compare without a number means 0. */
static int order_of(const Etcdserverpb__Compare *compare, const struct sim_kv *kv) {
    Etcdserverpb__Compare__TargetUnionCase given = compare->target_union_case;
    switch (compare->target) {
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__VERSION:
        return order(kv->version,
                     given == ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION ? compare->version : 0);
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE:
        return order(kv->create_rev, given == ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION
                                         ? compare->create_revision
                                         : 0);
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD:
        return order(kv->mod_rev,
                     given == ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION ? compare->mod_revision : 0);
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__LEASE:
        return order(kv->lease, given == ETCDSERVERPB__COMPARE__TARGET_UNION_LEASE ? compare->lease : 0);
    default: {
        struct lun_bytes value = {0};
        if (given == ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE)
            value = sim_bytes(compare->value);
        return sim_bytes_order((struct lun_bytes){kv->value, kv->value_bytes}, value);
    }
    }
}

static bool holds_for(const Etcdserverpb__Compare *compare, const struct sim_kv *kv) {
    int found = order_of(compare, kv);
    switch (compare->result) {
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__GREATER:
        return found > 0;
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__LESS:
        return found < 0;
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__NOT_EQUAL:
        return found != 0;
    default:
        return found == 0;
    }
}

/* An empty range compares as a key that was never there; a value that is not there never compares. */
static bool holds(struct sim *sim, const Etcdserverpb__Compare *compare) {
    static const struct sim_kv none;
    struct sim_range inside = sim_range_of(sim_bytes(compare->key), sim_bytes(compare->range_end));
    size_t from, to;
    sim_keys_slice(&sim->keys, &inside, &from, &to);
    sim->n_keys_read += to - from;
    if (from == to)
        return compare->target != ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE && holds_for(compare, &none);
    for (; from < to; from++)
        if (!holds_for(compare, &sim->keys.kvs[from]))
            return false;
    return true;
}

/* ---- operations ----------------------------------------------------------------------------------------- */

/* What a reply inside a transaction bears: the revision alone. */
static Etcdserverpb__ResponseHeader *inner_header(struct sim *sim, int64_t revision) {
    Etcdserverpb__ResponseHeader *header = sim_take(sim, sizeof *header);
    etcdserverpb__response_header__init(header);
    header->revision = revision;
    return header;
}

static Etcdserverpb__KeyValue **list_of_one(struct sim *sim, const struct sim_kv *kv) {
    Etcdserverpb__KeyValue **list = sim_take(sim, sizeof *list);
    *list = sim_kv_message(sim, kv, true);
    return list;
}

static Etcdserverpb__PutResponse *put(struct sim *sim, const Etcdserverpb__PutRequest *request,
                                      int64_t revision) {
    Etcdserverpb__PutResponse *response = sim_take(sim, sizeof *response);
    etcdserverpb__put_response__init(response);
    const struct sim_kv *old = sim_keys_find(&sim->keys, sim_bytes(request->key));
    if (old && request->prev_kv)
        response->prev_kv = *list_of_one(sim, old);
    sim_put(sim, request, revision);
    return response;
}

static Etcdserverpb__DeleteRangeResponse *
delete_range(struct sim *sim, const Etcdserverpb__DeleteRangeRequest *request, int64_t revision) {
    Etcdserverpb__DeleteRangeResponse *response = sim_take(sim, sizeof *response);
    etcdserverpb__delete_range_response__init(response);
    struct sim_range inside = sim_range_of(sim_bytes(request->key), sim_bytes(request->range_end));
    size_t from, to;
    sim_keys_slice(&sim->keys, &inside, &from, &to);
    sim->n_keys_read += to - from;
    if (request->prev_kv && to > from) {
        response->prev_kvs = sim_take(sim, (to - from) * sizeof *response->prev_kvs);
        for (size_t i = from; i < to; i++)
            response->prev_kvs[response->n_prev_kvs++] = sim_kv_message(sim, &sim->keys.kvs[i], true);
    }
    response->deleted = sim_delete_range(sim, &inside, revision);
    return response;
}

struct work {
    struct sim *sim;
    int64_t revision; /* of what is changed */
    bool is_changed;
};

static int64_t revision_now(const struct work *work) {
    return work->is_changed ? work->revision : work->sim->revision;
}

static Etcdserverpb__ResponseOp *carry_out(struct work *work, const Etcdserverpb__RequestOp *op) {
    struct sim *sim = work->sim;
    Etcdserverpb__ResponseOp *response = sim_take(sim, sizeof *response);
    etcdserverpb__response_op__init(response);
    switch (op->request_case) {
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE:
        response->response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE;
        response->response_range = sim_read(sim, op->request_range, sim->revision);
        response->response_range->header = inner_header(sim, revision_now(work));
        break;
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT:
        response->response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_PUT;
        response->response_put = put(sim, op->request_put, work->revision);
        work->is_changed = true;
        response->response_put->header = inner_header(sim, work->revision);
        break;
    default:
        response->response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_DELETE_RANGE;
        response->response_delete_range = delete_range(sim, op->request_delete_range, work->revision);
        work->is_changed = work->is_changed || response->response_delete_range->deleted > 0;
        response->response_delete_range->header = inner_header(sim, revision_now(work));
        break;
    }
    return response;
}

static void finish(struct work *work) {
    work->sim->revision += work->is_changed;
    sim_commit(work->sim);
}

/* ---- what is found wrong only when it is carried out ----------------------------------------------------- */

static struct sim_answer check_put(struct sim *sim, const Etcdserverpb__PutRequest *request) {
    if ((request->ignore_value || request->ignore_lease) &&
        !sim_keys_find(&sim->keys, sim_bytes(request->key)))
        return sim_refusal(RPC_INVALID_ARGUMENT, "etcdserver: key not found");
    if (request->lease != 0 && !sim_find_lease(sim, request->lease))
        return sim_refusal(RPC_NOT_FOUND, "etcdserver: requested lease not found");
    return sim_reply(NULL);
}

static struct sim_answer check_range(struct sim *sim, const Etcdserverpb__RangeRequest *request) {
    const char *why = sim_refuses_revision(sim, request->revision);
    return why ? sim_refusal(RPC_OUT_OF_RANGE, why) : sim_reply(NULL);
}

static struct sim_answer check_all(struct sim *sim, Etcdserverpb__RequestOp **ops, size_t n) {
    struct sim_answer answer = sim_reply(NULL);
    for (size_t i = 0; i < n && answer.status == RPC_OK; i++)
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT)
            answer = check_put(sim, ops[i]->request_put);
    for (size_t i = 0; i < n && answer.status == RPC_OK; i++)
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE)
            answer = check_range(sim, ops[i]->request_range);
    return answer;
}

/* ---- requests ------------------------------------------------------------------------------------------- */

struct sim_answer sim_range(struct sim *sim, const Etcdserverpb__RangeRequest *request, int64_t revision) {
    struct sim_answer answer = check_range(sim, request);
    if (answer.status)
        return answer;
    Etcdserverpb__RangeResponse *response = sim_read(sim, request, revision);
    response->header = sim_header(sim);
    response->header->revision = revision;
    return sim_reply(&response->base);
}

struct sim_answer sim_put_asked(struct sim *sim, const Etcdserverpb__PutRequest *request) {
    struct sim_answer answer = check_put(sim, request);
    if (answer.status)
        return answer;
    struct work work = {sim, sim->revision + 1, true};
    Etcdserverpb__PutResponse *response = put(sim, request, work.revision);
    finish(&work);
    response->header = sim_header(sim);
    return sim_reply(&response->base);
}

struct sim_answer sim_delete_asked(struct sim *sim, const Etcdserverpb__DeleteRangeRequest *request) {
    struct work work = {sim, sim->revision + 1, false};
    Etcdserverpb__DeleteRangeResponse *response = delete_range(sim, request, work.revision);
    work.is_changed = response->deleted > 0;
    finish(&work);
    response->header = sim_header(sim);
    return sim_reply(&response->base);
}

static bool writes(Etcdserverpb__RequestOp **ops, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (ops[i]->request_case != ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE)
            return true;
    return false;
}

bool sim_txn_writes(const Etcdserverpb__TxnRequest *request) {
    return writes(request->success, request->n_success) || writes(request->failure, request->n_failure);
}

static bool has_put(Etcdserverpb__RequestOp **ops, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT)
            return true;
    return false;
}

bool sim_txn_puts(const Etcdserverpb__TxnRequest *request) {
    return has_put(request->success, request->n_success) || has_put(request->failure, request->n_failure);
}

struct sim_answer sim_txn(struct sim *sim, const Etcdserverpb__TxnRequest *request) {
    bool is_success = true;
    for (size_t i = 0; i < request->n_compare; i++)
        is_success = is_success && holds(sim, request->compare[i]);
    size_t n = is_success ? request->n_success : request->n_failure;
    Etcdserverpb__RequestOp **ops = is_success ? request->success : request->failure;
    struct sim_answer answer = check_all(sim, ops, n);
    if (answer.status)
        return answer;
    Etcdserverpb__TxnResponse *response = sim_take(sim, sizeof *response);
    etcdserverpb__txn_response__init(response);
    response->succeeded = is_success;
    response->n_responses = n;
    response->responses = sim_take(sim, (n + 1) * sizeof *response->responses);
    struct work work = {sim, sim->revision + 1, false};
    for (size_t i = 0; i < n; i++)
        response->responses[i] = carry_out(&work, ops[i]);
    if (sim_txn_writes(request))
        finish(&work);
    response->header = sim_header(sim);
    return sim_reply(&response->base);
}
