/* spec/unit/recipe/pace_test.c - how slow answers, and absences, change the pace of safety reads. */
#include "check.h"
#include "recipe/pace.h"

static void answer(struct pace *pace, int64_t took_ns) {
    pace_begin(pace);
    pace_end(pace, took_ns);
}

static void slow_answers_stretch_what_is_read_without_cause(void) {
    struct pace pace = {0};
    for (int i = 0; i < 20; i++)
        answer(&pace, NS_PER_S);
    CHECK(pace_stretched(&pace, 10 * NS_PER_S) > 15 * NS_PER_S);
}

/* Etcd, or this process, was away for an hour: that says nothing about how long answers take. */
static void an_absence_is_not_taken_for_a_slow_answer(void) {
    struct pace pace = {0};
    answer(&pace, 3600 * NS_PER_S);
    CHECK(pace_stretched(&pace, 10 * NS_PER_S) <= 10 * NS_PER_S);
}

int main(void) {
    RUN(slow_answers_stretch_what_is_read_without_cause);
    RUN(an_absence_is_not_taken_for_a_slow_answer);
    return check_end();
}
