/* host/stamp.c - fills the time into a log line that was prepared before. See stamp.h. */
#include "host/stamp.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

size_t stamp_line(char *line, size_t size, const char *pattern, bool is_utc) {
    char digits[4];
    struct timespec now;
    struct tm tm;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)(is_utc ? gmtime_r(&now.tv_sec, &tm) : localtime_r(&now.tv_sec, &tm));
    size_t len = strftime(line, size, pattern, &tm);
    if (len == 0)
        return 0;
    char *place = strstr(line, "@@@");
    (void)snprintf(digits, sizeof digits, "%03u", (unsigned)(now.tv_nsec / NS_PER_MS) % 1000);
    if (place != NULL)
        memcpy(place, digits, 3);
    return len;
}

void stamp_fill(char *text, size_t size, const char *name, const char *value) {
    char *place = strstr(text, name);
    if (place == NULL || strlen(text) + strlen(value) >= size)
        return;
    memmove(place + strlen(value), place + strlen(name), strlen(place + strlen(name)) + 1);
    memcpy(place, value, strlen(value));
}
