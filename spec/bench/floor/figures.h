/* spec/bench/floor/figures.h - clocks, and samples in a line of JSON. Whatever fails ends the program. */
#ifndef LUN_BENCH_FLOOR_FIGURES_H
#define LUN_BENCH_FLOOR_FIGURES_H

void fail(const char *what) __attribute__((noreturn));

double now_us(void);
/* Of this process so far. */
double cpu_us(void);
double *new_samples(int n);
/* Prints two fields, the names begun with `prefix`, and frees the samples. */
void print_quantiles(const char *prefix, double *samples, int n);
/* A field of /proc/self/status. */
long status_kb(const char *field);

#endif
