/* module/signals.c - the first signal that would end the process becomes something to read; the second ends it.
 *
 * One per process, as actions of signals are. Only default actions are replaced: a program that handles a signal
 * itself, the standalone Lua's Ctrl-C included, keeps its handler. */
#include "module/signals.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"

/* timeout(1) and some terminals send one request twice: to the process and to its group. */
#define ECHO_NS (50 * NS_PER_MS)

static const int NUMBERS[] = {SIGTERM, SIGHUP, SIGQUIT, SIGINT};
#define N_NUMBERS (sizeof NUMBERS / sizeof NUMBERS[0])

static atomic_int first_signal;
static atomic_int_least64_t first_at_ns;
static int wake_fd = -1;
static pid_t wake_pid;

static void set_action(int number, void (*handler)(int)) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(number, &action, NULL);
}

static bool has_action(int number, void (*handler)(int)) {
    struct sigaction present;
    return sigaction(number, NULL, &present) == 0 && (present.sa_flags & SA_SIGINFO) == 0 &&
           present.sa_handler == handler;
}

static void on_signal(int number) {
    int saved_errno = errno;
    int none = 0;
    if (atomic_compare_exchange_strong(&first_signal, &none, number)) {
        atomic_store(&first_at_ns, clock_boottime_ns());
        fd_ring(wake_fd);
    } else if (number != none || clock_boottime_ns() - atomic_load(&first_at_ns) > ECHO_NS) {
        /* Delivered when this handler returns. */
        set_action(number, SIG_DFL);
        (void)raise(number);
    }
    errno = saved_errno;
}

int signals_catch_unhandled(lua_State *L) {
    if (wake_fd < 0 || wake_pid != getpid()) {
        wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        wake_pid = getpid();
    }
    if (wake_fd < 0)
        return 0;
    uint64_t told;
    ssize_t n_read = read(wake_fd, &told, sizeof told);
    (void)n_read;
    atomic_store(&first_signal, 0);
    for (size_t i = 0; i < N_NUMBERS; i++)
        if (has_action(NUMBERS[i], SIG_DFL))
            set_action(NUMBERS[i], on_signal);
    lua_pushinteger(L, wake_fd);
    return 1;
}

int signals_caught_unhandled(lua_State *L) {
    int number = atomic_load(&first_signal);
    if (number == 0)
        return 0;
    lua_pushinteger(L, number);
    return 1;
}

int signals_release(lua_State *L) {
    (void)L;
    for (size_t i = 0; i < N_NUMBERS; i++)
        if (has_action(NUMBERS[i], on_signal))
            set_action(NUMBERS[i], SIG_DFL);
    return 0;
}

int signals_end_by(lua_State *L) {
    int number = (int)luaL_checkinteger(L, 1);
    set_action(number, SIG_DFL);
    sigset_t only;
    (void)sigemptyset(&only);
    (void)sigaddset(&only, number);
    (void)sigprocmask(SIG_UNBLOCK, &only, NULL);
    (void)raise(number);
    /* Not reached, but for signals that do not end a process. */
    _exit(128 + number);
}
