/* base/clock.h - the one clock: CLOCK_BOOTTIME in nanoseconds. It goes on while the machine is suspended, as
 * etcd's leases do. The calendar is for what servers date by it, and may jump. */
#ifndef LUN_BASE_CLOCK_H
#define LUN_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)

/* Any thread; async-signal-safe. */
static inline int64_t clock_boottime_ns(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_BOOTTIME, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

/* Since 1970. Any thread; async-signal-safe. */
static inline int64_t clock_calendar_ns(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

#endif
