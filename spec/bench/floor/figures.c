/* spec/bench/floor/figures.c - see figures.h. */
#include "floor/figures.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

void fail(const char *what) {
    (void)fprintf(stderr, "floor: %s\n", what);
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
long status_kb(const char *field) {
    char line[256];
    long kb = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, field, strlen(field)) == 0)
            kb = atol(line + strlen(field) + 1);
    if (file)
        fclose(file);
    return kb;
}
