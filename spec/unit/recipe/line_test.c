/* spec/unit/recipe/line_test.c - the rules of a line: what each reads, and how it judges what comes back. */
#include "recipe/line.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"

#define N(array) (sizeof(array) / sizeof *(array))

static const struct line_rule semaphore = {LINE_EXCLUSIVE, 3}, shared = {LINE_SHARED, 0},
                              barrier = {LINE_GATHERING, 3};
static const struct line_key own = {{"/l/c", 4}, 30}, blocker = {{"/l/b", 4}, 20};

static struct line *line_of(const char *name) {
    struct line *line = malloc(sizeof *line + line_text_bytes(strlen(name)));
    line_init(line, lun_bytes_of(name));
    return line;
}

static struct lun_kv kv(const char *key, int64_t create_rev) {
    return (struct lun_kv){.key = lun_bytes_of(key), .create_rev = create_rev};
}

static bool is_text(struct lun_bytes bytes, const char *text) {
    return lun_bytes_equal(bytes, lun_bytes_of(text));
}

/* Asks `ask` under `rule`, is answered with our own key and `n` more, and judges. */
static enum line_verdict judge(struct line_rule rule, enum line_ask ask, struct lun_kv *kvs, size_t n,
                               const struct lun_kv **ret_blockers, size_t *ret_n) {
    struct line *line = line_of("/l");
    struct line_question question;
    struct lun_kv ours = kv("/l/c", 30);
    struct lun_kv_result results[] = {{.kvs = &ours, .n_kvs = 1}, {.kvs = kvs, .n_kvs = n}};
    line_question(&question, line, rule, ask, own, &blocker, false);
    enum line_verdict verdict = line_judge(&question, results, ret_blockers, ret_n);
    free(line);
    return verdict;
}

static void a_line_knows_its_range_and_where_its_shared_places_are(void) {
    struct line *line = line_of("/l");
    struct line_question question;
    CHECK(is_text(line_prefix(line), "/l/"));
    CHECK(is_text(line_prefix_end(line), "/l0"));
    line_question(&question, line, shared, LINE_BEFORE, own, NULL, false);
    CHECK(is_text(question.reads[1].range_end, "/l/~"));
    free(line);
}

static void a_look_at_the_blocker_reads_two_keys_and_no_range(void) {
    struct line *line = line_of("/l");
    struct line_question question;
    line_question(&question, line, line_one_holds, LINE_BLOCKER, own, &blocker, false);
    CHECK(question.n_reads == 2);
    CHECK(is_text(question.reads[0].key, "/l/c") && question.reads[0].range_end.len == 0);
    CHECK(is_text(question.reads[1].key, "/l/b") && question.reads[1].range_end.len == 0);
    line_question(&question, line, line_one_holds, LINE_PROVEN, own, NULL, false);
    CHECK(question.n_reads == 1 && question.reads[0].range_end.len == 0);
    free(line);
}

static void without_our_own_key_nothing_is_held(void) {
    static const enum line_ask asks[] = {LINE_OWN, LINE_PROVEN, LINE_BLOCKER, LINE_BEFORE, LINE_FRONT};
    struct line *line = line_of("/l");
    struct lun_kv another = kv("/l/c", 31); /* the same name again */
    for (size_t i = 0; i < N(asks); i++) {
        struct line_question question;
        const struct lun_kv *blockers;
        size_t n;
        struct lun_kv_result absent[] = {{.n_kvs = 0}, {.n_kvs = 0}},
                             other[] = {{.kvs = &another, .n_kvs = 1}, {.n_kvs = 0}};
        line_question(&question, line, line_one_holds, asks[i], own, &blocker, false);
        CHECK(line_judge(&question, absent, &blockers, &n) == LINE_GONE);
        CHECK(line_judge(&question, other, &blockers, &n) == LINE_GONE);
    }
    free(line);
}

static void a_blocker_of_the_same_name_but_another_life_is_gone(void) {
    struct lun_kv there = kv("/l/b", 20), again = kv("/l/b", 40);
    const struct lun_kv *blockers;
    size_t n;
    CHECK(judge(line_one_holds, LINE_BLOCKER, &there, 1, &blockers, &n) == LINE_BLOCKED &&
          blockers == &there);
    CHECK(judge(line_one_holds, LINE_BLOCKER, &again, 1, &blockers, &n) == LINE_UNKNOWN);
    CHECK(judge(line_one_holds, LINE_BLOCKER, NULL, 0, &blockers, &n) == LINE_UNKNOWN);
}

static void one_holds_when_nobody_is_before_it(void) {
    struct lun_kv before = kv("/l/b", 20);
    const struct lun_kv *blockers;
    size_t n;
    CHECK(judge(line_one_holds, LINE_BEFORE, NULL, 0, &blockers, &n) == LINE_HOLDS);
    CHECK(judge(line_one_holds, LINE_BEFORE, &before, 1, &blockers, &n) == LINE_BLOCKED);
    CHECK(n == 1 && blockers == &before);
    CHECK(judge(line_one_holds, LINE_PROVEN, NULL, 0, &blockers, &n) == LINE_HOLDS);
    CHECK(judge(line_one_holds, LINE_OWN, NULL, 0, &blockers, &n) == LINE_BLOCKED && n == 0);
}

static void the_front_of_a_line_names_the_one_before_us(void) {
    struct lun_kv first[] = {kv("/l/a", 10), kv("/l/b", 20), kv("/l/c", 30), kv("/l/d", 40)};
    const struct lun_kv *blockers;
    size_t n;
    CHECK(judge(line_one_holds, LINE_FRONT, first, 4, &blockers, &n) == LINE_BLOCKED &&
          blockers == &first[1]);
    CHECK(judge(line_one_holds, LINE_FRONT, first + 2, 2, &blockers, &n) == LINE_HOLDS);
    CHECK(judge(line_one_holds, LINE_FRONT, first, 2, &blockers, &n) ==
          LINE_UNKNOWN); /* farther back than it reaches */
}

static void a_semaphore_of_three_holds_with_two_before_it(void) {
    struct lun_kv nearest[] = {kv("/l/b", 20), kv("/l/a", 10), kv("/l/0", 5)};
    const struct lun_kv *blockers;
    size_t n;
    CHECK(judge(semaphore, LINE_BEFORE, nearest, 2, &blockers, &n) == LINE_HOLDS);
    CHECK(judge(semaphore, LINE_BEFORE, nearest, 3, &blockers, &n) == LINE_BLOCKED);
    CHECK(n == 3); /* as long as all three are there it does not hold: they are what it watches */
    struct line *line = line_of("/l");
    struct line_question question;
    line_question(&question, line, semaphore, LINE_BEFORE, own, NULL, false);
    CHECK(question.reads[1].limit == 3 && question.reads[1].max_create_rev == 29);
    free(line);
}

static void a_shared_place_is_blocked_by_exclusive_ones_alone(void) {
    struct lun_kv writer = kv("/l/b", 20);
    const struct lun_kv *blockers;
    size_t n;
    CHECK(judge(shared, LINE_BEFORE, NULL, 0, &blockers, &n) == LINE_HOLDS);
    CHECK(judge(shared, LINE_BEFORE, &writer, 1, &blockers, &n) == LINE_BLOCKED && blockers == &writer);
    struct line *line = line_of("/l");
    struct line_question question;
    line_question(&question, line, line_one_holds, LINE_BEFORE, own, NULL,
                  false); /* a writer: by readers too */
    CHECK(is_text(question.reads[1].range_end, "/l0"));
    free(line);
}

static void a_barrier_opens_when_enough_are_there(void) {
    struct lun_kv there[] = {kv("/l/c", 30), kv("/l/b", 40), kv("/l/a", 50)};
    const struct lun_kv *blockers;
    size_t n;
    CHECK(judge(barrier, LINE_BEFORE, there, 2, &blockers, &n) == LINE_BLOCKED && n == 0);
    CHECK(judge(barrier, LINE_BEFORE, there, 3, &blockers, &n) == LINE_HOLDS);
    struct line *line = line_of("/l");
    struct line_question question;
    line_question(&question, line, barrier, LINE_BEFORE, own, NULL, false);
    CHECK(question.reads[1].limit == 3 && question.reads[1].sort_order == LUN_SORT_NONE);
    free(line);
}

static void the_owner_is_the_last_read_where_it_was_asked_for(void) {
    struct line *line = line_of("/l");
    struct line_question question;
    struct lun_kv ours = kv("/l/c", 30), before = kv("/l/b", 20), first = kv("/l/a", 10);
    struct lun_kv_result results[] = {
        {.kvs = &ours, .n_kvs = 1}, {.kvs = &before, .n_kvs = 1}, {.kvs = &first, .n_kvs = 1}};
    line_question(&question, line, line_one_holds, LINE_BLOCKER, own, &blocker, true);
    CHECK(question.n_reads == 3 && line_owner(&question, results) == &first);
    line_question(&question, line, line_one_holds, LINE_BLOCKER, own, &blocker, false);
    CHECK(question.n_reads == 2 && line_owner(&question, results) == NULL);
    free(line);
}

int main(void) {
    RUN(a_line_knows_its_range_and_where_its_shared_places_are);
    RUN(a_look_at_the_blocker_reads_two_keys_and_no_range);
    RUN(without_our_own_key_nothing_is_held);
    RUN(a_blocker_of_the_same_name_but_another_life_is_gone);
    RUN(one_holds_when_nobody_is_before_it);
    RUN(the_front_of_a_line_names_the_one_before_us);
    RUN(a_semaphore_of_three_holds_with_two_before_it);
    RUN(a_shared_place_is_blocked_by_exclusive_ones_alone);
    RUN(a_barrier_opens_when_enough_are_there);
    RUN(the_owner_is_the_last_read_where_it_was_asked_for);
    return check_end();
}
