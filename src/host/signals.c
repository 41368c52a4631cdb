/* host/signals.c - the first signal asks, the second one ends; SIGHUP asks for the script to be loaded anew while candidates
 * stand, is ignored after the first signal, and counts as any other where the terminal has gone away. */
#include "host/host.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "host/terminal.h"
#include "host/watchdog.h"

/* timeout(1) and some terminals send one request twice: to the process and to its group. */
#define ECHO_NS (50 * NS_PER_MS)

static atomic_int first_signal;
static atomic_int_least64_t first_at_ns;
static int wake_fd = -1, reload_fd = -1;
static atomic_bool may_reload, had_terminal;

static void on_signal(int number) {
    int saved_errno = errno;
    int none = 0;
    if (atomic_compare_exchange_strong(&first_signal, &none, number)) {
        atomic_store(&first_at_ns, clock_boottime_ns());
        fd_ring(wake_fd);
        watchdog_ask();
    } else if (number != none || clock_boottime_ns() - atomic_load(&first_at_ns) > ECHO_NS) {
        static atomic_flag is_ending = ATOMIC_FLAG_INIT;
        if (atomic_flag_test_and_set(&is_ending) || !watchdog_end(128 + number)) {
            terminal_restore();
            _exit(128 + number);
        }
    }
    errno = saved_errno;
}

/* Async-signal-safe. */
static bool has_terminal(void) {
    int fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0)
        (void)close(fd);
    return fd >= 0;
}

static void on_hangup(int number) {
    int saved_errno = errno;
    if (!atomic_load(&may_reload) || (atomic_load(&had_terminal) && !has_terminal())) {
        on_signal(number);
    } else if (!atomic_load(&first_signal)) {
        fd_ring(reload_fd);
    }
    errno = saved_errno;
}

static void ignore(int number) {
    (void)number;
}

bool signals_handle(int number, void (*handler)(int)) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    (void)sigemptyset(&action.sa_mask);
    return sigaction(number, &action, NULL) == 0;
}

static bool is_ignored(int number) {
    struct sigaction present;
    return sigaction(number, NULL, &present) != 0 || present.sa_handler == SIG_IGN;
}

int signals_catch(void) {
    if (wake_fd >= 0)
        return wake_fd;
    wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake_fd < 0)
        return -1;
    (void)signals_handle(SIGINT, on_signal);
    (void)signals_handle(SIGTERM, on_signal);
    if (!is_ignored(SIGHUP))
        (void)signals_handle(SIGHUP, on_hangup);
    return wake_fd;
}

int signals_catch_reloads(void) {
    if (reload_fd < 0)
        reload_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (reload_fd < 0)
        return -1;
    atomic_store(&had_terminal, has_terminal());
    atomic_store(&may_reload, true);
    return reload_fd;
}

void signals_end_reloads(void) {
    atomic_store(&may_reload, false);
}

bool signals_take_reload(void) {
    uint64_t count;
    return read(reload_fd, &count, sizeof count) > 0;
}

void signals_survive_pipes(void) {
    /* A handler, not SIG_IGN: a program started from here gets the default back. */
    (void)signals_handle(SIGPIPE, ignore);
}

int signals_caught(void) {
    return atomic_load(&first_signal);
}
