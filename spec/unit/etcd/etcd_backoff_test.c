/* spec/unit/etcd/etcd_backoff_test.c - delays: drawn within their bounds, and growing up to a limit. */
#include "check.h"
#include "etcd/backoff.h"
#include "fake_rpc.h"

static void an_early_span_is_less_by_one_part_at_the_most(void) {
    struct fake *fake = fake_new();
    bool is_short = false, is_long = false;
    for (int i = 0; i < 1000; i++) {
        int64_t span = backoff_early(fake_rpc(fake), 1000, 5);
        CHECK(span >= 800 && span <= 1000);
        is_short |= span < 820;
        is_long |= span > 980;
    }
    CHECK(is_short && is_long);
    CHECK(backoff_early(fake_rpc(fake), 1, 4) == 1);
    fake_free(fake);
}

static void a_span_around_is_half_to_one_and_a_half_times(void) {
    struct fake *fake = fake_new();
    for (int i = 0; i < 1000; i++) {
        int64_t span = backoff_around(fake_rpc(fake), 1000);
        CHECK(span >= 500 && span <= 1500);
    }
    fake_free(fake);
}

static void a_delay_doubles_up_to_its_limit_however_often_it_failed(void) {
    CHECK(backoff_grown(50, 500, 0) == 50);
    CHECK(backoff_grown(50, 500, 1) == 100);
    CHECK(backoff_grown(50, 500, 3) == 400);
    CHECK(backoff_grown(50, 500, 4) == 500);
    CHECK(backoff_grown(50, 500, 4000000000U) == 500);
    CHECK(backoff_grown(50, 20, 0) == 20);
}

int main(void) {
    RUN(an_early_span_is_less_by_one_part_at_the_most);
    RUN(a_span_around_is_half_to_one_and_a_half_times);
    RUN(a_delay_doubles_up_to_its_limit_however_often_it_failed);
    return check_end();
}
