/* spec/bench/shared/figures.h - clocks, and samples in a line of JSON. Whatever fails ends the program. */
#ifndef LUN_BENCH_SHARED_FIGURES_H
#define LUN_BENCH_SHARED_FIGURES_H

void fail(const char *what) __attribute__((noreturn));

double now_us(void);
/* Of this process so far. */
double cpu_us(void);
double *new_samples(int n);
/* Prints two fields, the names begun with `prefix`, and frees the samples. */
void print_quantiles(const char *prefix, double *samples, int n);
/* A field of /proc/<pid>/status; 0: there is none. */
long status_kb(long pid, const char *field);

/* Measures how long a process of this program takes to its first lock: it is run with ENDPOINT and "one", and writes a byte
 * then. Prints the line of JSON. */
void run_first(const char *bench, const char *endpoint, int n);

#endif
