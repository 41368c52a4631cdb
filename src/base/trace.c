/* base/trace.c - formats a trace line and hands it to the callback, if one is set. See trace.h. */
#include "base/trace.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include "base/text.h"

void trace_line(const struct trace *trace, const char *format, ...) {
    if (!trace || !trace->on_line)
        return;
    char line[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    trace->on_line(trace->arg, text_tame(line));
}
