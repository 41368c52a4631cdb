/* spec/unit/check.h - the harness of the C unit tests: one line per test, `N passed, N failed` at the end,
 * status 1 when one failed. */
#ifndef LUN_UNIT_CHECK_H
#define LUN_UNIT_CHECK_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_n_passed, check_n_failed;
static bool check_is_failing;
static const char *check_name = "the program begins";

/* Notes a failure and goes on. */
#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            check_fail(__FILE__, __LINE__, #condition);                                                      \
    } while (0)
/* Notes a failure and leaves the (void) function. */
#define REQUIRE(condition)                                                                                   \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            check_fail(__FILE__, __LINE__, #condition);                                                      \
            return;                                                                                          \
        }                                                                                                    \
    } while (0)
#define CHECK_TEXT(actual, expected) check_text(__FILE__, __LINE__, actual, expected)
/* Runs the test function of that name; its name, with spaces, is the sentence it proves. */
#define RUN(test) check_run(#test, test)

static inline void check_fail(const char *file, int line, const char *what) {
    check_is_failing = true;
    printf("not ok %s: %s:%d: %s\n", check_name, file, line, what);
    fflush(stdout);
}

static inline void check_text(const char *file, int line, const char *actual, const char *expected) {
    if (strcmp(actual, expected) == 0)
        return;
    check_fail(file, line, "text differs");
    printf("#   expected: %s\n#   got:      %s\n", expected, actual);
}

static inline void check_run(const char *name, void (*test)(void)) {
    static char sentence[256];
    snprintf(sentence, sizeof sentence, "%s", name);
    for (char *p = sentence; *p; p++)
        if (*p == '_')
            *p = ' ';
    const char *only = getenv("ONLY"); /* part of a name: run no others */
    if (only && !strstr(sentence, only))
        return;
    check_name = sentence;
    check_is_failing = false;
    test();
    if (check_is_failing) {
        check_n_failed++;
    } else {
        check_n_passed++;
        printf("ok %s\n", sentence);
    }
    fflush(stdout);
}

static inline int check_end(void) {
    printf("%d passed, %d failed\n", check_n_passed, check_n_failed);
    fflush(stdout); /* a leak checker may end the process without */
    return check_n_failed > 0;
}

/* What the tests stand on is not there: that has failed, and the program ends. */
static inline _Noreturn void check_give_up(const char *file, int line, const char *what) {
    check_fail(file, line, what);
    check_n_failed++;
    exit(check_end());
}

/* The test program cannot run here. ctest and `dev test` know the status. */
static inline int check_skip(const char *why) {
    printf("SKIP %s\n", why);
    return 77;
}

#endif
