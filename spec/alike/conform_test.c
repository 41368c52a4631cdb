/* spec/alike/conform_test.c - plays every scene to the simulator and to a real etcd, and compares. */
#include "check.h"
#include "random_scenes.h"
#include "scene.h"
#include "stage.h"

enum { SEEDS = 40 };

static struct theatre theatre;
static size_t n_scenes, n_lines;

/* The first line in which they differ, and what led to it. */
static void show_difference(const char *scene, const char *a, const char *b) {
    const char *asked = a;
    size_t asked_n = 0, at = 0;
    for (;;) {
        size_t n = strcspn(a + at, "\n"), m = strcspn(b + at, "\n");
        if (n != m || memcmp(a + at, b + at, n) != 0) {
            printf("# %s\n#   after  %.*s\n#   etcd: %.*s\n#   sim : %.*s\n", scene, (int)asked_n, asked,
                   (int)n, a + at, (int)m, b + at);
            return;
        }
        if (a[at] != ' ' && a[at] != '<') {
            asked = a + at;
            asked_n = n;
        }
        at += n + 1;
    }
}

static void count_lines(const char *text) {
    for (n_scenes++; *text; text++)
        n_lines += *text == '\n';
}

/* What is played, by name or by seed. */
struct piece {
    const char *name;
    void (*play)(struct party *party);
    uint64_t seed;
    int heard;
};

static void perform(struct piece *piece, struct party *party) {
    party_begin(party);
    if (piece->play)
        piece->play(party);
    else
        play_random(party, piece->seed, &piece->heard);
}

static bool is_alike(struct piece *piece) {
    struct party simulated;
    theatre_open_sim(&theatre, &simulated);
    perform(piece, &simulated);
    perform(piece, &theatre.real);
    const char *a = party_tale(&theatre.real), *b = party_tale(&simulated);
    bool is_same = strcmp(a, b) == 0;
    if (!is_same)
        show_difference(piece->name, a, b);
    if (getenv("TELL"))
        printf("%s\n", b);
    count_lines(a);
    party_close(&simulated);
    return is_same;
}

static void play_all(const struct scene *scenes) {
    const char *only = getenv("SCENE");
    for (; scenes->name; scenes++)
        if (!only || strstr(scenes->name, only))
            CHECK(is_alike(&(struct piece){.name = scenes->name, .play = scenes->play}));
}

static void they_read_alike(void) {
    play_all(range_scenes);
}

static void they_write_alike(void) {
    play_all(write_scenes);
}

static void their_transactions_are_alike(void) {
    play_all(txn_scenes);
}

static void their_leases_are_alike(void) {
    play_all(lease_scenes);
}

static void their_watches_are_alike(void) {
    play_all(watch_scenes);
}

static void their_limits_are_alike(void) {
    play_all(limit_scenes);
}

/* SEEDS=n plays more of them, SEED=n that one. */
static void they_answer_alike_whatever_is_asked(void) {
    const char *n = getenv("SEEDS"), *one = getenv("SEED");
    uint64_t last = n ? strtoull(n, NULL, 10) : SEEDS;
    for (uint64_t seed = one ? strtoull(one, NULL, 10) : 1; seed <= last; seed++) {
        char name[32];
        snprintf(name, sizeof name, "seed %llu", (unsigned long long)seed);
        REQUIRE(is_alike(&(struct piece){.name = name, .seed = seed}));
        if (one)
            return;
    }
}

static void without_room_they_are_alike(void) {
    play_all(full_scenes);
}

static void with_users_they_are_alike(void) {
    play_all(auth_scenes);
}

static void with_tokens_that_end_they_are_alike(void) {
    play_all(fleeting_scenes);
}

static void with_signed_tokens_they_are_alike(void) {
    play_all(signed_scenes);
}

static void without_a_leader_they_are_alike(void) {
    play_all(leaderless_scenes);
}

static void play_the_usual(void) {
    RUN(they_read_alike);
    RUN(they_write_alike);
    RUN(their_transactions_are_alike);
    RUN(their_leases_are_alike);
    RUN(their_watches_are_alike);
    RUN(their_limits_are_alike);
    RUN(they_answer_alike_whatever_is_asked);
}

static void play_without_room(void) {
    RUN(without_room_they_are_alike);
}

static void play_with_users(void) {
    RUN(with_users_they_are_alike);
}

static void play_with_tokens_that_end(void) {
    RUN(with_tokens_that_end_they_are_alike);
}

static void play_with_signed_tokens(void) {
    RUN(with_signed_tokens_they_are_alike);
}

static void play_without_a_leader(void) {
    RUN(without_a_leader_they_are_alike);
}

/* ---- each stage in a process of its own: most of them wait ------------------------------------------------ */

struct troupe {
    const struct stage *stage;
    void (*play)(void);
    pid_t pid;
    int pipe; /* says how many passed and failed */
};

static void perform_on(const struct troupe *troupe, int report) {
    if (theatre_open(&theatre, troupe->stage)) {
        troupe->play();
        printf("# etcd %s, %s: %zu scenes, %zu lines\n", theatre.real.version, troupe->stage->name, n_scenes,
               n_lines);
        theatre_close(&theatre);
    } else {
        printf("not ok an etcd is started, %s\n", troupe->stage->name);
        check_n_failed++;
    }
    fflush(stdout);
    int counts[2] = {check_n_passed, check_n_failed};
    exit(write(report, counts, sizeof counts) == sizeof counts ? 0 : 1);
}

static void send_out(struct troupe *troupe) {
    int ends[2];
    if (pipe(ends))
        abort();
    fflush(stdout);
    troupe->pid = fork();
    if (troupe->pid == 0)
        perform_on(troupe, ends[1]);
    close(ends[1]);
    troupe->pipe = ends[0];
}

static void call_in(struct troupe *troupe) {
    int counts[2] = {0, 1}, status;
    if (read(troupe->pipe, counts, sizeof counts) != sizeof counts)
        printf("not ok the scenes of %s come to an end\n", troupe->stage->name);
    close(troupe->pipe);
    check_n_passed += counts[0];
    check_n_failed += counts[1];
    /* What a sanitizer says at the very end. */
    if (waitpid(troupe->pid, &status, 0) != troupe->pid || status != 0)
        check_n_failed += counts[1] == 0;
}

int main(void) {
    if (!etcd_program())
        return check_skip("no etcd");
    /* WIDE=1: one of two members, the leader or not. */
    struct troupe troupes[] = {{getenv("WIDE") ? &wide_stage : &usual_stage, play_the_usual, 0, 0},
                               {&small_stage, play_without_room, 0, 0},
                               {&guarded_stage, play_with_users, 0, 0},
                               {&fleeting_stage, play_with_tokens_that_end, 0, 0},
                               {&signed_stage, play_with_signed_tokens, 0, 0},
                               {&paired_stage, play_without_a_leader, 0, 0}};
    enum { TROUPES = sizeof troupes / sizeof troupes[0] };
    for (size_t i = 0; i < TROUPES; i++)
        send_out(&troupes[i]);
    for (size_t i = 0; i < TROUPES; i++)
        call_in(&troupes[i]);
    return check_end();
}
