/* spec/unit/base/base_test.c - the ground floor. */
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/fork.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/sm.h"
#include "base/trace.h"

#include "check.h"

/* ---- heap ------------------------------------------------------------------------------------------- */

static uint32_t draw(void) {
    static uint32_t state = 12345;
    return (state = state * 1664525 + 1013904223) >> 8;
}

static bool is_consistent(const struct heap *heap) {
    for (size_t i = 0; i < heap->n; i++)
        if (heap->nodes[i]->index != i + 1 || (i > 0 && heap->nodes[(i - 1) / 2]->key > heap->nodes[i]->key))
            return false;
    return true;
}

static void a_heap_gives_the_smallest_key_first(void) {
    enum { N = 100 };
    struct heap heap;
    struct heap_node nodes[N] = {{0}};
    heap_init(&heap);
    CHECK(heap_first(&heap) == NULL);
    REQUIRE(heap_reserve(&heap, N) == 0);
    for (int i = 0; i < N; i++)
        heap_insert(&heap, &nodes[i], draw() % 50);
    CHECK(heap.n == N && is_consistent(&heap));
    int64_t last = -1;
    for (int i = 0; i < N; i++) {
        struct heap_node *first = heap_first(&heap);
        CHECK(first->key >= last);
        last = first->key;
        heap_remove(&heap, first);
        CHECK(first->index == 0);
    }
    CHECK(heap_first(&heap) == NULL);
    heap_fini(&heap);
}

static void a_heap_gives_equal_keys_in_the_order_of_their_insertion(void) {
    enum { N = 20 };
    struct heap heap;
    struct heap_node nodes[N] = {{0}};
    heap_init(&heap);
    REQUIRE(heap_reserve(&heap, N) == 0);
    for (int i = 0; i < N; i++)
        heap_insert(&heap, &nodes[i], 7);
    heap_insert(&heap, &nodes[3], 7); /* moved: it comes after all others */
    for (int i = 0; i < N; i++) {
        int expected = i < 3 ? i : i < N - 1 ? i + 1 : 3;
        CHECK(heap_first(&heap) == &nodes[expected]);
        heap_remove(&heap, heap_first(&heap));
    }
    heap_fini(&heap);
}

static void a_heap_survives_any_order_of_inserts_moves_and_removals(void) {
    enum { N = 64, ROUNDS = 20000 };
    struct heap heap;
    struct heap_node nodes[N] = {{0}};
    heap_init(&heap);
    REQUIRE(heap_reserve(&heap, N) == 0);
    for (int round = 0; round < ROUNDS; round++) {
        struct heap_node *node = &nodes[draw() % N];
        if (draw() % 3 == 0)
            heap_remove(&heap, node); /* also when it is not in */
        else
            heap_insert(&heap, node, draw() % 1000);
        int64_t smallest = INT64_MAX;
        size_t n = 0;
        for (int i = 0; i < N; i++) {
            n += nodes[i].index != 0;
            if (nodes[i].index != 0 && nodes[i].key < smallest)
                smallest = nodes[i].key;
        }
        REQUIRE(heap.n == n && is_consistent(&heap));
        REQUIRE(n == 0 || heap_first(&heap)->key == smallest);
    }
    heap_fini(&heap);
}

/* ---- list ------------------------------------------------------------------------------------------- */

struct item {
    int number;
    struct list in_list;
};

/* The numbers of a list as decimal digits. */
static int digits(const struct list *list) {
    int n = 0;
    for (const struct list *node = list->next; node != list; node = node->next)
        n = n * 10 + CONTAINER_OF(node, struct item, in_list)->number;
    return n;
}

static void fill(struct list *list, struct item items[3], int first) {
    list_init(list);
    for (int i = 0; i < 3; i++) {
        items[i].number = first + i;
        list_push_back(list, &items[i].in_list);
    }
}

static void a_list_keeps_the_order_of_arrival(void) {
    struct list list;
    struct item items[3];
    fill(&list, items, 1);
    CHECK(digits(&list) == 123 && !list_is_empty(&list));
    list_remove(&items[1].in_list);
    list_remove(&items[1].in_list); /* harmless */
    CHECK(digits(&list) == 13 && list_is_empty(&items[1].in_list));
    list_push_back(&list, &items[1].in_list);
    CHECK(digits(&list) == 132);
    CHECK(list_pop_front(&list) == &items[0].in_list && digits(&list) == 32);
    (void)list_pop_front(&list);
    (void)list_pop_front(&list);
    CHECK(list_pop_front(&list) == NULL && list_is_empty(&list));
}

static void lists_are_moved_and_appended(void) {
    struct list a, b, none;
    struct item first[3], second[3];
    fill(&a, first, 1);
    list_move(&a, &b);
    CHECK(list_is_empty(&a) && digits(&b) == 123);
    list_move(&a, &none);
    CHECK(list_is_empty(&none));
    fill(&a, second, 4);
    list_append(&a, &b);
    CHECK(list_is_empty(&a) && digits(&b) == 123456);
    list_append(&a, &b);
    list_append(&b, &a);
    CHECK(digits(&a) == 123456 && list_is_empty(&b));
    list_remove(&first[2].in_list);
    list_remove(&second[2].in_list);
    CHECK(digits(&a) == 1245);
}

/* ---- bytes ------------------------------------------------------------------------------------------ */

static void check_prefix_end(const char *prefix, size_t len, const char *expected, size_t expected_len) {
    struct bytes end;
    REQUIRE(bytes_prefix_end(&end, (struct lun_bytes){prefix, len}) == 0);
    CHECK(lun_bytes_equal(bytes_view(&end), (struct lun_bytes){expected, expected_len}));
    CHECK(end.data[end.len] == '\0');
    bytes_fini(&end);
}

static void the_end_of_a_prefix_follows_all_its_keys(void) {
    check_prefix_end("/jobs/", 6, "/jobs0", 6);
    check_prefix_end("a", 1, "b", 1);
    check_prefix_end("a\xff", 2, "b", 1);
    check_prefix_end("a\xff\xff\xff", 4, "b", 1);
    check_prefix_end("a\xfe", 2, "a\xff", 2);
    check_prefix_end("a\0", 2, "a\1", 2);
    check_prefix_end("\x7f", 1, "\x80", 1);
    check_prefix_end("\xff\xff", 2, "\0", 1);
    check_prefix_end("\xff", 1, "\0", 1);
    check_prefix_end("", 0, "\0", 1);
}

static void bytes_are_copied_with_their_zeros(void) {
    struct bytes copy;
    REQUIRE(bytes_copy(&copy, (struct lun_bytes){"a\0b", 3}) == 0);
    CHECK(copy.len == 3 && memcmp(copy.data, "a\0b", 4) == 0);
    CHECK(!lun_bytes_equal(bytes_view(&copy), lun_bytes_of("a")));
    bytes_fini(&copy);
    bytes_fini(&copy);
    CHECK(!copy.data && copy.len == 0);
    REQUIRE(bytes_copy(&copy, (struct lun_bytes){NULL, 0}) == 0);
    CHECK_TEXT(copy.data, "");
    bytes_fini(&copy);
    REQUIRE(bytes_printf(&copy, "%s/%x", "/jobs", 0xbeefu) == 0);
    CHECK_TEXT(copy.data, "/jobs/beef");
    CHECK(copy.len == 10);
    bytes_fini(&copy);
    CHECK(lun_bytes_of(NULL).len == 0 && lun_bytes_equal(lun_bytes_of(NULL), lun_bytes_of("")));
}

/* ---- err -------------------------------------------------------------------------------------------- */

static void an_error_is_wrapped_outward(void) {
    struct lun_err err;
    CHECK(lun_err_set(&err, LUN_ELOST, "requested lease %s", "not found") == LUN_ELOST);
    CHECK(err.status == -1 && !err.is_retriable && !err.is_outcome_unknown);
    err.is_retriable = true;
    CHECK(lun_err_wrap(&err, "enter") == LUN_ELOST);
    CHECK(lun_err_wrap(&err, "lock %s", "/jobs") == LUN_ELOST);
    CHECK_TEXT(err.text, "lock /jobs: enter: requested lease not found");
    CHECK(err.is_retriable);
    CHECK(lun_err_set(NULL, LUN_ELOST, "nobody asked") == LUN_ELOST && lun_err_wrap(NULL, "nor here") == 0);
}

static void a_control_character_from_outside_is_not_shown(void) {
    struct lun_err err;
    (void)lun_err_set(&err, LUN_ELOST, "key %s",
                      "a\nb\x1b[2J\x7f\xc2\x9b"
                      "c \xc3\xa9");
    CHECK_TEXT(err.text, "key a?b?[2J???c \xc3\xa9");
    (void)lun_err_wrap(&err, "lock %s", "/x\r\n");
    CHECK_TEXT(err.text, "lock /x??: key a?b?[2J???c \xc3\xa9");
}

static void an_error_too_long_is_cut(void) {
    char text[2 * LUN_ERR_TEXT_BYTES];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    struct lun_err err;
    (void)lun_err_set(&err, LUN_EINVALID, "%s", text);
    CHECK(strlen(err.text) == LUN_ERR_TEXT_BYTES - 1);
    (void)lun_err_wrap(&err, "outer");
    CHECK(strlen(err.text) == LUN_ERR_TEXT_BYTES - 1 && strncmp(err.text, "outer: xxx", 10) == 0);
    (void)lun_err_set(&err, LUN_EINVALID, "inner");
    (void)lun_err_wrap(&err, "%s", text);
    CHECK(strlen(err.text) == LUN_ERR_TEXT_BYTES - 1);
}

static void every_code_has_a_name_and_a_sentence(void) {
#define LUN_X(symbol, number, name, sentence)                                                                \
    CHECK((number) < 0);                                                                                     \
    CHECK_TEXT(lun_strerror_name(symbol), name);                                                             \
    CHECK_TEXT(lun_strerror(symbol), sentence);
    LUN_ERRORS(LUN_X)
#undef LUN_X
    CHECK_TEXT(lun_strerror_name(0), "ok");
    CHECK_TEXT(lun_strerror_name(-9999), "unknown");
}

/* ---- sm --------------------------------------------------------------------------------------------- */

enum { CLOSED, OPENING, OPEN, N_STATES };
static const struct sm_state states[N_STATES] = {
    [CLOSED] = {"closed", SM_ARC(OPENING)},
    [OPENING] = {"opening", SM_ARC(OPEN) | SM_ARC(CLOSED)},
    [OPEN] = {"open", SM_ARC(CLOSED)},
};
static const struct sm_class door_class = {.name = "door", .states = states, .n_states = N_STATES};

static char traced[256];
static void on_line(void *arg, const char *line) {
    CHECK(arg == traced);
    snprintf(traced, sizeof traced, "%s", line);
}

static void a_machine_moves_along_its_arcs_and_traces_them(void) {
    struct trace trace = {on_line, traced};
    struct sm sm, other;
    sm_init(&sm, &door_class, &trace, CLOSED);
    sm_init(&other, &door_class, NULL, CLOSED);
    CHECK(sm.id != other.id);
    sm_move(&sm, OPENING);
    char expected[64];
    snprintf(expected, sizeof expected, "door %u: closed -> opening", sm.id);
    CHECK_TEXT(traced, expected);
    sm_move(&sm, OPEN);
    CHECK_TEXT(sm_name(&sm), "open");
    sm_move(&other, OPENING);
    CHECK(other.state == OPENING);
}

/* The signal that a move ends a child with. */
static int signal_of_move(int from, int to) {
    pid_t pid = fork();
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, 2);
        struct sm sm;
        sm_init(&sm, &door_class, NULL, from);
        sm_move(&sm, to);
        _exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void a_move_without_an_arc_aborts(void) {
    CHECK(signal_of_move(CLOSED, OPENING) == 0);
    CHECK(signal_of_move(CLOSED, OPEN) == SIGABRT);
    CHECK(signal_of_move(OPEN, OPEN) == SIGABRT);
    CHECK(signal_of_move(OPEN, N_STATES) == SIGABRT);
    CHECK(signal_of_move(OPEN, -1) == SIGABRT);
}

static void the_clock_goes_forward(void) {
    int64_t a = clock_boottime_ns(), b = clock_boottime_ns();
    CHECK(a > 0 && b >= a);
}

/* ---- forks ------------------------------------------------------------------------------------------ */

static void a_fork_is_counted_in_the_child_alone(void) {
    unsigned before = fork_depth();
    pid_t pid = fork();
    if (pid == 0)
        _exit(fork_depth() == before + 1 ? 0 : 1);
    int status = -1;
    waitpid(pid, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(fork_depth() == before);
}

int main(void) {
    RUN(a_heap_gives_the_smallest_key_first);
    RUN(a_heap_gives_equal_keys_in_the_order_of_their_insertion);
    RUN(a_heap_survives_any_order_of_inserts_moves_and_removals);
    RUN(a_list_keeps_the_order_of_arrival);
    RUN(lists_are_moved_and_appended);
    RUN(the_end_of_a_prefix_follows_all_its_keys);
    RUN(bytes_are_copied_with_their_zeros);
    RUN(an_error_is_wrapped_outward);
    RUN(a_control_character_from_outside_is_not_shown);
    RUN(an_error_too_long_is_cut);
    RUN(every_code_has_a_name_and_a_sentence);
    RUN(a_machine_moves_along_its_arcs_and_traces_them);
    RUN(a_move_without_an_arc_aborts);
    RUN(the_clock_goes_forward);
    RUN(a_fork_is_counted_in_the_child_alone);
    return check_end();
}
