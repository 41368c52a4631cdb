/* base/trace.h - lines that tell what the core does, for a callback that was set. Nothing prints by itself. */
#ifndef LUN_BASE_TRACE_H
#define LUN_BASE_TRACE_H

struct trace {
    void (*on_line)(
        void *arg,
        const char *line); /* under the core lock: must not call back; `line` is borrowed for the call */
    void *arg;
};

/* Formats and hands on a line. `trace`, or its on_line, may be NULL: then nothing is formatted. */
void trace_line(const struct trace *trace, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
