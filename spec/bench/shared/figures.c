/* spec/bench/shared/figures.c - see figures.h. */
#include "shared/figures.h"

#include <errno.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

void fail(const char *what) {
    (void)fprintf(stderr, "%s: %s\n", program_invocation_short_name, what);
    exit(1);
}

double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

double cpu_us(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1e6 +
           (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double *new_samples(int n) {
    double *samples = calloc((size_t)n, sizeof *samples);
    if (!samples)
        fail("out of memory");
    return samples;
}

void print_quantiles(const char *prefix, double *samples, int n) {
    qsort(samples, (size_t)n, sizeof *samples, compare);
    printf(",\"%sp50_us\":%.1f,\"%sp99_us\":%.1f", prefix, samples[n / 2], prefix, samples[(int)(n * 0.99)]);
    free(samples);
}

long status_kb(long pid, const char *field) {
    char line[256];
    long kb = 0;
    (void)snprintf(line, sizeof line, "/proc/%ld/status", pid);
    FILE *file = fopen(line, "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, field, strlen(field)) == 0)
            kb = atol(line + strlen(field) + 1);
    if (file)
        (void)fclose(file);
    return kb;
}

static double time_to_first_lock(const char *endpoint) {
    int ends[2];
    if (pipe(ends) != 0)
        fail("no pipe");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    char *argv[] = {program_invocation_short_name, (char *)(uintptr_t)endpoint, (char *)"one", NULL};
    double begin = now_us();
    pid_t pid;
    char byte;
    if (posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv, environ) != 0 ||
        read(ends[0], &byte, 1) != 1)
        fail("cannot run itself");
    double took = now_us() - begin;
    waitpid(pid, NULL, 0);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[0]);
    close(ends[1]);
    return took;
}

void run_first(const char *bench, const char *endpoint, int n) {
    double *samples = new_samples(n);
    for (int i = 0; i < n; i++)
        samples[i] = time_to_first_lock(endpoint);
    printf("{\"bench\":\"%s\",\"mode\":\"first\",\"n\":%d", bench, n);
    print_quantiles("", samples, n);
    printf("}\n");
}
