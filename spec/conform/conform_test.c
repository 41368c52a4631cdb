/* spec/conform/conform_test.c - plays every scene to the simulator and to a real etcd, and compares. */
#include "check.h"
#include "etcd_server.h"
#include "random_scenes.h"
#include "scene.h"

enum { SEEDS = 40 };

static struct etcd_server server;
static struct party real;
static size_t n_scenes, n_lines;

/* The first line in which they differ, and what led to it. */
static void show_difference(const char *scene, const char *a, const char *b) {
    const char *asked = a;
    size_t asked_n = 0, at = 0;
    for (;;) {
        size_t n = strcspn(a + at, "\n"), m = strcspn(b + at, "\n");
        if (n != m || memcmp(a + at, b + at, n) != 0) {
            printf("# %s\n#   after  %.*s\n#   %s: %.*s\n#   sim : %.*s\n", scene, (int)asked_n, asked,
                   real.name, (int)n, a + at, (int)m, b + at);
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
    party_open_sim(&simulated);
    snprintf(simulated.version, sizeof simulated.version, "%s", real.version);
    perform(piece, &simulated);
    perform(piece, &real);
    const char *a = party_tale(&real), *b = party_tale(&simulated);
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

int main(void) {
    if (!etcd_program())
        return check_skip("no etcd");
    if (!etcd_server_start(&server) || !party_open_etcd(&real, &server))
        return check_skip("etcd does not start");
    RUN(they_read_alike);
    RUN(they_write_alike);
    RUN(their_transactions_are_alike);
    RUN(their_leases_are_alike);
    RUN(their_watches_are_alike);
    RUN(their_limits_are_alike);
    RUN(they_answer_alike_whatever_is_asked);
    printf("# etcd %s: %zu scenes, %zu lines\n", real.version, n_scenes, n_lines);
    party_close(&real);
    etcd_server_stop(&server);
    return check_end();
}
