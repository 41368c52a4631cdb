/* recipe/line.c - the rules of a line: see line.h. Pure: nothing is sent from here. */
#include "recipe/line.h"

#include <assert.h>
#include <string.h>

const struct line_rule line_one_holds = {LINE_EXCLUSIVE, 1};

bool line_is_single(struct line_rule rule) {
    return rule.kind == LINE_EXCLUSIVE && rule.n == 1;
}

/* ---- a line ----------------------------------------------------------------------------------------- */

/* "<name>/~" with its terminator, and "<name>0" without. */
size_t line_text_bytes(size_t name_len) {
    return name_len + 3 + name_len + 1;
}

void line_init(struct line *line, struct lun_bytes name) {
    *line = (struct line){.prefix_len = name.len + 1};
    list_init(&line->places);
    char *end = line->text + name.len + 3;
    memcpy(line->text, name.data, name.len);
    memcpy(line->text + name.len, (char[]){'/', LINE_SHARED_MARK, '\0'}, 3);
    memcpy(end, name.data, name.len);
    end[name.len] = '/' + 1;
}

struct lun_bytes line_prefix(const struct line *line) {
    return (struct lun_bytes){line->text, line->prefix_len};
}

struct lun_bytes line_prefix_end(const struct line *line) {
    return (struct lun_bytes){line->text + line->prefix_len + 2, line->prefix_len};
}

/* Where the keys of shared places begin. */
static struct lun_bytes shared_begin(const struct line *line) {
    return (struct lun_bytes){line->text, line->prefix_len + 1};
}

struct lun_kv_op line_first(struct lun_bytes prefix, struct lun_bytes prefix_end) {
    return (struct lun_kv_op){.kind = LUN_OP_RANGE,
                              .key = prefix,
                              .range_end = prefix_end,
                              .sort_target = LUN_SORT_CREATE,
                              .sort_order = LUN_SORT_ASCEND,
                              .limit = 1};
}

/* ---- questions -------------------------------------------------------------------------------------- */

static struct lun_kv_op point(struct lun_bytes key) {
    return (struct lun_kv_op){.kind = LUN_OP_RANGE, .key = key, .is_keys_only = true};
}

/* Those before us that count, the nearest first, as many as it takes to keep us from holding. */
static struct lun_kv_op before(const struct line *line, struct line_rule rule, int64_t own_rev) {
    return (struct lun_kv_op){
        .kind = LUN_OP_RANGE,
        .key = line_prefix(line),
        .range_end = rule.kind == LINE_SHARED ? shared_begin(line) : line_prefix_end(line),
        .max_create_rev = own_rev - 1, /* only who came before us */
        .sort_target = LUN_SORT_CREATE,
        .sort_order = LUN_SORT_DESCEND,
        .limit = rule.kind == LINE_SHARED ? 1 : (int64_t)rule.n,
        .is_keys_only = true, /* who it is does not matter */
    };
}

static struct lun_kv_op front(const struct line *line) {
    struct lun_kv_op first = line_first(line_prefix(line), line_prefix_end(line));
    first.limit = LINE_FRONT_KEYS;
    first.is_keys_only = true;
    return first;
}

/* In whatever order: etcd then stops reading at the limit. */
static struct lun_kv_op any(const struct line *line, unsigned n) {
    return (struct lun_kv_op){.kind = LUN_OP_RANGE,
                              .key = line_prefix(line),
                              .range_end = line_prefix_end(line),
                              .limit = (int64_t)n,
                              .is_keys_only = true};
}

void line_question(struct line_question *ret_question, const struct line *line, struct line_rule rule,
                   enum line_ask ask, struct line_key own, const struct line_key *blocker, bool wants_owner) {
    struct line_question *question = ret_question;
    *question = (struct line_question){.ask = ask, .rule = rule, .own = own, .has_owner = wants_owner};
    if (blocker)
        question->blocker = *blocker;
    question->reads[question->n_reads++] = point(own.key); /* S2: no win without our own key, the very same */
    if (ask == LINE_BLOCKER)
        question->reads[question->n_reads++] = point(question->blocker.key);
    else if (ask == LINE_BEFORE && rule.kind == LINE_GATHERING)
        question->reads[question->n_reads++] = any(line, rule.n);
    else if (ask == LINE_BEFORE)
        question->reads[question->n_reads++] = before(line, rule, own.create_rev);
    else if (ask == LINE_FRONT)
        question->reads[question->n_reads++] = front(line);
    if (wants_owner)
        question->reads[question->n_reads++] = line_first(line_prefix(line), line_prefix_end(line));
}

/* ---- answers ---------------------------------------------------------------------------------------- */

static bool is_key(const struct lun_kv *kv, const struct line_key *key) {
    return kv->create_rev == key->create_rev && lun_bytes_equal(kv->key, key->key);
}

static enum line_verdict judge_before(const struct line_question *question,
                                      const struct lun_kv_result *result, const struct lun_kv **ret_blockers,
                                      size_t *ret_n) {
    if (question->rule.kind == LINE_GATHERING)
        return result->n_kvs >= question->rule.n ? LINE_HOLDS : LINE_BLOCKED;
    size_t n_slots = question->rule.kind == LINE_SHARED ? 1 : question->rule.n;
    if (result->n_kvs < n_slots)
        return LINE_HOLDS;
    *ret_blockers = result->kvs;
    *ret_n = result->n_kvs;
    return LINE_BLOCKED;
}

/* Only where one holds at a time. */
static enum line_verdict judge_front(const struct line_question *question, const struct lun_kv_result *result,
                                     const struct lun_kv **ret_blockers, size_t *ret_n) {
    for (size_t i = 0; i < result->n_kvs; i++) {
        if (!is_key(&result->kvs[i], &question->own))
            continue;
        if (i == 0)
            return LINE_HOLDS;
        *ret_blockers = &result->kvs[i - 1];
        *ret_n = 1;
        return LINE_BLOCKED;
    }
    return LINE_UNKNOWN;
}

enum line_verdict line_judge(const struct line_question *question, const struct lun_kv_result *results,
                             const struct lun_kv **ret_blockers, size_t *ret_n) {
    const struct lun_kv_result *own = &results[0], *second = &results[1];
    *ret_blockers = NULL;
    *ret_n = 0;
    if (own->n_kvs == 0 || own->kvs[0].create_rev != question->own.create_rev)
        return LINE_GONE;
    switch (question->ask) {
    case LINE_PROVEN:
        return LINE_HOLDS;
    case LINE_BLOCKER:
        if (second->n_kvs == 0 || second->kvs[0].create_rev != question->blocker.create_rev)
            return LINE_UNKNOWN;
        *ret_blockers = second->kvs;
        *ret_n = 1;
        return LINE_BLOCKED;
    case LINE_BEFORE:
        return judge_before(question, second, ret_blockers, ret_n);
    case LINE_FRONT:
        return judge_front(question, second, ret_blockers, ret_n);
    case LINE_OWN:
        break;
    }
    return LINE_BLOCKED;
}

const struct lun_kv *line_owner(const struct line_question *question, const struct lun_kv_result *results) {
    const struct lun_kv_result *owner = &results[question->n_reads - 1];
    return question->has_owner && owner->n_kvs > 0 ? &owner->kvs[0] : NULL;
}
