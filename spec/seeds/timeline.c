/* spec/seeds/timeline.c - the story of a history, a line for each thing that happens, a column for everybody. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "history.h"

enum { COLUMNS = 6 };
static const char columns[COLUMNS + 1] = "FE0123";

/* "fault: ...", "etcd: ...", "M2.1: ...". */
static char column_of(const char *line) {
    if (strncmp(line, "fault:", 6) == 0)
        return 'F';
    if (strncmp(line, "etcd:", 5) == 0)
        return 'E';
    return line[0] == 'M' ? line[1] : ' ';
}

void history_print(void *arg, int64_t now_ns, const char *line) {
    char marks[2 * COLUMNS + 1] = "";
    (void)arg;
    for (int i = 0; i < COLUMNS; i++) {
        marks[2 * i] = column_of(line) == columns[i] ? columns[i] : '.';
        marks[2 * i + 1] = ' ';
    }
    marks[2 * COLUMNS] = '\0';
    (void)printf("%9.3f  %s %s\n", (double)(now_ns - 1000 * NS_PER_S) / 1e9, marks, line);
}
